"""Whether verification can work: names and states, for anybody."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone
from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import ANYBODY, Endpoint, operation
from auditlog.models import Job, JobState, Pending
from verification import executors, gates

LATE = timedelta(minutes=2)

OK, DEGRADED, DOWN, OFF, HELD = "ok", "degraded", "down", "off", "held"


class Part(s.Serializer[Any]):
    """One part and its state."""

    name = s.CharField()
    state = s.ChoiceField([OK, DEGRADED, DOWN, OFF, HELD])


class Health(s.Serializer[Any]):
    """The whole and its parts."""

    state = s.ChoiceField([OK, DEGRADED, DOWN])
    parts = Part(many=True)


class VerificationHealth(Endpoint):
    """`/health`"""

    @operation("verification_health", "Names and states", tag="health", asks=ANYBODY, answer=Health)
    def get(self, request: Request) -> Response:
        """The answer is 200 whatever the states are; `/readyz` is for machines that route."""
        parts = [{"name": name, "state": _asked(check)} for name, check in _CHECKS.items()]
        states = {part["state"] for part in parts}
        whole = DOWN if DOWN in states else DEGRADED if DEGRADED in states else OK
        return self.answer({"state": whole, "parts": parts})


def _asked(check: Callable[[], str]) -> str:
    try:
        return check()
    except DatabaseError:
        return DOWN


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return OK


def _verification() -> str:
    return OK if settings.VERIFICATION_ENABLED else OFF


def _executors() -> str:
    return OK if executors.all() else DOWN


def _gates() -> str:
    return OK if list(gates.registered()) else DOWN


def _holds() -> str:
    return HELD if gates.hold_everything() else OK


def _log() -> str:
    late = Pending.objects.filter(recorded_at__lt=timezone.now() - LATE).exists()
    return DEGRADED if late else OK


def _work() -> str:
    late = Job.objects.filter(state=JobState.QUEUED, due_at__lt=timezone.now() - LATE).exists()
    return DEGRADED if late else OK


_CHECKS: dict[str, Callable[[], str]] = {
    "database": _database,
    "verification": _verification,
    "executors": _executors,
    "gates": _gates,
    "holds": _holds,
    "log": _log,
    "work": _work,
}
