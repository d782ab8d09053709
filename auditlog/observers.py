"""Whoever only counts: told of entries once they are committed, and never able to make a change fail.

This is not the mesh: an observer is told once, in the process that wrote, and a crash forgets it. Metrics live here;
nothing that must happen does.
"""

from collections.abc import Callable, Sequence

import structlog

from auditlog.models import Entry

logger = structlog.get_logger(__name__)

Observer = Callable[[Sequence[Entry]], None]

_observers: list[Observer] = []


def watch(observer: Observer) -> None:
    """Have `observer` told of entries once their transaction is committed."""
    if observer not in _observers:
        _observers.append(observer)


def on_commit(entries: Sequence[Entry]) -> None:
    """Tell every observer of committed entries. Never raises."""
    for observer in _observers:
        try:
            observer(entries)
        except Exception:
            logger.exception("observer_failed", observer=getattr(observer, "__qualname__", repr(observer)))
