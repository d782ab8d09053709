"""Measuring criteria against the observed world.

What the executor said about itself is never a measurement. Whatever goes wrong while measuring makes the
criterion inconclusive, with the reason; only what was really seen can pass or fail. A service that was asked
for its health and refused or did not answer has been seen: it is not healthy.

A window (several samples over time) is not waited for: each call of `measure` takes the samples that are due
and says in how many seconds it wants to be called again; `Measurement.as_dict()` of the last call is the
whole state.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.utils import timezone

from auditlog.refusals import FieldError
from verification import configuration, criteria, expressions, outgoing
from verification.benchmarks import checks
from verification.criteria import Criterion, CriterionType, ExpectedEffect, Measurement, Outcome
from verification.executors import observed as observations
from verification.models import BenchmarkRun

MAX_KEPT_CHARS = 4_000
METRIC_DEADLINE_SECONDS = 10.0


@dataclass(frozen=True)
class World:
    """What criteria are measured against; `observed` is None when the target could not be read.

    `baseline_metrics` holds what `before` measured, by the key of the criterion.
    """

    observed: Mapping[str, Any] | None = None
    baseline: Mapping[str, Any] | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    baseline_metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """All measurements as they stand; `due_in` seconds until more samples are owed, None when all are in."""

    measurements: tuple[Measurement, ...]
    due_in: float | None = None


@dataclass(frozen=True)
class _Sample:
    outcome: Outcome
    reason: str = ""
    observed: Any = None


class _Inconclusive(Exception):
    """The criterion could not be measured."""


def measure(
    expected: ExpectedEffect,
    world: World,
    *,
    earlier: Iterable[Mapping[str, Any]] = (),
    now: datetime | None = None,
) -> Measured:
    """Take every sample that is due now. `earlier` is what the last call gave, as dicts."""
    at = now or timezone.now()
    known = {item["key"]: item for item in earlier}
    results = [_advance(each, world, known.get(each.key), at) for each in expected.criteria]
    owed = [seconds for _, seconds in results if seconds is not None]
    return Measured(tuple(m for m, _ in results), min(owed) if owed else None)


def measure_once(criterion: Criterion, world: World, *, now: datetime | None = None) -> Measurement:
    """One sample, taken as the answer (preconditions)."""
    at = now or timezone.now()
    sample = _sample(criterion, world)
    return _measurement(criterion, sample.outcome, sample.reason, sample.observed, [_kept(sample, at)])


def before(expected: ExpectedEffect) -> dict[str, float]:
    """What metrics are before the action, by criterion key; those that cannot be measured are left out."""
    found: dict[str, float] = {}
    for each in expected.criteria:
        if isinstance(each.spec, criteria.MetricThreshold) and each.spec.relative_to == "baseline":
            try:
                found[each.key] = _query(each.spec.query)
            except _Inconclusive:
                continue
    return found


def looks_at_target(criterion: Criterion) -> bool:
    """Whether it is measured by what the target looks like, and not by asking somebody else."""
    match criterion.spec:
        case criteria.StateMatch():
            return True
        case criteria.Expression(source=source):
            return "observed" in expressions.compile_expression(source).program.variables()
    return False


def require_measurable(wanted: Iterable[Criterion], *, at: str) -> None:
    """Refuse what this installation cannot measure: URLs that may not be called, unknown suites, no metrics.

    `at` is the pointer the keys of the criteria begin below. Raises InvalidExpectedEffect.
    """
    errors = [error for each in wanted for error in _refusals_of(each, at + each.key)]
    if errors:
        raise criteria.InvalidExpectedEffect("A criterion cannot be measured here.", errors=errors)


def _refusals_of(criterion: Criterion, here: str) -> list[FieldError]:
    match criterion.spec:
        case criteria.HealthCheck(url=url):
            return outgoing.check(url, f"{here}/url")
        case criteria.Benchmark(suite=suite) if suite not in checks.suites():
            detail = f"There is no suite {suite!r}; there are {', '.join(checks.suites())}."
            return [FieldError(f"{here}/suite", "unknown_suite", detail)]
        case criteria.MetricThreshold() if configuration.prometheus_url() is None:
            detail = "No metric can be measured: PROMETHEUS_URL is not set."
            return [FieldError(f"{here}/query", "no_metrics", detail)]
    return []


# --- samples over time ---


def _advance(
    criterion: Criterion, world: World, earlier: Mapping[str, Any] | None, now: datetime
) -> tuple[Measurement, float | None]:
    """The criterion with one more sample if one is due, and the seconds until the next one."""
    samples = list(earlier["samples"]) if earlier else []
    outcome = criteria.conclude(criterion.measure, [Outcome(s["outcome"]) for s in samples])
    seen = earlier["observed"] if earlier else None
    if outcome is Outcome.PENDING and _wait(criterion, samples, now) <= 0:
        sample = _sample(criterion, world)
        samples.append(_kept(sample, now))
        seen = sample.observed
        outcome = criteria.conclude(criterion.measure, [Outcome(s["outcome"]) for s in samples])
    reason = samples[-1]["reason"] if samples and outcome is not Outcome.PASSED else ""
    owed = _wait(criterion, samples, now) if outcome is Outcome.PENDING else None
    return _measurement(criterion, outcome, reason, seen, samples), owed


def _wait(criterion: Criterion, samples: list[dict[str, Any]], now: datetime) -> float:
    if not samples:
        return 0.0
    due = datetime.fromisoformat(samples[-1]["at"]) + timedelta(seconds=criterion.measure.interval_seconds)
    return max(0.0, (due - now).total_seconds())


def _kept(sample: _Sample, at: datetime) -> dict[str, Any]:
    return {"at": at.isoformat(), "outcome": sample.outcome.value, "reason": sample.reason}


def _measurement(
    criterion: Criterion, outcome: Outcome, reason: str, seen: Any, samples: list[dict[str, Any]]
) -> Measurement:
    return Measurement(
        key=criterion.key,
        type=criterion.type,
        title=criterion.title,
        weight=criterion.weight,
        required=criterion.required,
        outcome=outcome,
        reason=reason,
        expected=_bounded(_expected(criterion)),
        observed=_bounded(seen),
        samples=tuple(samples),
    )


def _expected(criterion: Criterion) -> Any:
    match criterion.spec:
        case criteria.StateMatch(operator=operator, operand=operand):
            return {operator: operand}
        case criteria.HealthCheck(status=status, max_latency_ms=latency, contains=contains):
            return {"status": status or "2xx", "max_latency_ms": latency, "contains": contains}
        case criteria.MetricThreshold(operator=operator, value=value, relative_to=relative):
            return {operator: value, "relative_to": relative}
    return True


def _bounded(value: Any) -> Any:
    """The value, or its digest when it is too long to be kept with every measurement."""
    safe = observations.json_safe(value)
    text = json.dumps(safe)
    if len(text) <= MAX_KEPT_CHARS:
        return safe
    return {"sha256": observations.digest(safe), "chars": len(text), "begins": text[:200]}


# --- one sample ---


def _sample(criterion: Criterion, world: World) -> _Sample:
    try:
        if world.observed is None and looks_at_target(criterion):
            raise _Inconclusive("the target could not be observed")
        return _METERS[criterion.type](criterion, world)
    except _Inconclusive as exc:
        return _Sample(Outcome.INCONCLUSIVE, str(exc))
    except Exception as exc:  # noqa: BLE001 - a meter that breaks has measured nothing
        return _Sample(Outcome.INCONCLUSIVE, f"could not be measured ({type(exc).__name__})")


def _verdict(passed: bool, reason: str, seen: Any) -> _Sample:
    return _Sample(Outcome.PASSED if passed else Outcome.FAILED, "" if passed else reason, seen)


def _state_match(criterion: Criterion, world: World) -> _Sample:
    assert isinstance(criterion.spec, criteria.StateMatch)
    try:
        passed, found = criteria.state_matches(criterion.spec, world.observed)
    except ValueError as exc:
        raise _Inconclusive(str(exc)) from exc
    return _verdict(passed, "the observed value is another", found)


def _expression(criterion: Criterion, world: World) -> _Sample:
    assert isinstance(criterion.spec, criteria.Expression)
    expression = expressions.compile_expression(criterion.spec.source)
    variables = {name: getattr(world, name) for name in criteria.EXPRESSION_NAMES}
    try:
        passed = expression.holds(variables)
    except expressions.ExpressionFailed as exc:
        raise _Inconclusive(f"the expression {exc}") from exc
    return _verdict(passed, "the expression is false", passed)


def _health_check(criterion: Criterion, world: World) -> _Sample:
    spec = criterion.spec
    assert isinstance(spec, criteria.HealthCheck)
    deadline = outgoing.DEADLINE_SECONDS
    if spec.max_latency_ms is not None:
        deadline = min(60.0, max(1.0, spec.max_latency_ms / 1000 * 1.5))
    try:
        answer = outgoing.request("GET", spec.url, deadline_seconds=deadline)
    except (outgoing.UrlNotAllowed, outgoing.NameUnknown) as exc:
        raise _Inconclusive(str(exc)) from exc
    except outgoing.NoAnswer as exc:
        return _Sample(Outcome.FAILED, str(exc))
    seen = {"status": answer.status, "latency_ms": round(answer.latency_ms)}
    problem = _illness(spec, answer)
    return _verdict(not problem, problem, seen)


def _illness(spec: criteria.HealthCheck, answer: outgoing.Answer) -> str:
    healthy = answer.status == spec.status if spec.status else 200 <= answer.status < 300
    if not healthy:
        return f"answered {answer.status}"
    if spec.max_latency_ms is not None and answer.latency_ms > spec.max_latency_ms:
        return f"took {answer.latency_ms:.0f} ms"
    if spec.contains is not None and spec.contains not in answer.text:
        return "the answer does not contain the text"
    return ""


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}


def _metric_threshold(criterion: Criterion, world: World) -> _Sample:
    spec = criterion.spec
    assert isinstance(spec, criteria.MetricThreshold)
    limit = spec.value
    if spec.relative_to == "baseline":
        if criterion.key not in world.baseline_metrics:
            raise _Inconclusive("the metric was not measured before the action")
        limit = spec.value * world.baseline_metrics[criterion.key]
    value = _query(spec.query)
    return _verdict(_COMPARE[spec.operator](value, limit), f"{value:g} is not {spec.operator} {limit:g}", value)


def _query(query: str) -> float:
    """One number from Prometheus; no series, several, or no number is inconclusive."""
    base = configuration.prometheus_url()
    if base is None:
        raise _Inconclusive("PROMETHEUS_URL is not set")
    url = f"{base.rstrip('/')}/api/v1/query?{urlencode({'query': query})}"
    try:
        answer = outgoing.request("GET", url, prefixes=[base], trusted=True, deadline_seconds=METRIC_DEADLINE_SECONDS)
    except (outgoing.UrlNotAllowed, outgoing.NoAnswer) as exc:
        raise _Inconclusive(f"Prometheus gave no answer: {exc}") from exc
    return _number(answer)


def _number(answer: outgoing.Answer) -> float:
    document = answer.json()
    if answer.status != 200 or not isinstance(document, dict) or document.get("status") != "success":
        raise _Inconclusive(f"Prometheus refused the query ({answer.status})")
    data = document["data"]
    series = data["result"]
    if data["resultType"] == "vector":
        if len(series) != 1:
            raise _Inconclusive(f"the query gives {len(series)} series, one is needed")
        sample = series[0]["value"]
    elif data["resultType"] == "scalar":
        sample = series
    else:
        raise _Inconclusive(f"the query gives a {data['resultType']}, one number is needed")
    value = float(sample[1])
    if not math.isfinite(value):
        raise _Inconclusive(f"the query gives {value}")
    return value


def _benchmark(criterion: Criterion, world: World) -> _Sample:
    assert isinstance(criterion.spec, criteria.Benchmark)
    suite = criterion.spec.suite
    try:
        results = checks.run_suite(suite)
    except checks.UnknownSuite as exc:
        raise _Inconclusive(str(exc)) from exc
    golden = BenchmarkRun.objects.filter(suite=suite, is_golden=True).first()
    comparison = checks.compare(results, golden.checks if golden else [])
    seen = {"failed": comparison.failed, "drifted": comparison.drifted, "golden": golden is not None}
    problem = "; ".join(
        [f"{name} failed" for name in comparison.failed] + [f"{name} drifted" for name in comparison.drifted]
    )
    return _verdict(not problem, problem, seen)


_METERS: dict[CriterionType, Callable[[Criterion, World], _Sample]] = {
    CriterionType.STATE_MATCH: _state_match,
    CriterionType.HEALTH_CHECK: _health_check,
    CriterionType.METRIC_THRESHOLD: _metric_threshold,
    CriterionType.BENCHMARK: _benchmark,
    CriterionType.EXPRESSION: _expression,
}
