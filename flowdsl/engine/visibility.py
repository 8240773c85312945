"""Lists and counts of executions.

Rule 1: open executions need a time filter on their start; closed ones exactly one, on start or close. At most one more filter
        (id, type, tag, close status) is allowed.
Rule 2: newest first by the filtered time; `reverseOrder` turns that round. Bounds are included. Pages continue behind the last row that
        was shown, so what starts or closes in between neither doubles nor hides anything.
Rule 3: nothing is eventual here: what is committed is listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flowdsl.engine.codec import decode, encode
from flowdsl.engine.faults import invalid
from flowdsl.engine.history import page_size

if TYPE_CHECKING:
    from flowdsl.engine.world import Operation, World

Params = Mapping[str, Any]
Answer = dict[str, Any]

INFO_COLUMNS = "workflow_id, run_id, type_name, type_version, started, closed, status, tags, parent, cancel_requested"

_FILTERS = ("executionFilter", "typeFilter", "tagFilter", "closeStatusFilter")


def execution_info(row: tuple[Any, ...]) -> Answer:
    """`WorkflowExecutionInfo` of a row of `INFO_COLUMNS`."""
    workflow_id, run_id, type_name, type_version, started, closed, status, tags, parent, cancel_requested = row
    info: Answer = {
        "execution": {"workflowId": workflow_id, "runId": run_id},
        "workflowType": {"name": type_name, "version": type_version},
        "startTimestamp": started / 1000,
        "executionStatus": "OPEN" if closed is None else "CLOSED",
        "cancelRequested": bool(cancel_requested),
    }
    if closed is not None:
        info |= {"closeTimestamp": closed / 1000, "closeStatus": status}
    if tags is not None:
        info["tagList"] = decode(tags)
    if parent is not None:
        info["parent"] = decode(parent)
    return info


def _where(p: Params, *, closed: bool) -> tuple[str, str, list[Any]]:
    """(column of the time filter, WHERE clause, values). Raises `Fault` ValidationException for filters that do not go together."""
    times = [name for name in ("startTimeFilter", "closeTimeFilter") if p.get(name) is not None]
    if closed and not times:
        raise invalid("Must specify time filter")
    if len(times) > 1:
        raise invalid("Cannot specify both a startTimeFilter and a closeTimeFilter")
    filters = [name for name in _FILTERS if p.get(name) is not None]
    if len(filters) > 1:
        raise invalid(f"Cannot specify more than one exclusive filters in the same query: [{', '.join(filters)}]")
    column = "closed" if times[0] == "closeTimeFilter" else "started"
    bounds = p[times[0]]
    parts = ["domain = ?", "closed IS NOT NULL" if closed else "closed IS NULL", f"{column} >= ?"]
    values: list[Any] = [p["domain"], round(bounds["oldestDate"] * 1000)]
    if bounds.get("latestDate") is not None:
        parts.append(f"{column} <= ?")
        values.append(round(bounds["latestDate"] * 1000))
    for name in filters:
        text, more = _FILTER_SQL[name](p[name])
        parts.append(text)
        values += more
    return column, " AND ".join(parts), values


def _by_type(given: Mapping[str, Any]) -> tuple[str, list[Any]]:
    if not given.get("version"):
        return "type_name = ?", [given["name"]]
    return "type_name = ? AND type_version = ?", [given["name"], given["version"]]


_FILTER_SQL: Mapping[str, Any] = {
    "executionFilter": lambda given: ("workflow_id = ?", [given["workflowId"]]),
    "typeFilter": _by_type,
    "tagFilter": lambda given: ("EXISTS (SELECT 1 FROM execution_tags WHERE execution = id AND tag = ?)", [given["tag"]]),
    "closeStatusFilter": lambda given: ("status = ?", [given["status"]]),
}


def _list(*, closed: bool) -> Operation:
    def listing(world: World, now: int, p: Params) -> Answer:
        column, where, values = _where(p, closed=closed)
        world.catalogue.domain(p["domain"])
        reverse, size = bool(p.get("reverseOrder")), page_size(p)
        use = "List executions " + encode([closed, where, values, column, reverse])
        order, beyond = ("ASC", ">") if reverse else ("DESC", "<")
        if p.get("nextPageToken"):
            where += f" AND ({column}, id) {beyond} (?, ?)"
            values += world.tokens.read_page(use, p["nextPageToken"], now)
        rows = world.store.all(
            f"SELECT {INFO_COLUMNS}, {column}, id FROM executions WHERE {where} ORDER BY {column} {order}, id {order} LIMIT ?",
            (*values, size + 1),
        )
        answer: Answer = {"executionInfos": [execution_info(row[:-2]) for row in rows[:size]]}
        if len(rows) > size:
            answer["nextPageToken"] = world.tokens.page(use, list(rows[size - 1][-2:]), now)
        return answer

    return listing


def _count(*, closed: bool) -> Operation:
    def count(world: World, now: int, p: Params) -> Answer:
        _, where, values = _where(p, closed=closed)
        world.catalogue.domain(p["domain"])
        return {"count": world.store.one(f"SELECT count(*) FROM executions WHERE {where}", values)[0], "truncated": False}

    return count


OPERATIONS: Mapping[str, Operation] = {
    "ListOpenWorkflowExecutions": _list(closed=False),
    "ListClosedWorkflowExecutions": _list(closed=True),
    "CountOpenWorkflowExecutions": _count(closed=False),
    "CountClosedWorkflowExecutions": _count(closed=True),
}
