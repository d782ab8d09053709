"""One request with everything a decision needs, and the decision."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog.refusals import Refused
from governance import approvals, comments, delegating, principals, proving, risk
from governance.models import ApprovalRequest, Decision
from verification.models import Contract, Revision, State

from . import base, diffs, edits, effects, reasons, timelines, wordings
from .base import PageRequest

PENDING = ApprovalRequest.State.PENDING
AGREED = (ApprovalRequest.State.APPROVED, ApprovalRequest.State.SPENT)

VERDICTS = {"approve": "approved", "reject": "rejected", "request_changes": "asked for changes to"}
_NOT_COMPARED = ("/expires_at", "/fingerprint", "/version", "/criteria")


@base.page("approvals.read")
def approval(request: PageRequest, request_id: UUID) -> HttpResponse:
    """Everything a decision needs, and everything that came of it."""
    return show(request, request_id)


@base.page("approvals.read")
def brief(request: PageRequest, request_id: UUID) -> HttpResponse:
    """Everything a decision needs, as a part of the inbox."""
    return show_brief(request, request_id)


def show(request: PageRequest, request_id: UUID, *, refused: Refused | None = None) -> HttpResponse:
    """The page of one request; with `refused`, what was refused stands beside the form."""
    if base.wants_fragment(request):
        return show_brief(request, request_id, refused=refused)
    item = _item(request, request_id)
    contract = item.contract
    return render(
        request,
        "console/approval.html",
        {
            **_evidence(request, item),
            "columns": (columns := compared_wordings(contract, item)),
            "wording_rows": wordings.compared([each.document for each in columns]),
            "newer": contract.approval_requests.filter(created_at__gt=item.created_at).first(),
            "moments": timelines.of(contract_id=contract.pk),
            "may_comment": "approvals.comment" in request.permissions,
            "commenting": request.path.endswith("/comment"),
            "next_pending": _next(request, item),
            "refused": refused,
        },
    )


def show_brief(request: PageRequest, request_id: UUID, *, refused: Refused | None = None) -> HttpResponse:
    """The part of a page on which one request is decided; with `refused`, why it was not."""
    item = _item(request, request_id)
    context = {**_evidence(request, item), "brief": True, "refused": refused}
    return base.fragment(request, "console/brief.html", context)


def _item(request: PageRequest, request_id: UUID) -> ApprovalRequest:
    rows = ApprovalRequest.objects.select_related(
        "contract__on_behalf_of", "revision", "policy", "assessment", "requested_by"
    )
    return base.find(request, rows, pk=request_id)


def _evidence(request: PageRequest, item: ApprovalRequest) -> dict[str, Any]:
    """What a decision is made on, and whether this person may make it."""
    contract = item.contract
    decisions = list(item.decisions.all())
    why_not = _why_not(request, item, decisions)
    in_name_of = ""
    if item.state == PENDING and not why_not:
        in_name_of, why_not = _in_name_of(request, item)
    slots = approvals.slots(item, now=base.now())
    previous = _previous(item)
    return {
        "item": item,
        "contract": contract,
        "revision": item.revision,
        "effect": effects.expected(item.revision.expected_effect),
        "asker": principals.agent_of(item.requested_by),
        "behalf": principals.actor_of(contract.on_behalf_of) if contract.on_behalf_of else None,
        "reversibility": item.risk.get("reversibility", ""),
        "rules": item.assessment.rules,
        "record": _record(item),
        "slots": slots,
        "filled": sum(1 for slot in slots if slot.person),
        "decisions": decisions,
        "comments": list(item.comments.all()),
        "previous": previous,
        "changes": changes_since(previous, item),
        "deadline": approvals.deadline(item, now=base.now()),
        "answer_by": approvals.answer_by(item, now=base.now()) if _waits_for_requester(item) else None,
        "windows": [window for choice in item.requirements.get("windows", []) for window in choice],
        "begins": approvals.begins_at(item, now=base.now()),
        "may_decide": item.state == PENDING and not why_not,
        "why_not": why_not,
        "in_name_of": in_name_of,
        "wants_second_factor": bool(item.requirements.get("second_factor")) and not proving.is_proved(request),
        "may_withdraw": _may_withdraw(request, item, decisions),
        "outcome": {"approved": "ok", "spent": "ok", "rejected": "bad"}.get(item.state, ""),
        "quick_reasons": reasons.QUICK,
    }


def _waits_for_requester(item: ApprovalRequest) -> bool:
    asked = item.state == ApprovalRequest.State.CHANGES_REQUESTED
    return asked and item.contract.state == State.CHANGES_REQUESTED


def _record(item: ApprovalRequest) -> list[dict[str, Any]]:
    contract = item.contract
    records = risk.assess(
        action_type=contract.action_type,
        target=contract.target,
        requested_by_id=contract.requested_by_id,
        reversibility=None,
    ).records
    return [
        {"label": "this target", **records["target"].as_dict()},
        {"label": contract.action_type, **records["action_type"].as_dict()},
        {"label": item.requester_label, **records["requester"].as_dict()},
    ]


def _why_not(request: PageRequest, item: ApprovalRequest, decisions: list[Decision]) -> str:
    """Why this person cannot decide this request, for them to read; empty when they can."""
    if item.state != PENDING:
        return ""
    if (no := approvals.refusal(item, request.user, now=base.now())) is not None:
        return why_not(no, request, item)
    if _mine(request, decisions):
        return "You have decided. Others still have to."
    return ""


def _in_name_of(request: PageRequest, item: ApprovalRequest) -> tuple[str, str]:
    """In whose name this person would decide, if not their own; and why they cannot, when that one has been heard."""
    if not delegating.in_force(now=base.now()).to(request.user.pk):
        return "", ""
    try:
        lent = approvals.voice_of(item, request.user, now=base.now()).delegation
    except approvals.AlreadyDecided as no:
        return "", no.detail
    return (lent.delegator_label, "") if lent else ("", "")


def why_not(no: Refused, request: PageRequest, item: ApprovalRequest) -> str:
    """A refusal in words that say what it has to do with this person."""
    if isinstance(no, approvals.SeparationOfDuties):
        behind = principals.stands_behind(request.user)
        if request.user.pk == item.requested_by_id:
            return "You asked for this; someone else must decide."
        if item.requested_by_id in behind:
            return "You own the agent that asked; someone else must decide."
        if item.contract.on_behalf_of_id in behind:
            return "You, or an agent of yours, reported what this answers; someone else must decide."
        return no.detail
    return "You may read this, not decide it." if "approvals.decide" not in request.permissions else no.detail


def _mine(request: PageRequest, decisions: list[Decision]) -> list[Decision]:
    """The decisions that stand and were made by this person or in their name."""
    standing = [each for each in decisions if each.withdrawn_at is None]
    return [each for each in standing if request.user.pk in (each.person_id, each.on_behalf_of_id)]


def _may_withdraw(request: PageRequest, item: ApprovalRequest, decisions: list[Decision]) -> bool:
    open_still = item.state in (PENDING, ApprovalRequest.State.APPROVED)
    return open_still and "approvals.withdraw" in request.permissions and bool(_mine(request, decisions))


def _previous(item: ApprovalRequest) -> ApprovalRequest | None:
    earlier = item.contract.approval_requests.filter(created_at__lt=item.created_at)
    return earlier.order_by("-created_at").first()


def changes_since(previous: ApprovalRequest | None, item: ApprovalRequest) -> list[diffs.Change]:
    """What is different from the request before: in what is asked, and in the world."""
    if previous is None:
        return []
    asked = diffs.between(json.loads(previous.document), json.loads(item.document))
    found = [change for change in asked if not change.pointer.startswith(_NOT_COMPARED)]
    drift = item.drift or {}
    return found + diffs.between(drift.get("before"), drift.get("after"), "/observed")


def compared_wordings(contract: Contract, item: ApprovalRequest | None = None) -> list[wordings.Column]:
    """What was proposed, is asked now, was approved, and ran, where there is more than one wording."""
    if contract.current_revision == 1:
        return []
    numbered = {each.number: each for each in contract.revisions.all()}
    agreed = contract.approval_requests.filter(state__in=AGREED).select_related("revision").first()
    ran = contract.executions.exclude(started_at=None).select_related("revision").order_by("-attempt").first()
    columns = [_column("Proposed", numbered[1])]
    if item is not None and item.state == PENDING:
        columns.append(_column("Asked now", item.revision))
    if agreed is not None:
        columns.append(_column("Approved", agreed.revision))
    if ran is not None:
        columns.append(_column("Effective", ran.revision))
    return columns if len(columns) > 1 else [*columns, _column("Last wording", numbered[contract.current_revision])]


def _column(title: str, revision: Revision) -> wordings.Column:
    made = {"proposed": "proposed", "revised": "revised", "edited": "edited"}[revision.origin]
    document = {
        "parameters": revision.parameters,
        "expected_effect": revision.expected_effect,
        "preconditions": revision.preconditions,
        "not_before": revision.not_before.isoformat() if revision.not_before else None,
    }
    return wordings.Column(title, f"revision {revision.number}, {made} by {revision.made_by_label}", document)


def _next(request: PageRequest, item: ApprovalRequest) -> ApprovalRequest | None:
    """The riskiest pending request this person has not decided and is not behind."""
    behind = principals.stands_behind(request.user)
    decided = Decision.objects.filter(person_id=request.user.pk, withdrawn_at=None).values("request_id")
    pending = base.visible(request, ApprovalRequest.objects.filter(state=PENDING).exclude(pk=item.pk))
    others = pending.exclude(pk__in=decided).exclude(contract__requested_by_id__in=behind)
    return others.order_by("-risk_score", "created_at", "id").first()


@base.act("approvals.read", shown_by=show)
def decide(request: PageRequest, request_id: UUID) -> HttpResponse:
    """Approve, reject or ask for changes, bound to the digest that was shown."""
    verdict = request.POST.get("verdict", "")
    decided = approvals.decide(
        request_id=request_id,
        by=principals.actor_of(request.user),
        user=request.user,
        verdict=verdict,
        digest=request.POST.get("digest", ""),
        reason=reasons.given(request.POST),
        edits=edits.later(request.POST),
        now=base.now(),
        second_factor=proving.is_proved(request),
    )
    said = f"You {VERDICTS.get(verdict, verdict)} {decided.contract}."
    if base.wants_fragment(request):
        slots = approvals.slots(decided, now=base.now())
        left = sum(1 for slot in slots if slot.person is None)
        return base.fragment(request, "console/decided.html", {"item": decided, "said": said, "left": left})
    messages.success(request, said)
    return redirect("approval", request_id=decided.pk)


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


@base.act("approvals.comment", shown_by=show)
def comment(request: PageRequest, request_id: UUID) -> HttpResponse:
    """Say something about the request, with links to the evidence, one on a line."""
    comments.add(
        request_id=request_id,
        text=request.POST.get("text", "").strip(),
        links=request.POST.get("links", "").split(),
        by=principals.actor_of(request.user),
        user=request.user,
        now=base.now(),
    )
    messages.success(request, "Your comment stands below the request.")
    return redirect("approval", request_id=request_id)
