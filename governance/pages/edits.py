"""Approving something else than was asked: a form for the new wording, and what it would do."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render

from auditlog.refusals import FieldError, Refused
from governance import approvals, principals, proving
from governance.asking import Examined
from governance.models import ApprovalRequest
from governance.typed import Form
from verification.models import Revision

from . import base
from .base import PageRequest

FIELDS = ("parameters", "expected_effect", "not_before", "reason")
PENDING = ApprovalRequest.State.PENDING
JsonDict = dict[str, Any]


class BadEdit(Refused):
    """The form does not say what is to be different, or what cannot be."""

    code = "bad_edit"
    kind = Refused.Kind.INVALID


@base.page("approvals.decide")
def edit(request: PageRequest, request_id: UUID) -> HttpResponse:
    """The form, filled with what was asked."""
    return show(request, request_id)


def show(
    request: PageRequest, request_id: UUID, *, refused: Refused | None = None, tried: Examined | None = None
) -> HttpResponse:
    """The form; with `refused`, each error stands at its field; with `tried`, what the edit would do stands above."""
    rows = ApprovalRequest.objects.select_related("contract", "revision")
    item = base.find(request, rows, pk=request_id)
    no = approvals.refusal(item, request.user, now=base.now())
    return render(
        request,
        "console/edit.html",
        {
            "item": item,
            "contract": item.contract,
            "digest": request.POST.get("digest", item.digest),
            "refused": refused,
            "tried": tried,
            **filled(request, item.revision, refused),
            "may_decide": item.state == PENDING and no is None,
            "why_not": no.detail if no else "This request is no longer pending.",
        },
    )


def filled(request: PageRequest, revision: Revision, refused: Refused | None) -> dict[str, Any]:
    """The fields of a form for another wording: what was typed, or else what stands, each with what is wrong in it."""
    stands = {
        "parameters": _written(revision.parameters),
        "expected_effect": _written(revision.expected_effect),
        "not_before": _local(revision.not_before),
        "reason": "",
    }
    errors = _by_field(refused.errors if refused else ())
    return {"fields": {name: {"text": request.POST.get(name, stands[name]), "errors": errors[name]} for name in FIELDS}}


@base.act("approvals.decide", shown_by=show)
def preview(request: PageRequest, request_id: UUID) -> HttpResponse:
    """What the edit would do and whom it would ask. Nothing is written."""
    revision = _revision(request, request_id)
    tried = approvals.try_edit(
        request_id=request_id,
        by=principals.actor_of(request.user),
        user=request.user,
        digest=request.POST.get("digest", ""),
        edits=read(request.POST, revision),
        now=base.now(),
        second_factor=proving.is_proved(request),
    )
    return show(request, request_id, tried=tried)


@base.act("approvals.decide", shown_by=show)
def approve(request: PageRequest, request_id: UUID) -> HttpResponse:
    """Approve the edited wording: a revision and a request of its own, on which only this approval counts."""
    revision = _revision(request, request_id)
    opened = approvals.decide(
        request_id=request_id,
        by=principals.actor_of(request.user),
        user=request.user,
        verdict="approve",
        digest=request.POST.get("digest", ""),
        reason=request.POST.get("reason", "").strip(),
        edits=read(request.POST, revision),
        now=base.now(),
        second_factor=proving.is_proved(request),
    )
    messages.success(request, "You approved it as edited. This is the request for the new wording.")
    return redirect("approval", request_id=opened.pk)


def _revision(request: PageRequest, request_id: UUID) -> Revision:
    return base.find(request, ApprovalRequest.objects.select_related("revision"), pk=request_id).revision


def read(sent: QueryDict, revision: Revision) -> JsonDict:
    """What a form changes, as the edits of a decision: only what differs from the revision.

    Raises NotReadable and BadEdit.
    """
    form = Form(sent)
    asked = {name: form.object(name) for name in ("parameters", "expected_effect")}
    start = form.time("not_before", required=False)
    form.finish()
    edits = {name: value for name, value in asked.items() if value != getattr(revision, name)}
    if start is None and revision.not_before is not None:
        detail = "A start that was asked for cannot be left out; give an earlier one."
        raise BadEdit(detail, errors=[FieldError("/not_before", "missing", detail)])
    if start is not None and start != _second(revision.not_before):
        edits["not_before"] = start.isoformat()
    if not edits:
        raise BadEdit("Nothing is different from what was asked; approve it as it is.")
    return edits


def later(sent: QueryDict) -> JsonDict | None:
    """The edit an approval makes that names a time to begin, and nothing else; None without one. Raises NotReadable."""
    form = Form(sent)
    start = form.time("not_before", required=False) if sent.get("verdict") == "approve" else None
    form.finish()
    return {"not_before": start.isoformat()} if start else None


def _written(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _local(at: datetime | None) -> str:
    """A time as a browser's field for date and time holds it, in UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") if at else ""


def _second(at: datetime | None) -> datetime | None:
    """A time as it comes back from such a field."""
    return at.replace(microsecond=0) if at else None


def _by_field(errors: Iterable[FieldError]) -> dict[str, list[FieldError]]:
    """Errors by the field of the form they are about; those about none are under ""."""
    found: dict[str, list[FieldError]] = {name: [] for name in (*FIELDS, "")}
    for error in errors:
        name = error.pointer.removeprefix("/edits").split("/")[1:2]
        found[name[0] if name and name[0] in FIELDS else ""].append(error)
    return found
