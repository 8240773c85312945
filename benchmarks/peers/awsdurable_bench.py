"""AWS's durable-execution SDK on its local runner (in memory)."""

from aws_durable_execution_sdk_python import DurableContext, durable_execution, durable_step
from aws_durable_execution_sdk_python_testing import DurableFunctionTestRunner
from measure import measured, reported


@durable_step
def step(context, number):
    return number


def run(body, count):
    @durable_execution
    def handler(event, context: DurableContext):
        return body(context, count)

    with DurableFunctionTestRunner(handler=handler) as runner, measured() as numbers:
        result = runner.run(input="{}", timeout=900)
    assert result.status.value == "SUCCEEDED", result
    return numbers


def sequential(context, count):
    return sum(context.step(step(number)) for number in range(count))


def parallel(context, count):
    context.map(list(range(count)), lambda inner, item, *_: inner.step(step(item)))
    return 0


if __name__ == "__main__":
    reported({"sequential": lambda n: run(sequential, n), "parallel": lambda n: run(parallel, n)})
