"""Every limit of Amazon SWF, with its source, and the few functions that keep values inside them.

Rule 1: this module is the bottom of the house, beside `errors`: standard library only.
Rule 2: a limit is a number with a name and a source. No other file spells one out, and none changes with the environment.
Rule 3: what a user wrote is checked and refused (`check_name`, `seconds`); what flowdsl puts together is made to fit (`clean_id`).
Rule 4: making fit is a pure function of the text. There is no random number in an id: a replay must find the same one again.
Rule 5: lengths are counted in UTF-16 code units, as the service (written in Java) counts them.

Sources: *model* is the service model that botocore ships (`swf/2012-01-25`), *quotas* the page "Amazon SWF Quotas" of the developer
guide, *reference* the API reference, *practice* what AWS's own Flow framework does.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from hashlib import sha256

from flowdsl.errors import DefinitionError

# --- texts, in UTF-16 code units ------------------------------------------------------------------------------------

#: input, result, details, control, execution context (model: Data)
DATA = 32_768
#: details of a heartbeat and of the timeout that reports them (model: LimitedData)
HEARTBEAT_DETAILS = 2_048
#: why something failed or was terminated (model: FailureReason, TerminateReason)
REASON = 256
#: names of domains, types, task lists, signals, markers (model: Name, SignalName, MarkerName)
NAME = 256
#: a type's version (model: Version)
VERSION = 64
#: workflow, activity and timer ids, and a lambda task's (model: WorkflowId, ActivityId, TimerId, FunctionId)
ID = 256
#: an execution's run id (model: WorkflowRunId)
RUN_ID = 64
#: who polls (model: Identity)
IDENTITY = 256
#: one tag of an execution (model: Tag)
TAG = 256
#: a description of a domain or a type (model: Description)
DESCRIPTION = 1_024
#: the name of a lambda function (model: FunctionName)
LAMBDA_NAME = 64
#: what a lambda function is given (model: FunctionInput)
LAMBDA_INPUT = 32_768
#: what a task is answered with (model: TaskToken)
TASK_TOKEN = 1_024
#: where the next page begins (model: PageToken)
PAGE_TOKEN = 2_048
#: key and value of a domain's own tags, which are not an execution's (model: ResourceTagKey, ResourceTagValue)
RESOURCE_TAG_KEY = 128
RESOURCE_TAG_VALUE = 256

# --- counts ---------------------------------------------------------------------------------------------------------

#: tags of one execution (model: TagList)
TAGS = 5
#: tags of one domain (quotas)
RESOURCE_TAGS = 50
#: open activity tasks of one execution, scheduled and started ones together (quotas)
OPEN_ACTIVITIES = 1_000
#: open timers of one execution (quotas)
OPEN_TIMERS = 1_000
#: open child executions of one execution (quotas)
OPEN_CHILDREN = 1_000
#: open lambda tasks of one execution; the cause exists (model), its number is not documented, so the others' is taken
OPEN_LAMBDAS = 1_000
#: open executions of one domain, children included (quotas)
OPEN_EXECUTIONS = 100_000
#: events of one execution; then it is terminated with the cause EVENT_LIMIT_EXCEEDED (quotas, hard)
HISTORY_EVENTS = 25_000
#: decisions of one response: the service bounds the request's size only; practice stops here, and so do we
DECISIONS = 100
#: bytes of one request with its headers (quotas)
REQUEST_BYTES = 1_048_576
#: polls that wait on one task list (quotas)
POLLERS = 1_000
#: items of one page (model: PageSize)
PAGE_SIZE = 1_000
#: domains of one account, and types of each kind of one domain, deprecated ones included (quotas)
DOMAINS = 100
TYPES = 10_000

# --- times ----------------------------------------------------------------------------------------------------------

#: an execution and everything in it ends after a year at the latest, in seconds (quotas, hard)
YEAR = 31_536_000
#: the longest duration that can be written down, in seconds: eight digits (model: DurationInSeconds)
LONGEST = 99_999_999
#: how long the service holds a poll that finds no task, in seconds (reference)
LONG_POLL = 60
#: how long a client must be ready to read a poll's answer, in seconds (reference)
POLL_READ_TIMEOUT = 70
#: a lambda task's own timeout: least, most and default, in seconds (reference)
LAMBDA_SHORTEST = 1
LAMBDA_LONGEST = 900
#: days for which a closed execution is kept (reference)
RETENTION_DAYS = 90
#: task priorities are 32-bit integers (reference)
LOWEST_PRIORITY = -(2**31)
HIGHEST_PRIORITY = 2**31 - 1

# --- rates: (size of the bucket, tokens per second), per account and region (quotas) ----------------------------------

RATES: Mapping[str, tuple[int, int]] = {
    "CountClosedWorkflowExecutions": (2000, 6),
    "CountOpenWorkflowExecutions": (2000, 6),
    "CountPendingActivityTasks": (200, 6),
    "CountPendingDecisionTasks": (200, 6),
    "DeleteActivityType": (200, 6),
    "DeleteWorkflowType": (200, 6),
    "DeprecateActivityType": (200, 6),
    "DeprecateDomain": (100, 6),
    "DeprecateWorkflowType": (200, 6),
    "DescribeActivityType": (2000, 6),
    "DescribeDomain": (200, 6),
    "DescribeWorkflowExecution": (2000, 6),
    "DescribeWorkflowType": (2000, 6),
    "GetWorkflowExecutionHistory": (2000, 60),
    "ListActivityTypes": (200, 6),
    "ListClosedWorkflowExecutions": (200, 6),
    "ListDomains": (100, 6),
    "ListOpenWorkflowExecutions": (200, 48),
    "ListTagsForResource": (50, 30),
    "ListWorkflowTypes": (200, 6),
    "PollForActivityTask": (2000, 200),
    "PollForDecisionTask": (2000, 200),
    "RecordActivityTaskHeartbeat": (2000, 160),
    "RegisterActivityType": (200, 60),
    "RegisterDomain": (100, 6),
    "RegisterWorkflowType": (200, 60),
    "RequestCancelWorkflowExecution": (2000, 30),
    "RespondActivityTaskCanceled": (2000, 200),
    "RespondActivityTaskCompleted": (2000, 200),
    "RespondActivityTaskFailed": (2000, 200),
    "RespondDecisionTaskCompleted": (2000, 200),
    "SignalWorkflowExecution": (2000, 30),
    "StartWorkflowExecution": (2000, 200),
    "TagResource": (50, 30),
    "TerminateWorkflowExecution": (2000, 60),
    "UndeprecateActivityType": (200, 6),
    "UndeprecateDomain": (100, 6),
    "UndeprecateWorkflowType": (200, 6),
    "UntagResource": (50, 30),
}
#: What exceeds these is no fault of the call: the decision is refused with a cause that ends in RATE_EXCEEDED.
DECISION_RATES: Mapping[str, tuple[int, int]] = {
    "RequestCancelExternalWorkflowExecution": (1200, 120),
    "ScheduleActivityTask": (1000, 200),
    "SignalExternalWorkflowExecution": (1200, 120),
    "StartChildWorkflowExecution": (500, 12),
    "StartTimer": (2000, 200),
}
#: tasks scheduled on one task list
TASK_LIST_RATE: tuple[int, int] = (2000, 2000)
#: The same calls are limited for one execution too.
EXECUTION_RATES: Mapping[str, tuple[int, int]] = {
    "GetWorkflowExecutionHistory": (400, 200),
    "RecordActivityTaskHeartbeat": (1000, 1000),
    "RequestCancelWorkflowExecution": (200, 200),
    "SignalWorkflowExecution": (1000, 1000),
}

# --- names and ids --------------------------------------------------------------------------------------------------

#: What the service refuses in names and ids beside control characters (reference: "must not contain : / |").
FORBIDDEN = ":/|"
#: "… and must not be the literal string arn" (reference).
RESERVED = "arn"
_DIGEST = 16  # hex digits of a suffix: 64 bits, because a million items of one map must not meet


def length(text: str) -> int:
    """The length of `text` as the service counts it: in UTF-16 code units, where an emoji is two."""
    return len(text) if text.isascii() else len(text) + sum(character > "\uffff" for character in text)


def digest(text: str) -> str:
    """The SHA-256 of `text` in 64 hex digits: the same in every process and for ever."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _is_bad(character: str) -> bool:
    # Cc is exactly U+0000–U+001F and U+007F–U+009F, which the reference names; Cs are halves of pairs, which UTF-8 cannot carry.
    return character in FORBIDDEN or unicodedata.category(character) in {"Cc", "Cs"}


def check_name(text: str, what: str, maximum: int = NAME) -> str:
    """`text`, if Amazon SWF takes it as the name or id of a domain, a type, a task list, a workflow, an activity or a timer.

    `what` says whose name it is, for the message; `maximum` counts UTF-16 code units. Raises `DefinitionError`, which names `what` and
    the first offending character. Source: the API reference's rule for names.
    """
    if not isinstance(text, str):
        raise DefinitionError(f"{what} must be a string, not {text!r}")
    if not text:
        raise DefinitionError(f"{what} is empty; Amazon SWF needs at least one character")
    for position, character in enumerate(text):
        if _is_bad(character):
            raise DefinitionError(
                f"{what} {_short(text)} contains {_name_of(character)} at position {position}; "
                "Amazon SWF takes no ':', '/', '|' and no control characters in names"
            )
    if text == RESERVED:
        raise DefinitionError(f"{what} must not be the literal {RESERVED!r}, which Amazon SWF keeps for itself")
    if text != text.strip():
        side = "begins" if text[0].isspace() else "ends"
        raise DefinitionError(f"{what} {_short(text)} {side} with {_name_of(text[0] if text[0].isspace() else text[-1])}; remove it")
    if length(text) > maximum:
        raise DefinitionError(f"{what} {_short(text)} has {length(text)} characters; Amazon SWF takes at most {maximum}")
    return text


@lru_cache(4096)  # a call asks for its name's each time
def clean_id(text: str, maximum: int = ID) -> str:
    """An id that the service takes, made of any `text`: the text itself where that is possible.

    Otherwise forbidden characters become `-`, what is too long is cut, and a digest of the whole text is the suffix, so that texts which
    differ stay apart. The same text always gives the same id. `maximum` counts UTF-16 code units and is 32 or more.
    """
    clean = "".join("-" if _is_bad(character) else character for character in text).strip()
    if clean == text and clean not in {"", RESERVED} and length(clean) <= maximum:
        return clean
    return f"{_cut(clean or 'id', maximum - _DIGEST - 1)}-{digest(text)[:_DIGEST]}"


def _cut(text: str, maximum: int) -> str:
    """The longest beginning of `text` that is at most `maximum` UTF-16 code units long."""
    text = text[:maximum]
    while length(text) > maximum:
        text = text[:-1]
    return text


def _name_of(character: str) -> str:
    if character == " ":
        return "a space"
    return repr(character) if character.isprintable() else f"{character!r} (U+{ord(character):04X})"


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an int of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- durations ------------------------------------------------------------------------------------------------------


def seconds(value: object, what: str, *, maximum: float = LONGEST) -> float | None:
    """A duration as float seconds: an int or float of seconds, or a `timedelta`; None stays None and means no limit.

    `what` says whose duration it is, for the message. Raises `DefinitionError` for anything else: booleans, negative values, NaN,
    infinity, texts, and more than `maximum` seconds (Amazon SWF writes durations in eight digits).
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        number: float = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    else:
        raise DefinitionError(f"{what} must be seconds (int or float), a timedelta or None, not {_short(value)}{_hint(value)}")
    if number != number:  # noqa: PLR0124 - only NaN is not itself, and unlike math.isnan this takes an int of any size
        raise DefinitionError(f"{what} is NaN; give a number of seconds, or None for no limit")
    if number < 0:
        raise DefinitionError(f"{what} must not be negative, but is {_short(value)}")
    if number > maximum:
        raise DefinitionError(f"{what} is {_short(value)}: more than {maximum:,} s, the most that can be asked for; None means no limit")
    return float(number)


def _hint(value: object) -> str:
    """What somebody who wrote this probably meant."""
    if isinstance(value, bool):
        return " (a bool is no number of seconds)"
    if isinstance(value, str):
        return f"; write {value} without quotes" if value.strip().isdecimal() else "; write timedelta(minutes=5), for instance"
    return ""


def whole_seconds(seconds: float | None) -> str:
    """A duration as the service writes it: whole seconds, rounded up so that nothing ends too early; `NONE` for None.

    Less than a microsecond is noise of arithmetic (`3 * 1.1`), below `timedelta`'s resolution, and adds no second.
    """
    return "NONE" if seconds is None else str(math.ceil(round(seconds, 6)))
