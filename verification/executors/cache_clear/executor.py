"""`cache.clear`: delete the keys of a listed cache that begin with a prefix, after dumping them."""

from __future__ import annotations

import time
from typing import Any

import redis

from auditlog.refusals import FieldError
from verification.executors import observed
from verification.executors.base import (
    Call,
    ExecutionResult,
    ExecutorError,
    Observation,
    Preview,
    Reversibility,
    Run,
    SnapshotReader,
    SnapshotWriter,
    Status,
)
from verification.executors.cache_clear import keys
from verification.executors.cache_clear.listed import CACHES, Cache
from verification.executors.cache_clear.schema import EXAMPLE, SCHEMA
from verification.executors.targets import ForTarget
from verification.json_schemas import Schema

LOOK_SECONDS = 4.0
MARGIN_SECONDS = 5.0
MARKER = "grace:cache.clear:"
"""`grace:cache.clear:<contract>` is written before the first key is deleted: without it, none was deleted by it."""
MARKER_SECONDS = 7 * 24 * 3600
_ITEM = "dump"


class CacheClear(ForTarget[Cache]):
    """Deletes keys by prefix; the way back is the dump of them, with their times to live."""

    action_type = "cache.clear"
    version = "1"
    title = "Clear a listed cache"
    schema: dict[str, Any] = SCHEMA
    criteria = ("state_match", "health_check", "metric_threshold", "benchmark", "expression")
    example: dict[str, Any] = EXAMPLE
    retryable = True
    restore_is_repeatable = True
    table = CACHES
    parameter = "cache"
    compiled = Schema(SCHEMA)

    def check_more(self, call: Call, entry: Cache) -> list[FieldError]:
        """The prefix is one of those that are listed, or longer, and does not reach Grace's own keys."""
        prefix, at = call.parameters["prefix"], "/parameters/prefix"
        if not entry.allows(prefix):
            return [FieldError(at, "prefix_not_allowed", f"It begins with no prefix listed for {entry.name}.")]
        if MARKER.startswith(prefix) or prefix.startswith(MARKER):
            return [FieldError(at, "prefix_not_allowed", f"Keys that begin with {MARKER!r} are Grace's own.")]
        return []

    def reversibility(self, call: Call) -> Reversibility:
        """What is deleted was dumped before."""
        return Reversibility.REVERSIBLE

    def deadline_seconds(self, call: Call) -> float:
        """The cache's own time limit for dumping, and the same for deleting."""
        return 2 * self.entry(call).timeout_seconds + MARGIN_SECONDS

    def observe(self, call: Call) -> Observation:
        """How many keys begin with the prefix, and whether this contract has begun to delete any."""
        cache, prefix = self.entry(call), call.parameters["prefix"]
        with keys.connected(cache, LOOK_SECONDS) as client:
            found = keys.find(client, prefix, limit=cache.max_keys)
            begun = bool(client.exists(_marker(call)))
        return observed.now({"prefix": prefix, "keys": len(found), "begun": begun})

    def fingerprint(self, observation: Observation) -> str:
        """Over the prefix: a cache in use is never as it was a moment ago, and its size is nobody's decision."""
        return observed.digest(observation.state["prefix"])

    def untouched(self, call: Call, baseline: Observation, observation: Observation) -> bool:
        """No key was deleted by this contract, whatever the cache's users did to theirs."""
        return not observation.state["begun"]

    def is_back(
        self, call: Call, baseline: Observation, observation: Observation, snapshot: SnapshotReader | None
    ) -> bool:
        """Every key of the dump whose time has not come is there."""
        if snapshot is None:
            return False
        cache, dump = self.entry(call), keys.read(snapshot.read(_ITEM))
        with keys.connected(cache, cache.timeout_seconds) as client:
            living = _living(dump, keys.milliseconds(client))
            return keys.missing(client, (key.name for key in living)) == 0

    def preview(self, call: Call, observation: Observation) -> Preview:
        """How many keys would be deleted. Their names are not shown: the name of a session is a secret."""
        cache, state = self.entry(call), observation.state
        lines = [
            f"delete the keys of {cache.name} that begin with {state['prefix']!r}",
            f"now: {state['keys']} keys",
            "way back: the keys as they were dumped before; what is written meanwhile stays",
        ]
        return Preview("text", observed.storable("\n".join(lines)), f"delete {state['keys']} keys of {cache.name}")

    def snapshot(self, call: Call, store: SnapshotWriter) -> None:
        """Every key that begins with the prefix: value and expiry."""
        cache, prefix = self.entry(call), call.parameters["prefix"]
        with keys.connected(cache, cache.timeout_seconds) as client:
            names = keys.find(client, prefix, limit=cache.max_keys)
            dump = list(keys.dumped(client, names, limit_bytes=cache.max_dump_mb * 2**20))
        store.add_bytes(_ITEM, keys.written(dump), {"cache": cache.name, "prefix": prefix, "keys": len(dump)})

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Delete them, some at a time."""
        work = _Work(run, deleting=True)
        try:
            cache = self.entry(call)
            with keys.connected(cache, run.deadline_seconds) as client:
                names = keys.find(client, call.parameters["prefix"], limit=cache.max_keys)
                for some in keys.batches(names, keys.DELETE_COUNT):
                    work.go_on()
                    work.begin(client, call)
                    work.count("deleted", keys.deleted(client, some))
        except ExecutorError as problem:
            return work.failure(problem)
        return work.success()

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Write back what is missing of the dump, unless its time has come."""
        work = _Work(run, deleting=False)
        try:
            dump = keys.read(snapshot.read(_ITEM))
            with keys.connected(self.entry(call), run.deadline_seconds) as client:
                living = _living(dump, keys.milliseconds(client))
                work.count("expired", len(dump) - len(living))
                for some in keys.batches(living, keys.DUMP_COUNT):
                    work.go_on()
                    work.begin(client, call)
                    back, kept = keys.brought_back(client, some)
                    work.count("restored", back)
                    work.count("kept", kept)
        except KeyError:
            return ExecutionResult.failure("The snapshot holds no dump.")
        except ExecutorError as problem:
            return work.failure(problem)
        return work.success()


class _Work:
    """What one run has done so far, and whether it may go on."""

    def __init__(self, run: Run, *, deleting: bool) -> None:
        self.run, self.began = run, time.monotonic()
        self.counts = {"deleted": 0} if deleting else {"restored": 0, "kept": 0, "expired": 0}
        self.begun = False

    def go_on(self) -> None:
        """Raise ExecutorError when it was cancelled or its time is up."""
        if self.run.cancelled():
            raise ExecutorError("Cancelled." if self.begun else "Cancelled before anything was done.")
        if time.monotonic() - self.began > self.run.deadline_seconds - MARGIN_SECONDS:
            raise keys.Late("Its time was up.")

    def begin(self, client: redis.Redis, call: Call) -> None:
        """Leave the mark that tells others that something was done."""
        if not self.begun:
            self.begun = True
            client.set(_marker(call), self.run.token, ex=MARKER_SECONDS)

    def count(self, what: str, number: int) -> None:
        """Add to what was done."""
        self.counts[what] += number

    def success(self) -> ExecutionResult:
        """It was all done."""
        return ExecutionResult.success(dict(self.counts), metrics=dict(self.counts), duration_ms=self._duration_ms)

    def failure(self, problem: ExecutorError) -> ExecutionResult:
        """It was done in part, or not at all."""
        status = Status.TIMEOUT if isinstance(problem, keys.Late) else Status.FAILED
        return ExecutionResult.failure(
            str(problem),
            result=dict(self.counts),
            duration_ms=self._duration_ms,
            status=status,
            retryable=not self.begun,
        )

    @property
    def _duration_ms(self) -> int:
        return int((time.monotonic() - self.began) * 1000)


def _living(dump: list[keys.Key], now: int) -> list[keys.Key]:
    """The keys whose time has not come."""
    return [key for key in dump if key.expires is None or key.expires > now]


def _marker(call: Call) -> str:
    return f"{MARKER}{call.contract_id or 'nobody'}"
