"""The inbox, one request with everything a decision needs, and the decision."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Prefetch, QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog.refusals import Refused
from governance import approvals, principals, risk
from governance.models import ApprovalRequest, Decision

from . import base, diffs, effects, timelines
from .base import PageRequest

PENDING = ApprovalRequest.State.PENDING
TIERS = ("tier_2", "tier_3")
STATES = [
    ("pending", "Pending"),
    *((state.value, state.label) for state in ApprovalRequest.State if state != PENDING),
]
ALL = "all"

LIVE_FACTS = (
    *("requested", "decided", "granted", "rejected", "changes_requested"),
    *("withdrawn", "expired", "cancelled", "stale"),
)
"""What changes the inbox, as facts `approval.*` of the live stream."""

_VERDICTS = {"approve": "approved", "reject": "rejected", "request_changes": "asked for changes to"}
_NOT_COMPARED = ("/expires_at", "/fingerprint", "/version", "/criteria")


@base.page("approvals.read")
def inbox(request: PageRequest) -> HttpResponse:
    """What waits for people: pending first and riskiest first, or any other state, newest first."""
    state = request.GET.get("state") or PENDING.value
    rows = base.filtered(request, _requests(), tier="tier", action="contract__action_type", agent="requester_label")
    if state != ALL:
        rows = rows.filter(state=state)
    order = ("-risk_score", "created_at", "id") if state == PENDING else ("-created_at", "-id")
    shown = base.cut(request, rows, order=order)
    for row in shown.rows:
        _count_slots(row, request.user.pk)
    pending = ApprovalRequest.objects.filter(state=PENDING)
    return render(
        request,
        "console/inbox.html",
        {
            "shown": shown,
            "state": state,
            "states": [*STATES, (ALL, "All")],
            "tiers": TIERS,
            "actions": _options(pending, "contract__action_type"),
            "agents": _options(pending, "requester_label"),
            "pending": base.visible(request, pending).count(),
            "narrowed": bool({"tier", "action", "agent", "cursor"} & request.GET.keys()) or state != PENDING,
            "live_facts": LIVE_FACTS,
        },
    )


def _requests() -> QuerySet[ApprovalRequest]:
    standing = Decision.objects.filter(withdrawn_at=None, verdict=Decision.Verdict.APPROVE)
    return ApprovalRequest.objects.select_related("contract").prefetch_related(
        Prefetch("decisions", queryset=standing, to_attr="standing")
    )


def _count_slots(row: Any, user_id: int) -> None:
    """Open and filled places, close enough for a list: the page of the request matches people to groups."""
    needed = sum(each["count"] for each in row.requirements.get("approvals", []))
    row.given = min(len(row.standing), needed)
    row.dots = [place < row.given for place in range(needed)]
    row.mine = any(each.person_id == user_id for each in row.standing)


def _options(rows: QuerySet[ApprovalRequest], column: str) -> list[str]:
    return list(rows.order_by(column).values_list(column, flat=True).distinct()[:100])


@base.page("approvals.read")
def approval(request: PageRequest, request_id: UUID) -> HttpResponse:
    """Everything a decision needs."""
    return show(request, request_id)


def show(request: PageRequest, request_id: UUID, *, refused: Refused | None = None) -> HttpResponse:
    """The page of one request; with `refused`, what was refused stands beside the form."""
    rows = ApprovalRequest.objects.select_related("contract", "revision", "policy", "assessment", "requested_by")
    item = base.find(request, rows, pk=request_id)
    contract = item.contract
    decisions = list(item.decisions.all())
    why_not = _why_not(request, item, decisions)
    slots = approvals.slots(item, now=base.now())
    previous = _previous(item)
    now_risk = risk.assess(
        action_type=contract.action_type,
        target=contract.target,
        requested_by_id=contract.requested_by_id,
        reversibility=None,
    )
    return render(
        request,
        "console/approval.html",
        {
            "item": item,
            "contract": contract,
            "revision": item.revision,
            "effect": effects.expected(item.revision.expected_effect),
            "asker": principals.agent_of(item.requested_by),
            "reversibility": item.risk.get("reversibility", ""),
            "rules": item.assessment.rules,
            "record": [
                {"label": "this target", **now_risk.records["target"].as_dict()},
                {"label": contract.action_type, **now_risk.records["action_type"].as_dict()},
                {"label": item.requester_label, **now_risk.records["requester"].as_dict()},
            ],
            "slots": slots,
            "filled": sum(1 for slot in slots if slot.person),
            "decisions": decisions,
            "previous": previous,
            "changes": _changes(previous, item),
            "newer": contract.approval_requests.filter(created_at__gt=item.created_at).first(),
            "moments": timelines.of(contract_id=contract.pk),
            "deadline": approvals.deadline(item, now=base.now()),
            "may_decide": item.state == PENDING and not why_not,
            "why_not": why_not,
            "may_withdraw": _may_withdraw(request, item, decisions),
            "next_pending": _next(item),
            "outcome": {"approved": "ok", "spent": "ok", "rejected": "bad"}.get(item.state, ""),
            "refused": refused,
        },
    )


def _why_not(request: PageRequest, item: ApprovalRequest, decisions: list[Decision]) -> str:
    """Why this person cannot decide this request, for them to read; empty when they can."""
    if item.state != PENDING:
        return ""
    no = approvals.refusal(item, request.user, now=base.now())
    if isinstance(no, approvals.SeparationOfDuties):
        if request.user.pk == item.requested_by_id:
            return "You asked for this; someone else must decide."
        if item.requested_by_id is None:
            return "You, or an agent of yours, reported what this answers; someone else must decide."
        return "You own the agent that asked; someone else must decide."
    if no is not None:
        return "You may read this, not decide it." if "approvals.decide" not in request.permissions else no.detail
    if any(each.person_id == request.user.pk and each.withdrawn_at is None for each in decisions):
        return "You have decided. Others still have to."
    return ""


def _may_withdraw(request: PageRequest, item: ApprovalRequest, decisions: list[Decision]) -> bool:
    if "approvals.withdraw" not in request.permissions or item.state not in (
        PENDING,
        ApprovalRequest.State.APPROVED,
    ):
        return False
    return any(each.person_id == request.user.pk and each.withdrawn_at is None for each in decisions)


def _previous(item: ApprovalRequest) -> ApprovalRequest | None:
    earlier = item.contract.approval_requests.filter(created_at__lt=item.created_at)
    return earlier.order_by("-created_at").first()


def _changes(previous: ApprovalRequest | None, item: ApprovalRequest) -> list[diffs.Change]:
    """What is different from the request before: in what is asked, and in the world."""
    if previous is None:
        return []
    asked = diffs.between(json.loads(previous.document), json.loads(item.document))
    found = [change for change in asked if not change.pointer.startswith(_NOT_COMPARED)]
    drift = item.drift or {}
    return found + diffs.between(drift.get("before"), drift.get("after"), "/observed")


def _next(item: ApprovalRequest) -> ApprovalRequest | None:
    pending = ApprovalRequest.objects.filter(state=PENDING).exclude(pk=item.pk)
    return pending.order_by("-risk_score", "created_at", "id").first()


@base.act("approvals.decide", shown_by=show)
def decide(request: PageRequest, request_id: UUID) -> HttpResponse:
    """Approve, reject or ask for changes, bound to the digest that was shown."""
    verdict = request.POST.get("verdict", "")
    decided = approvals.decide(
        request_id=request_id,
        by=principals.actor_of(request.user),
        user=request.user,
        verdict=verdict,
        digest=request.POST.get("digest", ""),
        reason=request.POST.get("reason", "").strip(),
        edits=None,
        now=base.now(),
    )
    messages.success(request, f"You {_VERDICTS.get(verdict, verdict)} {decided.contract}.")
    return redirect("approval", request_id=request_id)


@base.act("approvals.withdraw", shown_by=show)
def withdraw(request: PageRequest, request_id: UUID) -> HttpResponse:
    """Take one's own decision back, until execution has begun."""
    approvals.withdraw(
        request_id=request_id,
        by=principals.actor_of(request.user),
        user=request.user,
        reason=request.POST.get("withdraw_reason", "").strip(),
        now=base.now(),
    )
    messages.success(request, "Your decision is withdrawn.")
    return redirect("approval", request_id=request_id)
