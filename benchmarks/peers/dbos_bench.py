"""DBOS on SQLite, as its documentation shows it."""

import asyncio
import tempfile
import timeit
from pathlib import Path

from dbos import DBOS
from measure import measured, reported


@DBOS.step()
def step(number):
    return number


@DBOS.step()
async def step_async(number):
    return number


@DBOS.workflow()
def sequential(count):
    return sum(step(number) for number in range(count))


@DBOS.workflow()
async def parallel(count):
    return sum(await asyncio.gather(*[step_async(number) for number in range(count)]))


def run(workflow, count):
    with tempfile.TemporaryDirectory() as folder:
        DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{Path(folder) / 'bench.sqlite'}", "log_level": "ERROR"})
        DBOS.launch()
        call = (lambda n: asyncio.run(workflow(n))) if asyncio.iscoroutinefunction(workflow) else workflow
        call(10)
        with measured() as numbers:
            call(count)
        DBOS.destroy()
    return numbers


def call(count):
    def plain(number):
        return number

    base = timeit.timeit(lambda: plain(1), number=count)
    return {"seconds": timeit.timeit(lambda: step(1), number=count) - base, "calls": count}


if __name__ == "__main__":
    reported({"sequential": lambda n: run(sequential, n), "parallel": lambda n: run(parallel, n), "call": call})
