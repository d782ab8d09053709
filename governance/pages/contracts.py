"""Contracts: what was promised, what was seen, attempt by attempt, and the way back."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog.refusals import Refused
from governance import principals, proposals, resolving
from governance.models import ApprovalRequest
from verification import contracts as verbs
from verification.models import Contract, Snapshot, State

from . import base, effects, revisions, timelines, wordings
from .approvals import compared_wordings
from .base import PageRequest

VERDICTS = (
    ("verified", "It is as promised"),
    ("rolled_back", "It was taken back by hand"),
    ("failed", "It failed"),
)
_CANCELLED = {
    State.EXECUTING: "The executor is asked to stop.",
    State.IN_DOUBT: "It is not tried again. What became of it is still being found out.",
    State.FAILED: "It is not tried again.",
    State.CANCELLED: "The contract is cancelled.",
}


@base.page("contracts.read")
def contracts(request: PageRequest) -> HttpResponse:
    """Every contract, newest first."""
    rows = base.filtered(
        request,
        Contract.objects.all(),
        state="state",
        tier="tier",
        action="action_type__startswith",
        target="target__icontains",
        agent="requested_by_label__iexact",
        mission="mission_id",
    )
    return render(
        request,
        "console/contracts.html",
        {"shown": base.cut(request, rows), "states": State.choices, "tiers": ("tier_1", "tier_2", "tier_3")},
    )


@base.page("contracts.read")
def contract(request: PageRequest, contract_id: UUID) -> HttpResponse:
    """One contract."""
    return show(request, contract_id)


def show(request: PageRequest, contract_id: UUID, *, refused: Refused | None = None) -> HttpResponse:
    """The page of one contract; with `refused`, what was refused stands beside the forms."""
    found = base.find(request, Contract.objects.select_related("requested_by"), pk=contract_id)
    written = list(found.revisions.all())
    revision = next(each for each in written if each.number == found.current_revision)
    attempts = list(found.executions.select_related("snapshot", "revision").order_by("-attempt"))
    latest = attempts[0] if attempts else None
    return render(
        request,
        "console/contract.html",
        {
            "contract": found,
            "revision": revision,
            "revisions": written,
            "columns": (columns := compared_wordings(found)),
            "wording_rows": wordings.compared([each.document for each in columns]),
            "attempts": attempts,
            "latest": latest,
            "effect": effects.observed(revision.expected_effect, latest.measurements if latest else []),
            "requests": ApprovalRequest.objects.filter(contract=found).order_by("-created_at"),
            "assessment": found.assessments.select_related("policy").first(),
            "snapshots": Snapshot.objects.filter(contract_id=found.pk),
            "moments": timelines.of(contract_id=found.pk),
            "may_cancel": _may_cancel(request, found),
            "may_resolve": found.state in verbs.RESOLVABLE
            and resolving.refusal(found, request.user, now=base.now()) is None,
            "may_revise": revisions.may_revise(request, found),
            "may_retry": "contracts.retry" in request.permissions and _dead(found),
            "verdicts": VERDICTS,
            "refused": refused,
        },
    )


def _may_cancel(request: PageRequest, found: Contract) -> bool:
    if "contracts.cancel" not in request.permissions or not verbs.can_be_cancelled(found):
        return False
    return request.user.is_superuser or request.user.pk in principals.answerable(found.requested_by_id)


def _dead(found: Contract) -> bool:
    return found.state == State.FAILED and found.dead_lettered_at is not None


@base.act("contracts.cancel", shown_by=show)
def cancel(request: PageRequest, contract_id: UUID) -> HttpResponse:
    """Stop a contract."""
    found = proposals.cancel(
        contract_id=contract_id,
        by=principals.actor_of(request.user),
        user=request.user,
        reason=request.POST.get("cancel_reason", "").strip(),
        now=base.now(),
    )
    messages.success(request, _CANCELLED[State(found.state)])
    return redirect("contract", contract_id=contract_id)


@base.act("contracts.resolve", shown_by=show)
def resolve(request: PageRequest, contract_id: UUID) -> HttpResponse:
    """Settle by hand what the product could not."""
    found = resolving.resolve(
        contract_id=contract_id,
        verdict=request.POST.get("verdict", ""),
        reason=request.POST.get("resolve_reason", "").strip(),
        by=principals.actor_of(request.user),
        user=request.user,
        now=base.now(),
    )
    messages.success(request, f"The contract is settled as {found.state.replace('_', ' ')}.")
    return redirect("contract", contract_id=contract_id)


@base.act("contracts.retry", shown_by=show)
def retry(request: PageRequest, contract_id: UUID) -> HttpResponse:
    """Go on under the same authorization, or ask for another when its attempts are used up."""
    found = verbs.retry(contract_id=contract_id, by=principals.actor_of(request.user), now=base.now())
    asked = found.state == State.AWAITING_APPROVAL
    messages.success(request, "Its attempts are used up: it is asked about again." if asked else "An attempt is due.")
    return redirect("contract", contract_id=contract_id)
