"""Domains and types: register, describe, list, deprecate, undeprecate, delete; tags of domains."""

from __future__ import annotations

import pytest
from engine_kit import START, Swf, activity, complete

from flowdsl.engine import Quotas
from flowdsl.errors import Fault


def refused(swf, operation, **params):
    with pytest.raises(Fault) as caught:
        swf.call(operation, **params)
    return caught.value.code, caught.value.message


def test_a_domain(swf):
    tags = [{"key": "team", "value": "x"}]
    swf.call("RegisterDomain", name="d", description="text", workflowExecutionRetentionPeriodInDays="NONE", tags=tags)
    arn = "arn:aws:swf:us-east-1:000000000000:/domain/d"
    assert swf.call("DescribeDomain", name="d") == {
        "domainInfo": {"name": "d", "status": "REGISTERED", "description": "text", "arn": arn},
        "configuration": {"workflowExecutionRetentionPeriodInDays": "NONE"},
    }
    assert refused(swf, "RegisterDomain", name="d", workflowExecutionRetentionPeriodInDays="1") == ("DomainAlreadyExistsFault", "d")
    assert refused(swf, "UndeprecateDomain", name="d") == ("DomainAlreadyExistsFault", "d")
    assert refused(swf, "DescribeDomain", name="D") == ("UnknownResourceFault", "Unknown domain: D")


def test_a_deprecated_domain_takes_nothing_new_and_shows_everything(swf):
    run = swf.start()
    swf.call("DeprecateDomain", name=swf.domain)
    assert refused(swf, "DeprecateDomain", name=swf.domain) == ("DomainDeprecatedFault", swf.domain)
    assert (
        swf.refused("StartWorkflowExecution", workflowId="x", workflowType={"name": "flow", "version": "1"}).code == "DomainDeprecatedFault"
    )
    assert swf.refused("RegisterActivityType", name="x", version="1").code == "DomainDeprecatedFault"
    assert refused(swf, "RegisterDomain", name=swf.domain, workflowExecutionRetentionPeriodInDays="1")[0] == "DomainAlreadyExistsFault"
    assert [info["name"] for info in swf.call("ListDomains", registrationStatus="DEPRECATED")["domainInfos"]] == [swf.domain]
    assert swf.call("ListDomains", registrationStatus="REGISTERED")["domainInfos"] == []
    assert swf.here("ListActivityTypes", registrationStatus="DEPRECATED")["typeInfos"][0]["activityType"]["name"] == "act"
    swf.decide(complete())
    assert swf.describe("w", run)["executionInfo"]["closeStatus"] == "COMPLETED", "running executions go on"
    swf.call("UndeprecateDomain", name=swf.domain)
    assert swf.here("ListWorkflowTypes", registrationStatus="REGISTERED")["typeInfos"] == [], "its types stay deprecated"


def test_domains_are_limited_with_the_deprecated_ones(tmp_path):
    swf = Swf(tmp_path / "e.db", quotas=Quotas(domains=2))
    for name in ("a", "b"):
        swf.call("RegisterDomain", name=name, workflowExecutionRetentionPeriodInDays="1")
    swf.call("DeprecateDomain", name="a")
    assert refused(swf, "RegisterDomain", name="c", workflowExecutionRetentionPeriodInDays="1")[0] == "LimitExceededFault"
    swf.engine.close()


def test_tags_of_a_domain(swf):
    arn = swf.call("DescribeDomain", name=swf.domain)["domainInfo"]["arn"]
    swf.call("TagResource", resourceArn=arn, tags=[{"key": "b", "value": "2"}, {"key": "a"}])
    swf.call("TagResource", resourceArn=arn, tags=[{"key": "b", "value": "3"}])
    assert swf.call("ListTagsForResource", resourceArn=arn) == {"tags": [{"key": "a"}, {"key": "b", "value": "3"}]}
    swf.call("UntagResource", resourceArn=arn, tagKeys=["a", "unknown"])
    assert swf.call("ListTagsForResource", resourceArn=arn) == {"tags": [{"key": "b", "value": "3"}]}
    many = [{"key": f"k{number}"} for number in range(50)]
    assert refused(swf, "TagResource", resourceArn=arn, tags=many)[0] == "TooManyTagsFault"
    swf.call("TagResource", resourceArn=arn, tags=many[1:])
    assert refused(swf, "ListTagsForResource", resourceArn=arn + "x")[0] == "UnknownResourceFault"
    assert refused(swf, "ListTagsForResource", resourceArn="arn:aws:s3:::bucket")[0] == "UnknownResourceFault"
    assert refused(swf, "TagResource", resourceArn=arn, tags=[{"key": "a!"}])[0] == "ValidationException"
    named = {"name": "d2", "workflowExecutionRetentionPeriodInDays": "1"}
    assert refused(swf, "RegisterDomain", **named, tags=[{"key": str(n)} for n in range(51)])[0] == "TooManyTagsFault"


@pytest.mark.parametrize("kind", ["Workflow", "Activity"])
def test_the_life_of_a_type(swf, kind):
    named = {f"{kind.lower()}Type": {"name": "t", "version": "1"}}
    text = f"{kind}Type=[name=t, version=1]"
    swf.here(f"Register{kind}Type", name="t", version="1", description="d", defaultTaskStartToCloseTimeout="7", defaultTaskPriority="3")
    assert swf.here(f"Describe{kind}Type", **named) == {
        "configuration": {"defaultTaskStartToCloseTimeout": "7", "defaultTaskPriority": "3"},
        "typeInfo": {**named, "status": "REGISTERED", "description": "d", "creationDate": START / 1000},
    }
    again = swf.refused(f"Register{kind}Type", name="t", version="1")
    assert (again.code, again.message) == ("TypeAlreadyExistsFault", text)
    assert swf.refused(f"Undeprecate{kind}Type", **named).code == "TypeAlreadyExistsFault"
    assert swf.refused(f"Delete{kind}Type", **named).message == (
        "The type is currently registered and cannot be deleted in its current state"
    )
    swf.now += 1000
    swf.here(f"Deprecate{kind}Type", **named)
    assert swf.refused(f"Deprecate{kind}Type", **named).message == text
    info = swf.here(f"Describe{kind}Type", **named)["typeInfo"]
    assert (info["status"], info["deprecationDate"]) == ("DEPRECATED", (START + 1000) / 1000)
    swf.here(f"Undeprecate{kind}Type", **named)
    assert "deprecationDate" not in swf.here(f"Describe{kind}Type", **named)["typeInfo"]
    swf.here(f"Deprecate{kind}Type", **named)
    swf.here(f"Delete{kind}Type", **named)
    unknown = swf.refused(f"Describe{kind}Type", **named)
    assert (unknown.code, unknown.message) == ("UnknownResourceFault", f"Unknown type: {text}")
    swf.here(f"Register{kind}Type", name="t", version="1")


@pytest.mark.parametrize("kind", ["Workflow", "Activity"])
def test_types_by_name_and_in_order(swf, kind):
    for name, version in (("b", "1"), ("a", "2"), ("a", "1")):
        swf.here(f"Register{kind}Type", name=name, version=version)
    swf.here(f"Deprecate{kind}Type", **{f"{kind.lower()}Type": {"name": "b", "version": "1"}})

    def listed(**more):
        infos = swf.here(f"List{kind}Types", **{"registrationStatus": "REGISTERED"} | more)["typeInfos"]
        return [tuple(info[f"{kind.lower()}Type"].values()) for info in infos]

    assert listed(name="a") == [("a", "1"), ("a", "2")]
    assert listed(name="a", reverseOrder=True) == [("a", "2"), ("a", "1")]
    assert listed(registrationStatus="DEPRECATED") == [("b", "1")]
    assert listed(name="none") == []


def test_what_is_deleted_is_unknown_to_the_next_decision_but_scheduled_work_goes_on(swf):
    run = swf.start()
    swf.decide(activity("a"))
    named = {"activityType": {"name": "act", "version": "1"}}
    swf.here("DeprecateActivityType", **named)
    swf.here("DeleteActivityType", **named)
    swf.work()
    swf.decide(activity("b"))
    assert swf.last(run, "ScheduleActivityTaskFailed")["cause"] == "ACTIVITY_TYPE_DOES_NOT_EXIST"


def test_types_are_limited(tmp_path):
    swf = Swf(tmp_path / "e.db", quotas=Quotas(types=2))
    swf.prepare()
    swf.register_activity("two")
    assert swf.refused("RegisterActivityType", name="three", version="1").code == "LimitExceededFault"
    swf.register_workflow("two")
    swf.engine.close()


# --- starting


def test_a_start_is_refused_for_the_first_of_several_reasons(swf):
    named = {"workflowId": "w", "workflowType": {"name": "flow", "version": "1"}}
    start = "StartWorkflowExecution"
    assert refused(swf, start, domain="no", **named)[1] == "Unknown domain: no"
    unknown = named | {"workflowType": {"name": "no", "version": "1"}}
    assert swf.refused(start, **unknown).message == "Unknown type: WorkflowType=[name=no, version=1]"
    swf.register_workflow(
        "bare", defaultTaskList=None, defaultTaskStartToCloseTimeout=None, defaultExecutionStartToCloseTimeout=None, defaultChildPolicy=None
    )
    bare = named | {"workflowType": {"name": "bare", "version": "1"}}
    for member, value in (
        ("executionStartToCloseTimeout", "10"), ("taskList", {"name": "l"}), ("taskStartToCloseTimeout", "10"), ("childPolicy", "ABANDON"),
    ):  # fmt: skip
        fault = swf.refused(start, **bare)
        assert (fault.code, fault.message) == ("DefaultUndefinedFault", member)
        bare[member] = value
    swf.here(start, **bare)
    assert swf.refused(start, **named).code == "WorkflowExecutionAlreadyStartedFault"
    swf.here("DeprecateWorkflowType", workflowType={"name": "flow", "version": "1"})
    assert swf.refused(start, **named).code == "TypeDeprecatedFault"


def test_a_workflow_id_is_free_again_when_its_run_is_closed(swf):
    first = swf.start()
    swf.decide(complete())
    assert swf.start() != first


def test_open_executions_are_limited(tmp_path):
    swf = Swf(tmp_path / "e.db", quotas=Quotas(open_executions=1))
    swf.prepare()
    swf.start()
    assert swf.refused("StartWorkflowExecution", workflowId="x", workflowType={"name": "flow", "version": "1"}).code == "LimitExceededFault"
    swf.reopen()
    assert swf.refused("StartWorkflowExecution", workflowId="x", workflowType={"name": "flow", "version": "1"}).code == "LimitExceededFault"
    swf.decide(complete())
    swf.start("x")
    swf.engine.close()
