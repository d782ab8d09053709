"""What a piece of work belongs to, bound once for log lines and facts alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

_cause: ContextVar[UUID | None] = ContextVar("auditlog_cause", default=None)


@dataclass(frozen=True)
class Context:
    """The ids that travel with a piece of work."""

    correlation_id: str | None = None
    contract_id: UUID | None = None
    mission_id: UUID | None = None


class ObservabilityContext:
    """Binds ids for the duration of a `with` block; ids that are None leave the outer binding alone."""

    def __init__(
        self,
        correlation_id: str | None = None,
        contract_id: UUID | str | None = None,
        mission_id: UUID | str | None = None,
        **extra: object,
    ) -> None:
        ids = {"correlation_id": correlation_id, "contract_id": contract_id, "mission_id": mission_id}
        self._bound = {name: str(value) for name, value in ids.items() if value is not None}
        self._bound |= {name: value for name, value in extra.items() if value is not None}  # type: ignore[misc]
        self._tokens: list[Mapping[str, Any]] = []

    def __enter__(self) -> Context:
        self._tokens.append(structlog.contextvars.bind_contextvars(**self._bound))
        return current()

    def __exit__(self, *_: object) -> None:
        structlog.contextvars.reset_contextvars(**self._tokens.pop())


def current() -> Context:
    """The ids bound around here. A web request's id serves where no correlation id was bound."""
    bound = structlog.contextvars.get_contextvars()
    correlation = bound.get("correlation_id") or bound.get("request_id")
    return Context(
        correlation_id=str(correlation) if correlation else None,
        contract_id=_uuid(bound.get("contract_id")),
        mission_id=_uuid(bound.get("mission_id")),
    )


@contextmanager
def caused_by(entry_id: UUID | None) -> Iterator[None]:
    """Entries appended inside name `entry_id` as what led to them (None: nothing), unless told otherwise."""
    token = _cause.set(entry_id)
    try:
        yield
    finally:
        _cause.reset(token)


def cause() -> UUID | None:
    """The entry that led to what is being done now, if known."""
    return _cause.get()


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(str(value)) if value else None
    except ValueError:
        return None
