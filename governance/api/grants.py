"""Standing grants: routine work that need not tire reviewers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, Strict, members, operation
from governance import granting, grants
from governance.api import shapes
from governance.api.contracts import IDEMPOTENCY_KEY, submitted_shape
from governance.models import Grant, GrantUse

TAG = "grants"


class GrantShape(s.Serializer[Any]):
    """An agent may do this so many times until then, and nobody is asked."""

    id = s.UUIDField()
    agent = s.CharField()
    action_type = s.CharField()
    target = s.CharField(help_text="A glob.")
    when = s.CharField(help_text="A CEL condition over `parameters`; empty for none.")
    max_uses = s.IntegerField()
    use_count = s.IntegerField()
    state = s.ChoiceField([state.value for state in granting.State])
    reason = s.CharField()
    contract_id = s.UUIDField(help_text="The contract by which people made it.")
    created_at = s.DateTimeField()
    expires_at = s.DateTimeField()
    revoked_at = s.DateTimeField(allow_null=True)
    revoked_by = s.CharField()


class GrantUseShape(s.Serializer[Any]):
    """One contract that ran on a grant."""

    contract_id = s.UUIDField()
    used_at = s.DateTimeField()


class GrantRequest(Strict):
    """What an agent is to be allowed without asking."""

    agent = s.CharField(max_length=100, help_text="Its name.")
    action_type = s.CharField(max_length=100)
    target = s.CharField(max_length=500, help_text="A glob.")
    when = s.CharField(
        required=False,
        default="",
        allow_blank=True,
        max_length=2000,
        help_text="CEL over `parameters`; what it does not hold for is not covered.",
    )
    max_uses = s.IntegerField(min_value=1)
    expires_at = s.DateTimeField(help_text="At most 90 days ahead.")
    reason = s.CharField(max_length=4000)


class RevokeGrantRequest(Strict):
    """Why."""

    reason = s.CharField(max_length=2000)


class GrantQuery(PageQuery):
    """Filters of the list."""

    agent = s.CharField(required=False, max_length=100)
    action_type = s.CharField(required=False, max_length=100)
    active = s.BooleanField(required=False, allow_null=True, default=None, help_text="Only those that cover, or not.")


class Grants(Endpoint):
    """`/grants`"""

    write_scope = "proposals"

    @operation(
        "list_grants",
        "Standing grants, newest first",
        tag=TAG,
        asks="grants.read",
        query=GrantQuery,
        answer=[GrantShape],
    )
    def get(self, request: Request) -> Response:
        """With how often each was used."""
        columns = {"agent": "agent__name", "action_type": "action_type"}
        wanted = {column: self.query[name] for name, column in columns.items() if name in self.query}
        rows = Grant.objects.filter(**wanted).select_related("agent")
        if (active := self.query["active"]) is not None:
            rows = rows.filter(granting.usable(self.now) if active else ~granting.usable(self.now))
        return self.page(self.visible(rows), self._shape)

    @operation(
        "ask_for_grant",
        "Propose a standing grant",
        tag=TAG,
        asks="grants.ask",
        body=GrantRequest,
        answer=shapes.Submitted,
        status=202,
        parameters=[IDEMPOTENCY_KEY],
        example={
            "agent": "deployer",
            "action_type": "config.update",
            "target": "file:cache/*.json",
            "when": "parameters.merge.ttl_seconds <= 600",
            "max_uses": 50,
            "expires_at": "2026-12-24T00:00:00Z",
            "reason": "Cache lifetimes are tuned many times a day.",
        },
    )
    def post(self, request: Request) -> Response:
        """A grant is a tier_3 action (`grant.create`): the answer is its contract, which waits for people."""
        key = request.headers.get("Idempotency-Key")
        submitted = grants.ask(**self.body, idempotency_key=key, by=self.actor, user=self.user, now=self.now)
        return self.answer(submitted_shape(submitted), status=202)

    def _shape(self, row: Grant) -> dict[str, Any]:
        return shape(row, self)


class OneGrant(Endpoint):
    """`/grants/{id}`"""

    @operation("get_grant", "One standing grant", tag=TAG, asks="grants.read", answer=GrantShape)
    def get(self, request: Request, id: UUID) -> Response:
        """Its bounds, and what is left of it."""
        return self.answer(shape(self.find(Grant.objects.select_related("agent"), id=id), self))


class GrantUses(Endpoint):
    """`/grants/{id}/uses`"""

    @operation(
        "list_grant_uses",
        "What ran on a grant, newest first",
        tag=TAG,
        asks="grants.read",
        query=PageQuery,
        answer=[GrantUseShape],
    )
    def get(self, request: Request, id: UUID) -> Response:
        """One contract a use."""
        grant = self.find(Grant.objects.all(), id=id)
        uses = GrantUse.objects.filter(grant=grant)
        return self.page(
            uses, lambda use: {"contract_id": use.contract_id, "used_at": use.used_at}, order=("-used_at", "-id")
        )


class RevokeGrant(Endpoint):
    """`/grants/{id}/revoke`"""

    write_scope = "proposals"

    @operation(
        "revoke_grant",
        "Take a grant away",
        tag=TAG,
        asks="grants.revoke",
        body=RevokeGrantRequest,
        answer=GrantShape,
        example={"reason": "The tuning is done."},
    )
    def post(self, request: Request, id: UUID) -> Response:
        """At once. What was authorized on it and has not begun goes to people."""
        self.find(Grant.objects.all(), id=id)
        grant = grants.revoke(grant_id=id, reason=self.body["reason"], by=self.actor, user=self.user, now=self.now)
        return self.answer(shape(grant, self))


_PLAIN = members(GrantShape, "agent", "state", "revoked_by")


def shape(row: Grant, endpoint: Endpoint) -> dict[str, Any]:
    """The members of GrantShape; the agent is joined."""
    about = {
        "agent": row.agent.name,
        "state": granting.state(row, now=endpoint.now),
        "revoked_by": row.revoked_by_label,
    }
    return {**{name: getattr(row, name) for name in _PLAIN}, **about}
