"""Values that are too large for a history: they go to S3 by themselves, and come back as themselves.

    python examples/large_values_on_s3.py s3://my-bucket/flowdsl                      on the embedded engine
    python examples/large_values_on_s3.py s3://my-bucket/flowdsl --backend swf        on Amazon SWF

Amazon SWF takes at most 32,768 characters for a value. Whatever is longer is put into the store under the name of its own digest, and
the history holds a reference with the digest and the size; what is short stays readable in the history. Reading checks the digest.
Credentials, region and endpoint are those of boto3 (AWS_PROFILE, AWS_ENDPOINT_URL_S3, …).
"""

from __future__ import annotations

import argparse
import hashlib
import os

from flowdsl import activity, start, workflow


@activity
def produce(lines: int) -> list[str]:
    """A value of some megabytes: a digest per line."""
    return [hashlib.sha256(f"line {number}".encode()).hexdigest() for number in range(lines)]


@activity
def summarise(text: list[str]) -> dict[str, int]:
    """A small value from a large one."""
    return {"lines": len(text), "characters": sum(map(len, text))}


@workflow
def digest(lines: int) -> dict[str, int]:
    """The large value passes through the workflow twice (result, argument) and never through its history."""
    return summarise(produce(lines))


def main() -> None:
    options = argparse.ArgumentParser(description="Send a large value through a workflow, by way of a bucket.")
    options.add_argument("store", help="where large values go, as a URI: s3://bucket/prefix (or file:///folder)")
    options.add_argument("--lines", type=int, default=50_000)
    options.add_argument("--backend", default="embedded", choices=["embedded", "swf"])
    chosen = options.parse_args()
    os.environ["FLOWDSL_STORE"] = chosen.store  # in production the environment says this; workers and starters must agree

    execution = start(digest, chosen.lines, backend=chosen.backend)
    print(execution.result())
    longest = max(len(str(event)) for event in execution.history())
    print(f"the longest of the history's events has {longest:,} characters")


if __name__ == "__main__":
    main()
