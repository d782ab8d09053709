"""The facts missions appends to the log, and the shape of the data each of them carries."""

from typing import NotRequired, TypedDict

from auditlog.facts import Facts, fact


class Started(TypedDict):
    """A mission began; `steps` are those planned already."""

    goal: str
    playbook: str
    steps: int


class Progressed(TypedDict):
    """A step settled. `percent` counts settled steps; `confidence` is decimal text, absent before the
    first."""

    position: int
    reached: str
    planned: int
    completed: int
    failed: int
    rolled_back: int
    percent: int
    confidence: NotRequired[str]


class Turned(TypedDict):
    """A mission was paused or taken up again."""

    reason: str


class Ended(TypedDict):
    """A mission ended, and how its steps stood then."""

    reason: str
    planned: int
    completed: int
    failed: int
    rolled_back: int
    confidence: NotRequired[str]


class Detected(TypedDict):
    """An error was reported; `context` is canonical text from outside."""

    error_type: str
    error_message: str
    severity: str
    source: str
    error_id: str
    fingerprint: str
    occurrence: int
    context: str


class Opened(TypedDict):
    """A new problem."""

    error_type: str
    severity: str
    source: str
    fingerprint: str


class Escalated(TypedDict):
    """A problem people must take on."""

    reason: str
    error_pattern: str


class Resolved(TypedDict):
    """A problem is gone; the time since it was opened, in milliseconds."""

    error_pattern: str
    playbook: str
    duration_ms: int


class Identified(TypedDict):
    """What an error was taken for."""

    error_pattern: str
    patterns_version: int
    confidence: str
    tier: str
    diagnosis: str
    root_causes: list[str]


class Planned(TypedDict):
    """What will be done about it; `observe_only` means that nothing is proposed."""

    playbook: str
    playbook_version: int
    steps: int
    error_pattern: str
    confidence: str
    lower_bound: str
    minimum_tier: str
    observe_only: bool


class PlaybookChanged(TypedDict):
    """A new version of a playbook is in force."""

    name: str
    version: int
    digest: str


class Aggregated(TypedDict):
    """Hours from `start` to `end` were counted again."""

    start: str
    end: str
    contracts: int
    approvals: int


class MissionFact(Facts):
    """What happens to missions."""

    STARTED = fact("mission.started", Started)
    PROGRESSED = fact("mission.progressed", Progressed)
    PAUSED = fact("mission.paused", Turned)
    RESUMED = fact("mission.resumed", Turned)
    COMPLETED = fact("mission.completed", Ended)
    FAILED = fact("mission.failed", Ended)
    CANCELLED = fact("mission.cancelled", Ended)
    ROLLED_BACK = fact("mission.rolled_back", Ended)


class ErrorFact(Facts):
    """What was reported."""

    DETECTED = fact("error.detected", Detected)


class SentinelFact(Facts):
    """The thinking half of the story from error to resolution; the acting half belongs to verification."""

    PROBLEM_IDENTIFIED = fact("agentic.problem_identified", Identified)
    ACTION_PLANNED = fact("agentic.action_planned", Planned)
    PROBLEM_RESOLVED = fact("agentic.problem_resolved", Resolved)


class IncidentFact(Facts):
    """What happens to incidents."""

    OPENED = fact("incident.opened", Opened)
    ESCALATED = fact("incident.escalated", Escalated)
    RESOLVED = fact("incident.resolved", Resolved)


class PlaybookFact(Facts):
    """What happens to playbooks."""

    CHANGED = fact("playbook.changed", PlaybookChanged)


class AnalyticsFact(Facts):
    """What was counted."""

    AGGREGATED = fact("analytics.aggregated", Aggregated)
