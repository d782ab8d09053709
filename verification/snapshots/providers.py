"""Providers: scopes that can be kept in a snapshot without an action being about them.

A package above registers its own, such as Grace's configuration, and is not imported from here. A family provides every
scope that begins with its prefix (`files:`), as far as the operator allows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from auditlog.refusals import FieldError, Kind, Refused
from verification.executors.base import Call, SnapshotReader, SnapshotWriter

Take = Callable[[SnapshotWriter], None]
Diff = Callable[[SnapshotReader], str]
Restore = Callable[[SnapshotReader], None]


class UnknownScope(Refused):
    """No provider can keep this scope."""

    code = "unknown_scope"
    kind = Kind.INVALID


@dataclass(frozen=True)
class Provider:
    """How a scope is kept, and how a kept one differs from what is there now (unified diff, "" when equal).

    All raise ExecutorError when the scope cannot be read. Without `restore` it is kept for comparison only. When the
    scope is the target of an action, `call` is one whose executor keeps it and brings it back; then the others are not
    asked.
    """

    scope: str
    take: Take
    diff: Diff
    restore: Restore | None = None
    call: Call | None = None


_providers: dict[str, Provider] = {}
_families: dict[str, Callable[[str], Provider]] = {}


def register(provider: Provider) -> None:
    """Add a provider; a scope registers once."""
    if provider.scope in _providers:
        raise ValueError(f"the scope {provider.scope!r} has a provider already")
    _providers[provider.scope] = provider


def register_family(prefix: str, make: Callable[[str], Provider]) -> None:
    """Add what makes a provider of a scope that begins with `prefix`, or raises UnknownScope."""
    if prefix in _families:
        raise ValueError(f"scopes that begin with {prefix!r} have a provider already")
    _families[prefix] = make


def scopes() -> list[str]:
    """Every scope that can be kept; families as their prefix."""
    return sorted([*_providers, *(f"{prefix}…" for prefix in _families)])


def get(scope: str) -> Provider:
    """The provider of a scope; raises UnknownScope."""
    if found := _providers.get(scope):
        return found
    for prefix, make in _families.items():
        if scope.startswith(prefix):
            return make(scope)
    raise unknown(f"Nothing can keep {scope[:80]!r}; known scopes: {', '.join(scopes()) or 'none'}.")


def unknown(detail: str) -> UnknownScope:
    """A refusal that names the member it is about."""
    return UnknownScope(detail, errors=[FieldError("/scope", UnknownScope.code, detail)])
