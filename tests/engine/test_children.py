"""Children, child policy and continue-as-new."""

from __future__ import annotations

import pytest
from engine_kit import Swf, child, complete, decision, timer

OUTCOMES = {
    "COMPLETED": ("ChildWorkflowExecutionCompleted", {"result": "r"}),
    "FAILED": ("ChildWorkflowExecutionFailed", {"reason": "why", "details": "d"}),
    "CANCELED": ("ChildWorkflowExecutionCanceled", {"details": "d"}),
    "TIMED_OUT": ("ChildWorkflowExecutionTimedOut", {"timeoutType": "START_TO_CLOSE"}),
    "TERMINATED": ("ChildWorkflowExecutionTerminated", {}),
}

STATUSES = ("COMPLETED", "FAILED", "CANCELED", "CONTINUED_AS_NEW", "TERMINATED", "TIMED_OUT")


def close(swf, status, workflow_id="w", task_list="deciders"):
    """Close an execution in one of the six ways."""
    decisions = {
        "COMPLETED": complete("r"),
        "FAILED": decision("FailWorkflowExecution", reason="why", details="d"),
        "CANCELED": decision("CancelWorkflowExecution", details="d"),
        "CONTINUED_AS_NEW": decision("ContinueAsNewWorkflowExecution", taskList={"name": task_list}),
    }
    if status in decisions:
        swf.decide(decisions[status], task_list=task_list)
    elif status == "TERMINATED":
        swf.here("TerminateWorkflowExecution", workflowId=workflow_id, reason="enough", details="d")
    else:
        swf.advance(1000)


def with_child(swf, **parent):
    run = swf.start(**{"executionStartToCloseTimeout": "90000"} | parent)
    swf.decide(child(input="in", control="ctl", executionStartToCloseTimeout="1000", tagList=["t"]))
    swf.tick()
    return run, swf.open_run("child")


def test_a_child_is_a_run_of_its_own_with_links_to_its_parent(swf):
    run, kid = with_child(swf)
    assert swf.types(run, last=3) == ["StartChildWorkflowExecutionInitiated", "ChildWorkflowExecutionStarted", "DecisionTaskScheduled"]
    initiated = swf.last(run, "StartChildWorkflowExecutionInitiated")
    assert initiated == {
        "workflowId": "child", "workflowType": {"name": "flow", "version": "1"}, "control": "ctl", "input": "in",
        "executionStartToCloseTimeout": "1000", "taskStartToCloseTimeout": "60", "taskList": {"name": "children"},
        "childPolicy": "TERMINATE", "tagList": ["t"], "decisionTaskCompletedEventId": 4,
    }  # fmt: skip
    assert swf.last(run, "ChildWorkflowExecutionStarted") == {
        "workflowExecution": {"workflowId": "child", "runId": kid},
        "workflowType": {"name": "flow", "version": "1"},
        "initiatedEventId": 5,
    }
    started = swf.history(kid, "child")[0]["workflowExecutionStartedEventAttributes"]
    assert started["parentWorkflowExecution"] == {"workflowId": "w", "runId": run}
    assert started["parentInitiatedEventId"] == 5
    assert started["input"] == "in"
    assert "control" not in started
    info = swf.describe("child", kid)["executionInfo"]
    assert info["parent"] == {"workflowId": "w", "runId": run}
    assert swf.describe("w", run)["openCounts"]["openChildWorkflowExecutions"] == 1


@pytest.mark.parametrize("status", OUTCOMES)
def test_the_parent_hears_how_its_child_ended(swf, status):
    run, kid = with_child(swf)
    close(swf, status, "child", "children")
    swf.tick()
    event_type, outcome = OUTCOMES[status]
    assert swf.last(run, event_type) == outcome | {
        "workflowExecution": {"workflowId": "child", "runId": kid},
        "workflowType": {"name": "flow", "version": "1"},
        "initiatedEventId": 5,
        "startedEventId": 6,
    }
    assert swf.describe("w", run)["openCounts"]["openChildWorkflowExecutions"] == 0


@pytest.mark.parametrize("status", OUTCOMES)
def test_a_child_whose_parent_is_closed_ends_in_silence(swf, status):
    run, kid = with_child(swf, childPolicy="ABANDON")
    swf.decide(complete())
    swf.tick()
    close(swf, status, "child", "children")
    swf.tick()
    assert swf.types(run)[-1] == "WorkflowExecutionCompleted"
    assert swf.describe("child", kid)["executionInfo"]["closeStatus"] == status


def test_a_child_that_continues_as_new_stays_its_parent_s_child(swf):
    run, kid = with_child(swf)
    swf.decide(decision("ContinueAsNewWorkflowExecution", taskList={"name": "children"}), task_list="children")
    swf.tick()
    assert swf.types(run)[-1] == "DecisionTaskScheduled", "the parent is not told of the continuation"
    successor = swf.open_run("child")
    assert successor != kid
    started = swf.history(successor, "child")[0]["workflowExecutionStartedEventAttributes"]
    assert started["parentWorkflowExecution"] == {"workflowId": "w", "runId": run}
    assert started["parentInitiatedEventId"] == 5
    assert started["continuedExecutionRunId"] == kid
    swf.decide(complete("at last"), task_list="children")
    swf.tick()
    told = swf.last(run, "ChildWorkflowExecutionCompleted")
    assert told["workflowExecution"] == {"workflowId": "child", "runId": successor}
    assert told["startedEventId"] == 6


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("policy", ["TERMINATE", "REQUEST_CANCEL", "ABANDON"])
def test_the_closing_parent_s_own_policy_is_applied_on_every_close(swf, status, policy):
    """Recorded: on a normal completion too, and the parent's policy, not the child's."""
    run = swf.start(childPolicy=policy, executionStartToCloseTimeout="1000")
    swf.decide(child(childPolicy="REQUEST_CANCEL", executionStartToCloseTimeout="90000"))
    swf.tick()
    kid = swf.open_run("child")
    close(swf, status)
    swf.tick()
    types = swf.types(kid, "child")
    if policy == "TERMINATE":
        assert types[-1] == "WorkflowExecutionTerminated"
        terminated = swf.last(kid, "WorkflowExecutionTerminated", "child")
        assert terminated == {"cause": "CHILD_POLICY_APPLIED", "childPolicy": "REQUEST_CANCEL"}
    elif policy == "REQUEST_CANCEL":
        assert types == ["WorkflowExecutionStarted", "DecisionTaskScheduled", "WorkflowExecutionCancelRequested"]
        assert swf.last(kid, "WorkflowExecutionCancelRequested", "child") == {
            "cause": "CHILD_POLICY_APPLIED",
            "externalWorkflowExecution": {"workflowId": "w", "runId": run},
            "externalInitiatedEventId": 0,
        }
        assert swf.describe("child", kid)["executionInfo"]["cancelRequested"] is True
    else:
        assert types == ["WorkflowExecutionStarted", "DecisionTaskScheduled"]


def test_a_termination_may_override_the_policy(swf):
    run, kid = with_child(swf, childPolicy="ABANDON")
    swf.here("TerminateWorkflowExecution", workflowId="w", childPolicy="TERMINATE")
    swf.tick()
    assert swf.last(run, "WorkflowExecutionTerminated")["childPolicy"] == "TERMINATE"
    assert swf.describe("child", kid)["executionInfo"]["closeStatus"] == "TERMINATED"


def test_a_termination_by_policy_goes_on_to_grandchildren_by_the_child_s_policy(swf):
    _, kid = with_child(swf)
    swf.decide(child("grandchild", taskList={"name": "grandchildren"}), task_list="children")
    swf.tick()
    grandchild = swf.open_run("grandchild")
    swf.here("TerminateWorkflowExecution", workflowId="w")
    swf.tick()
    assert swf.types(kid, "child")[-1] == "WorkflowExecutionTerminated"
    assert swf.types(grandchild, "grandchild")[-1] == "WorkflowExecutionTerminated"


@pytest.mark.parametrize("policy", ["TERMINATE", "REQUEST_CANCEL", "ABANDON"])
def test_a_child_of_the_closing_batch_is_started_and_then_meets_the_policy(swf, policy):
    run = swf.start(childPolicy=policy)
    swf.decide(child(), complete())
    swf.tick()
    assert swf.types(run)[-1] == "WorkflowExecutionCompleted"
    (kid,) = [run_id for workflow_id, run_id in swf.all_runs() if workflow_id == "child"]
    last = {
        "TERMINATE": "WorkflowExecutionTerminated",
        "REQUEST_CANCEL": "WorkflowExecutionCancelRequested",
        "ABANDON": "DecisionTaskScheduled",
    }
    assert swf.types(kid, "child")[-1] == last[policy]


def test_the_policy_spares_a_namesake_that_is_nobody_s_child(swf):
    _, kid = with_child(swf)
    swf.here("TerminateWorkflowExecution", workflowId="child")
    swf.start("child")
    swf.here("TerminateWorkflowExecution", workflowId="w")
    swf.tick()
    assert swf.describe("child", swf.open_run("child"))["executionInfo"]["executionStatus"] == "OPEN"
    assert swf.describe("child", kid)["executionInfo"]["closeStatus"] == "TERMINATED"


def test_an_outcome_that_arrives_before_the_start_was_seen_is_absorbed(swf):
    run, _ = with_child(swf)
    swf.decide(complete(), task_list="children")
    swf.tick()
    assert swf.types(run, last=3) == ["ChildWorkflowExecutionStarted", "DecisionTaskScheduled", "ChildWorkflowExecutionCompleted"]


def test_an_unlimited_child_has_a_year(swf):
    swf.start()
    swf.decide(child(executionStartToCloseTimeout="NONE"))
    swf.tick()
    kid = swf.open_run("child")
    assert swf.describe("child", kid)["executionConfiguration"]["executionStartToCloseTimeout"] == "31536000"


# --- continue-as-new


def test_a_continuation_is_the_last_event_of_one_run_and_the_first_of_the_next(swf):
    run = swf.start(tagList=["old"], input="one", taskPriority="7")
    swf.register_workflow("flow", "2", defaultTaskList={"name": "second"}, defaultChildPolicy="ABANDON")
    swf.decide(decision("ContinueAsNewWorkflowExecution", input="two", workflowTypeVersion="2"))
    successor = swf.open_run("w")
    assert swf.last(run, "WorkflowExecutionContinuedAsNew") == {
        "input": "two", "newExecutionRunId": successor, "workflowType": {"name": "flow", "version": "2"},
        "executionStartToCloseTimeout": "3600", "taskStartToCloseTimeout": "60", "taskList": {"name": "second"},
        "childPolicy": "ABANDON", "decisionTaskCompletedEventId": 4,
    }  # fmt: skip
    events = swf.history(successor)
    assert events[0]["workflowExecutionStartedEventAttributes"] == {
        "input": "two", "workflowType": {"name": "flow", "version": "2"}, "continuedExecutionRunId": run,
        "executionStartToCloseTimeout": "3600", "taskStartToCloseTimeout": "60", "taskList": {"name": "second"},
        "childPolicy": "ABANDON", "parentInitiatedEventId": 0,
    }  # fmt: skip
    assert events[1]["eventType"] == "DecisionTaskScheduled"
    assert events[0]["eventTimestamp"] == swf.history(run)[-1]["eventTimestamp"]


def test_there_is_no_moment_at_which_the_id_of_a_continued_run_is_free(swf):
    swf.start()
    swf.decide(decision("ContinueAsNewWorkflowExecution"))
    fault = swf.refused("StartWorkflowExecution", workflowId="w", workflowType={"name": "flow", "version": "1"})
    assert fault.code == "WorkflowExecutionAlreadyStartedFault"


def test_a_chain_of_many_continuations(tmp_path):
    swf = Swf(tmp_path / "chain.db")
    swf.prepare()
    swf.start()
    for number in range(200):
        swf.decide(decision("ContinueAsNewWorkflowExecution", input=str(number)))
    swf.decide(complete())
    infos = swf.here("ListClosedWorkflowExecutions", startTimeFilter={"oldestDate": 0})["executionInfos"]
    assert [info["closeStatus"] for info in infos] == ["COMPLETED"] + ["CONTINUED_AS_NEW"] * 200
    swf.engine.close()


def test_the_open_children_of_a_continued_run_stay_children_of_the_closed_one(swf):
    run, kid = with_child(swf, childPolicy="ABANDON")
    swf.decide(decision("ContinueAsNewWorkflowExecution"))
    successor = swf.open_run("w")
    swf.decide(timer("t", 1000), task_list="children")
    swf.here("TerminateWorkflowExecution", workflowId="child")
    swf.tick()
    assert swf.types(run)[-1] == "WorkflowExecutionContinuedAsNew"
    assert swf.types(successor) == ["WorkflowExecutionStarted", "DecisionTaskScheduled"]
    assert swf.describe("child", kid)["executionInfo"]["closeStatus"] == "TERMINATED"
