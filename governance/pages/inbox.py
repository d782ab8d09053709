"""The inbox: what waits for people, riskiest first, like beside like, ready to be decided without leaving the page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.db.models import Prefetch, QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from governance import principals
from governance.models import ApprovalRequest, Decision

from . import base
from .base import PageRequest

PENDING = ApprovalRequest.State.PENDING
PAGE_SIZE = 100
"""As many as one batch may decide (`approvals.MAX_BATCH`)."""

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


@dataclass
class Group:
    """Requests for the same action on the same target, in the order of the list."""

    action_type: str
    target: str
    rows: list[ApprovalRequest] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Where all of them are decided in one batch."""
        return f"{reverse('batch')}?{urlencode([('request', row.pk) for row in self.rows])}"


@base.page("approvals.read")
def inbox(request: PageRequest) -> HttpResponse:
    """What waits for people: pending first and riskiest first, or any other state, newest first."""
    state = request.GET.get("state") or PENDING.value
    rows = base.filtered(request, _requests(), tier="tier", action="contract__action_type", agent="requester_label")
    if state != ALL:
        rows = rows.filter(state=state)
    order = ("-risk_score", "created_at", "id") if state == PENDING else ("-created_at", "-id")
    shown = base.cut(request, rows, order=order, limit=PAGE_SIZE)
    behind = principals.stands_behind(request.user)
    for row in shown.rows:
        _describe(row, request.user.pk, behind)
    pending = ApprovalRequest.objects.filter(state=PENDING)
    triage = state == PENDING and "approvals.decide" in request.permissions
    return render(
        request,
        "console/inbox.html",
        {
            "shown": shown,
            "sections": _sections(shown.rows, triage=triage),
            "triage": triage,
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


def grouped(rows: Iterable[Any]) -> list[Group]:
    """Rows by action type and target; a group stands where its first (riskiest) row stood. Pure."""
    found: dict[tuple[str, str], Group] = {}
    for row in rows:
        key = (row.contract.action_type, row.contract.target)
        found.setdefault(key, Group(*key)).rows.append(row)
    return list(found.values())


def _sections(rows: list[Any], *, triage: bool) -> list[tuple[str, list[Group]]]:
    """What this person can decide, in groups, and below it what waits for others."""
    if not triage:
        return [("", [Group(row.contract.action_type, row.contract.target, [row]) for row in rows])] if rows else []
    for_me = grouped(row for row in rows if not row.note)
    for_others = [Group(row.contract.action_type, row.contract.target, [row]) for row in rows if row.note]
    return [each for each in (("", for_me), ("Waits for others", for_others)) if each[1]]


def _requests() -> QuerySet[ApprovalRequest]:
    standing = Decision.objects.filter(withdrawn_at=None)
    return ApprovalRequest.objects.select_related("contract").prefetch_related(
        Prefetch("decisions", queryset=standing, to_attr="standing")
    )


def _describe(row: Any, user_id: int, behind: frozenset[int]) -> None:
    """Whose it is, and its open and filled places, close enough for a list (its page matches people to groups).

    `note` says why this person is not asked; whether they may decide is for the verb to say.
    """
    needed = sum(each["count"] for each in row.requirements.get("approvals", []))
    row.given = min(sum(each.verdict == Decision.Verdict.APPROVE for each in row.standing), needed)
    row.dots = [place < row.given for place in range(needed)]
    mine = next((each for each in row.standing if user_id in (each.person_id, each.on_behalf_of_id)), None)
    row.mine = mine.verdict if mine else ""
    asked = not behind.isdisjoint({row.contract.requested_by_id, row.contract.on_behalf_of_id})
    row.note = "you decided" if mine else "yours" if asked else ""


def _options(rows: QuerySet[ApprovalRequest], column: str) -> list[str]:
    return list(rows.order_by(column).values_list(column, flat=True).distinct()[:100])
