"""What an executor is: the Protocol every adapter satisfies, and the values that pass through it.

An executor is a trusted adapter to one kind of system. It says what its parameters may be, how far an action
can be taken back, what the target looks like now, and it carries the action out. It never decides whether the
action worked: that is measured against the observed world afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable
from uuid import UUID

from auditlog.refusals import FieldError

JsonDict = dict[str, Any]

DEFAULT_DEADLINE_SECONDS = 60.0


class Reversibility(StrEnum):
    """How far an action can be taken back; trusted, because the executor says it and not the proposal."""

    READ_ONLY = "read_only"
    REVERSIBLE = "reversible"
    EXTERNALLY_REVERSIBLE = "externally_reversible"
    IRREVERSIBLE = "irreversible"


class Status(StrEnum):
    """How an execution ended, as the executor saw it."""

    SUCCESS = "success"
    FAILED = "failed"
    PARTIAL = "partial"
    ROLLED_BACK = "rolled_back"
    PENDING = "pending"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"


class ExecutorError(Exception):
    """The world could not be read or changed as asked; the text is meant for people and holds no secrets."""


@dataclass(frozen=True)
class Call:
    """One action as it was proposed and approved, and the fencing token it runs under (0: not running).

    `edition` is what was authorized, when the call is about to act: an executor that has become another since then
    refuses. It is empty while the call only looks.
    """

    action_type: str
    target: str
    parameters: Mapping[str, Any]
    token: int = 0
    contract_id: UUID | None = None
    edition: str = ""


@dataclass(frozen=True)
class Observation:
    """What the target looked like at a moment: JSON, and an aware UTC time."""

    state: JsonDict
    at: datetime

    def as_dict(self) -> JsonDict:
        """The observation as JSON."""
        return {"state": self.state, "at": self.at.isoformat()}


@dataclass(frozen=True)
class Preview:
    """What the action would do, for a reviewer: a body of the given kind and a one-line summary."""

    kind: Literal["diff", "text", "json"]
    body: str
    summary: str

    def as_dict(self) -> JsonDict:
        """The preview as JSON."""
        return {"kind": self.kind, "body": self.body, "summary": self.summary}


def never_cancelled() -> bool:
    """The `cancelled` of a run nobody can cancel."""
    return False


def no_progress(percent: int, message: str) -> None:
    """The `progress` of a run nobody watches."""


@dataclass(frozen=True)
class Run:
    """One attempt: its deadline in seconds, its fencing token, and two callbacks into whoever runs it."""

    deadline_seconds: float = 60.0
    token: int = 0
    cancelled: Callable[[], bool] = never_cancelled
    progress: Callable[[int, str], None] = no_progress


@dataclass(frozen=True)
class Offer:
    """Work for somebody else: what it is, which agents (by name) may claim it, and the times in seconds.

    It must be claimed within `claim_seconds`; its agent must be heard of every `heartbeat_seconds`.
    """

    name: str
    arguments: JsonDict
    agents: tuple[str, ...]
    claim_seconds: float
    heartbeat_seconds: float


@dataclass(frozen=True)
class ExecutionResult:
    """What an executor reports. `retryable` says that nothing can have happened, so a retry is safe.

    With an `offer` nothing was done yet: the work goes to an external agent, which reports what came of it. With the
    status `unknown` it is not taken for an ending: the attempt is in doubt, as after a lost worker.
    """

    ok: bool
    status: Status
    result: JsonDict = field(default_factory=dict)
    error: str | None = None
    error_resolved: bool = False
    metrics: JsonDict = field(default_factory=dict)
    duration_ms: int = 0
    retryable: bool = False
    offer: Offer | None = None

    @classmethod
    def pending(cls, offer: Offer) -> ExecutionResult:
        """The work is for an external agent, and nothing has happened."""
        return cls(False, Status.PENDING, offer=offer)

    @classmethod
    def success(
        cls,
        result: JsonDict | None = None,
        *,
        metrics: JsonDict | None = None,
        duration_ms: int = 0,
        error_resolved: bool = False,
    ) -> ExecutionResult:
        """The action was carried out."""
        return cls(True, Status.SUCCESS, result or {}, None, error_resolved, metrics or {}, duration_ms=duration_ms)

    @classmethod
    def failure(
        cls,
        error: str,
        *,
        result: JsonDict | None = None,
        metrics: JsonDict | None = None,
        duration_ms: int = 0,
        status: Status = Status.FAILED,
        retryable: bool = False,
    ) -> ExecutionResult:
        """The action was not carried out, or nobody knows (status `timeout`)."""
        return cls(
            False,
            status,
            result or {},
            error,
            metrics=metrics or {},
            duration_ms=duration_ms,
            retryable=retryable,
        )

    @classmethod
    def unknown(cls, error: str) -> ExecutionResult:
        """The executor lost sight of its work: nobody knows how far it came, or whether it still goes on.

        Until the call's deadline only success is believed; after it, what is observed is taken for the end.
        """
        return cls(False, Status.UNKNOWN, error=error)

    @classmethod
    def partial(
        cls,
        error: str,
        *,
        result: JsonDict | None = None,
        metrics: JsonDict | None = None,
        duration_ms: int = 0,
    ) -> ExecutionResult:
        """Part of the action was carried out."""
        return cls(False, Status.PARTIAL, result or {}, error, metrics=metrics or {}, duration_ms=duration_ms)

    @classmethod
    def from_dict(cls, told: JsonDict) -> ExecutionResult:
        """What `as_dict` gave."""
        return cls(**{**told, "status": Status(told["status"])})

    def as_dict(self) -> JsonDict:
        """The one form of a result in the log, on the contract and in the API."""
        return {
            "ok": self.ok,
            "status": self.status.value,
            "result": self.result,
            "error": self.error,
            "error_resolved": self.error_resolved,
            "metrics": self.metrics,
            "duration_ms": self.duration_ms,
        }


@dataclass(frozen=True)
class SnapshotItem:
    """One thing kept in a snapshot: its name, digest, size in bytes, and its provider's notes."""

    name: str
    sha256: str
    size: int
    meta: JsonDict = field(default_factory=dict)


class SnapshotWriter(Protocol):
    """Where an executor puts what it needs to find its way back."""

    def add_bytes(self, name: str, data: bytes, meta: JsonDict | None = None) -> SnapshotItem:
        """Keep these bytes under this name."""
        ...

    def add_file(self, path: Path, *, name: str = "", meta: JsonDict | None = None) -> SnapshotItem:
        """Keep a file byte for byte."""
        ...


class SnapshotReader(Protocol):
    """A verified snapshot: signature and every hash were checked before an executor sees it."""

    def items(self) -> Iterator[SnapshotItem]:
        """The items in the order they were written."""
        ...

    def item(self, name: str) -> SnapshotItem:
        """The item with this name; raises KeyError."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of the item with this name; raises KeyError."""
        ...


@runtime_checkable
class Executor(Protocol):
    """An adapter to one kind of system; it decides neither whether it may act nor whether it worked."""

    action_type: str
    version: str
    title: str
    schema: JsonDict
    criteria: tuple[str, ...]
    example: JsonDict
    retryable: bool

    def check(self, call: Call) -> list[FieldError]:
        """All that can be refused without touching the world; pointers begin with /parameters or /target."""
        ...

    def reversibility(self, call: Call) -> Reversibility:
        """The trusted class for these parameters."""
        ...

    def observe(self, call: Call) -> Observation:
        """The target as it is now; raises ExecutorError when it cannot be read."""
        ...

    def fingerprint(self, observation: Observation) -> str:
        """SHA-256 (hex) over the stable fields, so that drift can be seen."""
        ...

    def preview(self, call: Call, observation: Observation) -> Preview:
        """What the action would do to that observation, without doing it."""
        ...

    def snapshot(self, call: Call, store: SnapshotWriter) -> None:
        """Keep what is needed to go back; nothing written means no way back."""
        ...

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Do it; expected failures come back as results, never as exceptions."""
        ...

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Undo it from the snapshot."""
        ...

    restore_is_repeatable: bool = False
    """Whether `restore` may be run again after a crash: run twice, it ends where running it once does."""

    def edition(self, call: Call) -> str:
        """Which executor this is, at most 100 characters: its version, and a digest of whatever an operator defines.

        It is part of what is approved, and compared again before anything starts.
        """
        return self.version

    def deadline_seconds(self, call: Call) -> float:
        """How long `execute` may take; after it nothing of this call acts on the world any more."""
        return DEFAULT_DEADLINE_SECONDS

    def tells_change(self, call: Call) -> bool:
        """Whether `observe` would show what `execute` did: only then "equal" means untouched."""
        return True

    def untouched(self, call: Call, baseline: Observation, observation: Observation) -> bool:
        """Whether this action provably did nothing between the two: unless said better, the same fingerprint.

        What others do to the target meanwhile must not look like it, and a half-done action must not be missed.
        """
        return self.fingerprint(observation) == self.fingerprint(baseline)

    def is_back(
        self, call: Call, baseline: Observation, observation: Observation, snapshot: SnapshotReader | None
    ) -> bool:
        """Whether the target, observed after `restore`, is as it was: unless said better, the same fingerprint.

        For targets that come back as another incarnation of the same thing. Raises ExecutorError when it cannot tell.
        """
        return self.fingerprint(observation) == self.fingerprint(baseline)
