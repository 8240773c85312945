"""Exceptions cross every boundary as themselves: class, arguments, attributes, notes, causes, traceback."""

from __future__ import annotations

import traceback

import pytest
from contract_stage import DURABLE, causes, events, new_id

from flowdsl import ActivityFailed, ChildFailed, NotSerializable, WorkflowFailed, activity, cached, workflow


class Plain(Exception):
    pass


class OtherArguments(Exception):
    """Its constructor takes other arguments than its `args`."""

    def __init__(self, code: int, *, where: str) -> None:
        super().__init__(f"{code} at {where}")
        self.code = code
        self.where = where


class Slotted(Exception):
    __slots__ = ("amount",)

    def __init__(self, amount: int) -> None:
        super().__init__(amount)
        self.amount = amount


class Unhelpful(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


def raise_it(kind: str) -> None:
    if kind == "plain":
        raise Plain("text", 7)
    if kind == "builtin":
        raise KeyError("key")
    if kind == "os":
        raise FileNotFoundError(2, "No such file", "missing.txt")
    if kind == "unicode":
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    if kind == "constructor":
        raise OtherArguments(404, where="here")
    if kind == "slots":
        raise Slotted(12)
    if kind == "notes":
        error = Plain("noted")
        error.add_note("first note")
        error.add_note("second note")
        raise error
    if kind == "chain":
        try:
            raise KeyError("below")
        except KeyError as below:
            raise Plain("above") from below
    if kind == "group":
        raise ExceptionGroup("several", [Plain("one"), ExceptionGroup("inner", [ValueError("two"), Slotted(3)])])
    if kind == "unhelpful":
        raise Unhelpful
    if kind == "long":
        raise Plain("x" * 1_000_000)
    if kind == "strange":
        raise Plain("\x00 \ud800 \U0001f600")
    if kind == "local":

        class Inner(Exception):
            pass

        raise Inner("inside a function")
    raise AssertionError(kind)


@activity
def in_an_activity(kind: str) -> None:
    raise_it(kind)


@cached
def in_a_recorded_function(kind: str) -> None:
    raise_it(kind)


@workflow
def in_a_child(kind: str) -> None:
    raise_it(kind)


PLACES = {"activity": in_an_activity, "recorded": in_a_recorded_function, "child": in_a_child, "workflow": None}


@workflow
def raises(place: str, kind: str) -> None:
    where = PLACES[place]
    if where is None:
        raise_it(kind)
    else:
        where(kind)


CHECKS = {
    "plain": (Plain, lambda e: e.args == ("text", 7)),
    "builtin": (KeyError, lambda e: e.args == ("key",)),
    "os": (FileNotFoundError, lambda e: (e.errno, e.filename, e.strerror) == (2, "missing.txt", "No such file")),
    "unicode": (UnicodeDecodeError, lambda e: (e.object, e.reason) == (b"\xff", "invalid start byte")),
    "constructor": (OtherArguments, lambda e: (e.code, e.where, str(e)) == (404, "here", "404 at here")),
    "slots": (Slotted, lambda e: e.amount == 12),
    "notes": (Plain, lambda e: e.__notes__[:2] == ["first note", "second note"]),
    "chain": (Plain, lambda e: any(isinstance(c, KeyError) and c.args == ("below",) for c in causes(e))),
    "group": (
        ExceptionGroup,
        lambda e: [type(x) for x in e.exceptions] == [Plain, ExceptionGroup] and e.exceptions[1].exceptions[1].amount == 3,
    ),
    "strange": (Plain, lambda e: "\U0001f600" in str(e)),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", CHECKS)
def test_an_exception_arrives_as_itself(stage, place, kind):
    cls, check = CHECKS[kind]
    with pytest.raises(BaseException) as caught:
        stage.run(raises, place, kind)
    assert type(caught.value) is cls
    assert check(caught.value), (caught.value, vars(caught.value))


@pytest.mark.parametrize("kind", ["unhelpful", "long", "local"])
@pytest.mark.parametrize("place", ["activity", "workflow"])
def test_awkward_exceptions_still_arrive(stage, place, kind):
    with pytest.raises(Exception) as caught:
        stage.run(raises, place, kind)
    text = "".join(traceback.format_exception(caught.value))
    assert {"unhelpful": "Unhelpful", "long": "xxxxx", "local": "Inner"}[kind] in text


@workflow
def catches(kind: str) -> list[str]:
    try:
        in_an_activity(kind)
    except Plain as error:
        cause = error.__cause__
        while not isinstance(cause, ActivityFailed):
            cause = cause.__cause__
        return [type(error).__name__, cause.name.rpartition(".")[2], cause.call_id, str(cause.attempt), cause.reason]
    return []


def test_a_workflow_catches_the_class_and_the_cause_says_which_call_it_was(stage):
    name, activity_name, call_id, attempt, reason = stage.run(catches, "plain")
    assert (name, activity_name, call_id, attempt) == ("Plain", "in_an_activity", "in_an_activity-1", "1")
    assert reason == f"{__name__}.Plain: ('text', 7)"


def test_the_cause_of_an_activitys_exception_is_activity_failed(stage):
    with pytest.raises(Plain) as caught:
        stage.run(raises, "activity", "plain")
    failures = [cause for cause in causes(caught.value) if isinstance(cause, ActivityFailed)]
    assert [(failure.call_id, failure.attempt) for failure in failures] == [("in_an_activity-1", 1)]


@pytest.mark.stages(*DURABLE)
def test_the_first_cause_is_the_execution_that_failed(stage):
    flow = raises.options(id=new_id("failing"))
    with pytest.raises(Plain) as caught:
        stage.run(flow, "workflow", "plain")
    assert isinstance(caught.value.__cause__, WorkflowFailed)
    assert caught.value.__cause__.workflow_id == flow.settings.id


def test_the_place_where_it_was_raised_is_shown(stage):
    for place in ("activity", "child", "workflow"):
        with pytest.raises(Plain) as caught:
            stage.run(raises, place, "plain")
        text = "".join(traceback.format_exception(caught.value))
        assert 'raise Plain("text", 7)' in text
        assert "in raise_it" in text


def test_a_childs_activitys_exception_has_both_causes(stage):
    @workflow
    def child_with_an_activity() -> None:
        in_an_activity("plain")

    @workflow
    def parent_of_it() -> None:
        child_with_an_activity()

    with pytest.raises(Plain) as caught:
        stage.run(parent_of_it)
    kinds = {type(cause) for cause in causes(caught.value)}
    assert {ActivityFailed, ChildFailed} <= kinds


# --- the workflow itself ---------------------------------------------------------------------------------------------


@workflow
def exits() -> None:
    raise SystemExit(3)


@workflow
def interrupts() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("flow", "cls"), [(exits, SystemExit), (interrupts, KeyboardInterrupt)])
def test_what_is_no_exception_fails_the_workflow_too(stage, flow, cls):
    with pytest.raises(cls) as caught:
        stage.run(flow)
    if cls is SystemExit:
        assert caught.value.code == 3


@activity
def exits_in_an_activity() -> None:
    raise SystemExit("from an activity")


@workflow
def calls_exiting() -> str:
    try:
        exits_in_an_activity()
    except SystemExit as error:
        return f"caught {error}"
    return ""


def test_system_exit_in_an_activity_is_that_activitys_failure(stage):
    assert stage.run(calls_exiting) == "caught from an activity"


@workflow
def too_deep() -> int:
    def down(n: int) -> int:
        return down(n + 1) + 1

    return down(0)


def test_endless_recursion_fails_the_workflow(stage):
    with pytest.raises(RecursionError):
        stage.run(too_deep)


@workflow
def returns_nothing_storable() -> object:
    return (x for x in range(3))


def test_a_result_that_cannot_be_stored_fails_the_workflow_by_name(stage):
    with pytest.raises(NotSerializable, match=r"returns_nothing_storable.*generator"):
        stage.run(returns_nothing_storable)


@activity
def returns_a_generator() -> object:
    return (x for x in range(3))


@workflow
def calls_for_a_generator() -> str:
    try:
        returns_a_generator()
    except NotSerializable as error:
        return str(error)
    return ""


def test_an_activitys_result_that_cannot_be_stored_is_raised_at_the_call(stage):
    text = stage.run(calls_for_a_generator)
    assert "returns_a_generator" in text
    assert "generator" in text


@pytest.mark.stages(*DURABLE)
def test_a_failed_execution_is_closed_with_reason_and_details(stage):
    execution = stage.start(raises, "workflow", "plain")
    with pytest.raises(Plain):
        execution.result()
    (failed,) = events(execution, "WorkflowExecutionFailed")
    assert failed["reason"] == f"{__name__}.Plain: ('text', 7)"
    assert "raise_it" in failed["details"]
