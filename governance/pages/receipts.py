"""The receipts of a request's decisions, on a page of their own: it is what the page of the request looks again at."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render

from governance.models import ApprovalRequest

from . import base
from .base import PageRequest


@base.page("auditlog.read")
def receipts(request: PageRequest, request_id: UUID) -> HttpResponse:
    """What to keep of each decision, as soon as it is signed."""
    item = base.find(request, ApprovalRequest.objects.select_related("contract"), pk=request_id)
    return render(request, "console/receipts_page.html", {"item": item})
