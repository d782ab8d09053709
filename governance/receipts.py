"""Receipts of decisions: what whoever decided can keep, whatever becomes of the log."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from auditlog import signer
from auditlog.models import Leaf

from .models import Decision


@dataclass(frozen=True)
class Receipt:
    """One decision and its entry's place in the log (None while it waits for one).

    `ready`: a checkpoint covers it, so there is a `.tlog-proof` of it.
    """

    decision: Decision
    index: int | None
    ready: bool


def of(request_ids: Collection[UUID]) -> list[Receipt]:
    """The receipts of every decision on these requests, oldest first. Three queries."""
    decisions = list(Decision.objects.filter(request_id__in=request_ids).order_by("created_at", "id"))
    if not decisions:
        return []
    leaves = Leaf.objects.filter(entry_id__in=[each.entry_id for each in decisions])
    places = dict(leaves.values_list("entry_id", "index"))
    signed = signed_size()
    return [
        Receipt(each, place, ready=place is not None and place < signed)
        for each in decisions
        for place in [places.get(each.entry_id) if each.entry_id else None]
    ]


def signed_size() -> int:
    """How many entries the last checkpoint covers."""
    last = signer.latest()
    return 0 if last is None else last.size
