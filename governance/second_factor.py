"""The second factor of people: a time-based one-time password (RFC 6238) from a device they have.

The codes, their replay protection and the growing pause after wrong ones are django-otp's. A policy asks for the factor
by tier or rule; `approvals.decide` is told whether it was proved (see `proving`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django_otp.plugins.otp_totp.models import TOTPDevice

from auditlog import log
from auditlog.actors import Actor
from auditlog.refusals import FieldError, Refused
from auditlog.subjects import Subject

from . import access, noting, principals
from .facts import AuthFact

DEVICE_NAME = "app"
BEGUN_LASTS = timedelta(minutes=15)
MAX_REASON_CHARS = 2_000


class WrongCode(Refused):
    """Not the code of this moment, or one that was used already."""

    code = "wrong_code"
    kind = Refused.Kind.INVALID


class TooManyCodes(Refused):
    """After a wrong code the next one has to wait, longer each time."""

    code = "too_many_codes"
    kind = Refused.Kind.LIMITED


class ReasonMissing(Refused):
    """Who takes off somebody else's says why."""

    code = "reason_missing"
    kind = Refused.Kind.INVALID


class AlreadyEnrolled(Refused):
    """The person has a second factor; it is removed before another is added."""

    code = "second_factor_enrolled"
    kind = Refused.Kind.CONFLICT


class NotEnrolled(Refused):
    """The person has no second factor."""

    code = "second_factor_not_enrolled"
    kind = Refused.Kind.CONFLICT


def is_enrolled(user: User) -> bool:
    """Whether the person has a second factor that was confirmed."""
    return bool(TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).exists())


def begun(user: User, *, now: datetime) -> TOTPDevice | None:
    """The device that was begun a moment ago and waits for its first code, if any; its secret may be shown."""
    waiting = TOTPDevice.objects.filter(user_id=user.pk, confirmed=False, created_at__gt=now - BEGUN_LASTS)
    return waiting.order_by("-pk").first()


def begin(*, by: Actor, user: User, now: datetime) -> TOTPDevice:
    """Make a secret for this person's device. It counts for nothing until `confirm`. Raises AlreadyEnrolled.

    The door has asked for the password again: a session left open must not be able to enrol a stranger's device.
    """
    with log.recording():
        _person(user)
        if is_enrolled(user):
            raise AlreadyEnrolled("You have a second factor; remove it to add another.")
        TOTPDevice.objects.filter(user_id=user.pk, confirmed=False).delete()
        return TOTPDevice.objects.create(user_id=user.pk, name=DEVICE_NAME, confirmed=False)


def confirm(*, code: str, by: Actor, user: User, now: datetime) -> None:
    """The first code shows that the device has the secret: from now on it counts.

    Raises WrongCode, TooManyCodes, AlreadyEnrolled, NotEnrolled (nothing was begun, or too long ago).
    """
    with log.recording():
        _person(user)
        if is_enrolled(user):
            raise AlreadyEnrolled("You have a second factor; remove it to add another.")
        device = begun(user, now=now)
        if device is None:
            raise NotEnrolled("Begin anew: nothing waits for its first code.")
        wrong = _wrong(device, code)
        if wrong is None:
            device.confirmed = True
            device.save(update_fields=["confirmed"])
            _say(AuthFact.SECOND_FACTOR_ADDED, user, by=by, now=now)
    if wrong is not None:
        raise wrong


def prove(*, code: str, by: Actor, user: User, now: datetime) -> None:
    """Check a code of this person's device; each counts once. Raises WrongCode, TooManyCodes, NotEnrolled."""
    with log.recording():
        device = _device(user)
        wrong = _wrong(device, code)
        if wrong is None:
            _say(AuthFact.SECOND_FACTOR_PROVED, user, by=by, now=now)
        elif not noting.enough(AuthFact.SECOND_FACTOR_FAILED, now=now, actor_id=by.id):
            _say(AuthFact.SECOND_FACTOR_FAILED, user, by=by, now=now, outcome="failure")
    # Only now: what was counted about a wrong code must not be rolled back.
    if wrong is not None:
        raise wrong


def remove(*, code: str, by: Actor, user: User, now: datetime) -> None:
    """Take one's own second factor off, with a code of it. Raises WrongCode, TooManyCodes, NotEnrolled."""
    prove(code=code, by=by, user=user, now=now)
    with log.recording():
        _device(user).delete()
        _say(AuthFact.SECOND_FACTOR_REMOVED, user, by=by, now=now)


def take_off(*, person_id: int, reason: str, by: Actor, user: User, now: datetime) -> User:
    """Take off the second factor of somebody who lost their device; answers that person.

    By an administrator, for somebody else. Raises Forbidden, NotEnrolled and ReasonMissing.
    """
    access.require(user, "second_factors.remove")
    if not reason.strip() or len(reason) > MAX_REASON_CHARS:
        detail = f"A reason of at most {MAX_REASON_CHARS} characters."
        raise ReasonMissing(detail, errors=[FieldError("/reason", "missing", detail)])
    if person_id == user.pk:
        raise access.Forbidden("Your own is removed with a code of it, or by another administrator.")
    with log.recording():
        person = User.objects.get(pk=person_id)
        _device(person).delete()
        _say(AuthFact.SECOND_FACTOR_REMOVED, person, by=by, now=now, reason=reason)
    return person


def _person(user: User) -> User:
    return User.objects.select_for_update().get(pk=user.pk)


def _device(user: User) -> TOTPDevice:
    """The person's device, locked: two uses of one code come one after the other."""
    found = TOTPDevice.objects.select_for_update().filter(user_id=user.pk, confirmed=True).first()
    if found is None:
        raise NotEnrolled("You have no second factor; add one first.")
    return found


def _wrong(device: TOTPDevice, code: str) -> Refused | None:
    allowed, why = device.verify_is_allowed()
    if not allowed:
        seconds = max(1.0, (why["locked_until"] - device.throttling_failure_timestamp).total_seconds())
        return TooManyCodes("After a wrong code the next one has to wait a little.", retry_after=seconds)
    if code.isascii() and code.isdigit() and device.verify_token(code):
        return None
    if not (code.isascii() and code.isdigit()):
        device.throttle_increment()
    detail = "This is not the code of this moment, or it was used already."
    return WrongCode(detail, errors=[FieldError("/code", "wrong_code", detail)])


def _say(fact: AuthFact, user: User, *, by: Actor, now: datetime, outcome: str = "success", reason: str = "") -> None:
    label = principals.actor_of(user).label
    data = {"reason": reason} if reason else {}
    log.append(fact, actor=by, subject=Subject("person", str(user.pk), label), data=data, outcome=outcome, now=now)
