"""Patterns: what an error is taken for. Versioned, and pure: text in, judgement out.

A change to anything here that can change a judgement raises `VERSION`; it stands on every incident and in the
log.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

VERSION = 1

READ_CHARS = 4000
"""Of a message no more than this is looked at."""

ALONE_ABOVE = Decimal("0.75")
"""Only above this confidence may something be done without a person."""

TIERS = ("tier_1", "tier_2", "tier_3")


@dataclass(frozen=True)
class Pattern:
    """A kind of error: how it is recognised, how sure that makes us (0 to 1), and who must agree to a cure.

    `causes` are root-cause candidates, likeliest first; each with words that make it likelier.
    """

    name: str
    confidence: Decimal
    tier: str
    diagnosis: str
    says: re.Pattern[str] | None
    causes: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Classification:
    """What an error was taken for, and by what; `root_causes` likeliest first."""

    error_pattern: str
    confidence: Decimal
    tier: str
    diagnosis: str
    root_causes: tuple[str, ...]
    evidence: str
    version: int = VERSION

    @property
    def alone(self) -> bool:
        """Whether the sentinel may act on this without a person, as far as the pattern goes."""
        return self.tier == "tier_1" and self.confidence > ALONE_ABOVE

    @property
    def minimum_tier(self) -> str:
        """The lowest tier anything planned for this may have."""
        return self.tier if self.tier != "tier_1" or self.alone else "tier_2"

    def as_dict(self) -> dict[str, Any]:
        """The classification as JSON."""
        return {
            "error_pattern": self.error_pattern,
            "confidence": str(self.confidence),
            "tier": self.tier,
            "diagnosis": self.diagnosis,
            "root_causes": list(self.root_causes),
            "evidence": self.evidence,
            "version": self.version,
        }


def _says(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        "database_locked",
        Decimal("0.9"),
        "tier_1",
        "elevated_errors",
        _says(
            r"database (table )?is locked",
            r"\bSQLITE_BUSY\b",
            r"lock wait timeout",
            r"lock file .{0,80}exists",
        ),
        (
            ("a lock left behind by a process that has ended", ("stale", "lock file", "pid", ".lock")),
            ("a transaction that stays open too long", ("timeout", "wait", "transaction")),
            ("a backup or migration holding the database", ("backup", "migrat", "vacuum")),
        ),
    ),
    Pattern(
        "validation_error",
        Decimal("0.85"),
        "tier_1",
        "elevated_errors",
        _says(
            r"validation ?error",
            r"\bout of range\b",
            r"invalid (value|configuration|config|setting)",
            r"schema",
        ),
        (
            ("a setting was changed to a value the program refuses", ("config", "setting", "out of range")),
            ("a caller sends data of another version", ("schema", "version", "field")),
        ),
    ),
    Pattern(
        "resource_exhausted",
        Decimal("0.8"),
        "tier_1",
        "general_degradation",
        _says(
            r"no space left",
            r"out of memory",
            r"\bOOM\b",
            r"too many open files",
            r"resource ?exhausted",
            r"quota exceeded",
            r"disk (is )?full",
        ),
        (
            ("files that nobody removes fill the disk", ("space", "disk", "log")),
            ("memory grows until the system ends the program", ("memory", "oom")),
            ("connections or files are opened and never closed", ("open files", "connection", "descriptor")),
        ),
    ),
    Pattern(
        "timeout",
        Decimal("0.75"),
        "tier_1",
        "latency_spike",
        _says(r"timed? ?out", r"deadline exceeded", r"\bETIMEDOUT\b", r"latency"),
        (
            ("a service behind this one answers slowly", ("upstream", "gateway", "connect", "http")),
            ("a query has become slow", ("query", "statement", "database")),
            ("more load than the machine carries", ("load", "queue", "cpu")),
        ),
    ),
    Pattern(
        "permission_denied",
        Decimal("0.7"),
        "tier_3",
        "elevated_errors",
        _says(r"permission denied", r"access denied", r"\bEACCES\b", r"\bforbidden\b", r"unauthori[sz]ed"),
        (
            ("a credential expired or was revoked", ("token", "expired", "unauthor", "credential")),
            ("the owner or mode of a file changed", ("file", "path", "eacces")),
        ),
    ),
    Pattern(
        "dependency_unavailable",
        Decimal("0.6"),
        "tier_2",
        "service_down",
        _says(
            r"connection refused",
            r"\bECONNREFUSED\b",
            r"service unavailable",
            r"name or service not known",
            r"no route to host",
            r"dependency.{0,40}(down|unavailable)",
            r"host is unreachable",
        ),
        (
            ("a service this one needs is not running", ("refused", "unavailable", "down")),
            (
                "the network or name resolution between them is broken",
                ("route", "name", "unreachable", "dns"),
            ),
        ),
    ),
)

UNKNOWN = Pattern(
    "unknown",
    Decimal("0.5"),
    "tier_3",
    "general_degradation",
    None,
    (("nothing known fits; a person must look", ()),),
)

DIAGNOSES: Mapping[str, str] = {
    "service_down": "A service does not answer.",
    "latency_spike": "Answers take longer than they should.",
    "elevated_errors": "More requests fail than usual.",
    "general_degradation": "Things work, but worse than they should.",
}


def classify(error_type: str, error_message: str, context: Mapping[str, Any] | None = None) -> Classification:
    """What this error is taken for: a pattern named outright, else the surest one whose words occur, else
    unknown."""
    named = re.sub(r"[^a-z]+", "_", _snake(error_type).lower()).strip("_")
    text = f"{error_type}: {error_message}"[:READ_CHARS]
    for pattern in PATTERNS:
        if pattern.name == named:
            return _judged(pattern, text, f"error type {error_type[:100]!r}", context)
    for pattern in sorted(PATTERNS, key=lambda each: -each.confidence):
        if pattern.says and (found := pattern.says.search(text)):
            return _judged(pattern, text, f"the words {found.group(0)[:100]!r}", context)
    return _judged(UNKNOWN, text, "", context)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)


def _judged(pattern: Pattern, text: str, evidence: str, context: Mapping[str, Any] | None) -> Classification:
    return Classification(
        error_pattern=pattern.name,
        confidence=pattern.confidence,
        tier=pattern.tier,
        diagnosis=_diagnosis(pattern, context or {}),
        root_causes=_ranked(pattern, text.lower()),
        evidence=evidence,
    )


def _ranked(pattern: Pattern, text: str) -> tuple[str, ...]:
    """Candidates whose words occur most come first; among equals the seeded order stands."""
    hits = [(-sum(word in text for word in words), place) for place, (_, words) in enumerate(pattern.causes)]
    return tuple(pattern.causes[place][0] for _, place in sorted(hits))


def _diagnosis(pattern: Pattern, context: Mapping[str, Any]) -> str:
    """A diagnosis the reporter measured (`context.diagnosis`) counts when it is one of ours."""
    said = context.get("diagnosis")
    return said if isinstance(said, str) and said in DIAGNOSES else pattern.diagnosis


def strictest(tiers: Iterable[str]) -> str:
    """The highest of these tiers; empty names are passed over, and of none the answer is empty."""
    return max((tier for tier in tiers if tier), key=TIERS.index, default="")


_VOLATILE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|0x[0-9a-f]+|\b[0-9a-f]{16,}\b|\d+",
    re.IGNORECASE,
)


def fingerprint(source: str, error_type: str, error_message: str = "", *, problem: str = "") -> str:
    """What makes two reports the same problem (SHA-256, hex): source, type and message, less numbers and ids.

    With `problem`, a name the reporter gives it, the message has no say.
    """
    text = " ".join(_VOLATILE.sub("#", error_message[:READ_CHARS]).split()).lower()
    document = [source, error_type, "problem", problem] if problem else [source, error_type, "message", text]
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()
