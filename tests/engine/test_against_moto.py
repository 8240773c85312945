"""The same calls to moto's Amazon SWF and to the engine: where they differ, the table says which one is right, and by what.

Rule 1: a step is one call; its outcome is the answer, or the fault's code and text. Ids, tokens and times are made up by the service and
        are compared by their presence only.
Rule 2: `DIFFERENCES` lists every step whose outcomes differ, with the section of the reference of Amazon SWF's behaviour (or the source
        that it rests on) that settles it. A difference that is not listed fails; one that is gone does not, because moto gets
        better too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import boto3
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError
from engine_kit import activity, complete, decision
from moto import mock_aws
from moto.swf.responses import SWFResponse

from flowdsl.engine import Engine
from flowdsl.errors import Fault
from flowdsl.server import wire

Outcome = Any
Call = Callable[..., dict[str, Any]]

MADE_UP = {"runId", "taskToken", "nextPageToken"}
TIMES = {"eventTimestamp", "startTimestamp", "closeTimestamp", "creationDate", "deprecationDate", "latestActivityTaskTimestamp"}


def comparable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: "…" if name in MADE_UP | TIMES else comparable(item) for name, item in sorted(value.items()) if name != "ResponseMetadata"
        }
    return [comparable(item) for item in value] if isinstance(value, list) else value


class Steps:
    """A client of one of the two, and what came of each step."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.outcomes: dict[str, Outcome] = {}

    def __call__(self, step: str, operation: str, **params: Any) -> dict[str, Any]:
        assert step not in self.outcomes, f"two steps are called {step!r}"
        try:
            answer = self._call(operation, params)
        except (Fault, ClientError) as error:
            told = error.response["Error"] if isinstance(error, ClientError) else {"Code": error.code, "Message": error.message}
            self.outcomes[step] = told["Code"], re.sub(r"runId=[^\]]+", "runId=…", told["Message"])
            return {}
        except Exception as error:  # moto's own bug: an outcome like any other
            self.outcomes[step] = "crashed", type(error).__name__
            return {}
        self.outcomes[step] = comparable(answer)
        return answer


def the_engine() -> tuple[Call, Callable[[], None]]:
    engine = Engine(account="123456789012")
    now = [1_700_000_000_000]

    def call(operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        now[0] += 1000  # as long as two calls of a client may be apart: lists are in order of time
        engine.tick(now[0])
        return engine.apply(now[0], operation, params)

    return call, engine.close


def motos() -> tuple[Call, Callable[[], None]]:
    mock = mock_aws()
    mock.start()
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
    client = boto3.client("swf", **keys, config=Config(parameter_validation=False, retries={"max_attempts": 0}))
    return client._make_api_call, mock.stop


# --- the scenarios ----------------------------------------------------------------------------------------------------

D = {"domain": "d"}
W = {"workflowType": {"name": "flow", "version": "1"}}
A = {"activityType": {"name": "act", "version": "1"}}
DECIDERS, WORKERS = {"taskList": {"name": "deciders"}}, {"taskList": {"name": "workers"}}
REGISTERED = {"registrationStatus": "REGISTERED"}
SINCE = {"startTimeFilter": {"oldestDate": 0}}
NEVER = {f"defaultTask{name}Timeout": "NONE" for name in ("ScheduleToClose", "ScheduleToStart", "StartToClose", "Heartbeat")}


def registry(step: Steps) -> None:
    step("register a domain", "RegisterDomain", name="d", workflowExecutionRetentionPeriodInDays="7", description="first")
    step("register it again", "RegisterDomain", name="d", workflowExecutionRetentionPeriodInDays="7")
    step("register another", "RegisterDomain", name="e", workflowExecutionRetentionPeriodInDays="NONE", tags=[{"key": "k", "value": "v"}])
    step("describe a domain", "DescribeDomain", name="d")
    step("describe an unknown domain", "DescribeDomain", name="x")
    step("list domains", "ListDomains", **REGISTERED)
    step("list domains, reverse", "ListDomains", **REGISTERED, reverseOrder=True)
    arn = "arn:aws:swf:us-east-1:123456789012:/domain/d"
    step("tag a domain", "TagResource", resourceArn=arn, tags=[{"key": "b", "value": "2"}, {"key": "a", "value": "1"}])
    step("overwrite a tag", "TagResource", resourceArn=arn, tags=[{"key": "b", "value": "3"}])
    step("list tags", "ListTagsForResource", resourceArn=arn)
    step("remove tags", "UntagResource", resourceArn=arn, tagKeys=["b", "unknown"])
    step("list tags again", "ListTagsForResource", resourceArn=arn)
    for kind in ("Workflow", "Activity"):
        named = {f"{kind.lower()}Type": {"name": "t", "version": "1"}}
        step(f"register {kind}", f"Register{kind}Type", **D, name="t", version="1", description="d", defaultTaskStartToCloseTimeout="9")
        step(f"register {kind} again", f"Register{kind}Type", **D, name="t", version="1")
        step(f"register {kind} in an unknown domain", f"Register{kind}Type", domain="x", name="t", version="1")
        step(
            f"register {kind} 2", f"Register{kind}Type", **D, name="t", version="2", defaultTaskList={"name": "l"}, defaultTaskPriority="3"
        )
        step(f"register {kind} s", f"Register{kind}Type", **D, name="s", version="1")
        step(f"describe {kind}", f"Describe{kind}Type", **D, **named)
        step(f"describe an unknown {kind}", f"Describe{kind}Type", **D, **{f"{kind.lower()}Type": {"name": "t", "version": "9"}})
        step(f"list {kind}s", f"List{kind}Types", **D, **REGISTERED)
        step(f"list {kind}s by name", f"List{kind}Types", **D, **REGISTERED, name="t")
        step(f"list {kind}s, reverse", f"List{kind}Types", **D, **REGISTERED, reverseOrder=True)
        step(f"list {kind}s of an unknown domain", f"List{kind}Types", domain="x", **REGISTERED)
        step(f"undeprecate a registered {kind}", f"Undeprecate{kind}Type", **D, **named)
        step(f"deprecate {kind}", f"Deprecate{kind}Type", **D, **named)
        step(f"deprecate {kind} again", f"Deprecate{kind}Type", **D, **named)
        step(f"describe a deprecated {kind}", f"Describe{kind}Type", **D, **named)
        step(f"list deprecated {kind}s", f"List{kind}Types", **D, registrationStatus="DEPRECATED")
        step(f"register a deprecated {kind}", f"Register{kind}Type", **D, name="t", version="1")
        step(f"undeprecate {kind}", f"Undeprecate{kind}Type", **D, **named)
        step(f"describe an undeprecated {kind}", f"Describe{kind}Type", **D, **named)
        step(f"deprecate an unknown {kind}", f"Deprecate{kind}Type", **D, **{f"{kind.lower()}Type": {"name": "x", "version": "9"}})
    step("undeprecate a registered domain", "UndeprecateDomain", name="d")
    step("deprecate a domain", "DeprecateDomain", name="d")
    step("deprecate it again", "DeprecateDomain", name="d")
    step("list types of a deprecated domain", "ListWorkflowTypes", **D, registrationStatus="DEPRECATED")
    step("list executions of a deprecated domain", "ListOpenWorkflowExecutions", **D, **SINCE)
    step("register a deprecated domain", "RegisterDomain", name="d", workflowExecutionRetentionPeriodInDays="7")
    step("undeprecate a domain", "UndeprecateDomain", name="d")
    step("deprecate an unknown domain", "DeprecateDomain", name="x")


def prepare(step: Steps) -> None:
    step("d", "RegisterDomain", name="d", workflowExecutionRetentionPeriodInDays="7")
    step("flow", "RegisterWorkflowType", **D, name="flow", version="1", defaultTaskList=DECIDERS["taskList"],
         defaultTaskStartToCloseTimeout="60", defaultExecutionStartToCloseTimeout="3600", defaultChildPolicy="TERMINATE")  # fmt: skip
    step("bare", "RegisterWorkflowType", **D, name="bare", version="1")
    step("act", "RegisterActivityType", **D, name="act", version="1", defaultTaskList=WORKERS["taskList"], **NEVER)
    step("bare act", "RegisterActivityType", **D, name="bare", version="1")


def starts(step: Steps) -> None:
    prepare(step)
    first = step("start", "StartWorkflowExecution", **D, **W, workflowId="w", input="i", tagList=["a", "b"])
    execution = {"workflowId": "w", "runId": first["runId"]}
    step("start it twice", "StartWorkflowExecution", **D, **W, workflowId="w")
    step("start an unknown type", "StartWorkflowExecution", **D, workflowId="x", workflowType={"name": "no", "version": "1"})
    step("start in an unknown domain", "StartWorkflowExecution", domain="x", **W, workflowId="x")
    step("start without defaults", "StartWorkflowExecution", **D, workflowId="x", workflowType={"name": "bare", "version": "1"})
    step("its history", "GetWorkflowExecutionHistory", **D, execution=execution)
    step("its history, reverse", "GetWorkflowExecutionHistory", **D, execution=execution, reverseOrder=True)
    step("describe", "DescribeWorkflowExecution", **D, execution=execution)
    step("describe an unknown run", "DescribeWorkflowExecution", **D, execution={"workflowId": "w", "runId": "no"})
    step("history of an unknown run", "GetWorkflowExecutionHistory", **D, execution={"workflowId": "w", "runId": "no"})
    step("list open", "ListOpenWorkflowExecutions", **D, **SINCE)
    step("list open by tag", "ListOpenWorkflowExecutions", **D, **SINCE, tagFilter={"tag": "b"})
    step("list open by id", "ListOpenWorkflowExecutions", **D, **SINCE, executionFilter={"workflowId": "no"})
    step("list open by two", "ListOpenWorkflowExecutions", **D, **SINCE, executionFilter={"workflowId": "w"}, tagFilter={"tag": "b"})
    step("list closed without a time", "ListClosedWorkflowExecutions", **D)
    step("list closed with two times", "ListClosedWorkflowExecutions", **D, **SINCE, closeTimeFilter={"oldestDate": 0})
    step("signal", "SignalWorkflowExecution", **D, workflowId="w", signalName="s", input="x")
    step("signal an unknown execution", "SignalWorkflowExecution", **D, workflowId="no", signalName="s")
    step("terminate", "TerminateWorkflowExecution", **D, workflowId="w", reason="r", details="d")
    step("terminate it twice", "TerminateWorkflowExecution", **D, workflowId="w")
    step("terminate it by its run id", "TerminateWorkflowExecution", **D, workflowId="w", runId=first["runId"])
    step("signal a closed one", "SignalWorkflowExecution", **D, workflowId="w", signalName="s")
    step("its whole history", "GetWorkflowExecutionHistory", **D, execution=execution)
    step("describe a closed one", "DescribeWorkflowExecution", **D, execution=execution)
    step("list closed", "ListClosedWorkflowExecutions", **D, **SINCE, closeStatusFilter={"status": "TERMINATED"})
    step("deprecate", "DeprecateWorkflowType", **D, **W)
    step("start a deprecated type", "StartWorkflowExecution", **D, **W, workflowId="w")


def tasks(step: Steps) -> None:
    prepare(step)
    step("poll an unknown domain", "PollForDecisionTask", domain="x", **DECIDERS)
    run = step("start", "StartWorkflowExecution", **D, **W, workflowId="w")["runId"]
    execution = {"workflowId": "w", "runId": run}

    def history(name: str) -> None:
        step(name, "GetWorkflowExecutionHistory", **D, execution=execution)

    step("count waiting decision tasks", "CountPendingDecisionTasks", **D, **DECIDERS)
    task = step("poll a decision task", "PollForDecisionTask", **D, **DECIDERS, identity="me")
    step("count started decision tasks", "CountPendingDecisionTasks", **D, **DECIDERS)

    def respond(name: str, token: str, *decisions: Any, **more: Any) -> None:
        step(name, "RespondDecisionTaskCompleted", taskToken=token, decisions=list(decisions), **more)

    token = task["taskToken"]
    respond("a forged token", "forged")
    respond("an unknown decision", token, {"decisionType": "Foo"})
    respond("a missing member", token, decision("StartTimer", startToFireTimeout="1"))
    respond("a close that is not last", token, complete(), decision("RecordMarker", markerName="m"))
    respond("schedule", token, activity("a1", input="in", control="c"), activity("a2", "unknown"), activity("a3", "bare"),
            executionContext="ctx")  # fmt: skip
    respond("the same token again", token, complete())
    history("after scheduling")
    step("describe with open work", "DescribeWorkflowExecution", **D, execution=execution)
    step("count waiting activities", "CountPendingActivityTasks", **D, **WORKERS)
    step("poll an unknown activity list", "CountPendingActivityTasks", **D, taskList={"name": "nobody"})
    work = step("poll an activity", "PollForActivityTask", **D, **WORKERS, identity="worker")
    step("heartbeat", "RecordActivityTaskHeartbeat", taskToken=work["taskToken"], details="half")
    step("complete the activity", "RespondActivityTaskCompleted", taskToken=work["taskToken"], result="done")
    step("complete it twice", "RespondActivityTaskCompleted", taskToken=work["taskToken"])
    step("heartbeat of a closed one", "RecordActivityTaskHeartbeat", taskToken=work["taskToken"])
    step("fail with a forged token", "RespondActivityTaskFailed", taskToken="forged", reason="r")
    history("after the activity")
    task = step("poll the second decision task", "PollForDecisionTask", **D, **DECIDERS)
    step("signal during a decision", "SignalWorkflowExecution", **D, workflowId="w", signalName="s")
    respond("timer, marker and a cancelled timer", task["taskToken"], decision("StartTimer", timerId="t", startToFireTimeout="100"),
            decision("RecordMarker", markerName="m", details="d"), decision("CancelTimer", timerId="t"),
            decision("CancelTimer", timerId="no"))  # fmt: skip
    history("after the signal")
    task = step("poll the third decision task", "PollForDecisionTask", **D, **DECIDERS)
    respond("an activity before a close", task["taskToken"], activity("a9"), complete("end"))
    respond("close", task["taskToken"], complete("end"))
    respond("answer of a closed execution", task["taskToken"], complete("end"))
    history("the whole history")
    step("describe the closed one", "DescribeWorkflowExecution", **D, execution=execution)


def failing(step: Steps) -> None:
    prepare(step)
    run = step("start", "StartWorkflowExecution", **D, **W, workflowId="w")["runId"]
    task = step("poll", "PollForDecisionTask", **D, **DECIDERS)
    step("schedule", "RespondDecisionTaskCompleted", taskToken=task["taskToken"], decisions=[activity("a1")])
    work = step("poll an activity", "PollForActivityTask", **D, **WORKERS)
    step("fail it", "RespondActivityTaskFailed", taskToken=work["taskToken"], reason="r", details="d")
    step("fail it twice", "RespondActivityTaskFailed", taskToken=work["taskToken"])
    task = step("poll again", "PollForDecisionTask", **D, **DECIDERS, reverseOrder=True)
    fail = decision("FailWorkflowExecution", reason="r", details="d")
    step("fail the execution", "RespondDecisionTaskCompleted", taskToken=task["taskToken"], decisions=[fail])
    step("history", "GetWorkflowExecutionHistory", **D, execution={"workflowId": "w", "runId": run}, reverseOrder=True)
    step("list", "ListClosedWorkflowExecutions", **D, **SINCE)


SCENARIOS = [registry, starts, tasks, failing]

_EVENTS = "3.4: tagList is shown; 1.3: parentInitiatedEventId is 0 where there is no parent; 3.3 R8: scheduleToStartTimeout is always there"
_NO_SECOND = "3.3 R2: a waiting decision task takes up what happens; moto schedules a second one"
_RESOLVED = "2.5 (1): ActivityTaskScheduled shows the resolved timeouts, NONE too"
_CRASH = "1.5: UnknownResourceFault; moto crashes"

#: scenario → step → what settles the difference: a section of the reference (semantics) that the engine was built from
DIFFERENCES: dict[str, dict[str, str]] = {
    "failing": {
        "poll": f"{_EVENTS}; 3.5: previousStartedEventId is 0 on the first task",
        "fail it twice": _CRASH,
        "poll again": f"{_EVENTS}; {_RESOLVED}",
        "history": f"{_EVENTS}; {_RESOLVED}",
    },
    "registry": {
        "list tags": "1.9.22: no order is documented; the engine's is that of the keys, moto's that of the calls",
        "list Workflows by name": "1.9.6: the name filters; moto ignores it",
        "list Activitys by name": "1.9.6: the name filters; moto ignores it",
        "list types of a deprecated domain": "1.9.3: deprecating a domain deprecates its types; moto leaves them registered",
        "list executions of a deprecated domain": "1.9.3: lists go on working; moto refuses",
    },
    "starts": {
        "start it twice": "1.5: the text is empty (2026); moto has the one of 2015",
        "its history": _EVENTS,
        "its history, reverse": _EVENTS,
        "list open by id": "1.9.21: an id filters; moto ignores it",
        "list open by two": "1.5: the text lists the filters that were given; moto's shows a Python object",
        "list closed with two times": "1.5: Cannot specify both a startTimeFilter and a closeTimeFilter; moto crashes",
        "signal an unknown execution": _CRASH,
        "signal a closed one": _CRASH,
        "its whole history": f"{_EVENTS}; {_NO_SECOND}",
        "describe a closed one": f"1.9.9: closeTimestamp is shown; {_NO_SECOND}",
        "list closed": "1.9.21: a close status filters; moto finds nothing",
    },
    "tasks": {
        "poll a decision task": f"{_EVENTS}; 3.5: previousStartedEventId is 0 on the first task",
        "count started decision tasks": "1.9.19: scheduled, not yet started; moto counts started ones too",
        "a missing member": "1.5: one violation; moto reports it twice",
        "after scheduling": f"{_EVENTS}; {_RESOLVED}",
        "after the activity": _NO_SECOND,
        "poll the second decision task": _NO_SECOND,
        "signal during a decision": "5.1: a signal needs no input (optional in the model); moto crashes",
        "after the signal": f"3.3 R1: the decision task is scheduled at once; 3.4: TimerCanceled (moto: TimerCancelled); {_NO_SECOND}",
        "poll the third decision task": "follows from the history before it",
        "an activity before a close": "2.3: Specified decision is incompatible with close decision; moto takes it",
        "close": "follows from the step before it",
        "the whole history": "follows from the steps before it",
        "describe the closed one": "1.9.9: the last executionContext is kept when a later completion gives none; counts follow from before",
    },
}


def test_the_scenarios_have_every_operation_of_moto():
    used = set()

    def note(operation: str, params: Any) -> dict[str, Any]:
        used.add(xform_name(operation))
        return dict.fromkeys(("taskToken", "runId"), "x")

    for scenario in SCENARIOS:
        scenario(Steps(note))
    ours = {xform_name(operation) for operation in wire.OPERATIONS}
    assert used == {name for name in ours if hasattr(SWFResponse, name)}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_every_difference_from_moto_is_known_and_settled(scenario):
    found = []
    for make in (the_engine, motos):
        call, end = make()
        try:
            scenario(steps := Steps(call))
        finally:
            end()
        found.append(steps.outcomes)
    ours, theirs = found
    assert ours.keys() == theirs.keys()
    different = {step for step in ours if ours[step] != theirs[step]}
    assert different <= DIFFERENCES[scenario.__name__].keys(), {step: (ours[step], theirs[step]) for step in sorted(different)}
