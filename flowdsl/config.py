"""What comes from the environment, in one place. AWS's own settings (keys, region, profile, endpoint) are botocore's and never read
here.
"""

from __future__ import annotations

import os

DEFAULT_DOMAIN = "flowdsl"
DEFAULT_TASK_LIST = "flowdsl"


def backend_name() -> str:
    """`FLOWDSL_BACKEND`, else `local`."""
    return os.environ.get("FLOWDSL_BACKEND") or "local"


def domain() -> str:
    """`FLOWDSL_DOMAIN`, else `flowdsl`."""
    return os.environ.get("FLOWDSL_DOMAIN") or DEFAULT_DOMAIN


def task_list() -> str:
    """The fleet's task list: `FLOWDSL_TASK_LIST`, else `flowdsl`."""
    return os.environ.get("FLOWDSL_TASK_LIST") or DEFAULT_TASK_LIST


def store_uri() -> str | None:
    """`FLOWDSL_STORE`: where large values go, as a URI; None if it is not set."""
    return os.environ.get("FLOWDSL_STORE") or None


def shadow_every() -> int | None:
    """`FLOWDSL_SHADOW_EVERY`: of so many continued decision tasks one is compared with a replay; None if it is not set or no number."""
    text = os.environ.get("FLOWDSL_SHADOW_EVERY", "")
    return int(text) if text.isdecimal() else None
