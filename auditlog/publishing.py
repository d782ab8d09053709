"""Telling Celery. Only ids travel, only after commit, and a dead broker never fails whoever told it."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable

import structlog
from celery import current_app
from django.db import transaction

logger = structlog.get_logger(__name__)

# After a failed publish nothing is tried for this long: sweeps and beats bring what was not sent.
PAUSE_SECONDS = 5.0
_paused_until = 0.0


def send(task: str, *, queue: str, **arguments: object) -> bool:
    """Publish a task now. Returns whether the broker took it; never raises for a broker that is not there."""
    global _paused_until  # noqa: PLW0603 - one broker for each process, one memory of its failure
    if not has_broker() or time.monotonic() < _paused_until:
        return False
    try:
        current_app.send_task(task, kwargs=arguments, queue=queue, ignore_result=True)
    except Exception as error:  # noqa: BLE001 - kombu raises whatever its transport raises
        _paused_until = time.monotonic() + PAUSE_SECONDS
        logger.warning("broker_unreachable", task=task, error=type(error).__name__)
        return False
    return True


def send_on_commit(task: str, *, queue: str, **arguments: object) -> None:
    """Publish a task once the transaction around is committed (at once when there is none)."""
    transaction.on_commit(functools.partial(send, task, queue=queue, **arguments))


def send_later(seconds: float, task: str, *, queue: str, **arguments: object) -> None:
    """Publish a task from this process in a while, if it is still there then; a sweep brings what it forgets."""
    if has_broker():
        timer = threading.Timer(seconds, functools.partial(send, task, queue=queue, **arguments))
        timer.daemon = True
        timer.start()


def has_broker() -> bool:
    """Whether there is a broker to tell, reachable or not; commands and tests may do without."""
    url = str(current_app.conf.broker_write_url or current_app.conf.broker_url or "")
    return bool(url) and not url.startswith("memory:")


class Nudge:
    """Sends a task at most once in `seconds`: at the first call, and once more at the end if others followed."""

    def __init__(self, task: str, *, queue: str, seconds: float = 0.1) -> None:
        self._send: Callable[[], object] = functools.partial(send, task, queue=queue)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._last = 0.0
        self._timer: threading.Timer | None = None

    def __call__(self) -> None:
        with self._lock:
            if self._timer is not None or not has_broker():
                return
            wait = self._last + self._seconds - time.monotonic()
            if wait > 0:
                self._timer = threading.Timer(wait, self._fire)
                self._timer.daemon = True
                self._timer.start()
                return
            self._last = time.monotonic()
        self._send()

    def _fire(self) -> None:
        with self._lock:
            self._timer = None
            self._last = time.monotonic()
        self._send()
