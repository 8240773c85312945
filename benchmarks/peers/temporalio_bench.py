"""Temporal's Replayer, with and without its sandbox, on the history that its server would have written."""

import asyncio
from datetime import timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from measure import measured, reported
from temporalio import workflow
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, WorkflowType
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner


@workflow.defn(name="sequential")
class Sequential:
    @workflow.run
    async def run(self, count: int) -> int:
        total = 0
        for number in range(count):
            total += await workflow.execute_activity("step", number, start_to_close_timeout=timedelta(seconds=60), result_type=int)
        return total


def payloads(text):
    return Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=text.encode())])


def history_of(count):
    events = []

    def add(kind, **attributes):
        when = Timestamp(seconds=1_700_000_000 + len(events))
        member = f"{kind.lower()}_event_attributes"
        events.append(
            HistoryEvent(
                event_id=len(events) + 1, event_time=when, event_type=EventType.Value(f"EVENT_TYPE_{kind}"), **{member: attributes}
            )
        )
        return len(events)

    queue = TaskQueue(name="q")
    add(
        "WORKFLOW_EXECUTION_STARTED", workflow_type=WorkflowType(name="sequential"), task_queue=queue, input=payloads(str(count)),
        original_execution_run_id="r", first_execution_run_id="r", attempt=1,
    )  # fmt: skip
    scheduled = add("WORKFLOW_TASK_SCHEDULED", task_queue=queue, attempt=1)
    for number in range(count):
        started = add("WORKFLOW_TASK_STARTED", scheduled_event_id=scheduled)
        completed = add("WORKFLOW_TASK_COMPLETED", scheduled_event_id=scheduled, started_event_id=started)
        asked = add(
            "ACTIVITY_TASK_SCHEDULED", activity_id=str(number + 1), activity_type=ActivityType(name="step"), task_queue=queue,
            input=payloads(str(number)), workflow_task_completed_event_id=completed,
        )  # fmt: skip
        begun = add("ACTIVITY_TASK_STARTED", scheduled_event_id=asked, attempt=1)
        add("ACTIVITY_TASK_COMPLETED", scheduled_event_id=asked, started_event_id=begun, result=payloads(str(number)))
        scheduled = add("WORKFLOW_TASK_SCHEDULED", task_queue=queue, attempt=1)
    started = add("WORKFLOW_TASK_STARTED", scheduled_event_id=scheduled)
    completed = add("WORKFLOW_TASK_COMPLETED", scheduled_event_id=scheduled, started_event_id=started)
    add("WORKFLOW_EXECUTION_COMPLETED", result=payloads(str(sum(range(count)))), workflow_task_completed_event_id=completed)
    return WorkflowHistory("w", History(events=events).events)


def replay(runner, count):
    history = history_of(count)

    async def body():
        replayer = Replayer(workflows=[Sequential], workflow_runner=runner)
        with measured() as numbers:
            await replayer.replay_workflow(history)
        return numbers | {"events": len(history.events)}

    return asyncio.run(body())


if __name__ == "__main__":
    reported(
        {
            "replay": lambda n: replay(UnsandboxedWorkflowRunner(), n),
            "replay-sandboxed": lambda n: replay(SandboxedWorkflowRunner(), n),
        }
    )
