"""People at the door: Django's own signals become facts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.utils import timezone

from auditlog import log
from auditlog.actors import Actor
from auditlog.subjects import Subject

from . import noting, principals
from .facts import AuthFact

FAILURES_NOTED_PER_MINUTE = 60
NOBODY = Actor("system", "anonymous", "somebody at the door")


def logged_in(sender: Any, user: User, **_: object) -> None:
    """Somebody proved who they are."""
    actor = principals.actor_of(user)
    with log.recording():
        log.append(
            AuthFact.LOGIN,
            actor=actor,
            subject=Subject("person", str(user.pk), actor.label),
            data={"known": True},
            now=timezone.now(),
        )


def login_failed(sender: Any, credentials: dict[str, Any], **_: object) -> None:
    """Somebody did not. Which name was typed is written down only when it is somebody's."""
    now = timezone.now()
    if noting.enough(AuthFact.LOGIN_FAILED, now=now, most=FAILURES_NOTED_PER_MINUTE):
        return
    typed = str(credentials.get("username", ""))[:150]
    user = None if "\x00" in typed else User.objects.filter(username=typed).first()
    subject = Subject("person", str(user.pk), user.get_username()) if user else Subject("door", "login")
    with log.recording():
        log.append(
            AuthFact.LOGIN_FAILED,
            actor=NOBODY,
            subject=subject,
            data={"known": user is not None},
            outcome="failure",
            now=now,
        )


def key_refused(*, now: datetime) -> None:
    """Somebody came with a key that is not good. Nothing of the key is written down."""
    if noting.enough(AuthFact.LOGIN_FAILED, now=now, most=FAILURES_NOTED_PER_MINUTE):
        return
    with log.recording():
        log.append(
            AuthFact.LOGIN_FAILED,
            actor=NOBODY,
            subject=Subject("door", "api"),
            data={"known": False},
            outcome="failure",
            now=now,
        )


def connect() -> None:
    """Listen, once."""
    user_logged_in.connect(logged_in, dispatch_uid="governance-logged-in")
    user_login_failed.connect(login_failed, dispatch_uid="governance-login-failed")
