"""How dangerous an action looks: what the executor says, and how the like of it has gone before."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Q

from verification import learning
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

    @property
    def lower_bound(self) -> float:
        """The Wilson lower bound of how often it ends as promised, 0.0 to 1.0; low while there is little to go by."""
        return learning.wilson_lower_bound(self.verified, self.settled)

    def as_dict(self) -> JsonDict:
        """The record as JSON."""
        counts = {"settled": self.settled, "verified": self.verified, "went_wrong": self.went_wrong}
        return {**counts, "lower_bound": round(self.lower_bound, 4)}


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
    records = _records(
        action_type=Q(action_type=action_type),
        target=Q(action_type=action_type, target=target),
        requester=Q(requested_by_id=requested_by_id),
    )
    return weigh(reversibility, records)


def of_unknown(reversibility: Reversibility | None) -> Risk:
    """The risk of something of which there is no record."""
    return weigh(reversibility, dict.fromkeys(("action_type", "target", "requester"), Record(0, 0, 0)))


def _records(**kinds: Q) -> dict[str, Record]:
    """How the newest settled contracts of each kind ended; one statement, and each part of it reads one index."""
    states: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    parts, given = [], []
    for kind, which in kinds.items():
        ended = Contract.objects.filter(which, settled_at__isnull=False).order_by("-settled_at").values("state")
        newest, asked = ended[:LOOKED_AT].query.sql_with_params()
        parts.append(f"SELECT %s AS kind, state, count(*) FROM ({newest}) AS newest GROUP BY state")  # noqa: S608 - ours
        given += [kind, *asked]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), given)
        for kind, state, count in cursor.fetchall():
            states[kind][state] = count
    return {kind: _record(found) for kind, found in states.items()}


def _record(states: Counter[str]) -> Record:
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
