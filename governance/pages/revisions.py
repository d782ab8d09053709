"""Answering a request for changes: the requester sends another wording of a contract."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog.refusals import Refused
from governance import principals, proposals
from verification.models import Contract, State

from . import base, edits
from .base import PageRequest


@base.page("contracts.propose")
def revise(request: PageRequest, contract_id: UUID) -> HttpResponse:
    """The form, filled with the wording that was sent back."""
    return show(request, contract_id)


def show(request: PageRequest, contract_id: UUID, *, refused: Refused | None = None) -> HttpResponse:
    """The form; with `refused`, each error stands at its field."""
    contract = base.find(request, Contract.objects.all(), pk=contract_id)
    return render(
        request,
        "console/revise.html",
        {
            "contract": contract,
            "returned": contract.approval_requests.first(),
            "may_revise": may_revise(request, contract),
            "refused": refused,
            **edits.filled(request, contract.revision, refused),
        },
    )


def may_revise(request: PageRequest, contract: Contract) -> bool:
    """Whether this person is asked for another wording: who asked, or the owner of the agent that did."""
    asked = request.user.pk in principals.answerable(contract.requested_by_id)
    return contract.state == State.CHANGES_REQUESTED and asked and "contracts.propose" in request.permissions


@base.act("contracts.propose", shown_by=show)
def send(request: PageRequest, contract_id: UUID) -> HttpResponse:
    """Send the other wording; it is put before the policy like the first."""
    contract = base.find(request, Contract.objects.all(), pk=contract_id)
    _, asked = proposals.revise(
        contract_id=contract_id,
        revision=edits.read(request.POST, contract.revision),
        by=principals.actor_of(request.user),
        user=request.user,
        now=base.now(),
    )
    messages.success(request, "Your other wording is sent.")
    return redirect("contract", contract_id=contract_id) if asked is None else redirect("approval", request_id=asked.pk)
