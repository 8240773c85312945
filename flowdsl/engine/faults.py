"""The refusals of Amazon SWF, worded as the service words them.

Rule 1: every refusal of the engine is made here; nobody else writes a fault's text.
Rule 2: texts are those seen from the real service where they are known (recorded exchanges, other emulators' live tests);
        clients that tell two cases of one fault apart by its text (simpleflow, swfsm) therefore work.
Rule 3: a refusal leaves no trace: it is raised before anything is written.
"""

from __future__ import annotations

from flowdsl.errors import Fault

UNKNOWN_RESOURCE = "UnknownResourceFault"
VALIDATION = "ValidationException"


def invalid(message: str) -> Fault:
    """The request breaks a constraint."""
    return Fault(VALIDATION, message)


def wrong_type(found: str, wanted: str) -> Fault:
    """A JSON value of the wrong type, as the service's Java deserializer words it."""
    return Fault("SerializationException", f"class java.lang.{found} can not be converted to an {wanted}")


def unserializable(message: str) -> Fault:
    """A request that JSON can carry and the service cannot."""
    return Fault("SerializationException", message)


def too_large() -> Fault:
    """The request is over 1 MB."""
    return Fault("RequestEntityTooLargeException", "Request size exceeded 1 MB limit")


def unknown_operation(operation: str) -> Fault:
    """No such action."""
    return Fault("UnknownOperationException", f"Unknown operation: {operation}")


def unknown_domain(name: str) -> Fault:
    """The domain was never registered."""
    return Fault(UNKNOWN_RESOURCE, f"Unknown domain: {name}")


def unknown_arn(arn: str) -> Fault:
    """The ARN is no domain's."""
    return Fault(UNKNOWN_RESOURCE, f"Unknown resource: {arn}")


def type_text(kind: str, name: str, version: str) -> str:
    """`WorkflowType=[name=N, version=V]` or `ActivityType=[…]`; `kind` is `workflow` or `activity`."""
    return f"{kind.capitalize()}Type=[name={name}, version={version}]"


def unknown_type(kind: str, name: str, version: str) -> Fault:
    """The type is not registered in this domain."""
    return Fault(UNKNOWN_RESOURCE, f"Unknown type: {type_text(kind, name, version)}")


def unknown_run(workflow_id: str, run_id: str) -> Fault:
    """No such run, or not open where an open one is needed."""
    return Fault(UNKNOWN_RESOURCE, f"Unknown execution: WorkflowExecution=[workflowId={workflow_id}, runId={run_id}]")


def unknown_workflow_id(workflow_id: str) -> Fault:
    """No open execution has this workflow id."""
    return Fault(UNKNOWN_RESOURCE, f"Unknown execution, workflowId = {workflow_id}")


def unknown_decision(scheduled_id: int) -> Fault:
    """The decision task is completed or timed out."""
    return Fault(UNKNOWN_RESOURCE, f"Unknown decision task, scheduledEventId = {scheduled_id}")


def unknown_activity(scheduled_id: int) -> Fault:
    """The activity task is closed, in whatever way."""
    return Fault(UNKNOWN_RESOURCE, f"Unknown activity, scheduledEventId = {scheduled_id}")


def invalid_token() -> Fault:
    """A task or page token that this engine never gave, or not for this use."""
    return invalid("Invalid token")


def expired_token() -> Fault:
    """A page token older than a day."""
    return invalid("Specified token has exceeded its maximum lifetime")


def domain_exists(name: str) -> Fault:
    """RegisterDomain of a known name; UndeprecateDomain of a registered one."""
    return Fault("DomainAlreadyExistsFault", name)


def domain_deprecated(name: str) -> Fault:
    """The domain is deprecated."""
    return Fault("DomainDeprecatedFault", name)


def type_exists(kind: str, name: str, version: str) -> Fault:
    """Register of a known type; undeprecate of a registered one."""
    return Fault("TypeAlreadyExistsFault", type_text(kind, name, version))


def type_deprecated(kind: str, name: str, version: str) -> Fault:
    """The type is deprecated."""
    return Fault("TypeDeprecatedFault", type_text(kind, name, version))


def type_not_deprecated() -> Fault:
    """Delete of a type that is still registered."""
    return Fault("TypeNotDeprecatedFault", "The type is currently registered and cannot be deleted in its current state")


def already_started() -> Fault:
    """An open execution has the workflow id. The text is empty (seen in 2026; in 2015 it was "Already Started"); it never names the run."""
    return Fault("WorkflowExecutionAlreadyStartedFault", "")


def default_undefined(member: str) -> Fault:
    """Neither the request nor the type gives a value."""
    return Fault("DefaultUndefinedFault", member)


def limit_exceeded(what: str) -> Fault:
    """A quota is used up."""
    return Fault("LimitExceededFault", what)


def throttled() -> Fault:
    """An API's rate is used up; the same call may succeed in a moment."""
    return Fault("ThrottlingException", "Rate exceeded", retryable=True)


def too_many_tags() -> Fault:
    """More than 50 resource tags on a domain."""
    return Fault("TooManyTagsFault", "A resource can have at most 50 tags")


def storage_failed(reason: str) -> Fault:
    """The file could not be written (disk full, say): nothing of the call happened, and it may be tried again."""
    return Fault("InternalFailure", f"the engine's file could not be written: {reason}", retryable=True)


def engine_closed() -> Fault:
    """The engine or its service was closed."""
    return Fault("ServiceUnavailable", "the embedded engine is closed")
