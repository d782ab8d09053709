"""After something was asked for that people have to decide on: where to go, and what to say."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect

from governance.proposals import Submitted
from verification.models import State

from .base import PageRequest


def answered(request: PageRequest, submitted: Submitted, *, otherwise: str) -> HttpResponse:
    """To the request that people decide on; to the contract when nobody is asked; else to the page `otherwise`."""
    if submitted.approval is not None:
        messages.success(request, "Asked. It happens when the people below have agreed.")
        return redirect("approval", request_id=submitted.approval.pk)
    if submitted.contract is None:
        return redirect(otherwise)
    if submitted.state == State.DENIED:
        messages.error(request, "The policy says no.")
    else:
        messages.success(request, "Authorized.")
    return redirect("contract", contract_id=submitted.contract.pk)
