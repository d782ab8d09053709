"""Erasing what is kept of a person. The log itself does not change: it only ever held commitments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from django.apps import apps
from django.conf import settings
from django.db import connection, transaction

from . import log
from .actors import Actor
from .facts import AuditlogFact
from .models import Disclosure
from .refusals import FieldError, Refused
from .subjects import Subject

ERASED = "(erased)"

Forget = Callable[[str], int]
_elsewhere: list[Forget] = []


class NothingToErase(Refused):
    """No personal values of this subject are kept."""

    code = "nothing_to_erase"
    kind = Refused.Kind.NOT_FOUND


def also(forget: Forget) -> Forget:
    """Register a function that deletes what another package keeps of a subject, and returns of how many rows."""
    _elsewhere.append(forget)
    return forget


def erase(*, subject: str, by: Actor, reason: str, now: datetime) -> int:
    """Delete the values and salts behind every commitment to something of a subject ("person:12").

    Proofs and bundles made before still verify; what was committed to can be neither read nor guessed any more. Its
    names frozen beside what it did go too, and with them those of a namesake. Returns how many committed values were
    deleted. Raises NothingToErase.
    """
    kind, _, subject_id = subject.partition(":")
    with log.recording():
        _overwrite_what_is_deleted()
        disclosures = Disclosure.objects.filter(subject=subject)
        names = set(disclosures.filter(pointer__endswith="/label").values_list("value", flat=True))
        count, _ = disclosures.delete()
        elsewhere = sum(forget(subject) for forget in _elsewhere)
        if not count and not elsewhere:
            detail = f"Nothing is kept of {subject}."
            raise NothingToErase(detail, errors=[FieldError("/subject", NothingToErase.code, detail)])
        _erase_frozen(names - {""})
        log.append(
            AuditlogFact.ERASED,
            # Whoever erases themselves leaves no new label behind by doing so.
            actor=replace(by, label="") if subject == f"person:{by.id}" else by,
            subject=Subject(kind, subject_id),
            data={"disclosures": count, "reason": reason},
            now=now,
        )
        transaction.on_commit(_empty_the_journal)
    return count


def _erase_frozen(names: set[str]) -> None:
    """Names are frozen into columns called `…_label` (and `acknowledged_by`), beside what was done."""
    for model in apps.get_models():
        if model._meta.app_label not in settings.OUR_APPS:
            continue
        for field in model._meta.concrete_fields:
            if field.name.endswith(("_label", "acknowledged_by")):
                model._base_manager.filter(**{f"{field.name}__in": names}).update(**{field.name: ERASED})


def _overwrite_what_is_deleted() -> None:
    """SQLite leaves deleted values in its file unless told; PostgreSQL's vacuum takes care of it."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete = ON")


def _empty_the_journal() -> None:
    """SQLite keeps the pages as they were in its write-ahead log until that is used again."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
