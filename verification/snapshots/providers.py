"""Providers: scopes that can be kept in a snapshot without an action being about them.

A package above registers its own, such as Grace's configuration, and is not imported from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from auditlog.refusals import FieldError, Kind, Refused
from verification.executors.base import SnapshotReader, SnapshotWriter

Take = Callable[[SnapshotWriter], None]
Diff = Callable[[SnapshotReader], str]


class UnknownScope(Refused):
    """No provider can keep this scope."""

    code = "unknown_scope"
    kind = Kind.INVALID


@dataclass(frozen=True)
class Provider:
    """How a scope is kept, and how a kept one differs from what is there now (unified diff, "" when equal)."""

    scope: str
    take: Take
    diff: Diff


_providers: dict[str, Provider] = {}


def register(provider: Provider) -> None:
    """Add a provider; a scope registers once."""
    if provider.scope in _providers:
        raise ValueError(f"the scope {provider.scope!r} has a provider already")
    _providers[provider.scope] = provider


def scopes() -> list[str]:
    """Every scope that can be kept."""
    return sorted(_providers)


def get(scope: str) -> Provider:
    """The provider of a scope; raises UnknownScope."""
    try:
        return _providers[scope]
    except KeyError:
        detail = f"Nothing can keep {scope[:80]!r}; known scopes: {', '.join(scopes()) or 'none'}."
        raise UnknownScope(detail, errors=[FieldError("/scope", UnknownScope.code, detail)]) from None


def provide(scope: str, writer: SnapshotWriter) -> None:
    """Write everything of a scope."""
    get(scope).take(writer)
