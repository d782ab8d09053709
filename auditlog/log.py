"""Appending to the log, inside the transaction of the change that is recorded."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from . import canonical, context, facts, ids, inserting, merkle, metrics, observers, reading, redaction
from .actors import Actor
from .facts import Facts
from .models import Disclosure, Entry, Payload
from .subjects import Subject

VERSION = 1
MAX_BYTES = 65_535
SALT_BYTES = 16


class NotRecording(RuntimeError):
    """`append()` was called outside `recording()`: the entry would not belong to any change."""


class EntryTooLarge(ValueError):
    """An entry exceeds 65,535 bytes even with its data kept beside the log."""


@dataclass(eq=False)
class _Draft:
    """An entry that waits for the outermost `recording()` to end.

    It also stands in the connection's list of on-commit functions: Django drops it from there when a savepoint
    around it is rolled back, and what has been dropped there is not written.
    """

    entry: Entry
    leaf_hash: bytes
    disclosures: list[Disclosure]
    payload: Payload | None
    written: bool = field(default=False)

    def __call__(self) -> None:
        if not self.written:
            raise NotRecording(f"{self.entry.fact} was appended but never written")


@contextmanager
def recording(using: str = DEFAULT_DB_ALIAS, *, savepoint: bool = True) -> Iterator[None]:
    """Open (or join) a transaction; entries appended inside are written together at the outermost exit.

    Entries of a rolled-back savepoint fall with it: an inner `recording()` or `transaction.atomic()`. (Savepoints
    made by hand with `transaction.savepoint()` are unknown to Django's own hooks, and to this.) Without a `savepoint`
    what fails inside an outer `recording()` brings all of it down: for a step of another verb that cannot do without.
    """
    connection = connections[using]
    outermost = not getattr(connection, "auditlog_recording", False)
    with transaction.atomic(using=using, savepoint=savepoint or outermost):
        connection.auditlog_recording = True  # type: ignore[attr-defined]
        try:
            yield
            if outermost:
                _write(using)
        finally:
            if outermost:
                connection.auditlog_recording = False  # type: ignore[attr-defined]


def append(
    fact: Facts,
    *,
    actor: Actor,
    subject: Subject,
    data: Mapping[str, object] | None = None,
    outcome: str = "success",
    now: datetime,
    mission_id: UUID | None = None,
    contract_id: UUID | None = None,
    caused_by: UUID | None = None,
    using: str = DEFAULT_DB_ALIAS,
) -> UUID:
    """Append a fact and return the entry's id. Ids not given come from the context bound around.

    Raises NotRecording outside `recording()`, facts.WrongShape and canonical.NotCanonical for wrong data,
    EntryTooLarge.
    """
    if not getattr(connections[using], "auditlog_recording", False):
        raise NotRecording(f"{fact.name_} appended outside log.recording()")
    around = context.current()
    entry = Entry(
        id=ids.new_id(),
        recorded_at=now,
        fact=fact.name_,
        actor_kind=actor.kind,
        actor_id=actor.id,
        subsystem=fact.subsystem,
        subject_kind=subject.kind,
        subject_id=str(subject.id),
        mission_id=mission_id or around.mission_id,
        contract_id=contract_id or around.contract_id,
        correlation_id=around.correlation_id,
        caused_by=caused_by or context.cause(),
        outcome=outcome,
    )
    draft = _drafted(entry, fact, actor, subject, data or {})
    transaction.on_commit(draft, using=using)
    return entry.id


def latest(contract_id: UUID, *, using: str = DEFAULT_DB_ALIAS) -> UUID | None:
    """The newest entry about a contract, those of the transaction around included; None when there is none."""
    for _, function, *_ in reversed(connections[using].run_on_commit):
        if isinstance(function, _Draft) and function.entry.contract_id == contract_id:
            return function.entry.id
    return latest_committed(contract_id, using=using)


@reading.remembered
def latest_committed(contract_id: UUID, *, using: str = DEFAULT_DB_ALIAS) -> UUID | None:
    """The newest entry about a contract that is in the database; None when there is none."""
    found = Entry.objects.using(using).filter(contract_id=contract_id).order_by("-id")
    return found.values_list("id", flat=True).first()


def decimal(value: Decimal | float | str, places: int | None = None) -> str:
    """A number with a fraction, as the log holds it: text in plain decimal notation."""
    number = Decimal(str(value))
    if places is not None:
        number = number.quantize(Decimal(1).scaleb(-places))
    return f"{number:f}"


def foreign(value: object) -> str:
    """JSON from outside as one canonical string, without its secrets."""
    return canonical.foreign(redaction.scrub(value)).decode()


def commitment(value: str, salt: bytes) -> str:
    """What the log holds instead of a personal value: hex SHA-256 over the salt (16 bytes) and the value."""
    return sha256(salt + value.encode()).hexdigest()


def _drafted(entry: Entry, fact: Facts, actor: Actor, subject: Subject, data: Mapping[str, object]) -> _Draft:
    disclosures: list[Disclosure] = []
    clean = canonical.plain(redaction.scrub(data), "/data")
    facts.check(fact, canonical.encode(clean))
    assert isinstance(clean, dict)
    document = _document(entry, actor, subject, clean)
    for pointer, owner in _personal_members(fact, actor, subject, clean):
        _commit_to(document, pointer, owner, entry, disclosures)
    document["commitments"].sort(key=lambda each: each["pointer"])
    payload = None
    written = canonical.encode(document)
    if len(written) > MAX_BYTES:
        payload = _payload(document["data"])
        document["data"] = {"sha256": payload.sha256, "bytes": payload.size}
        written = canonical.encode(document)
        if len(written) > MAX_BYTES:
            raise EntryTooLarge(f"{entry.fact}: {len(written)} bytes")
    entry.bytes = written
    return _Draft(entry, merkle.leaf_hash(written), disclosures, payload)


def _document(entry: Entry, actor: Actor, subject: Subject, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": VERSION,
        "id": str(entry.id),
        "at": canonical.stamp(entry.recorded_at),
        "fact": entry.fact,
        "actor": {"kind": actor.kind, "id": actor.id, "label": actor.label},
        "subsystem": entry.subsystem,
        "subject": {"kind": subject.kind, "id": entry.subject_id, "label": subject.label},
        "mission_id": _text(entry.mission_id),
        "contract_id": _text(entry.contract_id),
        "correlation_id": entry.correlation_id,
        "caused_by": _text(entry.caused_by),
        "outcome": entry.outcome,
        "data": data,
        "commitments": [],
    }


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _personal_members(
    fact: Facts, actor: Actor, subject: Subject, data: Mapping[str, object]
) -> Iterator[tuple[str, str]]:
    """Pointers of personal values, each with whom it belongs to."""
    owner = f"{subject.kind}:{subject.id}"
    if actor.kind == "person" and actor.label:
        yield "/actor/label", f"person:{actor.id}"
    if subject.kind == "person" and subject.label:
        yield "/subject/label", owner
    for name in sorted(facts.personal(fact)):
        if data.get(name) is not None:
            yield f"/data/{name}", owner


def _commit_to(document: dict[str, Any], pointer: str, owner: str, entry: Entry, disclosures: list[Disclosure]) -> None:
    _, parent, name = pointer.split("/")
    found = document[parent].pop(name)
    value = found if isinstance(found, str) else canonical.dumps(found).decode()
    salt = secrets.token_bytes(SALT_BYTES)
    document["commitments"].append({"pointer": pointer, "sha256": commitment(value, salt)})
    disclosures.append(Disclosure(entry_id=entry.id, pointer=pointer, value=value, salt=salt, subject=owner))


def _payload(data: object) -> Payload:
    raw = canonical.dumps(data)
    return Payload(sha256=sha256(raw).hexdigest(), size=len(raw), bytes=raw)


def _write(using: str) -> None:
    drafts = [
        function
        for _, function, *_ in connections[using].run_on_commit
        if isinstance(function, _Draft) and not function.written
    ]
    if not drafts:
        return
    inserting.insert([draft.entry for draft in drafts], [draft.leaf_hash for draft in drafts], using=using)
    if disclosures := [row for draft in drafts for row in draft.disclosures]:
        Disclosure.objects.using(using).bulk_create(disclosures)
    if payloads := [draft.payload for draft in drafts if draft.payload]:
        Payload.objects.using(using).bulk_create(payloads, ignore_conflicts=True)
    for draft in drafts:
        draft.written = True
    written = [draft.entry for draft in drafts]
    metrics.on_commit(lambda: metrics.entries_total.inc(len(written)))
    transaction.on_commit(lambda: observers.on_commit(written), using=using)
