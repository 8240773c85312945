"""`run`, `start`, `attach`, `executions`: a workflow, somewhere, with one word.

Rule 1: `run` starts, serves and waits; `start` does not wait. All keyword arguments but `backend` belong to the workflow.
Rule 2: an id names an execution: if an open one has it and the same work, it is attached to and resumed; other work is refused.
Rule 3: leaving (Ctrl-C) never ends an execution; the message says how to come back.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

from flowdsl import config
from flowdsl.backends import Backend, Local, Swf, resolve
from flowdsl.client import Execution, LocalExecution
from flowdsl.connection import Connection, connect, opened
from flowdsl.data.setup import default_converter
from flowdsl.data.values import Values
from flowdsl.errors import AlreadyRunning, DefinitionError, Fault, SignalFailed
from flowdsl.lang.context import Call, workflow_runtime
from flowdsl.limits import DATA, clean_id, length
from flowdsl.local.run import LocalRun
from flowdsl.local.running import find, send_locally
from flowdsl.model.carried import with_reference, with_signals
from flowdsl.replay.operations import ONE_YEAR, with_own_id
from flowdsl.service.faults import UNKNOWN_RESOURCE

P = ParamSpec("P")
R = TypeVar("R")

_ATTEMPTS_TO_START = 5


def run(fn: Callable[P, R], /, *args: Any, backend: str | Backend | None = None, **kwargs: Any) -> R:
    """Run a workflow to its end and return its value, or raise what it raised.

    `backend` is `"local"`, `"embedded"`, `"swf"` or a backend object (default: `FLOWDSL_BACKEND`, else local).
    Everything else goes to the workflow; an id,
    tags and the like are given by `fn.options(id="order-7")`.
    """
    where = resolve(backend)
    call = _call(fn, args, kwargs)
    if isinstance(where, Local):
        value: R = LocalRun(call, local_values(where)).run()
        return value
    execution = _start(call, connect(where))
    try:
        execution.serve()
        value = execution.result()
    except KeyboardInterrupt:
        print(f"\n{execution.id} goes on. Come back to it with  {_how_to_attach(execution, backend)}", file=sys.stderr)  # noqa: T201 - a user's terminal
        raise
    return value


def start(fn: Callable[P, Any], /, *args: Any, backend: str | Backend | None = None, **kwargs: Any) -> Execution | LocalExecution:
    """Start a workflow and return its handle; it is served from background threads of this process where `run` would serve it."""
    where = resolve(backend)
    call = _call(fn, args, kwargs)
    if isinstance(where, Local):
        return LocalExecution(LocalRun(call, local_values(where)))
    execution = _start(call, connect(where))
    execution.serve()
    return execution


def attach(workflow_id: str, run_id: str | None = None, backend: str | Backend | None = None) -> Execution | LocalExecution:
    """The handle of an execution that was started before, here or elsewhere; an open one is served again where `run` would serve it.

    Raises `Fault` (UnknownResourceFault) if there is none.
    """
    where = resolve(backend)
    if isinstance(where, Local):
        raise DefinitionError("a local execution lives in its process only: keep the handle that start() returned")
    connection = connect(where)
    connection.register()
    if run_id is None:
        run_id = latest_run(connection, workflow_id)
    execution = Execution(connection, workflow_id, run_id)
    execution.describe()
    execution.serve()
    return execution


def executions(
    backend: str | Backend | None = None,
    *,
    status: str = "open",
    id: str | None = None,  # noqa: A002 - the contract's word
    workflow: Any = None,
    tag: str | None = None,
) -> list[Execution]:
    """Executions, newest first: `status` is `open` or `closed`; at most one of `id`, `workflow` (a definition or a name) and `tag`
    narrows them.
    """
    where = resolve(backend)
    if isinstance(where, Local):
        return []
    connection = connect(where)
    connection.register()
    name = getattr(workflow, "name", workflow)
    if status not in ("open", "closed"):
        raise DefinitionError(f"executions(status={status!r}): give 'open' or 'closed'")
    listing = connection.swf.list_open if status == "open" else connection.swf.list_closed
    found = listing(workflow_id=id, type_name=name, tag=tag)
    return [Execution(connection, info["execution"]["workflowId"], info["execution"]["runId"]) for info in found]


def run_locally(call: Call) -> Any:
    """What a workflow called outside every run does: run here and now."""
    return LocalRun(call, local_values()).run()


def local_values(backend: Local | None = None) -> Values:
    """Values of local runs: through the same text as everywhere, large ones in memory."""
    backend = backend or Local()
    converter = default_converter(config.store_uri() or "memory:", serializer=backend.serializer, codecs=backend.codecs)
    return Values(converter, config.domain())


def _call(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    if getattr(fn, "kind", None) != "workflow":
        name = getattr(fn, "__name__", repr(fn))
        raise DefinitionError(f"run({name}): give a function decorated with @workflow")
    if workflow_runtime() is not None:
        raise DefinitionError("run() and start() belong outside workflows; inside one, call the other workflow: that is a child workflow")
    call: Call = fn._call(args, kwargs)  # the definition checks the arguments
    return call


def _start(call: Call, connection: Connection) -> Execution:
    """Start the execution, or find the open one that has the id; nobody serves it yet."""
    assert call.options is not None
    workflow_id = call.options.id or clean_id(f"{call.name}-{uuid.uuid4().hex[:12]}")
    for _ in range(_ATTEMPTS_TO_START):
        started = _started(call, connection, workflow_id)
        if started is not None:
            return started
        text = connection.values.encode_call(call.target, call.args, call.kwargs)
        resumed = _resume(connection, workflow_id, call.target, text, _instances(call))
        if resumed is not None:
            return resumed
        time.sleep(0.05)  # it closed between the two calls: start again
    raise AlreadyRunning(f"the workflow id {workflow_id!r} is taken again and again by others; choose another id")


def _started(call: Call, connection: Connection, workflow_id: str, signals: Sequence[tuple[str, str]] = ()) -> Execution | None:
    """Start the execution, with these signals waiting for it; None if an open one has the id."""
    definition, options = call.target, call.options
    assert options is not None
    text = with_signals(connection.values.encode_call(definition, call.args, call.kwargs), signals)
    if length(text) > DATA:  # the arguments and the signal fit, but not both
        text = with_reference(connection.values.encode_plain(definition.name, "carried", text))
    connection.register(definition)
    lease = connection.lease(options.task_list)
    try:
        run_id = connection.swf.start_workflow_execution(
            workflow_id=workflow_id, name=definition.name, version=definition.version, task_list=lease.task_list, input=text,
            execution_start_to_close=ONE_YEAR if options.timeout is None else options.timeout, task_start_to_close=options.task_timeout,
            child_policy=options.child_policy, tag_list=options.tags, task_priority=options.priority,
        )  # fmt: skip
    except BaseException as error:
        lease.end()
        if isinstance(error, Fault) and error.code == "WorkflowExecutionAlreadyStartedFault":
            return None
        raise
    return Execution(connection, workflow_id, run_id, definition, lease.of(workflow_id, run_id, _instances(call)))


def _instances(call: Call) -> list[Any]:
    return [] if call.instance is None or isinstance(call.instance, type) else [call.instance]


def _resume(connection: Connection, workflow_id: str, definition: Any, text: str, instances: list[Any]) -> Execution | None:
    """Attach to the open execution that has the id, if it is the same work; None if it has closed meanwhile."""
    found = connection.swf.list_open(workflow_id=workflow_id)
    if not found:
        return None
    run_id = found[0]["execution"]["runId"]
    started = next(iter(connection.swf.history(workflow_id, run_id)))["workflowExecutionStartedEventAttributes"]
    kind = started["workflowType"]
    same = kind["name"] == definition.name and connection.values.same(started.get("input"), text) is not False
    if not same:
        raise AlreadyRunning(
            f"the workflow id {workflow_id!r} belongs to an open execution of {kind['name']} with "
            f"{'other input' if kind['name'] == definition.name else 'other code'}. "
            f"Wait for it with attach({workflow_id!r}).result(), or choose another id"
        )
    about = connection.swf.describe(workflow_id, run_id)
    if about["executionInfo"]["executionStatus"] != "OPEN":
        return None
    lease = connection.lease(about["executionConfiguration"]["taskList"]["name"])
    return Execution(connection, workflow_id, run_id, definition, lease.of(workflow_id, run_id, instances))


def start_unserved(fn: Any, args: Sequence[Any], kwargs: dict[str, Any], connection: Connection) -> Execution:
    """Start a workflow on the fleet's list, or the one its options name; this process does not serve it.

    Raises `AlreadyRunning` if its id belongs to an open execution with other input; the same input gives that execution.
    """
    if fn.settings.task_list is None:
        fn = fn.options(task_list=config.task_list())
    execution = _start(_call(fn, tuple(args), kwargs), connection)
    execution.give_up_lease()
    return execution


def latest_run(connection: Connection, workflow_id: str) -> str:
    """The open run of a workflow id, else its latest. Raises `Fault` if there is none."""
    for listing in (connection.swf.list_open, connection.swf.list_closed):
        found = listing(workflow_id=workflow_id)
        if found:
            run_id: str = found[0]["execution"]["runId"]
            return run_id
    raise Fault("UnknownResourceFault", f"Unknown execution, workflowId = {workflow_id}")


def _how_to_attach(execution: Execution, backend: str | Backend | None) -> str:
    return f"flowdsl.attach({execution.id!r}, backend={backend!r}).result()"


def _payload(definition: Any, values: Values, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    return with_own_id(definition, values.encode_call(definition, args, kwargs))


def signal_with_start(
    message: partial[Any], fn: Callable[P, Any], /, *args: Any, backend: str | Backend | None = None, **kwargs: Any
) -> Execution | LocalExecution:
    """Send a signal to the open execution of `fn.options(id=…)`; if there is none, start it with the signal waiting for it.

    `message` is a `functools.partial` of a signal: `signal_with_start(partial(added, item="tea"), cart.options(id="cart-7"), "ann")`.
    However many do this at once, one execution is started, and it gets every signal once. Raises `DefinitionError` if there is no id.
    """
    definition: Any = getattr(message, "func", None)
    if not isinstance(message, partial) or getattr(definition, "kind", None) != "signal":
        raise DefinitionError(f"signal_with_start({message!r}, …): give functools.partial(a @signal function, its arguments)")
    where = resolve(backend)
    call = _call(fn, args, kwargs)
    workflow_id = call.options.id if call.options is not None else None
    if workflow_id is None:
        raise DefinitionError(f"signal_with_start(…, {call.name}): say which execution it is for, with .options(id=…)")
    given: Call = definition._call(message.args, message.keywords, "send")  # the definition checks the arguments
    name = definition.name
    if isinstance(where, Local):
        return _signal_or_start_locally(call, workflow_id, name, _payload(definition, local_values(), given.args, given.kwargs))
    connection = connect(where)
    connection.register()
    text = _payload(definition, connection.values, given.args, given.kwargs)
    for _ in range(_ATTEMPTS_TO_START):
        try:
            connection.swf.signal(workflow_id, name, input=text)
            execution = Execution(connection, workflow_id, latest_run(connection, workflow_id), call.target)
        except Fault as fault:
            if fault.code != UNKNOWN_RESOURCE:
                raise
            started = _started(call, connection, workflow_id, [(name, text)])
            if started is None:
                continue  # somebody else was faster: then the signal finds an open execution
            execution = started
        execution.serve()
        return execution
    raise AlreadyRunning(f"the workflow id {workflow_id!r} is taken and given up again and again by others")


def _signal_or_start_locally(call: Call, workflow_id: str, name: str, text: str) -> LocalExecution:
    running: Any = find(workflow_id)
    if running is not None:
        running.signal(name, text)
        if running.handle is not None:
            return cast("LocalExecution", running.handle)
        raise AlreadyRunning(f"the local workflow {workflow_id!r} runs in a plain call: the signal was sent, but it has no handle to give")
    run = LocalRun(call, local_values())
    run.signal(name, text)
    return LocalExecution(run)


def send(definition: Any, workflow_id: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """`approved.send(workflow_id, …)` outside a workflow: to a local execution of this process, else on the default backend, else on
    those that this process has used. Raises `SignalFailed` if no open execution has the id.
    """
    if find(workflow_id) is not None:
        send_locally(workflow_id, definition.name, _payload(definition, local_values(), args, kwargs))
        return
    default = resolve(None)
    first = [] if isinstance(default, Local) else [connect(default)]
    nearest_first = sorted(opened(), key=lambda connection: isinstance(connection.backend, Swf))
    looked = dict.fromkeys([*first, *nearest_first])
    for connection in looked:
        try:
            connection.swf.signal(workflow_id, definition.name, input=_payload(definition, connection.values, args, kwargs))
        except Fault as fault:
            if fault.code != UNKNOWN_RESOURCE:
                raise
        else:
            return
    where = ", ".join(["this process (local)", *(f"{connection.backend!r}" for connection in looked)])
    raise SignalFailed(
        f"signal {definition.name} was not delivered: no open execution has the workflow id {workflow_id!r}. Looked in {where}. "
        f"Name another backend with FLOWDSL_BACKEND, or send through a handle: attach({workflow_id!r}, backend=…).signal(…)",
        workflow_id=workflow_id,
        reason=UNKNOWN_RESOURCE,
    )
