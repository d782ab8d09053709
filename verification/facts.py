"""The facts verification appends to the log, and the shape of the data each of them carries."""

from typing import NotRequired, TypedDict

from auditlog.facts import Facts, fact


class Created(TypedDict):
    """A proposed action in full; what came from outside enters as canonical text."""

    action_type: str
    executor_version: str
    target: str
    revision: int
    parameters: str
    expected_effect: str
    preconditions: str
    justification: str
    playbook: str
    error_pattern: str
    request_sha256: str
    on_behalf_of: NotRequired[str]


class Revised(TypedDict):
    """A new revision of a contract."""

    action_type: str
    target: str
    revision: int
    origin: str
    parameters: str
    expected_effect: str
    preconditions: str


class Moved(TypedDict):
    """A contract went from one state to another. Authorized: until when, and the digest of what."""

    action_type: str
    target: str
    tier: str
    from_state: str
    to_state: str
    revision: int
    reason: str
    digest: NotRequired[str]
    valid_until: NotRequired[str]
    attempt: NotRequired[int]
    confidence: NotRequired[str]
    duration_ms: NotRequired[int]
    rollback_duration_ms: NotRequired[int]
    recovered: NotRequired[bool]


class Resolved(TypedDict):
    """A person settled a contract."""

    action_type: str
    target: str
    tier: str
    from_state: str
    verdict: str
    reason: str


class DeadLettered(TypedDict):
    """No attempt follows by itself: they are used up, or it was cancelled. Only a person can try again."""

    action_type: str
    target: str
    tier: str
    attempts: int
    error: str


class Retried(TypedDict):
    """A person asked that it is tried again; `attempts` counts those there may be, once that is authorized."""

    action_type: str
    target: str
    tier: str
    attempts: int


class CancelRequested(TypedDict):
    """Somebody asked that a contract that may still act stops; whether it could, its next state says."""

    action_type: str
    target: str
    tier: str
    state: str
    reason: str


class Action(TypedDict):
    """An attempt to act began or ended."""

    action_type: str
    target: str
    tier: str
    attempt: int
    status: str
    reason: NotRequired[str]
    result: NotRequired[str]
    confidence: NotRequired[str]
    duration_ms: NotRequired[int]


class PermitNoted(TypedDict):
    """Something happened to a permit; `agent` is who holds it, `status` and `result` what was reported."""

    action_type: str
    target: str
    permit_id: str
    attempt: int
    name: str
    agent: NotRequired[str]
    deadline_at: NotRequired[str]
    reason: NotRequired[str]
    status: NotRequired[str]
    result: NotRequired[str]


class SnapshotNoted(TypedDict):
    """Something happened to a snapshot."""

    snapshot_kind: str
    scope: str
    manifest_sha256: str
    item_count: int
    reason: NotRequired[str]


class BenchmarkNoted(TypedDict):
    """A benchmark run ended, drifted or was marked golden."""

    suite: str
    passed: NotRequired[bool]
    drifted: NotRequired[bool]
    checks: NotRequired[str]
    duration_ms: NotRequired[int]


class Insight(TypedDict):
    """What the record of an action says about it."""

    action_type: str
    playbook: str
    error_pattern: str
    agent: str
    runs: int
    successes: int
    lower_bound: str
    suggestion: str


class ContractFact(Facts):
    """What happens to contracts: one fact for every state, and what is no state."""

    CREATED = fact("contract.created", Created)
    REVISED = fact("contract.revised", Revised)
    RESOLVED = fact("contract.resolved", Resolved)
    DEAD_LETTERED = fact("contract.dead_lettered", DeadLettered)
    RETRIED = fact("contract.retried", Retried)
    CANCEL_REQUESTED = fact("contract.cancel_requested", CancelRequested)
    PROPOSED = fact("contract.proposed", Moved)
    DENIED = fact("contract.denied", Moved)
    AWAITING_APPROVAL = fact("contract.awaiting_approval", Moved)
    AUTHORIZED = fact("contract.authorized", Moved)
    REJECTED = fact("contract.rejected", Moved)
    CHANGES_REQUESTED = fact("contract.changes_requested", Moved)
    EXPIRED = fact("contract.expired", Moved)
    CANCELLED = fact("contract.cancelled", Moved)
    EXECUTING = fact("contract.executing", Moved)
    VERIFYING = fact("contract.verifying", Moved)
    VERIFIED = fact("contract.verified", Moved)
    PARTIAL = fact("contract.partial", Moved)
    VIOLATED = fact("contract.violated", Moved)
    FAILED = fact("contract.failed", Moved)
    IN_DOUBT = fact("contract.in_doubt", Moved)
    ROLLING_BACK = fact("contract.rolling_back", Moved)
    ROLLED_BACK = fact("contract.rolled_back", Moved)
    HELD = fact("contract.held", Moved)


class AgenticFact(Facts):
    """The acting half of the story from error to resolution; the thinking half belongs to missions."""

    ACTION_EXECUTING = fact("agentic.action_executing", Action)
    ACTION_COMPLETED = fact("agentic.action_completed", Action)
    ACTION_FAILED = fact("agentic.action_failed", Action)


class PermitFact(Facts):
    """What happens to the permits of external agents."""

    CLAIMED = fact("permit.claimed", PermitNoted)
    REPORTED = fact("permit.reported", PermitNoted)
    EXPIRED = fact("permit.expired", PermitNoted)


class SnapshotFact(Facts):
    """What happens to snapshots."""

    CREATED = fact("snapshot.created", SnapshotNoted)
    RESTORED = fact("snapshot.restored", SnapshotNoted)
    GOLDEN = fact("snapshot.golden", SnapshotNoted)
    INVALIDATED = fact("snapshot.invalidated", SnapshotNoted)
    EXPIRED = fact("snapshot.expired", SnapshotNoted)


class BenchmarkFact(Facts):
    """What happens to benchmark runs."""

    COMPLETED = fact("benchmark.completed", BenchmarkNoted)
    DRIFTED = fact("benchmark.drifted", BenchmarkNoted)
    GOLDEN = fact("benchmark.golden", BenchmarkNoted)


class LearningFact(Facts):
    """What the record teaches."""

    INSIGHT = fact("learning.insight", Insight)
