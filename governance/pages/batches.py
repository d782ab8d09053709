"""Several requests decided at once: each is shown whole, with its digest, and each gets its own result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import render

from auditlog.refusals import FieldError, Refused
from governance import approvals, principals, proving
from governance.models import ApprovalRequest, Decision

from . import base, diffs, effects, reasons, wordings
from .approvals import PENDING, VERDICTS, changes_since, why_not
from .base import PageRequest


class BadBatch(Refused):
    """The form names no requests, or too many, or not by id and digest."""

    code = "bad_batch"
    kind = Refused.Kind.INVALID


@dataclass(frozen=True)
class Item:
    """One request of a batch as it is shown; `why_not` is empty when this person can decide it."""

    request: ApprovalRequest
    effect: effects.Effect
    changes: list[diffs.Change]
    differs: dict[str, Any]
    why_not: str
    chosen: bool

    @property
    def value(self) -> str:
        """What the form sends back: which request, and the digest that was shown."""
        return f"{self.request.pk}:{self.request.digest}"


@base.page("approvals.decide")
def batch(request: PageRequest) -> HttpResponse:
    """The requests the query names, whole, and one decision for all of them."""
    return show(request)


def show(request: PageRequest, *, refused: Refused | None = None) -> HttpResponse:
    """The page; with `refused`, why nothing was decided, and everything as it was."""
    sent = request.POST if request.method == "POST" else request.GET
    found = _found(request, _ids(sent.getlist("request")))
    # What was left out by hand stays left out when the form is shown again.
    chosen = set(sent.getlist("item")) if request.method == "POST" else None
    items = _items(request, found, chosen)
    return render(
        request,
        "console/batch.html",
        {
            "items": [each for each in items if not each.why_not],
            "left_out": [each for each in items if each.why_not],
            "quick_reasons": reasons.QUICK,
            "crowded": _crowded([each for each in items if not each.why_not]),
            "most": approvals.MAX_BATCH,
            "refused": refused,
        },
    )


@base.act("approvals.decide", shown_by=show)
def decide(request: PageRequest) -> HttpResponse:
    """One verdict on several requests, each by the digest that was shown."""
    verdict = request.POST.get("verdict", "")
    reason = reasons.given(request.POST)
    digests = _sent(request.POST.getlist("item"))
    results = approvals.decide_many(
        items=[
            {"request_id": request_id, "digest": digest, "verdict": verdict, "reason": reason}
            for request_id, digest in digests.items()
        ],
        by=principals.actor_of(request.user),
        user=request.user,
        now=base.now(),
        second_factor=proving.is_proved(request),
    )
    by_id = {each.pk: each for each in _found(request, list(digests))}
    rows = [(by_id.get(each.request_id), digests[each.request_id], each.refused) for each in results]
    return render(
        request,
        "console/batch_results.html",
        {
            "rows": rows,
            "did": VERDICTS.get(verdict, verdict),
            "verdict": verdict,
            "done": sum(1 for each in results if each.refused is None),
        },
    )


def _sent(values: Iterable[str]) -> dict[UUID, str]:
    """The requests a form sends, each with its digest. Raises BadBatch."""
    found = {}
    for value in values:
        request_id, _, digest = value.partition(":")
        found[_uuid(request_id)] = digest
    if not found:
        raise BadBatch("Choose at least one request.", errors=[FieldError("/item", "missing", "None is chosen.")])
    return found


def _ids(values: list[str]) -> list[UUID]:
    return [_uuid(value) for value in dict.fromkeys(values)][: approvals.MAX_BATCH]


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadBatch(
            "A request is named by its id.", errors=[FieldError("/request", "wrong_type", "A UUID is expected.")]
        ) from None


def _found(request: PageRequest, ids: list[UUID]) -> list[ApprovalRequest]:
    rows = base.visible(request, ApprovalRequest.objects.filter(pk__in=ids)).select_related("contract", "revision")
    standing = Prefetch("decisions", queryset=Decision.objects.filter(withdrawn_at=None), to_attr="standing")
    return list(rows.prefetch_related(standing, "contract__approval_requests").order_by("-risk_score", "created_at"))


def _items(request: PageRequest, found: list[ApprovalRequest], chosen: set[str] | None) -> list[Item]:
    same_action = len({each.contract.action_type for each in found}) == 1
    differs = (
        wordings.distinct([each.revision.parameters for each in found])
        if same_action and len(found) > 1
        else [{} for _ in found]
    )
    refusals: dict[Any, Refused | None] = {}
    return [
        Item(
            row,
            effects.expected(row.revision.expected_effect),
            changes_since(_before(row), row),
            different,
            _why_not(request, row, refusals),
            chosen is None or f"{row.pk}:{row.digest}" in chosen,
        )
        for row, different in zip(found, differs, strict=True)
    ]


def _crowded(items: list[Item]) -> bool:
    """Whether several act on one target: what runs first changes what the others were approved for."""
    return len({each.request.contract.target for each in items}) < len(items)


def _before(row: ApprovalRequest) -> ApprovalRequest | None:
    earlier = [each for each in row.contract.approval_requests.all() if each.created_at < row.created_at]
    return max(earlier, key=lambda each: each.created_at, default=None)


def _why_not(request: PageRequest, row: Any, refusals: dict[Any, Refused | None]) -> str:
    """Why this person cannot decide this request. Requests by the same people and of the same kind are asked once."""
    if row.state != PENDING:
        return f"It is {row.state.replace('_', ' ')}."
    if any(request.user.pk in (each.person_id, each.on_behalf_of_id) for each in row.standing):
        return "You have decided. Others still have to."
    contract = row.contract
    alike = (
        contract.requested_by_id,
        contract.on_behalf_of_id,
        row.escalated_at is None,
        str(sorted(row.requirements.items(), key=str)),
    )
    if alike not in refusals:
        refusals[alike] = approvals.refusal(row, request.user, now=base.now())
    no = refusals[alike]
    return "" if no is None else why_not(no, request, row)
