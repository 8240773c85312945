"""What a worker tells of itself: health over HTTP, metrics and spans by SWF's names, log lines as JSON; and the processes it is made of."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from front_kit import Program, served

from flowdsl import DefinitionError, Embedded, Worker, activity, telemetry, workflow
from flowdsl.connection import disconnect
from flowdsl.health import Health, address
from flowdsl.service.observed import Observed, observe
from flowdsl.supervisor import Supervisor

PATIENCE = 60


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_is_200_while_all_is_well_and_503_when_it_is_not() -> None:
    state: list[tuple[bool, dict[str, Any]]] = [(True, {"status": "serving"})]
    with Health("127.0.0.1", 0, lambda: state[0]) as health:
        assert get(f"{health.url}/health") == (200, '{"status": "serving"}')
        state[0] = (False, {"status": "draining"})
        assert get(f"{health.url}/health")[0] == 503
        assert get(f"{health.url}/metrics") == (501, "metrics need pip install 'flowdsl[metrics]'\n")
        assert get(f"{health.url}/else")[0] == 404


@pytest.mark.parametrize(
    ("text", "where"), [("80", ("127.0.0.1", 80)), ("0.0.0.0:80", ("0.0.0.0", 80)), ("[::1]:80", ("::1", 80)), ("x", None), (":80", None)]
)
def test_an_address_is_a_port_or_a_host_and_a_port(text: str, where: tuple[str, int] | None) -> None:
    if where is None:
        with pytest.raises(DefinitionError):
            address(text)
    else:
        assert address(text) == where


@activity
def double(number: int) -> int:
    return 2 * number


@activity
def refuse() -> None:
    raise ValueError("no")


@workflow
def flow(number: int) -> int:
    try:
        refuse()
    except ValueError:
        return double(number)
    return 0


def test_every_task_is_observed_by_its_swf_name_and_the_extras_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    prometheus_client = pytest.importorskip("prometheus_client", reason="needs pip install 'flowdsl[metrics]'")
    trace = pytest.importorskip("opentelemetry.sdk.trace", reason="needs an OpenTelemetry SDK")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    assert prometheus_client is not None
    exporter, provider = InMemorySpanExporter(), trace.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    seen: list[Observed] = []
    closed = threading.Event()

    def watching(what: Observed) -> None:
        seen.append(what)
        if what.metric == "WorkflowsCompleted":
            closed.set()

    prometheus, tally = telemetry.Prometheus(), telemetry.Tally()
    backend = Embedded(":memory:")
    try:
        observers = [prometheus, telemetry.OpenTelemetry(provider), tally, watching]
        with Worker(double, refuse, flow, backend=backend, observers=observers):
            from flowdsl.connection import connect
            from flowdsl.running import start_unserved

            start_unserved(flow, [3], {}, connect(backend))
            assert closed.wait(PATIENCE)
    finally:
        disconnect(backend)
    text = prometheus.text().decode()
    name = double.name
    assert f'flowdsl_ActivityTasksCompleted_total{{type="{name}"}} 1.0' in text
    assert f'flowdsl_DecisionTaskStartToCloseTime_seconds_count{{type="{flow.name}"}} 3.0' in text
    assert tally.report()["counts"] == {
        "ActivityTasksCompleted": 1, "ActivityTasksFailed": 1, "DecisionTasksCompleted": 3, "WorkflowsCompleted": 1,
    }  # fmt: skip
    spans = {span.name for span in exporter.get_finished_spans()}
    assert spans == {f"ActivityTask {name}", f"ActivityTask {refuse.name}", f"DecisionTask {flow.name}"}
    assert {one.workflow_id for one in seen} == {seen[0].workflow_id}


def test_an_observer_that_fails_disturbs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Echo:
        def call(self, operation: str, params: Any) -> dict[str, Any]:
            kind, execution = {"name": "a", "version": "1"}, {"workflowId": "w", "runId": "r"}
            return {"taskToken": "t", "activityType": kind, "workflowExecution": execution} if operation.startswith("Poll") else {}

    def broken(what: Observed) -> None:
        raise ZeroDivisionError

    transport = observe(Echo(), [broken])
    transport.call("PollForActivityTask", {})
    assert transport.call("RespondActivityTaskCompleted", {"taskToken": "t"}) == {}
    assert "an observer failed" in caplog.text


def test_an_extra_that_is_missing_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(DefinitionError, match=r"pip install 'flowdsl\[metrics\]'"):
        telemetry.Prometheus()
    assert telemetry.prometheus() is None


def test_a_log_line_is_one_object() -> None:
    try:
        1 / 0
    except ZeroDivisionError:
        record = logging.LogRecord("flowdsl", logging.ERROR, "f", 1, "größe %d", (3,), sys.exc_info())
    line = json.loads(telemetry.JsonFormatter().format(record))
    assert (line["level"], line["logger"], line["message"]) == ("ERROR", "flowdsl", "größe 3")
    assert "ZeroDivisionError" in line["traceback"]


# --- many processes ---------------------------------------------------------------------------------------------------

SUPERVISING = """
import sys
from flowdsl.supervisor import Supervisor
child = '''
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("child runs", flush=True)
sys.stdin.buffer.read()
'''
sys.exit(Supervisor([sys.executable, "-c", child], 2, say=lambda text: print(text, flush=True)).run())
"""


def lines_until(program: Program, *wanted: str) -> list[str]:
    """Read lines until each of `wanted` has been seen, in any order."""
    left, seen = list(wanted), []
    while left:
        seen.append(program.line())
        for text in left:
            if text in seen[-1]:
                left.remove(text)
                break
    return seen


def test_a_crashed_child_is_started_again_and_a_signal_ends_all_of_them(tmp_path: Path) -> None:
    with Program(tmp_path, "-c", SUPERVISING) as program:
        seen = lines_until(program, "child runs", "child runs")
        pid = next(int(line.rpartition(" ")[2]) for line in seen if line.startswith("process 1 runs"))
        import os

        os.kill(pid, signal.SIGKILL)
        lines_until(program, f"process 1 (pid {pid}) ended with -9", "process 1 runs", "child runs")
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(PATIENCE) == 0


def test_a_change_of_code_starts_every_child_anew(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    supervisor = Supervisor([sys.executable, "-c", "import sys; sys.stdin.read()"], 1, say=said.append)
    supervisor._look_after()
    assert supervisor.report()[0]
    supervisor._notes.put("changed")
    supervisor._listen()
    supervisor._look_after()
    assert [text.split(" (")[0].rpartition(" pid")[0] for text in said] == ["process 1 runs as", "", "process 1 runs as"]
    supervisor._stopping = True
    for process in supervisor._everybody():
        process.kill()
        process.wait(PATIENCE)
    supervisor._look_after()


def test_two_processes_serve_one_list_and_end_with_0(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from flowdsl import activity, workflow\n@activity\ndef double(x): return 2 * x\n@workflow\ndef flow(x): return double(x)\n"
    )
    client = "import shop, sys\nfrom flowdsl import Swf, run\nprint(run(shop.flow, 4, backend=Swf(serve=False)), flush=True)\n"
    with served() as (url, service):
        environment = {"AWS_ENDPOINT_URL_SWF": url}
        with Program(tmp_path, "-m", "flowdsl", "worker", "shop.py", "--backend", "swf", "--processes", "2", **environment) as fleet:
            with Program(tmp_path, "-c", client, **environment) as asking:
                assert asking.line() == "8"
                assert asking.process.wait(PATIENCE) == 0
            fleet.process.send_signal(signal.SIGTERM)
            service.close()  # it answers the open polls, so that nobody waits for their minute
            assert fleet.process.wait(PATIENCE) == 0
