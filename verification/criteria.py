"""What a contract says will be true afterwards, and the verdict once it was measured.

Pure: no database, no clock, no settings, no network. `parse` turns the JSON of a proposal into criteria or
names each wrong field; `conclude` turns the samples of one criterion into an outcome; `judge` turns all
outcomes into a verdict.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from typing import Any, Literal, get_args

import jmespath
from jmespath.exceptions import JMESPathError

from auditlog.refusals import FieldError, Refused
from verification import expressions, json_schemas, paths

JsonDict = dict[str, Any]

VERIFIED_FROM = Decimal("0.9")
DEFAULT_ROLLBACK_THRESHOLD = Decimal("0.3")
MAX_CRITERIA = 50
MAX_PATH_CHARS = 512
MAX_WINDOW_SECONDS = 7 * 24 * 3600
EXPRESSION_NAMES = ("observed", "baseline", "result", "metrics", "parameters")


Operator = Literal["lt", "lte", "gt", "gte", "eq", "ne"]


class VerifiesNothing(Refused):
    """Neither a target state nor a criterion: nothing could ever be verified."""

    code = "verifies_nothing"
    kind = Refused.Kind.INVALID


class InvalidExpectedEffect(Refused):
    """The expected effect does not parse; `errors` names each field."""

    code = "invalid_expected_effect"
    kind = Refused.Kind.INVALID


class CriterionType(StrEnum):
    """What kind of measurement a criterion asks for."""

    STATE_MATCH = "state_match"
    HEALTH_CHECK = "health_check"
    METRIC_THRESHOLD = "metric_threshold"
    BENCHMARK = "benchmark"
    EXPRESSION = "expression"


class Outcome(StrEnum):
    """Of one sample or one criterion; `pending` means that more samples are owed."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    PENDING = "pending"


@dataclass(frozen=True)
class Measure:
    """How often a criterion is sampled and what the samples must add up to (intervals in seconds)."""

    count: int = 1
    interval_seconds: float = 0.0
    failure_limit: int = 0
    consecutive_successes: int = 0
    on_inconclusive: Literal["inconclusive", "retry", "fail"] = "inconclusive"


@dataclass(frozen=True)
class StateMatch:
    """A JMESPath over the observed state, compared with a value, a list of values or a pattern."""

    path: str
    operator: Literal["equals", "in", "matches"]
    operand: Any


@dataclass(frozen=True)
class HealthCheck:
    """A real GET; without `status` any 2xx is healthy. Latency in milliseconds."""

    url: str
    status: int | None = None
    max_latency_ms: float | None = None
    contains: str | None = None


@dataclass(frozen=True)
class MetricThreshold:
    """A Prometheus query; relative to the baseline, `value` multiplies what was measured before."""

    query: str
    operator: Operator
    value: float
    relative_to: Literal["baseline"] | None = None


@dataclass(frozen=True)
class Benchmark:
    """A suite of benchmark checks passes and has not drifted from its golden run."""

    suite: str


@dataclass(frozen=True)
class Expression:
    """A CEL expression over observed, baseline, result, metrics and parameters."""

    source: str


Spec = StateMatch | HealthCheck | MetricThreshold | Benchmark | Expression


@dataclass(frozen=True)
class Criterion:
    """One thing that must be true; `key` is its JSON pointer below the expected effect and never changes."""

    key: str
    type: CriterionType
    spec: Spec
    weight: Decimal = Decimal(1)
    required: bool = False
    measure: Measure = field(default_factory=Measure)
    implicit: bool = False

    @property
    def title(self) -> str:
        """A short line for people."""
        return _TITLES[self.type](self.spec)


@dataclass(frozen=True)
class ExpectedEffect:
    """What was promised: every criterion (those of the target state first) and the rollback threshold."""

    target_state: Mapping[str, Any]
    criteria: tuple[Criterion, ...]
    rollback_threshold: Decimal = DEFAULT_ROLLBACK_THRESHOLD


@dataclass(frozen=True)
class Measurement:
    """One criterion, measured: its outcome and why, what was expected, what was seen, its samples."""

    key: str
    type: CriterionType
    title: str
    weight: Decimal
    required: bool
    outcome: Outcome
    reason: str = ""
    expected: Any = None
    observed: Any = None
    samples: tuple[JsonDict, ...] = ()

    def as_dict(self) -> JsonDict:
        """The measurement as JSON; weights are decimal strings."""
        return {
            "key": self.key,
            "type": self.type.value,
            "title": self.title,
            "weight": str(self.weight),
            "required": self.required,
            "outcome": self.outcome.value,
            "passed": self.outcome is Outcome.PASSED,
            "reason": self.reason,
            "expected": self.expected,
            "observed": self.observed,
            "samples": list(self.samples),
        }


@dataclass(frozen=True)
class Judgement:
    """The verdict: confidence 0..1 (rounded down to four digits) and who is to blame for what is missing."""

    confidence: Decimal
    outcome: Literal["verified", "partial", "violated"]
    failed: tuple[str, ...] = ()
    inconclusive: tuple[str, ...] = ()

    def as_dict(self) -> JsonDict:
        """The judgement as JSON; confidence is a decimal string."""
        return {
            "confidence": str(self.confidence),
            "outcome": self.outcome,
            "failed": list(self.failed),
            "inconclusive": list(self.inconclusive),
        }


# --- the verdict ---


def judge(measurements: Sequence[Measurement], threshold: Decimal = DEFAULT_ROLLBACK_THRESHOLD) -> Judgement:
    """Weigh the measurements; what is inconclusive (or still pending) is not passed and is named.

    Verified from 0.9 when every required criterion passed; violated below the threshold or when a required
    criterion failed; partial between. Raises ValueError for no measurements at all: nothing measured is no
    verdict.
    """
    total = sum((m.weight for m in measurements), Decimal(0))
    if total <= 0:
        raise ValueError("nothing was measured")
    passed = sum((m.weight for m in measurements if m.outcome is Outcome.PASSED), Decimal(0))
    failed = [m for m in measurements if m.outcome is Outcome.FAILED]
    unknown = [m for m in measurements if m.outcome in (Outcome.INCONCLUSIVE, Outcome.PENDING)]
    outcome: Literal["verified", "partial", "violated"]
    if any(m.required for m in failed) or passed < threshold * total:
        outcome = "violated"
    elif passed >= VERIFIED_FROM * total and not any(m.required for m in unknown):
        outcome = "verified"
    else:
        outcome = "partial"
    confidence = (passed / total).quantize(Decimal("0.0001"), rounding=ROUND_DOWN)
    return Judgement(confidence, outcome, tuple(m.key for m in failed), tuple(m.key for m in unknown))


def conclude(measure: Measure, samples: Sequence[Outcome]) -> Outcome:
    """What the samples taken so far say; `pending` while more are owed."""
    as_failed = {Outcome.FAILED} | ({Outcome.INCONCLUSIVE} if measure.on_inconclusive == "fail" else set())
    failures = sum(sample in as_failed for sample in samples)
    unknowns = sum(sample is Outcome.INCONCLUSIVE for sample in samples)
    if failures > measure.failure_limit:
        return Outcome.FAILED
    if unknowns and measure.on_inconclusive == "inconclusive":
        return Outcome.INCONCLUSIVE
    needed = measure.consecutive_successes
    if needed and len(samples) >= needed and all(s is Outcome.PASSED for s in samples[-needed:]):
        return Outcome.PASSED
    if len(samples) < measure.count:
        return Outcome.PENDING
    if needed or Outcome.PASSED not in samples:
        return Outcome.FAILED if failures else Outcome.INCONCLUSIVE
    return Outcome.PASSED


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, true and 1 are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return type(one) is type(other) and bool(one == other)


def state_matches(spec: StateMatch, state: Any) -> tuple[bool, Any]:
    """Whether the state matches, and the value at the path; raises ValueError when it cannot be taken."""
    try:
        found = jmespath.search(spec.path, state)
    except (JMESPathError, RecursionError) as exc:
        raise ValueError(f"the path could not be taken: {_reason(exc)}") from exc
    if spec.operator == "equals":
        return same(found, spec.operand), found
    if spec.operator == "in":
        return any(same(found, option) for option in spec.operand), found
    return isinstance(found, str) and json_schemas.pattern(spec.operand)(found), found


# --- reading it ---


def parse(expected_effect: Any, *, at: str = "/expected_effect") -> ExpectedEffect:
    """The expected effect of a proposal; raises VerifiesNothing or InvalidExpectedEffect (all fields)."""
    problems = _Problems()
    members = problems.members(expected_effect, at, known=("target_state", "success_criteria", "rollback_threshold"))
    target_state = problems.mapping(members.get("target_state", {}), f"{at}/target_state")
    criteria = [*_implicit(target_state), *_criteria(problems, members, at)]
    threshold = problems.number(
        members.get("rollback_threshold"),
        f"{at}/rollback_threshold",
        default=DEFAULT_ROLLBACK_THRESHOLD,
        low=0,
        high=1,
    )
    if len(criteria) > MAX_CRITERIA:
        problems.add(at, "too_long", f"At most {MAX_CRITERIA} criteria, those of the target state included.")
    if problems.found:
        raise InvalidExpectedEffect("The expected effect does not parse.", errors=problems.found)
    if not criteria:
        detail = "Neither a target state nor a success criterion: nothing could be verified."
        raise VerifiesNothing(detail, errors=[FieldError(at, VerifiesNothing.code, detail)])
    return ExpectedEffect(dict(target_state), tuple(criteria), threshold)


def parse_criteria(items: Any, *, at: str = "/preconditions") -> tuple[Criterion, ...]:
    """A plain list of criteria, such as preconditions; raises InvalidExpectedEffect naming each field."""
    problems = _Problems()
    criteria = _criterion_list(problems, items, at, "")
    if problems.found:
        raise InvalidExpectedEffect("The criteria do not parse.", errors=problems.found)
    return tuple(criteria)


def quoted(name: str) -> str:
    """The JMESPath of a member with exactly this name, whatever characters it has."""
    return json.dumps(name)


def _implicit(target_state: Mapping[str, Any]) -> list[Criterion]:
    return [
        Criterion(
            key=f"/target_state{json_schemas.pointer([name])}",
            type=CriterionType.STATE_MATCH,
            spec=StateMatch(quoted(name), "equals", value),
            required=True,
            implicit=True,
        )
        for name, value in target_state.items()
    ]


def _criteria(problems: _Problems, members: Mapping[str, Any], at: str) -> list[Criterion]:
    items = members.get("success_criteria", [])
    return _criterion_list(problems, items, f"{at}/success_criteria", "/success_criteria")


def _criterion_list(problems: _Problems, items: Any, at: str, key: str) -> list[Criterion]:
    if not isinstance(items, list):
        problems.add(at, "wrong_type", "A list of criteria is expected.")
        return []
    if len(items) > MAX_CRITERIA:
        problems.add(at, "too_long", f"At most {MAX_CRITERIA} criteria.")
        return []
    parsed = [_criterion(problems, item, f"{at}/{i}", f"{key}/{i}") for i, item in enumerate(items)]
    return [criterion for criterion in parsed if criterion is not None]


_COMMON = ("type", "weight", "required", "measure")


def _criterion(problems: _Problems, item: Any, at: str, key: str) -> Criterion | None:
    before = len(problems.found)
    if not isinstance(item, Mapping):
        problems.add(at, "wrong_type", "A criterion is an object.")
        return None
    try:
        kind = CriterionType(str(item.get("type")))
    except ValueError:
        problems.add(f"{at}/type", "unknown_type", f"One of {', '.join(CriterionType)} is expected.")
        return None
    known, read = _READERS[kind]
    members = problems.members(item, at, known=(*_COMMON, *known))
    spec = read(problems, members, at)
    weight = problems.number(members.get("weight"), f"{at}/weight", default=Decimal(1), low=0, high=1000)
    if weight == 0:
        problems.add(f"{at}/weight", "out_of_range", "A weight is more than 0.")
    required = members.get("required", False)
    if not isinstance(required, bool):
        problems.add(f"{at}/required", "wrong_type", "True or false is expected.")
    measure = _measure(problems, members.get("measure", {}), f"{at}/measure")
    if len(problems.found) > before or spec is None:
        return None
    return Criterion(key, kind, spec, weight, required, measure)


def _measure(problems: _Problems, item: Any, at: str) -> Measure:
    members = problems.members(
        item,
        at,
        known=("count", "interval_seconds", "failure_limit", "consecutive_successes", "on_inconclusive"),
    )
    count = problems.integer(members.get("count"), f"{at}/count", default=1, low=1, high=1000)
    interval = float(
        problems.number(
            members.get("interval_seconds"), f"{at}/interval_seconds", default=Decimal(0), low=0, high=86400
        )
    )
    limit = problems.integer(members.get("failure_limit"), f"{at}/failure_limit", default=0, low=0, high=count - 1)
    needed = problems.integer(
        members.get("consecutive_successes"), f"{at}/consecutive_successes", default=0, low=0, high=count
    )
    unknown = members.get("on_inconclusive", "inconclusive")
    if unknown not in ("inconclusive", "retry", "fail"):
        problems.add(f"{at}/on_inconclusive", "not_allowed", "One of inconclusive, retry and fail is expected.")
    if count * interval > MAX_WINDOW_SECONDS:
        problems.add(at, "out_of_range", "The whole window is at most seven days.")
    return Measure(count, interval, limit, needed, unknown)


def _state_match(problems: _Problems, members: Mapping[str, Any], at: str) -> StateMatch | None:
    path = problems.text(members.get("path"), f"{at}/path", longest=MAX_PATH_CHARS)
    if path:
        try:
            paths.check(path)
        except paths.PathRefused as exc:
            problems.add(f"{at}/path", "invalid_path", str(exc))
    given = [name for name in ("equals", "in", "matches") if name in members]
    if len(given) != 1:
        problems.add(at, "exactly_one", "Exactly one of equals, in and matches is expected.")
        return None
    operator, operand = given[0], members[given[0]]
    if operator == "in" and not (isinstance(operand, list) and operand):
        problems.add(f"{at}/in", "wrong_type", "A list with at least one value is expected.")
    if operator == "matches" and problems.text(operand, f"{at}/matches", longest=512):
        try:
            json_schemas.pattern(operand)
        except json_schemas.InvalidSchema as exc:
            problems.add(f"{at}/matches", "invalid_pattern", f"It is {exc}.")
    return StateMatch(path, operator, operand)  # type: ignore[arg-type]  # one of the three above


def _health_check(problems: _Problems, members: Mapping[str, Any], at: str) -> HealthCheck:
    url = problems.text(members.get("url"), f"{at}/url", longest=2048)
    status = members.get("status")
    if status is not None:
        status = problems.integer(status, f"{at}/status", default=200, low=100, high=599)
    latency = members.get("max_latency_ms")
    if latency is not None:
        latency = float(problems.number(latency, f"{at}/max_latency_ms", default=Decimal(1), low=0, high=600_000))
    contains = members.get("contains")
    if contains is not None:
        problems.text(contains, f"{at}/contains", longest=1000)
    return HealthCheck(url, status, latency, contains)


def _metric_threshold(problems: _Problems, members: Mapping[str, Any], at: str) -> MetricThreshold:
    query = problems.text(members.get("query"), f"{at}/query", longest=2000)
    operator: Operator = members.get("operator", "")
    if operator not in get_args(Operator):
        problems.add(f"{at}/operator", "not_allowed", "One of lt, lte, gt, gte, eq and ne is expected.")
    value = problems.number(members.get("value"), f"{at}/value", default=None)
    relative = members.get("relative_to")
    if relative not in (None, "baseline"):
        problems.add(f"{at}/relative_to", "not_allowed", "Only baseline is known.")
        relative = None
    return MetricThreshold(query, operator, float(value), relative)


def _benchmark(problems: _Problems, members: Mapping[str, Any], at: str) -> Benchmark:
    return Benchmark(problems.text(members.get("suite"), f"{at}/suite", longest=100))


def _expression(problems: _Problems, members: Mapping[str, Any], at: str) -> Expression:
    source = problems.text(members.get("expression"), f"{at}/expression", longest=expressions.MAX_CHARS)
    if source:
        try:
            expressions.compile_expression(source, names=EXPRESSION_NAMES)
        except expressions.InvalidExpression as exc:
            problems.add(f"{at}/expression", "invalid_expression", f"It {exc}.")
    return Expression(source)


_Reader = Callable[[Any, Mapping[str, Any], str], Spec | None]
_READERS: dict[CriterionType, tuple[tuple[str, ...], _Reader]] = {
    CriterionType.STATE_MATCH: (("path", "equals", "in", "matches"), _state_match),
    CriterionType.HEALTH_CHECK: (("url", "status", "max_latency_ms", "contains"), _health_check),
    CriterionType.METRIC_THRESHOLD: (("query", "operator", "value", "relative_to"), _metric_threshold),
    CriterionType.BENCHMARK: (("suite",), _benchmark),
    CriterionType.EXPRESSION: (("expression",), _expression),
}

_TITLES: dict[CriterionType, Callable[[Any], str]] = {
    CriterionType.STATE_MATCH: lambda spec: f"{spec.path} {spec.operator} {_short(spec.operand)}",
    CriterionType.HEALTH_CHECK: lambda spec: f"GET {spec.url} answers {spec.status or '2xx'}",
    CriterionType.METRIC_THRESHOLD: lambda spec: (
        f"{spec.query} {spec.operator} {spec.value:g}" + (" x baseline" if spec.relative_to else "")
    ),
    CriterionType.BENCHMARK: lambda spec: f"benchmark {spec.suite} passes",
    CriterionType.EXPRESSION: lambda spec: spec.source,
}


class _Problems:
    """Collects field errors, so that a proposal is told all of them at once."""

    def __init__(self) -> None:
        self.found: list[FieldError] = []

    def add(self, at: str, code: str, detail: str) -> None:
        self.found.append(FieldError(at, code, detail))

    def mapping(self, value: Any, at: str) -> Mapping[str, Any]:
        if isinstance(value, Mapping):
            return value
        self.add(at, "wrong_type", "An object is expected.")
        return {}

    def members(self, value: Any, at: str, *, known: Iterable[str]) -> Mapping[str, Any]:
        found = self.mapping(value, at)
        for name in found.keys() - set(known):
            self.add(at + json_schemas.pointer([name]), "unknown_member", f"{name[:80]!r} is not known here.")
        return found

    def text(self, value: Any, at: str, *, longest: int) -> str:
        if value is None:
            self.add(at, "missing", "It is required.")
        elif not isinstance(value, str) or not value:
            self.add(at, "wrong_type", "A text is expected.")
        elif len(value) > longest:
            self.add(at, "too_long", f"At most {longest} characters.")
        else:
            return value
        return ""

    def number(
        self, value: Any, at: str, *, default: Decimal | None, low: float = -math.inf, high: float = math.inf
    ) -> Decimal:
        if value is None:
            if default is None:
                self.add(at, "missing", "It is required.")
            return default or Decimal(0)
        if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)) or not _finite(value):
            self.add(at, "wrong_type", "A number is expected.")
        elif not low <= value <= high:
            self.add(at, "out_of_range", f"It is from {low:g} to {high:g}.")
        else:
            return Decimal(str(value))
        return default or Decimal(0)

    def integer(self, value: Any, at: str, *, default: int, low: int, high: int) -> int:
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.add(at, "wrong_type", "A whole number is expected.")
        elif not low <= value <= high:
            self.add(at, "out_of_range", f"It is from {low} to {high}.")
        else:
            return value
        return default


def _finite(value: float | Decimal) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def _reason(exc: BaseException) -> str:
    if isinstance(exc, RecursionError):
        return "nested too deeply"
    text = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
    return text if len(text) <= 200 else text[:197] + "..."
