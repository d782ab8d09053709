"""Learning: what the record of settled contracts says about an action, a playbook, an error pattern or an
agent.

A success rate is never given bare: with it stands its Wilson lower bound, which is low while there is little
to go by. What was said of an action beforehand (its stated confidence) is held against what came of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Case, Count, F, FloatField, IntegerField, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Cast, Floor, Least, Power

from auditlog.refusals import FieldError, Kind, Refused

from .models import Contract, State

DIMENSIONS = ("action_type", "playbook", "error_pattern", "agent")
OUTCOMES = (State.VERIFIED, State.FAILED, State.ROLLED_BACK)
"""States that say how an action went. What was denied, rejected, expired or cancelled was never tried."""

RECENT = timedelta(days=90)
"""How far back the record counts where nobody says otherwise: what was long ago says little of what is now."""

BUCKETS = 10
Z_95 = 1.959963984540054


class UnknownDimension(Refused):
    """The record cannot be grouped that way."""

    code = "unknown_dimension"
    kind = Kind.INVALID


@dataclass(frozen=True)
class Calibration:
    """Contracts whose stated confidence lay in [`low`, `high`): what was said, and what came true."""

    low: float
    high: float
    runs: int
    stated: float
    succeeded: float

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON."""
        return {
            "low": round(self.low, 2),
            "high": round(self.high, 2),
            "runs": self.runs,
            "stated": round(self.stated, 4),
            "succeeded": round(self.succeeded, 4),
        }


@dataclass(frozen=True)
class Tally:
    """Counted contracts of one group and one bucket of stated confidence (None: nothing was stated)."""

    group: tuple[str, ...]
    bucket: int | None
    runs: int
    successes: int
    stated: float = 0.0
    squared_error: float = 0.0


@dataclass(frozen=True)
class Stat:
    """How one group fared. `mean_confidence` and `brier_score` are None when nothing was ever stated."""

    group: Mapping[str, str]
    runs: int
    successes: int
    success_rate: float
    lower_bound: float
    mean_confidence: float | None
    brier_score: float | None
    calibration: tuple[Calibration, ...]

    def as_dict(self) -> dict[str, Any]:
        """The stat as JSON."""
        return {
            **self.group,
            "runs": self.runs,
            "successes": self.successes,
            "success_rate": round(self.success_rate, 4),
            "lower_bound": round(self.lower_bound, 4),
            "mean_confidence": _rounded(self.mean_confidence),
            "brier_score": _rounded(self.brier_score),
            "calibration": [row.as_dict() for row in self.calibration],
        }


def wilson_lower_bound(successes: int, runs: int, z: float = Z_95) -> float:
    """The lower end of the Wilson score interval for a proportion, 0.0 to 1.0; 0.0 when there were no runs.

    `z` is the normal quantile; the default gives the 95 % interval.
    """
    if not 0 <= successes <= runs:
        raise ValueError("successes must lie between 0 and runs")
    if runs == 0:
        return 0.0
    rate = successes / runs
    centre = rate + z * z / (2 * runs)
    margin = z * math.sqrt((rate * (1 - rate) + z * z / (4 * runs)) / runs)
    return max(0.0, (centre - margin) / (1 + z * z / runs))


def fold(tallies: Iterable[Tally], group_by: Sequence[str]) -> list[Stat]:
    """One stat for each group, best lower bound first."""
    groups: dict[tuple[str, ...], list[Tally]] = {}
    for tally in tallies:
        groups.setdefault(tally.group, []).append(tally)
    stats = [_stat(dict(zip(group_by, group, strict=True)), found) for group, found in groups.items()]
    return sorted(stats, key=lambda stat: (-stat.lower_bound, -stat.runs, tuple(stat.group.values())))


def _stat(group: Mapping[str, str], tallies: Sequence[Tally]) -> Stat:
    runs = sum(tally.runs for tally in tallies)
    successes = sum(tally.successes for tally in tallies)
    said = sorted((tally for tally in tallies if tally.bucket is not None), key=lambda tally: tally.bucket or 0)
    count = sum(tally.runs for tally in said)
    return Stat(
        group=group,
        runs=runs,
        successes=successes,
        success_rate=successes / runs,
        lower_bound=wilson_lower_bound(successes, runs),
        mean_confidence=sum(tally.stated for tally in said) / count if count else None,
        brier_score=sum(tally.squared_error for tally in said) / count if count else None,
        calibration=tuple(_calibration(tally) for tally in said),
    )


def _calibration(tally: Tally) -> Calibration:
    bucket = tally.bucket or 0
    return Calibration(
        low=bucket / BUCKETS,
        high=(bucket + 1) / BUCKETS,
        runs=tally.runs,
        stated=tally.stated / tally.runs,
        succeeded=tally.successes / tally.runs,
    )


def stats(
    *,
    group_by: Sequence[str] = DIMENSIONS,
    since: datetime | None = None,
    where: Q | None = None,
) -> list[Stat]:
    """How actions fared, grouped by any of `DIMENSIONS`, best lower bound first; one query.

    `since` (aware UTC) leaves out what settled earlier; `where` narrows the contracts further. Raises
    UnknownDimension.
    """
    if unknown := [name for name in group_by if name not in DIMENSIONS]:
        raise UnknownDimension(
            f"The record can be grouped by {', '.join(DIMENSIONS)}.",
            errors=[FieldError("/group_by", "not_allowed", f"{name!r} is not one of them.") for name in unknown],
        )
    group_by = list(dict.fromkeys(group_by))
    rows = _tallied(_settled(since, where), group_by)
    return fold((_tally(row, group_by) for row in rows), group_by)


def _settled(since: datetime | None, where: Q | None) -> QuerySet[Contract]:
    found = Contract.objects.filter(state__in=OUTCOMES, settled_at__isnull=False)
    if since is not None:
        found = found.filter(settled_at__gte=since)
    return found if where is None else found.filter(where)


def _tallied(contracts: QuerySet[Contract], group_by: Sequence[str]) -> Iterable[dict[str, Any]]:
    success = Case(When(state=State.VERIFIED, then=Value(1.0)), default=Value(0.0), output_field=FloatField())
    stated = Cast("stated_confidence", FloatField())
    bucket = Cast(Least(Floor(stated * BUCKETS), Value(float(BUCKETS - 1))), IntegerField())
    agent = Case(When(requested_by_kind="agent", then=F("requested_by_label")), default=Value(""))
    counted: Iterable[dict[str, Any]] = (
        contracts.annotate(
            agent=agent,
            # Nothing stated, no bucket: PostgreSQL's LEAST would pass the null over.
            bucket=Case(When(stated_confidence__isnull=True, then=None), default=bucket),
        )
        .order_by()
        .values(*group_by, "bucket")
        .annotate(
            runs=Count("id"),
            successes=Count("id", filter=Q(state=State.VERIFIED)),
            stated=Sum(stated),
            squared_error=Sum(Power(stated - success, 2)),
        )
    )
    return counted


def _tally(row: dict[str, Any], group_by: Sequence[str]) -> Tally:
    return Tally(
        group=tuple(row[name] for name in group_by),
        bucket=row["bucket"],
        runs=row["runs"],
        successes=row["successes"],
        stated=row["stated"] or 0.0,
        squared_error=row["squared_error"] or 0.0,
    )


def _rounded(value: float | Decimal | None) -> float | None:
    return None if value is None else round(float(value), 4)
