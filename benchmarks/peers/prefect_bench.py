"""Prefect with its own server in the background, on SQLite."""

import os
import tempfile

folder = tempfile.mkdtemp()
os.environ |= {
    "PREFECT_HOME": folder, "PREFECT_LOGGING_LEVEL": "ERROR", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
}  # fmt: skip

from measure import measured, reported  # noqa: E402 - the settings are read at import
from prefect import flow, task  # noqa: E402 - as above


@task
def step(number):
    return number


@flow
def sequential(count):
    with measured() as numbers:
        sum(step(number) for number in range(count))
    return numbers


@flow
def parallel(count):
    with measured() as numbers:
        sum(future.result() for future in [step.submit(number) for number in range(count)])
    return numbers


if __name__ == "__main__":
    reported({"sequential": sequential, "parallel": parallel})
