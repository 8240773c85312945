"""Domains and types, as the engine looks them up while it applies a decision.

Rule 1: rows are read once and kept; whoever changes one writes it through here.
Rule 2: a type's `defaults` have the members of its configuration on the wire (`defaultTaskList`, …); a default that was not given is
        absent and has no fallback.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flowdsl.engine.codec import decode, encode
from flowdsl.engine.faults import unknown_domain, unknown_type

if TYPE_CHECKING:
    from flowdsl.engine.store import Store

REGISTERED, DEPRECATED = "REGISTERED", "DEPRECATED"


@dataclass(frozen=True, slots=True)
class Domain:
    """A registered or deprecated domain; `retention` is the text that was given, `retention_days` its number."""

    name: str
    status: str
    description: str | None
    retention_days: int
    retention: str


@dataclass(frozen=True, slots=True)
class Type:
    """A workflow or activity type (`kind` is "workflow" or "activity"); times in milliseconds."""

    domain: str
    kind: str
    name: str
    version: str
    status: str
    description: str | None
    created: int
    deprecated: int | None
    defaults: dict[str, Any]


class Catalogue:
    """What is registered."""

    __slots__ = ("_domains", "_store", "_types")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._domains: dict[str, Domain] = {}
        self._types: dict[tuple[str, str, str, str], Type] = {}

    def forget(self) -> None:
        """Read everything again from the file."""
        self._domains.clear()
        self._types.clear()

    def find_domain(self, name: str) -> Domain | None:
        """The domain, or None."""
        domain = self._domains.get(name)
        if domain is None:
            row = self._store.one("SELECT name, status, description, retention_days, retention FROM domains WHERE name = ?", (name,))
            if row is not None:
                domain = self._domains[name] = Domain(*row)
        return domain

    def domain(self, name: str) -> Domain:
        """The domain. Raises `Fault` UnknownResourceFault."""
        domain = self.find_domain(name)
        if domain is None:
            raise unknown_domain(name)
        return domain

    def save_domain(self, domain: Domain) -> None:
        """Write a new or changed domain."""
        self._store.write(
            "INSERT OR REPLACE INTO domains VALUES (?, ?, ?, ?, ?)",
            (domain.name, domain.status, domain.description, domain.retention_days, domain.retention),
        )
        self._domains[domain.name] = domain

    def find_type(self, domain: str, kind: str, name: str, version: str) -> Type | None:
        """The type, or None."""
        key = domain, kind, name, version
        found = self._types.get(key)
        if found is None:
            row = self._store.one(
                "SELECT status, description, created, deprecated, defaults FROM types "
                "WHERE domain = ? AND kind = ? AND name = ? AND version = ?",
                key,
            )
            if row is not None:
                status, description, created, deprecated, defaults = row
                found = Type(domain, kind, name, version, status, description, created, deprecated, decode(defaults))
                self._types[key] = found
        return found

    def type(self, domain: str, kind: str, name: str, version: str) -> Type:
        """The type. Raises `Fault` UnknownResourceFault."""
        found = self.find_type(domain, kind, name, version)
        if found is None:
            raise unknown_type(kind, name, version)
        return found

    def save_type(self, changed: Type) -> None:
        """Write a new or changed type."""
        self._store.write(
            "INSERT OR REPLACE INTO types VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                changed.domain, changed.kind, changed.name, changed.version, changed.status, changed.description,
                changed.created, changed.deprecated, encode(changed.defaults),
            ),
        )  # fmt: skip
        self._types[changed.domain, changed.kind, changed.name, changed.version] = changed

    def delete_type(self, gone: Type) -> None:
        """Forget a type for good."""
        key = gone.domain, gone.kind, gone.name, gone.version
        self._store.write("DELETE FROM types WHERE domain = ? AND kind = ? AND name = ? AND version = ?", key)
        self._types.pop(key, None)

    def deprecate_all(self, domain: str, now: int) -> None:
        """Deprecate every registered type of a domain, as DeprecateDomain does."""
        self._store.write(
            "UPDATE types SET status = ?, deprecated = ? WHERE domain = ? AND status = ?", (DEPRECATED, now, domain, REGISTERED)
        )
        for key, known in list(self._types.items()):
            if key[0] == domain and known.status == REGISTERED:
                self._types[key] = replace(known, status=DEPRECATED, deprecated=now)
