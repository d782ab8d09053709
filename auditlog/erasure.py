"""Erasing what the log keeps of a person. The log itself does not change: it only ever held commitments."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from django.db import connection

from . import log
from .actors import Actor
from .facts import AuditlogFact
from .models import Disclosure
from .refusals import FieldError, Refused
from .subjects import Subject


class NothingToErase(Refused):
    """No personal values of this subject are kept."""

    code = "nothing_to_erase"
    kind = Refused.Kind.NOT_FOUND


def erase(*, subject: str, by: Actor, reason: str, now: datetime) -> int:
    """Delete the values and salts behind every commitment to something of a subject ("person:user:1").

    Proofs and bundles made before still verify; what was committed to can be neither read nor guessed any more.
    Returns how many values were deleted. Raises NothingToErase.
    """
    kind, _, subject_id = subject.partition(":")
    with log.recording():
        _overwrite_what_is_deleted()
        count, _ = Disclosure.objects.filter(subject=subject).delete()
        if not count:
            detail = f"Nothing is kept of {subject}."
            raise NothingToErase(detail, errors=[FieldError("/subject", NothingToErase.code, detail)])
        log.append(
            AuditlogFact.ERASED,
            # Whoever erases themselves leaves no new label behind by doing so.
            actor=replace(by, label="") if subject == f"person:{by.id}" else by,
            subject=Subject(kind, subject_id),
            data={"disclosures": count, "reason": reason},
            now=now,
        )
    return count


def _overwrite_what_is_deleted() -> None:
    """SQLite leaves deleted values in its file unless told; PostgreSQL's vacuum takes care of it."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete = ON")
