"""Waiting for a contract to settle, within a request.

A waiting request holds a thread and nothing else: no transaction, and no connection between two looks. At most
`AT_ONCE` wait in one process; whoever comes after them is answered at once with the state as it is. Programs that
wait for long are better served by the event stream or a callback.
"""

from __future__ import annotations

import threading
import time
from uuid import UUID

from django.db import connection

from verification.models import Contract

MAX_SECONDS = 60
AT_ONCE = 16
FIRST_LOOK_SECONDS = 0.1
LAST_LOOK_SECONDS = 1.0

_places = threading.BoundedSemaphore(AT_ONCE)


def until_settled(contract_id: UUID, *, seconds: float) -> bool:
    """Return when the contract has settled, or after `seconds`; whether it has."""
    if seconds <= 0 or not _places.acquire(blocking=False):
        return _settled(contract_id)
    try:
        return _look(contract_id, time.monotonic() + min(seconds, MAX_SECONDS))
    finally:
        _places.release()


def _look(contract_id: UUID, deadline: float) -> bool:
    pause = FIRST_LOOK_SECONDS
    while not (settled := _settled(contract_id)) and (left := deadline - time.monotonic()) > 0:
        if not connection.in_atomic_block:
            connection.close()
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LAST_LOOK_SECONDS)
    return settled


def _settled(contract_id: UUID) -> bool:
    return Contract.objects.filter(pk=contract_id, settled_at__isnull=False).exists()
