"""Keys of a Redis: found, dumped, deleted and brought back, a bounded number at a time."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from verification.executors import observed
from verification.executors.base import ExecutorError
from verification.executors.cache_clear.listed import Cache

ANSWER_SECONDS = 3.0
SCAN_COUNT, DUMP_COUNT, DELETE_COUNT = 2_000, 200, 500

T = TypeVar("T")


@dataclass(frozen=True)
class Key:
    """A key as it was dumped: its name, the server's serialisation of its value, and its expiry (ms, Unix time)."""

    name: bytes
    value: bytes
    expires: int | None


class Late(ExecutorError):
    """The time was up."""


class _Line:
    """The one connection of a piece of work: hung up when its time is up, and not made anew."""

    def __init__(self) -> None:
        self.over = False
        self._socket: socket.socket | None = None

    def greet(self, connection: Any) -> None:
        """What redis-py does once it is connected."""
        again, self._socket = self._socket is not None, connection._sock
        if again or self.over:
            raise redis.ConnectionError("The connection was lost.")
        connection.on_connect()

    def hang_up(self) -> None:
        """End what is being waited for."""
        self.over = True
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


@contextmanager
def connected(cache: Cache, seconds: float) -> Iterator[redis.Redis]:
    """A connection for as many seconds; raises ExecutorError, also for what goes wrong in the block, and Late."""
    if seconds <= 0:
        raise Late("Its time was up.")
    client: redis.Redis | None = None
    line = _Line()
    end = threading.Timer(seconds, line.hang_up)
    end.daemon = True
    end.start()
    try:
        client = redis.Redis.from_url(
            cache.address,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=min(ANSWER_SECONDS, seconds),
            # What was sent may have had its effect; whether to send it again is not the library's to decide.
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=line.greet,
        )
        yield client
    except ExecutorError:
        raise
    except Exception as problem:  # noqa: BLE001 - what a strange server answers breaks the library anywhere
        if line.over:
            raise Late(f"The cache {cache.name} was not through within {seconds:g} s.") from None
        said = observed.storable(str(problem))[:200]
        raise ExecutorError(f"The cache {cache.name} did not do as asked: {type(problem).__name__}: {said}") from None
    finally:
        end.cancel()
        if client is not None:
            client.close()


def find(client: redis.Redis, prefix: str, *, limit: int) -> list[bytes]:
    """The keys that begin with the prefix, sorted; raises ExecutorError when there are more."""
    begins, found, cursor = prefix.encode(), set[bytes](), 0
    while True:
        cursor, names = _scanned(client, cursor, begins)
        found.update(name for name in names if name.startswith(begins))
        if len(found) > limit:
            raise ExecutorError(f"More than {limit} keys begin with {prefix!r}.")
        if cursor == 0:
            return sorted(found)


def _scanned(client: redis.Redis, cursor: int, begins: bytes) -> tuple[int, list[bytes]]:
    answer: Any = client.scan(cursor, match=begins + b"*", count=SCAN_COUNT)
    return answer[0], answer[1]


def dumped(client: redis.Redis, names: Iterable[bytes], *, limit_bytes: int) -> Iterator[Key]:
    """These keys with their values and expiries; raises ExecutorError when they are larger."""
    size = 0
    for some in batches(names, DUMP_COUNT):
        size += sum(each or 0 for each in _asked(client, some, lambda pipe, name: pipe.memory_usage(name)))
        if size > limit_bytes:
            raise ExecutorError(f"The keys hold more than {limit_bytes // 2**20} MB, more than would be brought back.")
        now = milliseconds(client)
        lives = _asked(client, some, lambda pipe, name: pipe.pttl(name))
        values = _asked(client, some, lambda pipe, name: pipe.dump(name))
        for name, value, life in zip(some, values, lives, strict=True):
            if value is not None:  # it can expire between the two questions
                yield Key(name, value, now + life if life >= 0 else None)


def deleted(client: redis.Redis, names: Collection[bytes]) -> int:
    """Delete these keys; answers how many there still were."""
    count: Any = client.unlink(*names) if names else 0
    return int(count)


def brought_back(client: redis.Redis, keys: Collection[Key]) -> tuple[int, int]:
    """Write keys back that are not there, with the expiry they had; answers how many were written and how many kept.

    A key that was written anew meanwhile is newer than the dump, and stays.
    """
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.restore(key.name, key.expires or 0, key.value, absttl=key.expires is not None)
    answers = pipe.execute(raise_on_error=False)
    kept = [each for each in answers if isinstance(each, redis.ResponseError) and "BUSYKEY" in str(each)]
    for each in answers:
        if isinstance(each, Exception) and each not in kept:
            raise each
    return len(answers) - len(kept), len(kept)


def missing(client: redis.Redis, names: Iterable[bytes]) -> int:
    """How many of these keys are not there."""
    return sum(
        not there for some in batches(names, DELETE_COUNT) for there in _asked(client, some, lambda p, n: p.exists(n))
    )


def milliseconds(client: redis.Redis) -> int:
    """The server's clock, by which keys expire."""
    seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) // 1000


def written(keys: Iterable[Key]) -> bytes:
    """Keys as lines of JSON."""
    return b"".join(
        json.dumps([_text(key.name), _text(key.value), key.expires], separators=(",", ":")).encode() + b"\n"
        for key in keys
    )


def read(data: bytes) -> list[Key]:
    """The keys of `written`."""
    lines = (json.loads(line) for line in data.splitlines())
    return [Key(base64.b64decode(name), base64.b64decode(value), expires) for name, value, expires in lines]


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items, some at a time."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _asked(client: redis.Redis, names: Iterable[bytes], ask: Callable[[Any, bytes], object]) -> list[Any]:
    pipe = client.pipeline(transaction=False)
    for name in names:
        ask(pipe, name)
    return pipe.execute()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
