"""How dangerous an action looks: what the executor says, and how the like of it has gone before."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from verification.executors.base import Reversibility
from verification.models import Contract, State

JsonDict = dict[str, Any]

LOOKED_AT = 200
"""How many of the newest settled contracts a record is made of."""

_WENT_WRONG = frozenset({State.VIOLATED, State.ROLLED_BACK, State.FAILED, State.HELD})
_BASE = {
    Reversibility.READ_ONLY: (5, "reads only"),
    Reversibility.REVERSIBLE: (25, "Grace can take it back by itself"),
    Reversibility.EXTERNALLY_REVERSIBLE: (50, "taking it back needs the system it was done to"),
    Reversibility.IRREVERSIBLE: (80, "cannot be taken back"),
    None: (80, "nobody knows whether it can be taken back"),
}


@dataclass(frozen=True)
class Record:
    """How contracts of one kind ended: how many, how many as promised, how many not."""

    settled: int
    verified: int
    went_wrong: int

    def as_dict(self) -> JsonDict:
        """The record as JSON."""
        return {"settled": self.settled, "verified": self.verified, "went_wrong": self.went_wrong}


@dataclass(frozen=True)
class Risk:
    """A score from 0 to 100, the reasons for it as sentences, and the records behind them."""

    score: int
    factors: tuple[str, ...]
    reversibility: Reversibility | None
    records: dict[str, Record]

    def as_dict(self) -> JsonDict:
        """The risk as JSON, as a request keeps it and a condition reads it."""
        return {
            "score": self.score,
            "factors": list(self.factors),
            "reversibility": self.reversibility.value if self.reversibility else "unknown",
            "record": {name: record.as_dict() for name, record in self.records.items()},
        }


def assess(*, action_type: str, target: str, requested_by_id: int | None, reversibility: Reversibility | None) -> Risk:
    """Look up how this requester, this action type and this target have done, and weigh it."""
    records = {
        "action_type": record(Q(action_type=action_type)),
        "target": record(Q(action_type=action_type, target=target)),
        "requester": record(Q(requested_by_id=requested_by_id)),
    }
    return weigh(reversibility, records)


def record(which: Q) -> Record:
    """How the newest settled contracts of a kind ended."""
    ended = Contract.objects.filter(which).exclude(settled_at=None).order_by("-settled_at")
    states = Counter(ended.values_list("state", flat=True)[:LOOKED_AT])
    wrong = sum(states[state] for state in _WENT_WRONG)
    return Record(states[State.VERIFIED] + wrong, states[State.VERIFIED], wrong)


def weigh(reversibility: Reversibility | None, records: dict[str, Record]) -> Risk:
    """The score; pure."""
    score, why = _BASE[reversibility]
    factors = [why]
    if not records["target"].settled:
        score += 10
        factors.append("has not been done to this target before")
    for name, label in (
        ("target", "this target"),
        ("action_type", "this action type"),
        ("requester", "its requester"),
    ):
        found = records[name]
        if found.went_wrong:
            score += round(15 * found.went_wrong / found.settled)
            factors.append(f"{found.went_wrong} of {found.settled} of {label} went wrong")
    return Risk(min(score, 100), tuple(factors), reversibility, records)
