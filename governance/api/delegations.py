"""Delegations: deciding in somebody's name for a while."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Q
from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, Strict, members, operation
from governance import delegations
from governance.models import Delegation

TAG = "delegations"


class DelegationShape(s.Serializer[Any]):
    """One person lets another decide in their name; it counts from its start to its end and no longer."""

    id = s.UUIDField()
    delegator = s.CharField(help_text="A username.")
    delegate = s.CharField(help_text="A username.")
    groups = s.ListField(child=s.CharField(), help_text="Empty: every group the delegator is in.")
    reason = s.CharField()
    starts_at = s.DateTimeField()
    ends_at = s.DateTimeField()
    created_at = s.DateTimeField()
    ended_at = s.DateTimeField(allow_null=True, help_text="When it was ended, or when its time was over.")
    ended_by = s.CharField()


class DelegationRequest(Strict):
    """Who may decide in the caller's name, and for how long."""

    delegate = s.CharField(max_length=150, help_text="The username of somebody who may propose.")
    groups = s.ListField(
        child=s.CharField(max_length=150),
        required=False,
        default=list,
        max_length=delegations.MAX_GROUPS,
        help_text="Only for these groups of yours; all of them unless said otherwise.",
    )
    starts_at = s.DateTimeField(required=False, allow_null=True, default=None, help_text="Now unless said otherwise.")
    ends_at = s.DateTimeField(help_text=f"At most {delegations.LONGEST.days} days after it starts.")
    reason = s.CharField(max_length=delegations.MAX_REASON_CHARS)


class EndDelegationRequest(Strict):
    """Why."""

    reason = s.CharField(required=False, default="", allow_blank=True, max_length=delegations.MAX_REASON_CHARS)


class DelegationQuery(PageQuery):
    """Filters of the list."""

    delegator = s.CharField(required=False, max_length=150)
    delegate = s.CharField(required=False, max_length=150)
    in_force = s.BooleanField(
        required=False, allow_null=True, default=None, help_text="Only those that count at this moment, or do not."
    )


class Delegations(Endpoint):
    """`/delegations`"""

    write_scope = "proposals"

    @operation(
        "list_delegations",
        "Delegations, newest first",
        tag=TAG,
        asks="delegations.read",
        query=DelegationQuery,
        answer=[DelegationShape],
    )
    def get(self, request: Request) -> Response:
        """Those that count, and those that did."""
        columns = {"delegator": "delegator__username", "delegate": "delegate__username"}
        wanted = {column: self.query[name] for name, column in columns.items() if name in self.query}
        rows = Delegation.objects.filter(**wanted).select_related("delegator", "delegate")
        if (in_force := self.query["in_force"]) is not None:
            lasts = Q(ended_at=None, starts_at__lte=self.now, ends_at__gt=self.now)
            rows = rows.filter(lasts if in_force else ~lasts)
        return self.page(self.visible(rows), shape)

    @operation(
        "create_delegation",
        "Let somebody decide in one's name",
        tag=TAG,
        asks="delegations.create",
        body=DelegationRequest,
        answer=DelegationShape,
        status=201,
        example={"delegate": "ada", "ends_at": "2026-12-04T18:00:00Z", "reason": "On leave until Friday."},
        description="The delegate may decide wherever the caller could, until it ends, except on what the delegate, "
        "the caller, or an agent of either asked for. Each of the two is heard once in a request. Both have to be in "
        "their places when the decision is taken and when the action starts. What was delegated cannot be passed on.",
    )
    def post(self, request: Request) -> Response:
        """Only one's own word can be delegated."""
        delegation = delegations.create(**self.body, by=self.actor, user=self.user, now=self.now)
        return self.answer(shape(delegation), status=201)


class OneDelegation(Endpoint):
    """`/delegations/{id}`"""

    @operation("get_delegation", "One delegation", tag=TAG, asks="delegations.read", answer=DelegationShape)
    def get(self, request: Request, id: UUID) -> Response:
        """Who decides for whom, and how long."""
        return self.answer(shape(self.find(Delegation.objects.select_related("delegator", "delegate"), id=id)))


class EndDelegation(Endpoint):
    """`/delegations/{id}/revoke`"""

    write_scope = "proposals"

    @operation(
        "revoke_delegation",
        "End a delegation now",
        tag=TAG,
        asks="delegations.end",
        body=EndDelegationRequest,
        answer=DelegationShape,
    )
    def post(self, request: Request, id: UUID) -> Response:
        """By either of the two, or an administrator. What was approved by it and has not begun goes back to people."""
        self.find(Delegation.objects.all(), id=id)
        delegation = delegations.end(
            delegation_id=id, reason=self.body["reason"], by=self.actor, user=self.user, now=self.now
        )
        return self.answer(shape(delegation))


_PLAIN = members(DelegationShape, "delegator", "delegate", "ended_by")


def shape(row: Delegation) -> dict[str, Any]:
    """The members of DelegationShape; both people are joined."""
    people = {"delegator": row.delegator.get_username(), "delegate": row.delegate.get_username()}
    return {**{name: getattr(row, name) for name in _PLAIN}, **people, "ended_by": row.ended_by_label}
