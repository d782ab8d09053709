"""Findings of integrity checks: recorded once, open until a person acknowledges them.

A row of the database can be written by whoever owns it, so an acknowledgement counts for what it can be held against:
an entry of the log that says so, sealed with a secret the database does not hold; and where the log itself or what is
kept outside does not hold, what was accepted on the host that signs (docs/decisions/0018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import Q, QuerySet
from django.utils.crypto import constant_time_compare, salted_hmac

from . import canonical, log, merkle, outside, parsing, tree
from .actors import Actor
from .facts import AuditlogFact
from .models import Entry, Finding, IntegrityRun, Leaf, Pending
from .refusals import Refused
from .subjects import Subject

logger = structlog.get_logger(__name__)

NAMED_AT_MOST = 50
"""How many of a kind a check names one by one, where it counts the rest."""
FULL = "full"
"""The level of a run that looks at everything."""

# Something is late, nothing is wrong: these do not stop signing.
LATE = frozenset({"sequencer_stalled", "checkpoint_stale", "subsystem_silent", "subscriber_failing"})
# A lock stands open and nothing was taken: a signature is the better evidence then.
OPEN = frozenset({"role_may_change_log"})
# The log is not the one that was seen. Accepting that lets history begin anew.
ANEW = frozenset({"truncated", "rewritten"})
# Nothing in the database can say that these may be: they are accepted on the host that signs, or stay open.
ON_HOST = ANEW | {
    *("tree_edited", "tree_missing", "tree_incomplete", "root_mismatch", "leaf_forged"),
    *("memory_missing", "memory_behind", "memory_unreadable", "key_missing", "key_unreadable"),
    *("anchor_invalid", "anchor_missing", "checkpoint_missing", "acceptance_unreadable"),
}
# What every check looks at. The rest is looked at in its turn, and all of it by the daily pass.
EVERY_RUN = (LATE | OPEN) | {
    *("trigger_missing", "trigger_added", "triggers_off", "subscriber_ahead"),
    *("tree_edited", "tree_missing", "leaf_count", "leaf_forged", "tile_forged"),
    *("entry_count", "entry_unplaced", "entry_queued_twice"),
    *("memory_missing", "memory_behind", "memory_unreadable"),
    *("key_missing", "key_unreadable", "acceptance_unreadable"),
}


class NoSuchFinding(Refused):
    """There is no such finding."""

    code = "finding_not_found"
    kind = Refused.Kind.NOT_FOUND


class AlreadyAcknowledged(Refused):
    """Somebody has acknowledged the finding before."""

    code = "finding_already_acknowledged"
    kind = Refused.Kind.CONFLICT


class OnTheSigningHost(Refused):
    """The log does not hold, so that no entry of it can say that this may be: that is said where it is signed."""

    code = "acknowledge_on_signing_host"
    kind = Refused.Kind.CONFLICT


class ReasonMissing(Refused):
    """Acknowledging says why signing may go on; nothing was said."""

    code = "reason_missing"
    kind = Refused.Kind.INVALID


@dataclass(frozen=True)
class Found:
    """What a check found: a stable kind, what it is about, and a sentence that names it."""

    kind: str
    subject: str
    detail: str


def look(step: str, at: Callable[[], Iterable[Found]]) -> list[Found]:
    """What one step of a check finds. What it dies of is found as well: nothing is signed that was not looked at.

    Raises OperationalError and InterfaceError: that the database is gone or busy is nobody's doing, and the check is
    made again.
    """
    found: list[Found] = []
    try:
        # One by one: what was found before it died counts.
        for each in at():
            found.append(each)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        logger.exception("check_failed", step=step)
        found.append(failed(step, error))
    return found


def failed(step: str, error: Exception) -> Found:
    """That a step of a check died, in words that stay the same."""
    return Found("check_failed", step, f"Checking {step} failed with {type(error).__name__}: it was not looked at.")


def unacknowledged() -> QuerySet[Finding]:
    """Findings nobody has taken note of yet."""
    return Finding.objects.filter(acknowledged_at=None)


def stops(kind: str) -> bool:
    """Whether signing waits until a finding of this kind is acknowledged."""
    return kind not in LATE | OPEN


def stop_signing() -> bool:
    """Whether something was found that signing must wait for."""
    return unacknowledged().exclude(kind__in=LATE | OPEN).exists()


def record(found: Iterable[Found], *, now: datetime) -> list[Finding]:
    """Keep what was found, each thing once while it lasts; returns those that are not acknowledged."""
    lasting = _lasting(now)
    _reopen(lasting)
    rows = [_kept(each, now, lasting) for each in found]
    return [row for row in rows if row.acknowledged_at is None]


def still_open(seen: Iterable[Finding]) -> list[Finding]:
    """What is open of `seen`, and everything else that signing waits for, whoever found it and when."""
    waited_for = unacknowledged().exclude(kind__in=LATE | OPEN)
    return list(waited_for.union(unacknowledged().filter(pk__in=[row.pk for row in seen])))


def tell(rows: Iterable[Finding], entry_id: UUID) -> None:
    """Keep that an entry of the log tells of these findings, if none did before."""
    Finding.objects.filter(pk__in=[row.pk for row in rows], told_in=None).update(told_in=entry_id)


def told_in(entry_id: UUID) -> QuerySet[Finding]:
    """The findings an entry was the first to tell of, as far as they are open."""
    return unacknowledged().filter(told_in=entry_id).order_by("pk")


def _kept(each: Found, now: datetime, lasting: Q) -> Finding:
    """Its row: the open one, or the one that was acknowledged if it has been there ever since, or a new one."""
    # A name out of an entry may hold what PostgreSQL takes in no text.
    subject, detail = (text.replace("\x00", "\\0") for text in (each.subject, each.detail))
    said = {"kind": each.kind, "subject": subject[:200], "detail": detail}
    same = Finding.objects.filter(**said)
    row = same.filter(acknowledged_at=None).first()
    if row is None and each.kind not in ANEW:
        row = same.filter(lasting).order_by("-pk").first()
    if row is not None:
        same.filter(pk=row.pk).update(last_seen_at=now)
        return row
    new = {"found_at": now, "last_seen_at": now}
    # The signer may find the same at this moment.
    return Finding.objects.get_or_create(**said, acknowledged_at=None, defaults=new)[0]


def _lasting(now: datetime) -> Q:
    """A condition on findings: the last check that looks for the like saw it. What comes back after that is new."""
    # Anybody who owns the database can write a run. None that has not begun yet says that something is over.
    begun = IntegrityRun.objects.filter(started_at__lte=now)
    often = Q(kind__in=EVERY_RUN)
    return (often & _seen_by(begun)) | (~often & _seen_by(begun.filter(level=FULL)))


def _seen_by(runs: QuerySet[IntegrityRun]) -> Q:
    """A condition on findings: the last of these runs saw it; all of them when there is no run."""
    last = runs.order_by("-pk").values_list("started_at", flat=True).first()
    return Q() if last is None else Q(last_seen_at__gte=last)


def open_to(*, finding_id: int, reason: str) -> Finding:
    """The finding, to be acknowledged. Raises ReasonMissing, NoSuchFinding, AlreadyAcknowledged."""
    if not reason.strip():
        raise ReasonMissing("Say why signing may go on; the reason goes into the log.")
    finding = Finding.objects.select_for_update().filter(pk=finding_id).first()
    if finding is None:
        raise NoSuchFinding("There is no such finding.")
    if finding.acknowledged_at is not None:
        raise AlreadyAcknowledged(f"Acknowledged before, by {finding.acknowledged_by}.")
    return finding


def acknowledge(*, finding_id: int, by: Actor, reason: str, now: datetime, here: bool = False) -> Finding:
    """Take note of a finding, so that signing may go on. `here`: on the host that signs (see `signer.acknowledge`).

    Raises OnTheSigningHost, and what `open_to` raises.
    """
    with log.recording():
        finding = open_to(finding_id=finding_id, reason=reason)
        if finding.kind in ON_HOST and not here:
            raise OnTheSigningHost(f"Say so on the host that signs: manage.py acknowledge {finding.pk} --reason …")
        sealed = digest(finding)
        finding.acknowledged_at, finding.acknowledged_by, finding.reason = now, by.label, reason
        finding.acknowledged_in = log.append(
            AuditlogFact.FINDING_ACKNOWLEDGED,
            actor=by,
            subject=Subject("finding", str(finding.pk), str(finding)),
            data={
                "finding_id": str(finding.pk),
                "kind": finding.kind,
                "reason": reason,
                "digest": sealed,
                "seal": _seal(sealed),
            },
            now=now,
        )
        finding.save()
    return finding


# --- which acknowledgements count --------------------------------------------------------------------------------


def digest(finding: Finding) -> str:
    """What an acknowledgement is bound to: hex SHA-256 over what was found, and when first."""
    said = {"kind": finding.kind, "subject": finding.subject, "detail": finding.detail}
    return sha256(canonical.dumps({**said, "found_at": finding.found_at})).hexdigest()


def _seal(text: str, secret: str | bytes | None = None) -> str:
    """What only Grace can have written: the database does not hold SECRET_KEY."""
    return salted_hmac("auditlog.findings.acknowledge", text, secret=secret, algorithm="sha256").hexdigest()


def _reopen(lasting: Q) -> None:
    """Open again what somebody only wrote into the database to be acknowledged. The rest is over, whoever did it."""
    rows = list(Finding.objects.filter(lasting).exclude(acknowledged_at=None))
    if not rows:
        return
    nodes, accepted = tree.Nodes(), outside.accepted()
    for row in rows:
        if digest(row) in accepted if row.kind in ON_HOST else _is_in_the_log(row, nodes):
            continue
        twins = Finding.objects.filter(kind=row.kind, subject=row.subject, detail=row.detail, acknowledged_at=None)
        if not twins.exists():
            nobody: dict[str, Any] = {"acknowledged_at": None, "acknowledged_in": None, "told_in": None}
            Finding.objects.filter(pk=row.pk).update(**nobody, acknowledged_by="", reason="")


def _is_in_the_log(row: Finding, nodes: tree.Nodes) -> bool:
    """Whether an entry acknowledges this finding, and is in the tree or waits for its place in it."""
    entry = Entry.objects.filter(pk=row.acknowledged_in).first() if row.acknowledged_in else None
    if entry is None or not _acknowledges(bytes(entry.bytes), digest(row)):
        return False
    # In this order: it may be given its place at this moment.
    waits = Pending.objects.filter(entry_id=entry.pk).exists()
    leaf = Leaf.objects.filter(entry_id=entry.pk).first()
    if leaf is None:
        return waits
    head = tree.head()
    try:
        path = merkle.inclusion_proof(leaf.index, head.size, nodes)
        hashed = merkle.leaf_hash(bytes(entry.bytes))
        merkle.verify_inclusion(hashed, leaf.index, head.size, path, bytes(head.root))
    except (ValueError, LookupError):
        return False
    return True


def _acknowledges(raw: bytes, wanted: str) -> bool:
    try:
        document = parsing.entry(raw)
        sealed, seal = (parsing.text(document["data"].get(name)) for name in ("digest", "seal"))
    except parsing.Unreadable:
        return False
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    said = (document["fact"], sealed) == (AuditlogFact.FINDING_ACKNOWLEDGED.name_, wanted)
    return said and any(constant_time_compare(seal, _seal(wanted, each)) for each in secrets)
