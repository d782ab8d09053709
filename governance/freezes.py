"""Freeze windows: anyone permitted may make one; ending one, or an exception to it, is tier_3 (D)."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User

from auditlog import log
from auditlog.actors import Actor
from auditlog.refusals import FieldError, Refused
from verification.models import Contract

from . import access, calendars, digest, freezing, proposals
from .models import Freeze, FreezeException
from .policy import Tier
from .proposals import Submitted
from .shapes import Proposal, repointed

MAX_NAME_CHARS = 100
MAX_REASON_CHARS = 2_000


class InvalidFreeze(Refused):
    """The freeze cannot be made like this; `errors` names the fields."""

    code = "invalid_freeze"
    kind = Refused.Kind.INVALID


class NameTaken(Refused):
    """A freeze of this name is in force."""

    code = "freeze_name_taken"
    kind = Refused.Kind.CONFLICT


class FreezeEnded(Refused):
    """The freeze has been ended for good: there is nothing to end or to except."""

    code = "freeze_ended"
    kind = Refused.Kind.CONFLICT


def create(
    *,
    name: str,
    rule: str,
    duration_seconds: int,
    minimum_tier: str,
    reason: str,
    by: Actor,
    user: User | None,
    now: datetime,
) -> Freeze:
    """Let nothing of a tier (or a stricter one) start while an occurrence of the calendar lasts.

    `rule` is RFC 5545 text, for example "DTSTART;TZID=Europe/Berlin:20261127T180000\\nRRULE:FREQ=WEEKLY;BYDAY=FR".
    Raises Forbidden, InvalidFreeze and NameTaken.
    """
    if user is not None:
        access.require(user, "freezes.create")
    _sensible(name, rule, duration_seconds, minimum_tier, reason)
    with log.recording():
        if Freeze.objects.filter(name=name, ended_at=None).exists():
            raise NameTaken(f"A freeze called {name} is in force.")
        freeze = Freeze.objects.create(
            name=name,
            rule=rule,
            duration_seconds=duration_seconds,
            minimum_tier=minimum_tier,
            reason=reason,
            created_by_label=by.label,
            created_at=now,
        )
        freezing.say(freeze, "created", by=by, reason=reason, now=now)
    return freeze


def _sensible(name: str, rule: str, duration_seconds: int, minimum_tier: str, reason: str) -> None:
    errors = digest.unfaithful({"name": name, "reason": reason})
    if not name.strip() or len(name) > MAX_NAME_CHARS:
        errors.append(FieldError("/name", "missing", f"A name of at most {MAX_NAME_CHARS} characters."))
    if not reason.strip() or len(reason) > MAX_REASON_CHARS:
        errors.append(FieldError("/reason", "missing", f"A reason of at most {MAX_REASON_CHARS} characters."))
    if minimum_tier not in set(Tier):
        errors.append(FieldError("/minimum_tier", "not_allowed", f"One of {', '.join(Tier)} is expected."))
    if not 60 <= duration_seconds <= freezing.LONGEST.total_seconds():
        detail = f"From one minute to {freezing.LONGEST.days} days, in seconds."
        errors.append(FieldError("/duration_seconds", "out_of_range", detail))
    try:
        calendars.parse(rule)
    except calendars.BadRule as error:
        errors.append(FieldError("/rule", "invalid_rule", str(error)))
    if errors:
        raise InvalidFreeze(errors[0].detail, errors=errors)


def ask_to_end(*, freeze_id: UUID, reason: str, by: Actor, user: User | None, now: datetime) -> Submitted:
    """Ask to end a calendar for good: a tier_3 contract `freeze.end`. Raises NoSuchFreeze and FreezeEnded."""
    return _ask(freezing.END, freeze_id, {}, {"ended": True}, reason=reason, by=by, user=user, now=now)


def ask_exception(
    *, freeze_id: UUID, contract_id: UUID, reason: str, by: Actor, user: User | None, now: datetime
) -> Submitted:
    """Ask that a contract, as it is worded now, may start in spite of a freeze: a tier_3 contract `freeze.except`.

    Raises NoSuchFreeze, FreezeEnded, and InvalidFreeze when there is no such contract or it is excepted already.
    """
    contract = Contract.objects.filter(pk=contract_id).first()
    if contract is None:
        raise _no_exception("There is no such contract.")
    meant = {"revision": contract.current_revision, "digest": freezing.wording(contract)}
    made = FreezeException.objects.filter(freeze_id=freeze_id, contract_id=contract_id, withdrawn_at=None, **meant)
    if made.exists():
        raise _no_exception("The contract may start in spite of this freeze already.")
    about = {"contract_id": str(contract_id), **meant}
    return _ask(freezing.EXCEPT, freeze_id, about, {"excepted": True}, reason=reason, by=by, user=user, now=now)


def _no_exception(detail: str) -> InvalidFreeze:
    return InvalidFreeze(detail, errors=[FieldError("/contract_id", "invalid", detail)])


def _ask(
    action_type: str,
    freeze_id: UUID,
    about: dict[str, Any],
    promised: dict[str, bool],
    *,
    reason: str,
    by: Actor,
    user: User | None,
    now: datetime,
) -> Submitted:
    if user is not None:
        access.require_to_ask(user, action_type)
    if not reason.strip():
        detail = "People decide on this; say why."
        raise InvalidFreeze(detail, errors=[FieldError("/reason", "missing", detail)])
    if freezing.named(freeze_id).ended_at is not None:
        raise FreezeEnded("The freeze has been ended for good.")
    proposal = Proposal(
        action_type=action_type,
        target=f"freeze:{freeze_id}",
        parameters={"freeze_id": str(freeze_id), **about},
        expected_effect={"target_state": promised},
        justification=reason,
    )
    with repointed():
        return proposals.submit(proposal=proposal, by=by, user=user, idempotency_key=None, now=now)
