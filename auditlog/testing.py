"""What tests need from the owner's side of the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connections

from . import triggers


@contextmanager
def flushable(using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """Lift the append-only triggers, so that a transactional test can be flushed, and restore them."""
    connection = connections[using]
    triggers.remove(connection)
    try:
        yield
    finally:
        triggers.install(connection)
