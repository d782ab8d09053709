"""A nudge through Redis, so that a stream need not wait for the next poll. Without Redis, polling is all there is."""

from __future__ import annotations

import threading
from typing import Any

import redis

CHANNEL = "grace:log"
RECONNECT_SECONDS = 5.0


class Woken:
    """An event that can also be set by a message; it never blocks longer than asked, whatever Redis does."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._stopped = threading.Event()

    def wait(self, seconds: float) -> None:
        """Return when woken, or after `seconds`."""
        self._event.wait(seconds)

    def clear(self) -> None:
        """Wait for the next one."""
        self._event.clear()

    def set(self) -> None:
        """Wake whoever waits."""
        self._event.set()

    def stop(self) -> None:
        """End the listening thread, at the latest at its next time-out."""
        self._stopped.set()

    def stopped(self, seconds: float = 0) -> bool:
        """Whether it was stopped, waiting up to `seconds` for it."""
        return self._stopped.wait(seconds)


def listen(url: str) -> Woken:
    """Start listening on Redis at `url`, in a thread; with an empty url, nothing but the polling wakes."""
    woken = Woken()
    if url:
        threading.Thread(target=_listen, args=(url, woken), name="log-wake", daemon=True).start()
    return woken


def nudge(url: str) -> None:
    """Tell every tail that there is something new. Failing is fine: they poll."""
    if not url:
        return
    try:
        with _client(url) as client:
            client.publish(CHANNEL, b"")
    except redis.RedisError:
        return


def _listen(url: str, woken: Woken) -> None:
    while not woken.stopped():
        try:
            with _client(url) as client, client.pubsub(ignore_subscribe_messages=True) as pubsub:
                pubsub.subscribe(CHANNEL)
                while not woken.stopped():
                    if pubsub.get_message(timeout=10.0) is not None:
                        woken.set()
        except (redis.RedisError, OSError):
            woken.stopped(RECONNECT_SECONDS)


def _client(url: str) -> Any:
    return redis.Redis.from_url(url, socket_connect_timeout=1.0, socket_timeout=15.0)
