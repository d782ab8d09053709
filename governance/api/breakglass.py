"""Break-glass: one action now, on one person's word, looked at by somebody else afterwards."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, Strict, members, operation
from governance import breakglass
from governance.api import shapes
from governance.api.contracts import EXAMPLE, IDEMPOTENCY_KEY, submitted_shape
from governance.models import BreakGlass

TAG = "break-glass"


class BreakGlassShape(s.Serializer[Any]):
    """One use; open until somebody else has reviewed it."""

    id = s.UUIDField()
    contract_id = s.UUIDField()
    action_type = s.CharField()
    target = s.CharField()
    person = s.CharField()
    reason = s.CharField()
    used_at = s.DateTimeField()
    reviewed_by = s.CharField()
    finding = s.CharField()
    reviewed_at = s.DateTimeField(allow_null=True)


class BreakGlassRequest(shapes.ProposalShape):
    """An action, and why it cannot wait for anybody. It starts now: `not_before` and `dry_run` are refused."""

    reason = s.CharField(max_length=breakglass.MAX_TEXT_CHARS)


class BrokenGlass(shapes.Submitted):
    """What became of it."""

    break_glass_id = s.UUIDField(
        allow_null=True,
        help_text="What somebody else has to review; null when no glass had to be broken, or it is denied.",
    )


class ReviewRequest(Strict):
    """What was found."""

    finding = s.CharField(max_length=breakglass.MAX_TEXT_CHARS)


class BreakGlassQuery(PageQuery):
    """Filters of the list."""

    reviewed = s.BooleanField(required=False, allow_null=True, default=None)
    person = s.CharField(required=False, max_length=150, help_text="A username.")


class BreakGlassUses(Endpoint):
    """`/break-glass`"""

    write_scope = "proposals"

    @operation(
        "list_break_glass",
        "Uses of break-glass, newest first",
        tag=TAG,
        asks="breakglass.read",
        query=BreakGlassQuery,
        answer=[BreakGlassShape],
    )
    def get(self, request: Request) -> Response:
        """Those to be reviewed, and those that were."""
        rows = BreakGlass.objects.select_related("contract")
        if "person" in self.query:
            rows = rows.filter(person__username=self.query["person"])
        if (reviewed := self.query["reviewed"]) is not None:
            rows = rows.filter(reviewed_at__isnull=not reviewed)
        return self.page(self.visible(rows), shape, order=("-used_at", "-id"))

    @operation(
        "break_glass",
        "Run one action now, on one's own word",
        tag=TAG,
        asks="breakglass.use",
        body=BreakGlassRequest,
        raw_body=True,
        answer=BrokenGlass,
        status=201,
        parameters=[IDEMPOTENCY_KEY],
        example={**EXAMPLE, "reason": "Customers cannot pay, and nobody else is awake."},
        description="Authorized without waiting for people; everybody is told, and somebody else has to review it "
        "before the same person can do it again. What policy denies stays denied, holds and freezes stay closed, and "
        "what changes permission itself is refused.",
    )
    def post(self, request: Request) -> Response:
        """What would have run by itself does so, and no glass is broken."""
        proposal, reason = breakglass.read(self.body)
        used = breakglass.use(
            proposal=proposal,
            reason=reason,
            idempotency_key=request.headers.get("Idempotency-Key"),
            by=self.actor,
            user=self.user,
            now=self.now,
        )
        row = BreakGlass.objects.filter(contract=used.contract).first()
        return self.answer({**submitted_shape(used), "break_glass_id": row.pk if row else None}, status=201)


class OneBreakGlass(Endpoint):
    """`/break-glass/{id}`"""

    @operation("get_break_glass", "One use of break-glass", tag=TAG, asks="breakglass.read", answer=BreakGlassShape)
    def get(self, request: Request, id: UUID) -> Response:
        """Who did what, why, and what was found."""
        return self.answer(shape(self.find(BreakGlass.objects.select_related("contract"), id=id)))


class ReviewBreakGlass(Endpoint):
    """`/break-glass/{id}/review`"""

    write_scope = "proposals"

    @operation(
        "review_break_glass",
        "Close the review of a use",
        tag=TAG,
        asks="breakglass.review",
        body=ReviewRequest,
        answer=BreakGlassShape,
        example={"finding": "It was right; the runbook now says how to do it in two steps."},
    )
    def post(self, request: Request, id: UUID) -> Response:
        """By somebody else than who broke the glass, and than whoever stands in for them."""
        self.find(BreakGlass.objects.all(), id=id)
        row = breakglass.review(
            break_glass_id=id, finding=self.body["finding"], by=self.actor, user=self.user, now=self.now
        )
        return self.answer(shape(row))


_PLAIN = members(BreakGlassShape, "action_type", "target", "person", "reviewed_by")


def shape(row: BreakGlass) -> dict[str, Any]:
    """The members of BreakGlassShape; the contract is joined."""
    about = {
        "action_type": row.contract.action_type,
        "target": row.contract.target,
        "person": row.person_label,
        "reviewed_by": row.reviewer_label,
    }
    return {**{name: getattr(row, name) for name in _PLAIN}, **about}
