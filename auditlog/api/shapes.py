"""What the log looks like from outside. Hashes are base64, as in a checkpoint."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from rest_framework import serializers as s

from auditlog import findings
from auditlog.models import Finding, Leaf

Shape = s.Serializer[Any]


class Data(s.DictField):
    """The data of a fact: its shape is the fact's own (`manage.py facts --json`)."""


class Party(Shape):
    """An actor or a subject; the label is null once it was erased."""

    kind = s.CharField()
    id = s.CharField()
    label = s.CharField(allow_null=True, allow_blank=True)


class Commitment(Shape):
    """What the log holds instead of a personal value."""

    pointer = s.CharField(help_text="RFC 6901, into the entry.")
    sha256 = s.CharField(help_text="Hex SHA-256 over a salt of 16 bytes and the value.")


class LogEntry(Shape):
    """One entry of the log."""

    leaf_index = s.IntegerField()
    leaf_hash = s.CharField()
    sequenced_at = s.DateTimeField()
    id = s.UUIDField()
    recorded_at = s.DateTimeField()
    fact = s.CharField()
    actor = Party()
    subsystem = s.CharField()
    subject = Party()
    mission_id = s.UUIDField(allow_null=True)
    contract_id = s.UUIDField(allow_null=True)
    correlation_id = s.CharField(allow_null=True)
    caused_by = s.UUIDField(allow_null=True, help_text="The entry that led to this one.")
    outcome = s.CharField()
    data = Data()
    commitments = Commitment(many=True)


class WholeEntry(LogEntry):
    """One entry, with the exact bytes its leaf is computed from."""

    bytes = s.CharField(help_text="Base64. The leaf's hash is SHA-256 over a zero byte and these.")


class SignedCheckpoint(Shape):
    """A signed size and root."""

    origin = s.CharField(help_text="The name of the log.")
    size = s.IntegerField()
    root = s.CharField()
    signed_at = s.DateTimeField()
    note = s.CharField(help_text="The C2SP signed note.")
    vkey = s.CharField(help_text="The key that verifies it. Keep a copy where nobody can change it.")


class InclusionProof(Shape):
    """Proves that an entry is in the log of this size (RFC 6962, 2.1.1)."""

    index = s.IntegerField()
    size = s.IntegerField()
    leaf_hash = s.CharField()
    root = s.CharField()
    hashes = s.ListField(child=s.CharField())


class ConsistencyProof(Shape):
    """Proves that the log of one size is the beginning of the log of another (RFC 6962, 2.1.2)."""

    old = s.IntegerField()
    old_root = s.CharField()
    size = s.IntegerField()
    root = s.CharField()
    hashes = s.ListField(child=s.CharField())


class IntegrityFinding(Shape):
    """Something an integrity check found."""

    id = s.IntegerField()
    kind = s.CharField()
    subject = s.CharField()
    detail = s.CharField()
    stops_signing = s.BooleanField()
    found_at = s.DateTimeField()
    last_seen_at = s.DateTimeField()
    acknowledged_at = s.DateTimeField(allow_null=True)
    acknowledged_by = s.CharField(allow_blank=True)
    reason = s.CharField(allow_blank=True)


class Count(Shape):
    """How often something occurs."""

    name = s.CharField()
    count = s.IntegerField()


class ActivitySummary(Shape):
    """What happened in the last hours."""

    hours = s.IntegerField()
    since = s.DateTimeField()
    entries = s.IntegerField()
    failures = s.IntegerField(help_text="Entries whose outcome is not success.")
    by_fact = Count(many=True)
    by_actor = Count(many=True)
    by_subsystem = Count(many=True)
    failures_by_subsystem = Count(many=True)


def b64(raw: bytes | memoryview) -> str:
    """Bytes as text."""
    return base64.b64encode(bytes(raw)).decode()


def entry(leaf: Leaf, documents: Mapping[UUID, dict[str, Any]]) -> dict[str, Any]:
    """The members of LogEntry, from the (disclosed) documents of a page."""
    document = documents[leaf.entry_id]
    return {
        "leaf_index": leaf.index,
        "leaf_hash": b64(leaf.hash),
        "sequenced_at": leaf.sequenced_at,
        "id": document["id"],
        "recorded_at": document["at"],
        "actor": _party(document["actor"]),
        "subject": _party(document["subject"]),
        **{name: document[name] for name in _AS_THEY_ARE},
    }


_AS_THEY_ARE: Sequence[str] = (
    "fact",
    "subsystem",
    "mission_id",
    "contract_id",
    "correlation_id",
    "caused_by",
    "outcome",
    "data",
    "commitments",
)


def finding(row: Finding) -> dict[str, Any]:
    """The members of IntegrityFinding."""
    named = ("id", "kind", "subject", "detail", "found_at", "last_seen_at")
    settled = ("acknowledged_at", "acknowledged_by", "reason")
    stops = findings.stops(row.kind) and row.acknowledged_at is None
    return {name: getattr(row, name) for name in (*named, *settled)} | {"stops_signing": stops}


def _party(party: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": party["kind"], "id": party["id"], "label": party.get("label")}
