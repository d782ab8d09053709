"""Signs of life of the workers, kept in Redis: which queues have somebody listening."""

import threading
import time
from contextlib import suppress
from typing import Any

import redis
from celery.signals import worker_process_init, worker_ready, worker_shutting_down
from django.conf import settings

from grace_site.supervision import leash

KEY = "grace:workers"
EVERY_SECONDS = 3.0
GONE_AFTER_SECONDS = 15.0

_stopping = threading.Event()


def client() -> "redis.Redis | None":
    """A connection to the Redis that carries the messages, or None where the broker is something else."""
    url = settings.REDIS_URL or settings.CELERY_BROKER_URL.replace("redis+socket://", "unix://")
    if not url.startswith(("redis://", "rediss://", "unix://")):
        return None
    return redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)


def listening() -> set[str]:
    """The queues that have a live worker.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    connection = client()
    if connection is None:
        return set()
    with connection:
        members: Any = connection.zrangebyscore(KEY, time.time() - GONE_AFTER_SECONDS, "+inf")
    return {member.decode().partition("@")[0] for member in members}


@worker_ready.connect
def _start(sender: Any, **_: Any) -> None:
    members = [f"{queue}@{sender.hostname}" for queue in sender.app.amqp.queues.consume_from]
    threading.Thread(target=_beat, args=(members,), name="heartbeat", daemon=True).start()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    _stopping.set()


@worker_process_init.connect
def _tie_to_worker(**_: Any) -> None:
    """A pool process whose worker is gone would finish its task with nobody to acknowledge it."""
    import os

    leash.die_with_parent(os.getppid())


def _beat(members: list[str]) -> None:
    connection = client()
    while connection is not None:
        with suppress(redis.RedisError):
            connection.zadd(KEY, {member: time.time() for member in members})
            connection.zremrangebyscore(KEY, "-inf", time.time() - 3600)
        if _stopping.wait(EVERY_SECONDS):
            with suppress(redis.RedisError):
                connection.zrem(KEY, *members)
            return
