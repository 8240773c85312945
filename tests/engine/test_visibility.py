"""Lists, counts, describe, retention."""

from __future__ import annotations

import pytest
from engine_kit import START, activity, complete, decision, timer

EVER = {"oldestDate": 0}


@pytest.fixture
def three(swf):
    """a (closed), b (closed), c (open): started a second apart, closed a second apart in the opposite order."""
    swf.register_workflow("flow", "2")
    runs = {}
    for name, more in (("a", {"tagList": ["x", "y"]}), ("b", {"tagList": ["y"]}), ("c", {})):
        runs[name] = swf.start(name, **more)
        swf.now += 1000
    swf.here("TerminateWorkflowExecution", workflowId="b")
    swf.now += 1000
    swf.decide(complete())
    return runs


def ids(answer):
    return [info["execution"]["workflowId"] for info in answer["executionInfos"]]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"startTimeFilter": EVER}, ["b", "a"]),
        ({"startTimeFilter": EVER, "reverseOrder": True}, ["a", "b"]),
        ({"closeTimeFilter": EVER}, ["a", "b"]),
        ({"startTimeFilter": EVER, "executionFilter": {"workflowId": "a"}}, ["a"]),
        ({"startTimeFilter": EVER, "typeFilter": {"name": "flow"}}, ["b", "a"]),
        ({"startTimeFilter": EVER, "typeFilter": {"name": "flow", "version": "2"}}, []),
        ({"startTimeFilter": EVER, "tagFilter": {"tag": "y"}}, ["b", "a"]),
        ({"startTimeFilter": EVER, "tagFilter": {"tag": "x"}}, ["a"]),
        ({"startTimeFilter": EVER, "closeStatusFilter": {"status": "TERMINATED"}}, ["b"]),
        ({"startTimeFilter": {"oldestDate": START / 1000, "latestDate": START / 1000}}, ["a"]),
        ({"startTimeFilter": {"oldestDate": START / 1000 + 0.001}}, ["b"]),
        ({"closeTimeFilter": {"oldestDate": START / 1000 + 4}}, ["a"]),
        ({"closeTimeFilter": {"oldestDate": 0, "latestDate": START // 1000 + 3}}, ["b"]),
    ],
)
def test_closed_executions(swf, three, asked, found):
    assert ids(swf.here("ListClosedWorkflowExecutions", **asked)) == found
    counted = {name: value for name, value in asked.items() if name != "reverseOrder"}
    assert swf.here("CountClosedWorkflowExecutions", **counted) == {"count": len(found), "truncated": False}


def test_open_executions(swf, three):
    assert ids(swf.here("ListOpenWorkflowExecutions", startTimeFilter=EVER)) == ["c"]
    assert swf.here("CountOpenWorkflowExecutions", startTimeFilter=EVER, tagFilter={"tag": "y"}) == {"count": 0, "truncated": False}
    (info,) = swf.here("ListOpenWorkflowExecutions", startTimeFilter=EVER, executionFilter={"workflowId": "c"})["executionInfos"]
    assert info == {
        "execution": {"workflowId": "c", "runId": three["c"]}, "workflowType": {"name": "flow", "version": "1"},
        "startTimestamp": START / 1000 + 2, "executionStatus": "OPEN", "cancelRequested": False,
    }  # fmt: skip


@pytest.mark.parametrize("operation", ["ListClosedWorkflowExecutions", "CountClosedWorkflowExecutions"])
def test_filters_that_do_not_go_together(swf, operation):
    assert swf.refused(operation).message == "Must specify time filter"
    both = {"startTimeFilter": EVER, "closeTimeFilter": EVER}
    assert swf.refused(operation, **both).message == "Cannot specify both a startTimeFilter and a closeTimeFilter"
    two = {"startTimeFilter": EVER, "executionFilter": {"workflowId": "a"}, "tagFilter": {"tag": "x"}}
    assert swf.refused(operation, **two).message.startswith("Cannot specify more than one exclusive filters in the same query")


def test_a_tag_may_be_empty_and_hold_anything(swf):
    swf.start("a", tagList=["", "\x00", "'", "\N{GRINNING FACE}"])
    for tag in ("", "\x00", "'", "\N{GRINNING FACE}"):
        assert ids(swf.here("ListOpenWorkflowExecutions", startTimeFilter=EVER, tagFilter={"tag": tag})) == ["a"], tag


def test_describe_shows_an_execution_as_it_is(swf):
    run = swf.start(tagList=["t"], taskPriority="3", lambdaRole="arn:aws:iam::000000000000:role/r")
    shown = swf.describe("w", run)
    assert shown == {
        "executionInfo": {
            "execution": {"workflowId": "w", "runId": run}, "workflowType": {"name": "flow", "version": "1"},
            "startTimestamp": START / 1000, "executionStatus": "OPEN", "cancelRequested": False, "tagList": ["t"],
        },
        "executionConfiguration": {
            "taskStartToCloseTimeout": "60", "executionStartToCloseTimeout": "3600", "taskList": {"name": "deciders"},
            "childPolicy": "TERMINATE", "taskPriority": "3", "lambdaRole": "arn:aws:iam::000000000000:role/r",
        },
        "openCounts": {
            "openActivityTasks": 0, "openChildWorkflowExecutions": 0, "openDecisionTasks": 1, "openLambdaFunctions": 0, "openTimers": 0,
        },
    }  # fmt: skip
    task = swf.poll_decision()
    assert swf.describe("w", run)["openCounts"]["openDecisionTasks"] == 0, "a started one does not count"
    swf.signal()
    assert swf.describe("w", run)["openCounts"]["openDecisionTasks"] == 1
    swf.now += 500
    swf.respond(task, activity("a"), activity("b"), timer(), executionContext="one")
    swf.poll_activity()
    shown = swf.describe("w", run)
    assert shown["openCounts"]["openActivityTasks"] == 2, "scheduled and started ones count"
    assert shown["openCounts"]["openTimers"] == 1
    assert shown["latestActivityTaskTimestamp"] == START / 1000 + 0.5
    assert shown["latestExecutionContext"] == "one"
    swf.decide()
    assert swf.describe("w", run)["latestExecutionContext"] == "one", "a completion without one keeps it"
    swf.signal()
    swf.decide(executionContext="")
    assert swf.describe("w", run)["latestExecutionContext"] == ""


def test_a_closed_execution_keeps_the_counts_of_its_close(swf):
    run = swf.start()
    swf.decide(activity(), timer(), executionContext="c")
    swf.signal()
    swf.decide(decision("FailWorkflowExecution", reason="r"))
    before = swf.describe("w", run)
    assert before["openCounts"]["openActivityTasks"] == 1
    assert before["openCounts"]["openTimers"] == 1
    assert before["latestExecutionContext"] == "c"
    assert before["executionInfo"]["closeTimestamp"] == START / 1000
    assert before["executionInfo"]["executionStatus"] == "CLOSED"
    swf.reopen()
    assert swf.describe("w", run) == before


@pytest.mark.parametrize("operation", ["DescribeWorkflowExecution", "GetWorkflowExecutionHistory"])
def test_a_run_must_be_named_whole_and_right(swf, operation):
    run = swf.start()
    for named in ({"workflowId": "w", "runId": "no"}, {"workflowId": "x", "runId": run}):
        fault = swf.refused(operation, execution=named)
        assert fault.message == f"Unknown execution: WorkflowExecution=[workflowId={named['workflowId']}, runId={named['runId']}]"


def test_counting_what_waits(swf):
    swf.start()
    count = {"taskList": {"name": "deciders"}}
    assert swf.here("CountPendingDecisionTasks", **count)["count"] == 1
    task = swf.poll_decision()
    assert swf.here("CountPendingDecisionTasks", **count)["count"] == 0
    swf.signal()
    assert swf.here("CountPendingDecisionTasks", **count)["count"] == 1, "scheduled, not yet started"
    swf.respond(task, activity("a"), activity("b"))
    swf.poll_activity()
    assert swf.here("CountPendingActivityTasks", taskList={"name": "workers"})["count"] == 1
    assert swf.here("CountPendingActivityTasks", taskList={"name": "unknown"})["count"] == 0


# --- retention


def test_a_closed_execution_is_forgotten_after_its_domain_s_retention(swf):
    run = swf.start()
    swf.decide(complete())
    swf.advance(7 * 86_400 - 1)
    assert swf.describe("w", run)
    swf.advance(1)
    assert swf.refused("DescribeWorkflowExecution", execution={"workflowId": "w", "runId": run}).code == "UnknownResourceFault"
    assert swf.here("CountClosedWorkflowExecutions", startTimeFilter=EVER)["count"] == 0


def test_without_retention_it_is_forgotten_at_once_and_its_parent_is_told_all_the_same(swf):
    swf.call("RegisterDomain", name="brief", workflowExecutionRetentionPeriodInDays="0")
    swf.domain = "brief"
    swf.register_workflow("flow")
    run = swf.start()
    swf.decide(
        decision("StartChildWorkflowExecution", workflowId="c", workflowType={"name": "flow", "version": "1"}, taskList={"name": "l"})
    )
    swf.tick()
    swf.decide(complete("r"), task_list="l")
    swf.tick()
    assert swf.last(run, "ChildWorkflowExecutionCompleted")["result"] == "r"
    assert swf.all_runs() == [("w", run)]


def test_row_ids_are_never_used_again_so_an_old_token_never_fits_a_new_task(swf):
    swf.start()
    old = swf.poll_decision()
    swf.here("TerminateWorkflowExecution", workflowId="w")
    swf.advance(8 * 86_400)
    swf.start()
    swf.poll_decision()
    fault = None
    try:
        swf.respond(old)
    except Exception as error:  # noqa: BLE001 - any refusal is looked at below
        fault = error
    assert getattr(fault, "code", None) == "UnknownResourceFault"
