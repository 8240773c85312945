"""Lambda tasks: what the engine asks to be called, what it makes of the outcome, and the service that calls."""

from __future__ import annotations

import threading

import pytest
from engine_kit import Swf, complete, decision

from flowdsl.engine import Engine, Failed, ManualClock, Quotas, Returned, Service, SkippingClock, SystemClock
from flowdsl.engine.callers import MOST
from flowdsl.limits import DATA

ROLE = "arn:aws:iam::000000000000:role/r"


def call_of(lambda_id="l", **more):
    return decision("ScheduleLambdaFunction", **{"id": lambda_id, "name": "f"} | more)


@pytest.fixture
def run(swf):
    return swf.start(lambdaRole=ROLE)


def begun(swf, **more):
    """The invocation of one lambda task that has begun."""
    swf.decide(call_of(**more))
    swf.tick()
    (invocation,) = swf.engine.take_invocations()
    return invocation


def test_a_lambda_task_without_a_role_cannot_be_started(swf):
    run = swf.start()
    swf.decide(call_of(input="i"))
    assert swf.last(run, "LambdaFunctionScheduled") == {"id": "l", "name": "f", "input": "i", "decisionTaskCompletedEventId": 4}
    assert swf.describe("w", run)["openCounts"]["openLambdaFunctions"] == 1
    swf.tick()
    assert swf.types(run, last=2) == ["StartLambdaFunctionFailed", "DecisionTaskScheduled"]
    assert swf.last(run, "StartLambdaFunctionFailed") == {
        "scheduledEventId": 5,
        "cause": "ASSUME_ROLE_FAILED",
        "message": "No IAM role is attached to the current workflow execution.",
    }
    assert swf.engine.take_invocations() == []


def test_the_engine_says_once_what_has_to_be_called(swf, run):
    invocation = begun(swf, input='{"n": 1}', startToCloseTimeout="30")
    assert invocation[1:] == ("f", '{"n": 1}', 30)
    assert swf.types(run)[-1] == "LambdaFunctionStarted"
    assert swf.engine.take_invocations() == []


def test_an_absent_input_is_an_empty_object_and_an_absent_timeout_fifteen_minutes(swf, run):
    assert begun(swf)[2:] == ("{}", 900)


@pytest.mark.parametrize(("outcome", "event", "members"), [
    (Returned('"hi"'), "LambdaFunctionCompleted", {"result": '"hi"'}),
    (Failed("Unhandled", "{}"), "LambdaFunctionFailed", {"reason": "Unhandled", "details": "{}"}),
])  # fmt: skip
def test_an_outcome_is_an_event_and_asks_for_a_decision(swf, run, outcome, event, members):
    swf.engine.finish_lambda(swf.now, begun(swf).ref, outcome)
    assert swf.types(run, last=2) == [event, "DecisionTaskScheduled"]
    assert swf.last(run, event) == {**members, "scheduledEventId": 5, "startedEventId": 6}
    assert swf.describe("w", run)["openCounts"]["openLambdaFunctions"] == 0


def test_the_clock_of_a_lambda_task_runs_from_its_start(swf, run):
    swf.decide(call_of(startToCloseTimeout="10"))
    swf.now += 5_000
    swf.tick()
    swf.advance(9.999)
    assert "LambdaFunctionTimedOut" not in swf.types(run)
    swf.advance(0.001)
    assert swf.types(run, last=2) == ["LambdaFunctionTimedOut", "DecisionTaskScheduled"]
    assert swf.last(run, "LambdaFunctionTimedOut") == {"scheduledEventId": 5, "startedEventId": 6, "timeoutType": "START_TO_CLOSE"}


@pytest.mark.parametrize("end", ["timeout", "close"])
def test_an_outcome_that_comes_too_late_is_dropped(swf, run, end):
    invocation = begun(swf, startToCloseTimeout="10")
    if end == "timeout":
        swf.advance(10)
    else:
        swf.here("TerminateWorkflowExecution", workflowId="w")
    before = swf.history(run)
    swf.engine.finish_lambda(swf.now, invocation.ref, Returned("1"))
    assert swf.history(run) == before


def test_an_outcome_counts_once(swf, run):
    invocation = begun(swf)
    swf.engine.finish_lambda(swf.now, invocation.ref, Returned("1"))
    swf.engine.finish_lambda(swf.now, invocation.ref, Failed("Unhandled", "{}"))
    assert "LambdaFunctionFailed" not in swf.types(run)


def test_a_result_that_no_history_can_hold_is_a_failure_that_says_so(swf, run):
    swf.engine.finish_lambda(swf.now, begun(swf).ref, Returned("9" * (DATA + 1)))
    assert swf.last(run, "LambdaFunctionFailed")["reason"] == "ResultTooLong"


def test_a_function_that_was_under_way_when_the_process_died_is_called_again(swf, run):
    invocation = begun(swf, input="[1]")
    swf.reopen(recover=True)
    swf.tick()
    assert swf.engine.take_invocations() == [invocation]
    swf.engine.finish_lambda(swf.now, invocation.ref, Returned("1"))
    swf.reopen()
    assert swf.engine.take_invocations() == []


def test_lambda_tasks_are_scheduled_beside_a_close_and_never_called(swf, run):
    swf.decide(call_of(), complete())
    swf.tick()
    assert swf.types(run, last=2) == ["LambdaFunctionScheduled", "WorkflowExecutionCompleted"]
    assert swf.engine.take_invocations() == []


def test_a_region_without_lambda(tmp_path):
    swf = Swf(tmp_path / "f.db", has_lambda=False)
    swf.prepare()
    run = swf.start(lambdaRole=ROLE)
    swf.decide(call_of())
    cause = {"id": "l", "name": "f", "cause": "LAMBDA_SERVICE_NOT_AVAILABLE_IN_REGION", "decisionTaskCompletedEventId": 4}
    assert swf.last(run, "ScheduleLambdaFunctionFailed") == cause
    assert swf.types(run)[-1] == "DecisionTaskScheduled"
    swf.engine.close()


def test_a_continued_run_has_the_role_of_its_decision_or_type(swf):
    swf.register_workflow("with role", defaultLambdaRole=ROLE)
    run = swf.start(name="with role")
    assert swf.history(run)[0]["workflowExecutionStartedEventAttributes"]["lambdaRole"] == ROLE
    assert swf.describe("w", run)["executionConfiguration"]["lambdaRole"] == ROLE
    swf.decide(decision("ContinueAsNewWorkflowExecution", lambdaRole=f"{ROLE}2"))
    new = swf.open_run("w")
    assert swf.history(new)[0]["workflowExecutionStartedEventAttributes"]["lambdaRole"] == f"{ROLE}2"


# --- the service calls ------------------------------------------------------------------------------------------------


class Served:
    """A service with functions, and an execution that has scheduled `count` lambda tasks."""

    def __init__(self, functions, count=1, clock=None, **given):
        self.clock = clock or ManualClock()
        self.service = Service(Engine(**given), self.clock, functions=functions)
        here = {"domain": "d"}
        self.call = call = self.service.call
        call("RegisterDomain", {"name": "d", "workflowExecutionRetentionPeriodInDays": "1"})
        call("RegisterWorkflowType", {**here, "name": "flow", "version": "1"})
        self.run = call("StartWorkflowExecution", {
            **here, "workflowId": "w", "workflowType": {"name": "flow", "version": "1"}, "taskList": {"name": "l"}, "lambdaRole": ROLE,
            "taskStartToCloseTimeout": "NONE", "executionStartToCloseTimeout": "9999", "childPolicy": "TERMINATE",
        })["runId"]  # fmt: skip
        task = self.poll()
        decisions = [call_of(f"l{number}", input=str(number), startToCloseTimeout="60") for number in range(count)]
        call("RespondDecisionTaskCompleted", {"taskToken": task["taskToken"], "decisions": decisions})

    def poll(self):
        """The next decision task: waiting for it is waiting for what functions do."""
        return self.call("PollForDecisionTask", {"domain": "d", "taskList": {"name": "l"}})

    def types(self):
        execution = {"workflowId": "w", "runId": self.run}
        events = self.call("GetWorkflowExecutionHistory", {"domain": "d", "execution": execution})["events"]
        return [event["eventType"] for event in events]


def test_a_service_calls_the_function_and_wakes_the_decider():
    served = Served(lambda call: Returned(call.payload * 3))
    event = next(event for event in served.poll()["events"] if event["eventType"] == "LambdaFunctionCompleted")
    assert event["lambdaFunctionCompletedEventAttributes"]["result"] == "000"
    served.service.close()


def test_a_service_without_functions_fails_as_for_a_function_that_does_not_exist():
    served = Served(None)
    event = served.poll()["events"][6]
    assert event["lambdaFunctionFailedEventAttributes"]["reason"] == "ResourceNotFoundException"
    served.service.close()


def test_a_caller_that_raises_is_a_failed_function_and_harms_nobody(caplog):
    def broken(call):
        raise SystemExit("gone")

    served = Served(broken, count=3)
    while "LambdaFunctionFailed" not in (types := served.types()):
        token = served.poll()["taskToken"]
        served.call("RespondDecisionTaskCompleted", {"taskToken": token})
    assert "LambdaFunctionStarted" in types
    assert "calling the lambda function 'f' failed" in caplog.text
    served.service.close()


def test_many_functions_are_called_at_the_same_time_and_a_hundred_in_turn():
    together = threading.Barrier(8, timeout=60)

    def meet(call):
        if int(call.payload) < 8:
            together.wait()
        return Returned("1")

    served = Served(meet, count=100, clock=None)
    while served.types().count("LambdaFunctionCompleted") < 100:
        served.call("RespondDecisionTaskCompleted", {"taskToken": served.poll()["taskToken"]})
    served.service.close()


def test_a_function_that_does_not_return_times_out_and_holds_nothing_up():
    called, free = threading.Event(), threading.Event()

    def hang(call):
        called.set()
        free.wait(60)
        return Returned("1")

    served = Served(hang)
    assert called.wait(60)
    served.clock.advance(60)
    assert [event["eventType"] for event in served.poll()["events"]][-3] == "LambdaFunctionTimedOut"
    served.service.close()
    free.set()


def test_a_second_engine_call_for_the_same_task_is_not_made_while_the_first_runs():
    calls, free = [], threading.Event()

    def count(call):
        calls.append(call)
        free.wait(60)
        return Returned("1")

    served = Served(count)
    served.service._engine._reload()  # what trouble with the file does: memory is read again
    served.service.settle()
    free.set()
    assert "LambdaFunctionCompleted" in [event["eventType"] for event in served.poll()["events"]]
    assert len(calls) == 1
    served.service.close()


def test_a_function_that_is_being_called_stops_skipped_time():
    called, free = threading.Event(), threading.Event()

    def hold(call):
        called.set()
        free.wait(60)
        return Returned("1")

    clock = SkippingClock()
    served = Served(hold, clock=clock)
    before = clock.now_ms()
    answers, answered = [], threading.Event()

    def done(answer):
        answers.append(answer)
        answered.set()

    served.service.submit("PollForDecisionTask", {"domain": "d", "taskList": {"name": "l"}}, done)
    assert called.wait(60)
    served.service.settle()
    assert (clock.now_ms(), answers) == (before, [])
    free.set()
    assert answered.wait(60)
    assert answers[0]["events"][-3]["eventType"] == "LambdaFunctionCompleted"
    served.service.close()


def test_on_the_system_clock_a_function_is_called_again_as_soon_as_the_file_is_opened(tmp_path):
    swf = Swf(
        tmp_path / "f.db",
    )
    swf.now = SystemClock().now_ms()
    swf.prepare()
    swf.start(lambdaRole=ROLE)
    begun(swf)
    swf.engine.close()
    called = threading.Event()

    def answer(call):
        called.set()
        return Returned("1")

    service = Service(Engine(tmp_path / "f.db"), functions=answer)
    assert called.wait(60), "nobody has asked for anything yet"
    service.close()


def test_a_closed_service_begins_no_more_calls():
    calls, free = [], threading.Event()

    def hold(call):
        calls.append(call)
        free.wait(60)
        return Returned("1")

    served = Served(hold, count=MOST + 5)
    served.service.close()
    free.set()
    assert len(calls) <= MOST


def test_open_lambda_tasks_are_limited():
    served = Served(None, count=3, quotas=Quotas(open_lambdas=2))
    assert served.types().count("ScheduleLambdaFunctionFailed") == 1
    served.service.close()
