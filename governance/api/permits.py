"""Permits: how an external agent takes over work, is heard of, and says what came of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, Strict, operation
from verification import permit_notes, permits
from verification.api.shapes import ForeignJson, JsonObject
from verification.models import Permit

TAG = "permits"
NOTE = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJhcmd1bWVudHMiOnt9fQ.c2lnbmF0dXJl"


class ClaimRequest(Strict):
    """Which work to take."""

    remotes = s.ListField(
        child=s.CharField(max_length=100),
        required=False,
        max_length=100,
        help_text="Names of work to look for; all that this agent may do, unless given.",
    )


class NoteRequest(Strict):
    """The permit as it was claimed."""

    permit = s.CharField(max_length=permit_notes.MAX_CHARS, help_text="The signed text, word for word.")


class ReportRequest(NoteRequest):
    """What came of the work: the members of an ExecutionResult."""

    status = s.ChoiceField([str(status) for status in permits.REPORTABLE])
    ok = s.BooleanField(required=False, help_text="Said by `status` already; when given it must agree.")
    result = JsonObject(required=False)
    error = s.CharField(required=False, allow_null=True, allow_blank=True, max_length=4000)
    error_resolved = s.BooleanField(required=False)
    metrics = JsonObject(required=False)
    duration_ms = s.IntegerField(
        required=False, min_value=0, max_value=2**31 - 1, help_text="Measured from claim to report, unless given."
    )
    retryable = s.BooleanField(
        required=False, help_text="Nothing can have happened, and trying again may help. Believed only when seen."
    )


class PermitShape(s.Serializer[Any]):
    """A permit and how it stands."""

    id = s.UUIDField()
    state = s.ChoiceField(Permit.State.choices)
    contract_id = s.UUIDField()
    attempt = s.IntegerField()
    remote = s.CharField(help_text="The name of the work.")
    good_until = s.DateTimeField(help_text="Be heard of before, or the permit lapses.")
    deadline_at = s.DateTimeField(help_text="After it nothing of this work may act on the world any more.")
    heartbeat_seconds = s.FloatField(help_text="A heartbeat makes it good for so long. Send three in that time.")
    stop = s.BooleanField(help_text="Somebody wants the contract cancelled: stop as soon as it is safe, and report.")


class ClaimedPermitShape(PermitShape):
    """Work, for this agent alone."""

    permit = s.CharField(help_text="The same as a JSON Web Token, signed with Ed25519: send it with what follows.")
    digest = s.CharField(help_text="Of the contract that was authorized.")
    token = s.IntegerField(help_text="Fencing token: grows with every attempt. Pass it to what you act on.")
    target = s.CharField()
    arguments = ForeignJson(help_text="What to do, as it was approved.")


class ClaimAnswer(s.Serializer[Any]):
    """The permit, or null when there is nothing to do."""

    permit = ClaimedPermitShape(allow_null=True)
    key = ForeignJson(help_text="The public key that checks permits, as a JSON Web Key (RFC 8037).")


class ClaimPermit(Endpoint):
    """`/permits/claim`"""

    @operation(
        "claim_permit",
        "Take over work",
        tag=TAG,
        asks="permits.claim",
        body=ClaimRequest,
        answer=ClaimAnswer,
        example={"remotes": ["reindex"]},
        description="The oldest work on offer to this agent, for it alone; `permit` is null when there is none. "
        "What is held, frozen or no longer allowed is not given out.",
    )
    def post(self, request: Request) -> Response:
        """Of several agents that ask at once, one gets it."""
        claimed = permits.claim(by=self.actor, names=self.body.get("remotes"), now=self.now)
        return self.answer({"permit": _claimed(claimed) if claimed else None, "key": permit_notes.public_key()})


class PermitHeartbeat(Endpoint):
    """`/permits/{id}/heartbeat`"""

    @operation(
        "heartbeat_permit",
        "Say that the work goes on",
        tag=TAG,
        asks="permits.claim",
        body=NoteRequest,
        answer=PermitShape,
        example={"permit": NOTE},
    )
    def post(self, request: Request, id: UUID) -> Response:
        """Makes the permit good for longer, until its deadline at most. `stop` says that cancelling was asked for."""
        return self.answer(
            _shown(permits.heartbeat(permit_id=id, note=self.body["permit"], by=self.actor, now=self.now))
        )


class ReportPermit(Endpoint):
    """`/permits/{id}/report`"""

    @operation(
        "report_permit",
        "Say what came of the work",
        tag=TAG,
        asks="permits.claim",
        body=ReportRequest,
        answer=PermitShape,
        example={"permit": NOTE, "status": "success", "result": {"documents": 1200}},
        description="Once. Grace observes the target afterwards, and believes what it sees. A report that is late, "
        "another agent's, or made with a permit that is not valid records nothing (409).",
    )
    def post(self, request: Request, id: UUID) -> Response:
        """The contract goes on at once."""
        result = {name: value for name, value in self.body.items() if name != "permit"}
        permit = permits.report(permit_id=id, note=self.body["permit"], result=result, by=self.actor, now=self.now)
        return self.answer(_shown(permit))


def _shown(permit: Permit) -> dict[str, Any]:
    contract = permit.execution.contract
    return {
        "id": permit.pk,
        "state": permit.state,
        "contract_id": contract.pk,
        "attempt": permit.execution.attempt,
        "remote": permit.name,
        "good_until": permit.good_until,
        "deadline_at": permit.deadline_at,
        "heartbeat_seconds": permit.heartbeat_seconds,
        "stop": contract.cancel_requested_at is not None,
    }


def _claimed(claimed: permits.Claimed) -> dict[str, Any]:
    permit = claimed.permit
    return {
        **_shown(permit),
        "permit": claimed.note,
        "digest": permit.digest,
        "token": permit.token,
        "target": permit.execution.target,
        "arguments": permit.arguments,
    }
