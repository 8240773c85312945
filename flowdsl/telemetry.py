"""Metrics for Prometheus, spans for OpenTelemetry, log lines as JSON: observers of a worker's tasks (`service.observed`).

Rule 1: each needs its extra; who asks for one that is not installed is told the pip command.
Rule 2: names are SWF's CloudWatch names: the metric `ActivityTasksCompleted` is the counter `flowdsl_ActivityTasksCompleted_total`; times
        are histograms in seconds, `flowdsl_ActivityTaskStartToCloseTime_seconds` and `flowdsl_DecisionTaskStartToCloseTime_seconds`.
Rule 3: a label or an attribute is a name or an id, never a value of the user's. Metrics have the type's name alone: ids would be endless.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import threading
import time
from typing import Any

from flowdsl.errors import DefinitionError
from flowdsl.service.observed import CLOSES, TASKS, Observed

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_COUNTED = (*TASKS.values(), *CLOSES.values())


class Prometheus:
    """Counts and times tasks in a registry of its own. Raises `DefinitionError` without the extra."""

    def __init__(self) -> None:
        client = _needs("prometheus_client", "metrics")
        self._client = client
        self._registry = client.CollectorRegistry()
        self._counters = {
            name: client.Counter(f"flowdsl_{name}", f"Amazon SWF's metric {name}", ["type"], registry=self._registry) for name in _COUNTED
        }
        self._throttled = client.Counter("flowdsl_ThrottledEvents", "Calls that were refused for their rate", registry=self._registry)
        self._times = {
            kind: client.Histogram(
                f"flowdsl_{kind}TaskStartToCloseTime_seconds", f"Seconds between a poll's answer and the {kind.lower()} task's response",
                ["type"], buckets=_BUCKETS, registry=self._registry,
            )
            for kind in ("Activity", "Decision")
        }  # fmt: skip

    def __call__(self, what: Observed) -> None:
        """Count it."""
        if what.metric == "ThrottledEvents":
            self._throttled.inc()
            return
        self._counters[what.metric].labels(what.type).inc()
        if what.seconds is not None:
            self._times["Decision" if what.metric.startswith("Decision") else "Activity"].labels(what.type).observe(what.seconds)

    def text(self) -> bytes:
        """What a scrape gets: this process's numbers, or, where `PROMETHEUS_MULTIPROC_DIR` is set, those of all that share it."""
        registry = self._registry
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            registry = self._client.CollectorRegistry()
            _needs("prometheus_client.multiprocess", "metrics").MultiProcessCollector(registry)
        text: bytes = self._client.generate_latest(registry)
        return text


class OpenTelemetry:
    """A span for each task, from its poll's answer to its response; the tracer is `provider`'s, or the global one's."""

    def __init__(self, provider: Any = None) -> None:
        trace = _needs("opentelemetry.trace", "otel")
        self._tracer = trace.get_tracer("flowdsl", tracer_provider=provider)
        self._failed = trace.Status(trace.StatusCode.ERROR)

    def __call__(self, what: Observed) -> None:
        """Write the span."""
        if what.began is None or what.seconds is None:
            return
        kind = "DecisionTask" if what.metric.startswith("Decision") else "ActivityTask"
        attributes = {
            "swf.type.name": what.type, "swf.type.version": what.version, "swf.workflow_id": what.workflow_id,
            "swf.run_id": what.run_id, "swf.metric": what.metric,
        }  # fmt: skip
        span = self._tracer.start_span(f"{kind} {what.type}", attributes=attributes, start_time=_ns(what.began))
        if what.metric.endswith("Failed"):
            span.set_status(self._failed)
        span.end(_ns(what.began + what.seconds))


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON: time, level, logger, message, process, thread, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname, "logger": record.name, "message": record.getMessage(),
            "process": record.process, "thread": record.threadName,
        }  # fmt: skip
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class Tally:
    """What a health report says of the work so far: counts by metric, and when the last task was answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._last: float | None = None

    def __call__(self, what: Observed) -> None:
        """Count it."""
        with self._lock:
            self._counts[what.metric] = self._counts.get(what.metric, 0) + 1
            if what.seconds is not None:
                self._last = time.time()

    def report(self) -> dict[str, Any]:
        """The counts, and the time of the last answer in epoch seconds."""
        with self._lock:
            return {"counts": dict(sorted(self._counts.items())), "lastTask": self._last}


def available() -> list[Any]:
    """Observers for the extras that are installed and in use: OpenTelemetry's, if a tracer provider was set up."""
    try:
        return [OpenTelemetry()]
    except DefinitionError:
        return []


def prometheus() -> Prometheus | None:
    """Prometheus's observer, None without the extra."""
    try:
        return Prometheus()
    except DefinitionError:
        return None


def _needs(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DefinitionError(f"{module.partition('.')[0]} is not installed: pip install 'flowdsl[{extra}]'") from error


def _ns(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
