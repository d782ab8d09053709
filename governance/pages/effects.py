"""Expected against observed, criterion by criterion. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from auditlog.refusals import Refused
from verification import criteria


@dataclass(frozen=True)
class Row:
    """One criterion: what it looks at, what must be there, and, once measured, what was."""

    key: str
    kind: str
    what: str
    expected: str
    weight: str
    required: bool
    outcome: str = ""
    observed: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Effect:
    """Every criterion of an expected effect, and below which confidence it is rolled back."""

    rows: list[Row]
    threshold: str
    measured: bool = False


def expected(effect: Mapping[str, Any]) -> Effect:
    """What was promised, before anything is measured."""
    try:
        parsed = criteria.parse(effect)
    except Refused:
        # Written by another version of Grace; shown as it stands rather than not at all.
        return Effect([Row("", "unknown", "expected effect", _text(effect), "1", required=False)], "?")
    return Effect([_promised(each) for each in parsed.criteria], f"{parsed.rollback_threshold:.0%}")


def observed(effect: Mapping[str, Any], measurements: Sequence[Mapping[str, Any]]) -> Effect:
    """What was promised beside what was seen."""
    promised = expected(effect)
    if not measurements:
        return promised
    seen = {str(each.get("key")): each for each in measurements}
    rows = [_beside(row, seen[row.key]) if row.key in seen else row for row in promised.rows]
    return replace(promised, rows=rows, measured=True)


def _promised(criterion: criteria.Criterion) -> Row:
    what, wanted = _look(criterion)
    return Row(
        key=criterion.key,
        kind=criterion.type.value,
        what=what,
        expected=wanted,
        weight=str(criterion.weight),
        required=criterion.required,
    )


def _beside(row: Row, measurement: Mapping[str, Any]) -> Row:
    return replace(
        row,
        outcome=str(measurement.get("outcome", "")),
        observed=_text(measurement.get("observed")),
        detail=str(measurement.get("reason") or ""),
    )


def _look(criterion: criteria.Criterion) -> tuple[str, str]:
    match criterion.spec:
        case criteria.StateMatch(path, operator, operand):
            return path, _text(operand) if operator == "equals" else f"{operator} {_text(operand)}"
        case criteria.HealthCheck(url, status, latency, contains):
            wanted = [f"status {status}" if status else "any 2xx"]
            wanted += [f"within {latency:g} ms"] if latency else []
            wanted += [f"contains {_text(contains)}"] if contains else []
            return url, ", ".join(wanted)
        case criteria.MetricThreshold(query, operator, value, relative_to):
            return query, f"{operator} {value:g}{' x what it was before' if relative_to else ''}"
        case criteria.Benchmark(suite):
            return suite, "passes, without drift"
        case criteria.Expression(source):
            return source, "holds"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
