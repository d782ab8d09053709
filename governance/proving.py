"""Whether the person of this session has proved their second factor lately: what every door tells the verbs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import auth
from django.http import HttpRequest
from django.utils import timezone

from . import second_factor

_AT = "second_factor_proved_at"


def note(request: HttpRequest, *, now: datetime) -> None:
    """The person of this session has just proved it. The session gets another name, as after logging in."""
    request.session.cycle_key()
    request.session[_AT] = now.timestamp()


def forget(request: HttpRequest) -> None:
    """What was proved in this session counts no more."""
    request.session.pop(_AT, None)


def is_proved(request: HttpRequest) -> bool:
    """Whether it was proved in this session not longer ago than SECOND_FACTOR_MINUTES, and there still is one."""
    session: Any = getattr(request, "session", None)
    at = session.get(_AT) if session is not None else None
    if not isinstance(at, int | float) or not request.user.is_authenticated:
        return False
    age = timezone.now().timestamp() - at
    lately = 0 <= age < timedelta(minutes=settings.SECOND_FACTOR_MINUTES).total_seconds()
    return lately and second_factor.is_enrolled(request.user)


def knows_password(request: HttpRequest, password: str) -> bool:
    """Whether this is the password of the person of this session; a wrong one counts as a failed login."""
    found = auth.authenticate(request, username=request.user.get_username(), password=password)
    return found is not None and found.pk == request.user.pk
