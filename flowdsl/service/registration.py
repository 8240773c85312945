"""Idempotent registration: afterwards the thing is registered, or the error says what to do.

Rule 1: what exists already is fine, unless it is deprecated: nothing could be started with it, so that is said at once.
Rule 2: who may not register (as workers in production should not) is content with what others have registered.
Rule 3: who may not even ask is believed to be set up right; the first use will tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flowdsl.errors import Fault
from flowdsl.service.faults import FORBIDDEN, UNKNOWN_RESOURCE

_EXISTS: Final = frozenset({"DomainAlreadyExistsFault", "TypeAlreadyExistsFault"})


def ensure(what: str, *, register: Callable[[], Any], status: Callable[[], str], mend: str) -> bool:
    """See to it that `what` is registered; return whether this call did it.

    `register` and `status` make the calls, `mend` is the command that undoes a deprecation. Raises `Fault`: `DeprecatedFault` in its code
    says that `what` is deprecated, `UnknownResourceFault` that it is missing and may not be registered by this identity, or that the
    domain of a type is missing.
    """
    try:
        register()
    except Fault as fault:
        if fault.code not in _EXISTS | FORBIDDEN:
            raise
        refused = fault
    else:
        return True
    try:
        found = status()
    except Fault as unseen:
        if unseen.code in FORBIDDEN:
            return False
        if unseen.code == UNKNOWN_RESOURCE and refused.code in FORBIDDEN:
            raise Fault(
                UNKNOWN_RESOURCE,
                f"{what} is not registered, and these credentials may not register it. Let somebody who may run:  flowdsl register TARGET",
            ) from refused
        raise
    if found == "DEPRECATED":
        code = "DomainDeprecatedFault" if refused.code.startswith("Domain") or what.startswith("the domain") else "TypeDeprecatedFault"
        raise Fault(code, f"{what} is deprecated, nothing can be started with it. Use another one, or take the deprecation back:  {mend}")
    return False
