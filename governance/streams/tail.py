"""One thread per web process which follows the log and hands new facts to the streams that are open here.

It runs while somebody listens, and asks the database once a second; nothing else has to be up. It keeps no cursor: a
stream that missed something reads it from the log. Nothing here can stop a verb.
"""

from __future__ import annotations

import threading
import time

import structlog
from django.db import connections
from django_eventstream.views import get_listener_manager

from governance.streams import storage
from governance.streams.channels import Channel
from governance.streams.sight import Viewer, viewer_of

POLL_SECONDS = 1.0
IDLE_SECONDS = 15.0
TROUBLE_SECONDS = 5.0
SIGHT_SECONDS = 30.0

logger = structlog.get_logger(__name__)

_lock = threading.Lock()
_running: threading.Thread | None = None


def follow() -> None:
    """Make sure that the tail runs. What is sequenced after this call reaches every stream that is open."""
    global _running  # noqa: PLW0603 - one tail per process
    with _lock:
        if _running is None or not _running.is_alive():
            _running = threading.Thread(target=_supervise, args=(storage.newest_index(),), name="log-tail", daemon=True)
            _running.start()


def _supervise(index: int) -> None:
    """Follow until nobody listens; trouble is logged and tried again from the same place."""
    tail = _Tail(index)
    while True:
        try:
            tail.step()
            pause = POLL_SECONDS
        except Exception:
            # Whatever it is (a database that went away), the streams stay open and are served when it is back.
            logger.exception("stream.tail_failed", index=tail.index)
            connections.close_all()
            pause = TROUBLE_SECONDS
        if _ends(tail):
            break
        time.sleep(pause)
    connections.close_all()


def _ends(tail: _Tail) -> bool:
    global _running  # noqa: PLW0603 - one tail per process
    with _lock:
        if not tail.idle():
            return False
        # Under the lock, so that a stream opened now starts the next tail.
        _running = None
        return True


class _Tail:
    """Where the tail is, and what the viewers it serves may see."""

    def __init__(self, index: int) -> None:
        self.index = index
        self._busy_at = time.monotonic()
        self._sights: dict[int, tuple[float, Viewer]] = {}

    def step(self) -> None:
        """Hand everything new to the channels that want it."""
        manager = get_listener_manager()
        channels = [Channel.parse(name) for name in list(manager.listeners_by_channel)]
        if channels:
            self._busy_at = time.monotonic()
        while batch := storage.after(self.index, storage.BATCH):
            for channel in channels:
                for event in storage.select(channel, self._sight(channel.user_id), batch):
                    manager.add_to_queues(str(channel), event)
            self.index = batch[-1][0]

    def idle(self) -> bool:
        """Whether nobody has listened for a while."""
        return time.monotonic() - self._busy_at > IDLE_SECONDS

    def _sight(self, user_id: int) -> Viewer:
        from django.contrib.auth import get_user_model

        read_at, viewer = self._sights.get(user_id, (0.0, None))
        if viewer is None or time.monotonic() - read_at > SIGHT_SECONDS:
            viewer = viewer_of(get_user_model().objects.filter(pk=user_id).first())
            self._sights[user_id] = (time.monotonic(), viewer)
        return viewer
