"""Appending to the log, inside the transaction of the change that is recorded."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from . import canonical, context, facts, ids, inserting, metrics, observers, reading, redaction, sequencer
from .actors import Actor
from .facts import Facts
from .models import Disclosure, Entry, Payload
from .subjects import Subject

VERSION = 1
MAX_BYTES = 65_535
SALT_BYTES = 16
LABEL_CHARS = 200

_COLUMNS = inserting.columns(Entry)
_row = itemgetter(*_COLUMNS)
_leaf = itemgetter(_COLUMNS.index("id"), _COLUMNS.index("bytes"))


class NotRecording(RuntimeError):
    """`append()` was called outside `recording()`: the entry would not belong to any change."""


class EntryTooLarge(ValueError):
    """An entry exceeds 65,535 bytes even with its data kept beside the log."""


@dataclass(eq=False, slots=True)
class _Draft:
    """What was said, until the outermost `recording()` ends and all of it is made into entries at once.

    It also stands in the connection's list of on-commit functions: Django drops it from there when a savepoint
    around it is rolled back, and what has been dropped there is not written.
    """

    id: UUID
    fact: Facts
    actor: Actor
    subject: Subject
    data: Any
    outcome: str
    at: datetime
    mission_id: UUID | None
    contract_id: UUID | None
    caused_by: UUID | None
    around: Context
    written: bool = False

    def __call__(self) -> None:
        if not self.written:
            raise NotRecording(f"{self.fact.name_} was appended but never written")


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

    Raises NotRecording outside `recording()`, and facts.WrongShape and canonical.NotCanonical for wrong data. What
    only shows in an entry's bytes is raised at the end of the recording: EntryTooLarge, NotCanonical for integers
    and names out of bounds.
    """
    connection = connections[using]
    if not getattr(connection, "auditlog_recording", False):
        raise NotRecording(f"{fact.name_} appended outside log.recording()")
    # Little is done here and the rest in one go at the end: between two queries of its caller this code is cold, and
    # takes three times as long.
    draft = _Draft(
        id=ids.new_id(),
        fact=fact,
        actor=actor,
        subject=subject,
        data=facts.checked(fact, data or {}),
        outcome=outcome,
        at=now,
        mission_id=mission_id,
        contract_id=contract_id,
        caused_by=caused_by,
        around=copy_context(),
    )
    connection.on_commit(draft)
    return draft.id


def latest(contract_id: UUID, *, using: str = DEFAULT_DB_ALIAS) -> UUID | None:
    """The newest entry about a contract, those of the transaction around included; None when there is none."""
    for _, function, *_ in reversed(connections[using].run_on_commit):
        if isinstance(function, _Draft) and _contract_of(function) == contract_id:
            return function.id
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


def _contract_of(draft: _Draft) -> UUID | None:
    return draft.contract_id or draft.around.run(context.current).contract_id


class _Rows:
    """Rows of all tables that the entries of one recording go into."""

    def __init__(self) -> None:
        self.entries: list[tuple[Any, ...]] = []
        self.disclosures: list[tuple[UUID, str, str, bytes, str]] = []
        self.payloads: list[Payload] = []

    def add(self, draft: _Draft) -> None:
        """Make an entry: its columns, its document, and the canonical bytes of that."""
        actor, subject = draft.actor, draft.subject
        around = draft.around.run(context.current)
        columns = {
            "id": draft.id,
            "recorded_at": draft.at,
            "fact": draft.fact.name_,
            "actor_kind": actor.kind,
            "actor_id": redaction.text(actor.id),
            "subsystem": draft.fact.subsystem,
            "subject_kind": subject.kind,
            "subject_id": redaction.text(str(subject.id)),
            "mission_id": draft.mission_id or around.mission_id,
            "contract_id": draft.contract_id or around.contract_id,
            "correlation_id": around.correlation_id and redaction.text(around.correlation_id),
            "caused_by": draft.caused_by or draft.around.run(context.cause),
            "outcome": draft.outcome,
        }
        document = _document(columns, actor, subject, draft.data)
        for pointer, owner in _personal_members(draft.fact, actor, subject, document["data"]):
            self.disclosures.append((draft.id, *_commit_to(document, pointer, owner)))
        columns["bytes"] = self._encoded(document)
        self.entries.append(_row(columns))

    def _encoded(self, document: dict[str, Any]) -> bytes:
        written = canonical.encode(document)
        if len(written) > MAX_BYTES:
            payload = _payload(document["data"])
            self.payloads.append(payload)
            written = canonical.encode(document | {"data": {"sha256": payload.sha256, "bytes": payload.size}})
        if len(written) > MAX_BYTES:
            raise EntryTooLarge(f"{document['fact']}: {len(written)} bytes")
        return written


def _document(columns: Mapping[str, Any], actor: Actor, subject: Subject, data: object) -> dict[str, Any]:
    return {
        "version": VERSION,
        "id": str(columns["id"]),
        "at": canonical.stamp(columns["recorded_at"]),
        "fact": columns["fact"],
        "actor": {"kind": actor.kind, "id": columns["actor_id"], "label": _label(actor.label)},
        "subsystem": columns["subsystem"],
        "subject": {"kind": subject.kind, "id": columns["subject_id"], "label": _label(subject.label)},
        "mission_id": _text(columns["mission_id"]),
        "contract_id": _text(columns["contract_id"]),
        "correlation_id": columns["correlation_id"],
        "caused_by": _text(columns["caused_by"]),
        "outcome": columns["outcome"],
        "data": canonical.plain(redaction.scrub(data), "/data"),
        "commitments": [],
    }


def _label(label: str) -> str:
    # Cut afterwards: half a secret does not look like one.
    return redaction.text(label)[:LABEL_CHARS]


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _personal_members(
    fact: Facts, actor: Actor, subject: Subject, data: Mapping[str, object]
) -> Iterator[tuple[str, str]]:
    """Pointers of personal values, sorted, each with whom it belongs to."""
    owner = f"{subject.kind}:{subject.id}"
    if actor.kind == "person" and actor.label:
        yield "/actor/label", f"person:{actor.id}"
    for name in sorted(facts.personal(fact)):
        if data.get(name) is not None:
            yield f"/data/{name}", owner
    if subject.kind == "person" and subject.label:
        yield "/subject/label", owner


def owner_of(pointer: str, document: Mapping[str, Any]) -> str:
    """Whom a personal value of a document belongs to, as `erasure` names them."""
    actor, subject = document["actor"], document["subject"]
    return f"person:{actor['id']}" if pointer == "/actor/label" else f"{subject['kind']}:{subject['id']}"


def _commit_to(document: dict[str, Any], pointer: str, owner: str) -> tuple[str, str, bytes, str]:
    """Put a commitment in the place of a personal value; returns what discloses it, and who it belongs to."""
    _, parent, name = pointer.split("/")
    found = document[parent].pop(name)
    value = found if isinstance(found, str) else canonical.dumps(found).decode()
    salt = secrets.token_bytes(SALT_BYTES)
    document["commitments"].append({"pointer": pointer, "sha256": commitment(value, salt)})
    return pointer, value, salt, owner


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
    rows = _Rows()
    for draft in drafts:
        rows.add(draft)
    inserting.insert(Entry, rows.entries, using=using)
    sequencer.place_soon([_leaf(row) for row in rows.entries], using=using)
    if rows.disclosures:
        inserting.insert(Disclosure, rows.disclosures, using=using)
    if rows.payloads:
        Payload.objects.using(using).bulk_create(rows.payloads, ignore_conflicts=True)
    for draft in drafts:
        draft.written = True
    transaction.on_commit(lambda: _committed(rows.entries, using), using=using)


def _committed(rows: Sequence[tuple[Any, ...]], using: str) -> None:
    metrics.safely(lambda: metrics.entries_total.inc(len(rows)))
    observers.on_commit([Entry.from_db(using, _COLUMNS, row) for row in rows])
