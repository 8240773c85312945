"""The operations on domains, types and domain tags.

Rule 1: what is registered never changes; it can be deprecated, undeprecated and (a type that is deprecated) deleted.
Rule 2: deprecating a domain deprecates its types; undeprecating it leaves them so (developer guide).
Rule 3: lists are in order of name, then version; `reverseOrder` turns that round before pages are cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flowdsl.engine.catalogue import DEPRECATED, REGISTERED, Domain, Type
from flowdsl.engine.codec import encode
from flowdsl.engine.faults import (
    domain_deprecated,
    domain_exists,
    limit_exceeded,
    too_many_tags,
    type_deprecated,
    type_exists,
    type_not_deprecated,
    unknown_arn,
)
from flowdsl.engine.history import page_size

if TYPE_CHECKING:
    from flowdsl.engine.world import Operation, World

Params = Mapping[str, Any]
Answer = dict[str, Any]

_ARN = re.compile(r"arn:[^:]+:swf:[^:]*:[^:]*:/domain/(.+)", re.DOTALL)


# --- domains --------------------------------------------------------------------------------------------------------


def _register_domain(world: World, now: int, p: Params) -> Answer:
    name, tags = p["name"], p.get("tags") or []
    if world.catalogue.find_domain(name) is not None:
        raise domain_exists(name)
    if len({tag["key"] for tag in tags}) > world.quotas.resource_tags:
        raise too_many_tags()
    if world.store.one("SELECT count(*) FROM domains")[0] >= world.quotas.domains:
        raise limit_exceeded("Too many domains")
    retention = p["workflowExecutionRetentionPeriodInDays"]
    days = 0 if retention == "NONE" else int(retention)
    world.catalogue.save_domain(Domain(name, REGISTERED, p.get("description"), days, retention))
    _put_tags(world, name, tags)
    return {}


def _domain_info(world: World, domain: Domain) -> Answer:
    info = {
        "name": domain.name,
        "status": domain.status,
        "arn": f"arn:aws:swf:{world.place.region}:{world.place.account}:/domain/{domain.name}",
    }
    if domain.description is not None:
        info["description"] = domain.description
    return info


def _describe_domain(world: World, now: int, p: Params) -> Answer:
    domain = world.catalogue.domain(p["name"])
    configuration = {"workflowExecutionRetentionPeriodInDays": domain.retention}
    return {"configuration": configuration, "domainInfo": _domain_info(world, domain)}


def _list_domains(world: World, now: int, p: Params) -> Answer:
    use = f"ListDomains {p['registrationStatus']} {bool(p.get('reverseOrder'))}"
    after = world.tokens.read_page(use, p["nextPageToken"], now) if p.get("nextPageToken") else None
    beyond, order = ("<", "DESC") if p.get("reverseOrder") else (">", "ASC")
    rows = world.store.all(
        "SELECT name, status, description, retention_days, retention FROM domains "
        f"WHERE status = ?1 AND (?2 IS NULL OR name {beyond} ?2) ORDER BY name {order} LIMIT ?3",
        (p["registrationStatus"], after, page_size(p) + 1),
    )
    answer: Answer = {"domainInfos": [_domain_info(world, Domain(*row)) for row in rows[: page_size(p)]]}
    if len(rows) > page_size(p):
        answer["nextPageToken"] = world.tokens.page(use, rows[page_size(p) - 1][0], now)
    return answer


def _deprecate_domain(world: World, now: int, p: Params) -> Answer:
    domain = world.catalogue.domain(p["name"])
    if domain.status == DEPRECATED:
        raise domain_deprecated(domain.name)
    world.catalogue.save_domain(replace(domain, status=DEPRECATED))
    world.catalogue.deprecate_all(domain.name, now)
    return {}


def _undeprecate_domain(world: World, now: int, p: Params) -> Answer:
    domain = world.catalogue.domain(p["name"])
    if domain.status == REGISTERED:
        raise domain_exists(domain.name)
    world.catalogue.save_domain(replace(domain, status=REGISTERED))
    return {}


# --- tags of domains ------------------------------------------------------------------------------------------------


def _domain_of_arn(world: World, arn: str) -> str:
    match = _ARN.fullmatch(arn)
    domain = None if match is None else world.catalogue.find_domain(match[1])
    if domain is None:
        raise unknown_arn(arn)
    return domain.name


def _put_tags(world: World, domain: str, tags: list[dict[str, str]]) -> None:
    for tag in tags:
        world.store.write("INSERT OR REPLACE INTO domain_tags VALUES (?, ?, ?)", (domain, tag["key"], tag.get("value")))


def _tag_resource(world: World, now: int, p: Params) -> Answer:
    domain = _domain_of_arn(world, p["resourceArn"])
    known = {key for (key,) in world.store.all("SELECT key FROM domain_tags WHERE domain = ?", (domain,))}
    if len(known | {tag["key"] for tag in p["tags"]}) > world.quotas.resource_tags:
        raise too_many_tags()
    _put_tags(world, domain, p["tags"])
    return {}


def _untag_resource(world: World, now: int, p: Params) -> Answer:
    domain = _domain_of_arn(world, p["resourceArn"])
    for key in p["tagKeys"]:
        world.store.write("DELETE FROM domain_tags WHERE domain = ? AND key = ?", (domain, key))
    return {}


def _list_tags(world: World, now: int, p: Params) -> Answer:
    rows = world.store.all("SELECT key, value FROM domain_tags WHERE domain = ? ORDER BY key", (_domain_of_arn(world, p["resourceArn"]),))
    return {"tags": [{"key": key} if value is None else {"key": key, "value": value} for key, value in rows]}


# --- types ----------------------------------------------------------------------------------------------------------


def _register_type(kind: str) -> Operation:
    def register(world: World, now: int, p: Params) -> Answer:
        domain = world.catalogue.domain(p["domain"])
        if domain.status == DEPRECATED:
            raise domain_deprecated(domain.name)
        if world.catalogue.find_type(domain.name, kind, p["name"], p["version"]) is not None:
            raise type_exists(kind, p["name"], p["version"])
        (count,) = world.store.one("SELECT count(*) FROM types WHERE domain = ? AND kind = ?", (domain.name, kind))
        if count >= world.quotas.types:
            raise limit_exceeded(f"Too many {kind} types")
        defaults = {name: value for name, value in p.items() if name.startswith("default") and value not in (None, "")}
        new = Type(domain.name, kind, p["name"], p["version"], REGISTERED, p.get("description"), now, None, defaults)
        world.catalogue.save_type(new)
        return {}

    return register


def _named(world: World, kind: str, p: Params) -> Type:
    world.catalogue.domain(p["domain"])
    named = p[f"{kind}Type"]
    return world.catalogue.type(p["domain"], kind, named["name"], named["version"])


def _type_info(found: Type) -> Answer:
    info: Answer = {
        f"{found.kind}Type": {"name": found.name, "version": found.version},
        "status": found.status,
        "creationDate": found.created / 1000,
    }
    if found.description is not None:
        info["description"] = found.description
    if found.deprecated is not None:
        info["deprecationDate"] = found.deprecated / 1000
    return info


def _describe_type(kind: str) -> Operation:
    def describe(world: World, now: int, p: Params) -> Answer:
        found = _named(world, kind, p)
        return {"configuration": dict(found.defaults), "typeInfo": _type_info(found)}

    return describe


def _list_types(kind: str) -> Operation:
    def listing(world: World, now: int, p: Params) -> Answer:
        domain = world.catalogue.domain(p["domain"]).name
        reverse, name, size = bool(p.get("reverseOrder")), p.get("name"), page_size(p)
        use = "List types " + encode([kind, domain, p["registrationStatus"], name, reverse])
        after = world.tokens.read_page(use, p["nextPageToken"], now) if p.get("nextPageToken") else [None, None]
        beyond, order = ("<", "DESC") if reverse else (">", "ASC")
        rows = world.store.all(
            "SELECT name, version FROM types WHERE domain = ?1 AND kind = ?2 AND status = ?3 AND (?4 IS NULL OR name = ?4) "
            f"AND (?5 IS NULL OR (name, version) {beyond} (?5, ?6)) ORDER BY name {order}, version {order} LIMIT ?7",
            (domain, kind, p["registrationStatus"], name, *after, size + 1),
        )
        answer: Answer = {"typeInfos": [_type_info(world.catalogue.type(domain, kind, *row)) for row in rows[:size]]}
        if len(rows) > size:
            answer["nextPageToken"] = world.tokens.page(use, list(rows[size - 1]), now)
        return answer

    return listing


def _deprecate_type(kind: str) -> Operation:
    def deprecate(world: World, now: int, p: Params) -> Answer:
        found = _named(world, kind, p)
        if found.status == DEPRECATED:
            raise type_deprecated(kind, found.name, found.version)
        world.catalogue.save_type(replace(found, status=DEPRECATED, deprecated=now))
        return {}

    return deprecate


def _undeprecate_type(kind: str) -> Operation:
    def undeprecate(world: World, now: int, p: Params) -> Answer:
        found = _named(world, kind, p)
        if found.status == REGISTERED:
            raise type_exists(kind, found.name, found.version)
        world.catalogue.save_type(replace(found, status=REGISTERED, deprecated=None))
        return {}

    return undeprecate


def _delete_type(kind: str) -> Operation:
    def delete(world: World, now: int, p: Params) -> Answer:
        found = _named(world, kind, p)
        if found.status == REGISTERED:
            raise type_not_deprecated()
        world.catalogue.delete_type(found)
        return {}

    return delete


OPERATIONS: Mapping[str, Operation] = {
    "RegisterDomain": _register_domain,
    "DescribeDomain": _describe_domain,
    "ListDomains": _list_domains,
    "DeprecateDomain": _deprecate_domain,
    "UndeprecateDomain": _undeprecate_domain,
    "TagResource": _tag_resource,
    "UntagResource": _untag_resource,
    "ListTagsForResource": _list_tags,
    "RegisterWorkflowType": _register_type("workflow"),
    "RegisterActivityType": _register_type("activity"),
    "DescribeWorkflowType": _describe_type("workflow"),
    "DescribeActivityType": _describe_type("activity"),
    "ListWorkflowTypes": _list_types("workflow"),
    "ListActivityTypes": _list_types("activity"),
    "DeprecateWorkflowType": _deprecate_type("workflow"),
    "DeprecateActivityType": _deprecate_type("activity"),
    "UndeprecateWorkflowType": _undeprecate_type("workflow"),
    "UndeprecateActivityType": _undeprecate_type("activity"),
    "DeleteWorkflowType": _delete_type("workflow"),
    "DeleteActivityType": _delete_type("activity"),
}
