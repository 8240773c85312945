"""Pages: of histories, of decision tasks, of lists; and what their tokens are good for."""

from __future__ import annotations

import pytest
from engine_kit import START, activity, complete, timer

from flowdsl.errors import Fault


def pages(call, key, **params):
    """All pages of a list, and their lengths."""
    items, lengths = [], []
    while True:
        page = call(**params)
        items += page[key]
        lengths.append(len(page[key]))
        if "nextPageToken" not in page:
            return items, lengths
        params["nextPageToken"] = page["nextPageToken"]


def history_call(swf, run, workflow_id="w"):
    return lambda **params: swf.here("GetWorkflowExecutionHistory", execution={"workflowId": workflow_id, "runId": run}, **params)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("events", "size", "lengths"), [
    (2, 1, [1, 1]), (2, 2, [2]), (3, 2, [2, 1]), (4, 2, [2, 2]),
    (1000, 0, [1000]), (1001, 0, [1000, 1]), (1001, 1000, [1000, 1]), (2000, None, [1000, 1000]),
])  # fmt: skip
@pytest.mark.parametrize("closed", [False, True])
def test_a_history_by_pages(swf, events, size, lengths, reverse, closed):
    run = swf.start()
    for _ in range(events - 2 - closed):
        swf.signal()
    if closed and events > 2:
        swf.here("TerminateWorkflowExecution", workflowId="w")
    more = {} if size is None else {"maximumPageSize": size}
    items, found = pages(history_call(swf, run), "events", reverseOrder=reverse, **more)
    ids = [event["eventId"] for event in items]
    assert ids == sorted(range(1, len(ids) + 1), reverse=reverse)
    assert found == lengths


def test_going_up_the_pages_follow_a_history_that_grows(swf):
    run = swf.start()
    call = history_call(swf, run)
    first = call(maximumPageSize=1)
    swf.signal()
    rest = call(nextPageToken=first["nextPageToken"])
    assert [event["eventId"] for event in rest["events"]] == [2, 3]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("previous", [False, True])
def test_a_decision_task_by_pages(swf, reverse, size, previous):
    swf.start()
    swf.decide(timer("t", 0))
    swf.tick()
    asked = {"reverseOrder": reverse, "maximumPageSize": size, "startAtPreviousStartedEvent": previous}
    first = swf.poll_decision(**asked)
    swf.signal()  # it must not appear, on no page
    items, token = list(first["events"]), first
    while "nextPageToken" in token:
        token = swf.poll_decision(**asked, nextPageToken=token["nextPageToken"])
        items += token["events"]
        for member in ("taskToken", "startedEventId", "previousStartedEventId", "workflowExecution", "workflowType"):
            assert token[member] == first[member]
    ids = [event["eventId"] for event in items]
    assert ids == sorted(range(3 if previous else 1, first["startedEventId"] + 1), reverse=reverse)
    assert swf.poll_decision()["startedEventId"] == 0, "paging starts no other task"


def test_the_first_task_has_no_previous_one_and_shows_everything(swf):
    swf.start()
    assert len(swf.poll_decision(startAtPreviousStartedEvent=True)["events"]) == 3


def test_the_pages_of_a_decision_task_die_with_it(swf):
    run = swf.start(taskStartToCloseTimeout="5")
    first = swf.poll_decision(maximumPageSize=1)
    more = {"taskList": {"name": "deciders"}, "nextPageToken": first["nextPageToken"]}
    swf.advance(5)
    assert swf.refused("PollForDecisionTask", **more).message == "Unknown decision task, scheduledEventId = 2"
    swf.here("TerminateWorkflowExecution", workflowId="w")
    assert swf.refused("PollForDecisionTask", **more).message == f"Unknown execution: WorkflowExecution=[workflowId=w, runId={run}]"


def test_tokens_are_good_for_their_own_use_only(swf):
    run, other = swf.start(), swf.start("other")
    named, another = ({"workflowId": one, "runId": id_} for one, id_ in (("w", run), ("other", other)))
    token = swf.here("GetWorkflowExecutionHistory", execution=named, maximumPageSize=1)["nextPageToken"]
    task = swf.poll_decision(maximumPageSize=1)
    for operation, params in [
        ("GetWorkflowExecutionHistory", {"execution": another, "nextPageToken": token}),
        ("GetWorkflowExecutionHistory", {"execution": named, "nextPageToken": token, "reverseOrder": True}),
        ("GetWorkflowExecutionHistory", {"execution": named, "nextPageToken": task["nextPageToken"]}),
        ("GetWorkflowExecutionHistory", {"execution": named, "nextPageToken": task["taskToken"]}),
        ("GetWorkflowExecutionHistory", {"execution": named, "nextPageToken": "garbage"}),
        ("PollForDecisionTask", {"taskList": {"name": "deciders"}, "nextPageToken": token}),
        ("ListWorkflowTypes", {"registrationStatus": "REGISTERED", "nextPageToken": token}),
    ]:
        fault = swf.refused(operation, **params)
        assert (fault.code, fault.message) == ("ValidationException", "Invalid token")


def test_a_token_with_one_letter_changed_is_invalid(swf):
    swf.start()
    token = swf.poll_decision()["taskToken"]
    for place in range(len(token) - 2):
        forged = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(Fault, match="Invalid token"):
            swf.call("RespondDecisionTaskCompleted", taskToken=forged)
    swf.call("RespondDecisionTaskCompleted", taskToken=token)


def test_a_page_token_lives_for_a_day(swf):
    run = swf.start(executionStartToCloseTimeout="31536000")
    call = history_call(swf, run)
    token = call(maximumPageSize=1)["nextPageToken"]
    swf.now = START + 86_400_000
    assert call(nextPageToken=token)["events"]
    swf.now += 1
    with pytest.raises(Fault, match="Specified token has exceeded its maximum lifetime"):
        call(nextPageToken=token)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [1, 2, 5, 0])
def test_lists_by_pages(swf, reverse, size):
    for number in range(4):
        swf.call("RegisterDomain", name=f"d{number}", workflowExecutionRetentionPeriodInDays="1")
        swf.register_activity("many", str(number + 2))
        swf.now += 1
        swf.start(f"w{number}")
    asked = {"reverseOrder": reverse, "maximumPageSize": size}
    domains, lengths = pages(lambda **p: swf.call("ListDomains", registrationStatus="REGISTERED", **p), "domainInfos", **asked)
    assert [info["name"] for info in domains] == sorted(["d0", "d1", "d2", "d3", swf.domain], reverse=reverse)
    assert lengths == {1: [1] * 5, 2: [2, 2, 1], 5: [5], 0: [5]}[size]
    types, _ = pages(lambda **p: swf.here("ListActivityTypes", registrationStatus="REGISTERED", **p), "typeInfos", **asked)
    versions = [(info["activityType"]["name"], info["activityType"]["version"]) for info in types]
    assert versions == sorted([("act", "1"), *[("many", str(n + 2)) for n in range(4)]], reverse=reverse)
    window = {"startTimeFilter": {"oldestDate": 0}}
    runs, _ = pages(lambda **p: swf.here("ListOpenWorkflowExecutions", **window, **p), "executionInfos", **asked)
    assert [info["execution"]["workflowId"] for info in runs] == sorted([f"w{n}" for n in range(4)], reverse=not reverse)


def test_what_closes_between_two_pages_neither_doubles_nor_hides_anything(swf):
    for number in range(4):
        swf.start(f"w{number}")
    window = {"startTimeFilter": {"oldestDate": 0}, "maximumPageSize": 2}
    first = swf.here("ListOpenWorkflowExecutions", **window)
    swf.here("TerminateWorkflowExecution", workflowId="w3")
    swf.start("w4")
    second = swf.here("ListOpenWorkflowExecutions", **window, nextPageToken=first["nextPageToken"])
    shown = [info["execution"]["workflowId"] for info in first["executionInfos"] + second["executionInfos"]]
    assert shown == ["w3", "w2", "w1", "w0"]
    assert "nextPageToken" not in second


def test_a_history_too_long_for_memory_is_read_from_the_file(swf, monkeypatch):
    monkeypatch.setattr("flowdsl.engine.execution._TAIL_EVENTS", 10)
    run = swf.start()
    for number in range(30):
        swf.signal(input=str(number))
    task = swf.poll_decision()
    assert [event["eventId"] for event in task["events"]] == list(range(1, 34))
    assert [event["eventId"] for event in swf.history(run)] == list(range(1, 34))
    swf.respond(task, activity(), timer())
    swf.work()
    swf.decide(complete())
