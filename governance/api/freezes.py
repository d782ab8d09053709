"""Freeze windows: when nothing of a tier starts, and the exceptions people approved."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, Strict, members, operation
from governance import calendars, freezes, freezing
from governance.api import shapes
from governance.api.contracts import submitted_shape
from governance.models import Freeze, FreezeException

TAG = "freezes"


class FreezeShape(s.Serializer[Any]):
    """A calendar of times in which nothing of a tier, or of a stricter one, starts."""

    id = s.UUIDField()
    name = s.CharField()
    rule = s.CharField(help_text="RFC 5545: a DTSTART with a time zone and an RRULE.")
    duration_seconds = s.IntegerField(help_text="How long each occurrence lasts.")
    minimum_tier = s.ChoiceField(shapes.TIERS)
    reason = s.CharField()
    created_by = s.CharField()
    created_at = s.DateTimeField()
    ended_at = s.DateTimeField(allow_null=True)
    freezes_until = s.DateTimeField(allow_null=True, help_text="The end of the occurrence that lasts now, if one does.")
    next_starts_at = s.DateTimeField(allow_null=True, help_text="The next occurrence, if there is one.")


class ExceptionShape(s.Serializer[Any]):
    """One contract that may start in spite of a freeze, as it was worded."""

    contract_id = s.UUIDField()
    revision = s.IntegerField(help_text="The revision of the contract that is excepted; another one is not.")
    digest = s.CharField(help_text="SHA-256 of everything that revision does.")
    approved_by = s.UUIDField(help_text="The contract by which people said so.")
    created_at = s.DateTimeField()
    withdrawn_at = s.DateTimeField(allow_null=True)


class FreezeRequest(Strict):
    """A new calendar."""

    name = s.CharField(max_length=freezes.MAX_NAME_CHARS)
    rule = s.CharField(max_length=calendars.MAX_RULE_CHARS, help_text="RFC 5545, one property a line.")
    duration_seconds = s.IntegerField(min_value=60)
    minimum_tier = s.ChoiceField(shapes.TIERS, default="tier_2")
    reason = s.CharField(max_length=freezes.MAX_REASON_CHARS)


class ExceptionRequest(Strict):
    """Which contract, and why it cannot wait."""

    contract_id = s.UUIDField()
    reason = s.CharField(max_length=freezes.MAX_REASON_CHARS)


class EndFreezeRequest(Strict):
    """Why it is needed no more."""

    reason = s.CharField(max_length=freezes.MAX_REASON_CHARS)


class FreezeQuery(PageQuery):
    """Filters of the list."""

    ended = s.BooleanField(
        required=False, allow_null=True, default=None, help_text="Only those ended for good, or not."
    )


class Freezes(Endpoint):
    """`/freezes`"""

    write_scope = "proposals"

    @operation(
        "list_freezes",
        "Calendars of freezes, newest first",
        tag=TAG,
        asks="freezes.read",
        query=FreezeQuery,
        answer=[FreezeShape],
    )
    def get(self, request: Request) -> Response:
        """With the occurrence that lasts now and the next one."""
        rows = Freeze.objects.all()
        if (ended := self.query["ended"]) is not None:
            rows = rows.filter(ended_at__isnull=not ended)
        return self.page(self.visible(rows), lambda row: shape(row, self))

    @operation(
        "create_freeze",
        "Freeze a recurring time",
        tag=TAG,
        asks="freezes.create",
        body=FreezeRequest,
        answer=FreezeShape,
        status=201,
        example={
            "name": "weekend",
            "rule": "DTSTART;TZID=Europe/Berlin:20261127T180000\nRRULE:FREQ=WEEKLY;BYDAY=FR",
            "duration_seconds": 223200,
            "minimum_tier": "tier_2",
            "reason": "Nobody is in the office until Monday at 8.",
        },
    )
    def post(self, request: Request) -> Response:
        """Making one takes one person; ending it, or an exception to it, takes the people of tier_3."""
        freeze = freezes.create(**self.body, by=self.actor, user=self.user, now=self.now)
        return self.answer(shape(freeze, self), status=201)


class OneFreeze(Endpoint):
    """`/freezes/{id}`"""

    @operation("get_freeze", "One calendar", tag=TAG, asks="freezes.read", answer=FreezeShape)
    def get(self, request: Request, id: UUID) -> Response:
        """With the occurrence that lasts now and the next one."""
        return self.answer(shape(self.find(Freeze.objects.all(), id=id), self))


class EndFreeze(Endpoint):
    """`/freezes/{id}/end`"""

    write_scope = "proposals"

    @operation(
        "end_freeze",
        "Propose to end a calendar for good",
        tag=TAG,
        asks="freezes.change",
        body=EndFreezeRequest,
        answer=shapes.Submitted,
        status=202,
        example={"reason": "The release is out."},
    )
    def post(self, request: Request, id: UUID) -> Response:
        """A tier_3 action (`freeze.end`): the answer is its contract, which waits for people."""
        self.find(Freeze.objects.all(), id=id)
        submitted = freezes.ask_to_end(
            freeze_id=id, reason=self.body["reason"], by=self.actor, user=self.user, now=self.now
        )
        return self.answer(submitted_shape(submitted), status=202)


class FreezeExceptions(Endpoint):
    """`/freezes/{id}/exceptions`"""

    write_scope = "proposals"

    @operation(
        "list_freeze_exceptions",
        "Exceptions to a calendar, newest first",
        tag=TAG,
        asks="freezes.read",
        query=PageQuery,
        answer=[ExceptionShape],
    )
    def get(self, request: Request, id: UUID) -> Response:
        """Those that count, and those that were withdrawn."""
        freeze = self.find(Freeze.objects.all(), id=id)
        return self.page(FreezeException.objects.filter(freeze=freeze), _exception)

    @operation(
        "ask_for_freeze_exception",
        "Propose that one contract may start in spite of a freeze",
        tag=TAG,
        asks="freezes.change",
        body=ExceptionRequest,
        answer=shapes.Submitted,
        status=202,
        example={
            "contract_id": "0193f0a0-0000-7000-8000-000000000000",
            "reason": "The certificate ends before the freeze does.",
        },
    )
    def post(self, request: Request, id: UUID) -> Response:
        """A tier_3 action (`freeze.except`): the answer is its contract, which waits for people."""
        self.find(Freeze.objects.all(), id=id)
        submitted = freezes.ask_exception(freeze_id=id, **self.body, by=self.actor, user=self.user, now=self.now)
        return self.answer(submitted_shape(submitted), status=202)


_PLAIN = members(FreezeShape, "created_by", "freezes_until", "next_starts_at")
_EXCEPTION = members(ExceptionShape)


def shape(row: Freeze, endpoint: Endpoint) -> dict[str, Any]:
    """The members of FreezeShape."""
    about = {
        "created_by": row.created_by_label,
        "freezes_until": freezing.lasts_until(row, now=endpoint.now),
        "next_starts_at": freezing.next_start(row, now=endpoint.now),
    }
    return {**{name: getattr(row, name) for name in _PLAIN}, **about}


def _exception(row: FreezeException) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _EXCEPTION}
