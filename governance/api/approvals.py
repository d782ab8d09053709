"""Approvals: what people are asked, and what they answer."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, operation
from governance import approvals, comments, proving
from governance.api import shapes
from governance.models import ApprovalRequest

TAG = "approvals"
DIGEST = "4f1d0c9b8a7e6d5c4b3a29181706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4"


class ApprovalQuery(PageQuery):
    """Filters of the list."""

    state = s.ChoiceField(ApprovalRequest.State.choices, required=False)
    tier = s.ChoiceField(shapes.TIERS, required=False)
    action_type = s.CharField(required=False, max_length=100)
    target = s.CharField(required=False, max_length=500)
    agent = s.CharField(required=False, max_length=100, help_text="An agent's name.")
    mission_id = s.UUIDField(required=False)
    contract_id = s.UUIDField(required=False)
    sort = s.ChoiceField(["newest", "risk"], default="newest", help_text="`risk`: the riskiest first, then the oldest.")


_FILTERS = {
    "state": "state",
    "tier": "tier",
    "action_type": "contract__action_type",
    "target": "contract__target",
    "agent": "requested_by__agent__name",
    "mission_id": "contract__mission_id",
    "contract_id": "contract_id",
}
_ORDERS = {"newest": ("-created_at", "-id"), "risk": ("-risk_score", "created_at", "id")}


class Approvals(Endpoint):
    """`/approvals`"""

    @operation(
        "list_approvals",
        "Requests for approval",
        tag=TAG,
        asks="approvals.read",
        query=ApprovalQuery,
        answer=[shapes.ApprovalShape],
    )
    def get(self, request: Request) -> Response:
        """Agents see their own."""
        wanted = {column: self.query[name] for name, column in _FILTERS.items() if name in self.query}
        rows = ApprovalRequest.objects.filter(**wanted).select_related("contract", "revision")
        rows = rows.defer("document", "preview", "observation", "risk")
        return self.page(self.visible(rows), shapes.approval, order=_ORDERS[self.query["sort"]])


class OneApproval(Endpoint):
    """`/approvals/{id}`"""

    @operation(
        "get_approval",
        "Everything a decision needs",
        tag=TAG,
        asks="approvals.read",
        answer=shapes.ApprovalDetail,
    )
    def get(self, request: Request, id: UUID) -> Response:
        """Complete parameters, the preview, filled and open slots, decisions, and the digest to decide on."""
        return self.answer(detail(self.find(_whole(), id=id)))


class Decide(Endpoint):
    """`/approvals/{id}/decision`"""

    @operation(
        "decide_approval",
        "Approve, reject or ask for changes",
        tag=TAG,
        # Whoever can see a request and decides without being asked is refused by the verb, which says so in the log.
        asks="approvals.read",
        body=shapes.DecisionRequest,
        answer=shapes.ApprovalDetail,
        example={"verdict": "approve", "digest": DIGEST, "reason": "The preview is what we agreed on."},
        description="The decision carries the digest it was shown; another digest is refused (409). Whoever asked, "
        "and the owner of the agent that asked, can never approve. With `edits`, approving makes a new revision.",
    )
    def post(self, request: Request, id: UUID) -> Response:
        """The approval that completes the quorum authorizes the contract."""
        decided = approvals.decide(
            request_id=self.find(ApprovalRequest.objects.only("pk"), id=id).pk,
            by=self.actor,
            user=self.user,
            verdict=self.body["verdict"],
            digest=self.body["digest"],
            reason=self.body["reason"],
            edits=self.body["edits"],
            now=self.now,
            second_factor=proving.is_proved(request._request),
        )
        return self.answer(detail(_whole().get(pk=decided.pk)))


class Withdraw(Endpoint):
    """`/approvals/{id}/withdraw`"""

    @operation(
        "withdraw_approval",
        "Take back one's own approval",
        tag=TAG,
        asks="approvals.withdraw",
        body=shapes.WithdrawRequest,
        answer=shapes.ApprovalDetail,
    )
    def post(self, request: Request, id: UUID) -> Response:
        """Until execution begins; the request is pending again."""
        approvals.withdraw(request_id=id, by=self.actor, user=self.user, reason=self.body["reason"], now=self.now)
        return self.answer(detail(_whole().get(pk=id)))


class AddComment(Endpoint):
    """`/approvals/{id}/comments`"""

    write_scope = "proposals"

    @operation(
        "comment_on_approval",
        "Say something about a request",
        tag=TAG,
        asks="approvals.comment",
        body=shapes.CommentRequest,
        answer=shapes.CommentShape,
        status=201,
        example={"text": "The dashboard agrees.", "links": ["https://grafana.example.org/d/checkout"]},
        description="Everybody who reads the request sees it. It is no part of the digest and decides nothing.",
    )
    def post(self, request: Request, id: UUID) -> Response:
        """Agents may say something about their own requests."""
        made = comments.add(
            request_id=id,
            text=self.body["text"],
            links=self.body["links"],
            by=self.actor,
            user=self.user,
            now=self.now,
        )
        return self.answer(shapes.comment(made), status=201)


class DecideMany(Endpoint):
    """`/approvals/decisions`"""

    @operation(
        "decide_approvals",
        "Decide on several requests",
        tag=TAG,
        asks="approvals.decide",
        body=shapes.BatchRequest,
        answer=[shapes.BatchResult],
        example={
            "decisions": [
                {
                    "approval_id": "0193f0a0-0000-7000-8000-000000000000",
                    "verdict": "approve",
                    "digest": DIGEST,
                    "reason": "As agreed.",
                }
            ]
        },
        description="Each by its own digest, each with its own result: one that is refused stops none of the others. "
        "Counts once against the limit of decisions.",
    )
    def post(self, request: Request) -> Response:
        """The answer is 200 even when some were refused; look at each."""
        items = [{**each, "request_id": each["approval_id"]} for each in self.body["decisions"]]
        results = approvals.decide_many(
            items=items,
            by=self.actor,
            user=self.user,
            now=self.now,
            second_factor=proving.is_proved(request._request),
        )
        found = [_result(each) for each in results]
        return self.answer(found, count=len(found), next=None, previous=None)


def detail(row: ApprovalRequest) -> dict[str, Any]:
    """The members of ApprovalDetail."""
    now = timezone.now()
    slots = [
        {
            "group": slot.group,
            "filled": slot.person is not None,
            "person": _label(slot.person),
            "on_behalf_of": slot.on_behalf_of or None,
            "decided_at": slot.decided_at,
        }
        for slot in approvals.slots(row, now=now)
    ]
    return shapes.approval_detail(row, slots, approvals.begins_at(row, now=now))


def _whole() -> QuerySet[ApprovalRequest]:
    rows = ApprovalRequest.objects.select_related("contract__on_behalf_of", "revision")
    return rows.prefetch_related("decisions", "comments")


def _label(person: Any) -> str | None:
    return None if person is None else person.get_full_name() or person.get_username()


def _result(result: approvals.Result) -> dict[str, Any]:
    return {
        "approval_id": result.request_id,
        "ok": result.refused is None,
        "state": result.request.state if result.request else None,
        "code": result.refused.code if result.refused else None,
        "detail": result.refused.detail if result.refused else None,
    }
