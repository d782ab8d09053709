"""Reading an expected effect, and the verdict over its measurements."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verification import criteria
from verification.criteria import (
    Criterion,
    CriterionType,
    HealthCheck,
    Measure,
    Measurement,
    MetricThreshold,
    Outcome,
    StateMatch,
    conclude,
    judge,
    parse,
    same,
)

PASSED, FAILED, INCONCLUSIVE, PENDING = Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE, Outcome.PENDING


def effect(*items: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"success_criteria": list(items), **members}


def problems(expected_effect: Any) -> list[tuple[str, str]]:
    """Pointer and code of every field error."""
    with pytest.raises(criteria.InvalidExpectedEffect) as refused:
        parse(expected_effect)
    assert refused.value.kind is refused.value.Kind.INVALID
    return [(error.pointer, error.code) for error in refused.value.errors]


# --- reading ---


def test_every_member_of_the_target_state_is_a_required_match() -> None:
    parsed = parse({"target_state": {"exists": True, 'odd "name".x\\': 1, "a/b~c": None}})
    assert [each.key for each in parsed.criteria] == [
        "/target_state/exists",
        '/target_state/odd "name".x\\',
        "/target_state/a~1b~0c",
    ]
    assert all(each.required and each.implicit for each in parsed.criteria)
    world = {"exists": True, 'odd "name".x\\': 1}
    for each in parsed.criteria:
        assert isinstance(each.spec, StateMatch)
        assert criteria.state_matches(each.spec, world)[0]


@given(st.text(), st.integers())
def test_any_name_can_be_a_member_of_the_target_state(name: str, value: int) -> None:
    spec = parse({"target_state": {name: value}}).criteria[0].spec
    assert isinstance(spec, StateMatch)
    assert criteria.state_matches(spec, {name: value, "other": None}) == (True, value)


def test_it_reads_every_type() -> None:
    parsed = parse(
        effect(
            {"type": "state_match", "path": "a.b", "in": [1, 2], "weight": 2.5, "required": True},
            {"type": "state_match", "path": "a", "matches": "^x"},
            {
                "type": "health_check",
                "url": "http://x/",
                "status": 204,
                "max_latency_ms": 50,
                "contains": "ok",
            },
            {
                "type": "metric_threshold",
                "query": "up",
                "operator": "gte",
                "value": 1,
                "relative_to": "baseline",
            },
            {"type": "benchmark", "suite": "smoke"},
            {
                "type": "expression",
                "expression": "observed.a > baseline.a",
                "measure": {
                    "count": 5,
                    "interval_seconds": 2.5,
                    "failure_limit": 1,
                    "consecutive_successes": 2,
                    "on_inconclusive": "retry",
                },
            },
            rollback_threshold=0.5,
        )
    )
    assert [each.type for each in parsed.criteria] == [
        CriterionType.STATE_MATCH,
        CriterionType.STATE_MATCH,
        *list(CriterionType)[1:],
    ]
    assert parsed.criteria[0].weight == Decimal("2.5")
    assert parsed.criteria[2].spec == HealthCheck("http://x/", 204, 50.0, "ok")
    assert parsed.criteria[3].spec == MetricThreshold("up", "gte", 1.0, "baseline")
    assert parsed.criteria[5].measure == Measure(5, 2.5, 1, 2, "retry")
    assert parsed.rollback_threshold == Decimal("0.5")
    assert all(each.title for each in parsed.criteria)


@pytest.mark.parametrize("nothing", [{}, {"target_state": {}}, {"success_criteria": []}, {"rollback_threshold": 0.1}])
def test_what_verifies_nothing_is_refused(nothing: dict[str, Any]) -> None:
    with pytest.raises(criteria.VerifiesNothing) as refused:
        parse(nothing)
    assert refused.value.code == "verifies_nothing"
    assert refused.value.errors[0].pointer == "/expected_effect"


def test_the_threshold_is_three_tenths_unless_said() -> None:
    assert parse({"target_state": {"a": 1}}).rollback_threshold == Decimal("0.3")
    assert parse({"target_state": {"a": 1}, "rollback_threshold": 0}).rollback_threshold == 0


MATCH = {"type": "state_match", "path": "a", "equals": 1}


@pytest.mark.parametrize(
    ("item", "pointer", "code"),
    [
        ("text", "", "wrong_type"),
        ({}, "/type", "unknown_type"),
        ({"type": "magic"}, "/type", "unknown_type"),
        ({"type": ["state_match"]}, "/type", "unknown_type"),
        ({**MATCH, "colour": 1}, "/colour", "unknown_member"),
        ({**MATCH, "weight": 0}, "/weight", "out_of_range"),
        ({**MATCH, "weight": -1}, "/weight", "out_of_range"),
        ({**MATCH, "weight": "1"}, "/weight", "wrong_type"),
        ({**MATCH, "weight": True}, "/weight", "wrong_type"),
        ({**MATCH, "weight": float("nan")}, "/weight", "wrong_type"),
        ({**MATCH, "weight": 10**400}, "/weight", "wrong_type"),
        ({**MATCH, "required": "yes"}, "/required", "wrong_type"),
        ({**MATCH, "path": "a.["}, "/path", "invalid_path"),
        ({**MATCH, "path": "("}, "/path", "invalid_path"),
        ({**MATCH, "path": "(" * 256 + "a" + ")" * 255}, "/path", "invalid_path"),
        ({**MATCH, "path": "a" * 513}, "/path", "too_long"),
        ({**MATCH, "path": ""}, "/path", "wrong_type"),
        ({"type": "state_match", "equals": 1}, "/path", "missing"),
        ({"type": "state_match", "path": "a"}, "", "exactly_one"),
        ({**MATCH, "in": [1]}, "", "exactly_one"),
        ({"type": "state_match", "path": "a", "in": []}, "/in", "wrong_type"),
        ({"type": "state_match", "path": "a", "in": 1}, "/in", "wrong_type"),
        ({"type": "state_match", "path": "a", "matches": "("}, "/matches", "invalid_pattern"),
        ({"type": "state_match", "path": "a", "matches": "(?=a)"}, "/matches", "invalid_pattern"),
        ({"type": "state_match", "path": "a", "matches": "x" * 513}, "/matches", "too_long"),
        ({"type": "health_check"}, "/url", "missing"),
        ({"type": "health_check", "url": "http://x/", "status": 99}, "/status", "out_of_range"),
        (
            {"type": "health_check", "url": "http://x/", "max_latency_ms": -1},
            "/max_latency_ms",
            "out_of_range",
        ),
        ({"type": "health_check", "url": "http://x/", "contains": 1}, "/contains", "wrong_type"),
        ({"type": "metric_threshold", "operator": "lt", "value": 1}, "/query", "missing"),
        ({"type": "metric_threshold", "query": "x", "operator": "<", "value": 1}, "/operator", "not_allowed"),
        ({"type": "metric_threshold", "query": "x", "operator": "lt"}, "/value", "missing"),
        ({"type": "metric_threshold", "query": "x", "operator": "lt", "value": "1"}, "/value", "wrong_type"),
        ({"type": "benchmark"}, "/suite", "missing"),
        ({"type": "expression"}, "/expression", "missing"),
        ({"type": "expression", "expression": "a ="}, "/expression", "invalid_expression"),
        ({"type": "expression", "expression": "secrets.x"}, "/expression", "invalid_expression"),
        ({"type": "expression", "expression": "x" * 2001}, "/expression", "too_long"),
        ({**MATCH, "measure": 1}, "/measure", "wrong_type"),
        ({**MATCH, "measure": {"often": 1}}, "/measure/often", "unknown_member"),
        ({**MATCH, "measure": {"count": 0}}, "/measure/count", "out_of_range"),
        ({**MATCH, "measure": {"count": 1.5}}, "/measure/count", "wrong_type"),
        ({**MATCH, "measure": {"count": 3, "failure_limit": 3}}, "/measure/failure_limit", "out_of_range"),
        (
            {**MATCH, "measure": {"count": 2, "consecutive_successes": 3}},
            "/measure/consecutive_successes",
            "out_of_range",
        ),
        ({**MATCH, "measure": {"on_inconclusive": "pass"}}, "/measure/on_inconclusive", "not_allowed"),
        ({**MATCH, "measure": {"count": 1000, "interval_seconds": 86400}}, "/measure", "out_of_range"),
    ],
)
def test_it_names_the_member_that_does_not_parse(item: Any, pointer: str, code: str) -> None:
    assert (f"/expected_effect/success_criteria/0{pointer}", code) in problems(effect(item))


@pytest.mark.parametrize(
    ("expected_effect", "pointer", "code"),
    [
        (None, "/expected_effect", "wrong_type"),
        ([], "/expected_effect", "wrong_type"),
        ({"target_state": []}, "/expected_effect/target_state", "wrong_type"),
        ({"success_criteria": {}}, "/expected_effect/success_criteria", "wrong_type"),
        (
            {"target_state": {"a": 1}, "rollback_threshold": 1.1},
            "/expected_effect/rollback_threshold",
            "out_of_range",
        ),
        (
            {"target_state": {"a": 1}, "rollback_threshold": "low"},
            "/expected_effect/rollback_threshold",
            "wrong_type",
        ),
        (
            {"target_state": {"a": 1}, "sucess_criteria": []},
            "/expected_effect/sucess_criteria",
            "unknown_member",
        ),
        ({"target_state": {str(i): i for i in range(51)}}, "/expected_effect", "too_long"),
        (effect(*[MATCH] * 51), "/expected_effect/success_criteria", "too_long"),
    ],
)
def test_it_names_what_is_wrong_around_the_criteria(expected_effect: Any, pointer: str, code: str) -> None:
    assert (pointer, code) in problems(expected_effect)


def test_it_tells_all_problems_at_once() -> None:
    assert len(problems(effect({"type": "magic"}, {**MATCH, "weight": 0}, 5, rollback_threshold=2))) == 4


def test_preconditions_are_criteria_with_their_own_pointers() -> None:
    assert [each.key for each in criteria.parse_criteria([MATCH])] == ["/0"]
    assert criteria.parse_criteria([]) == ()
    with pytest.raises(criteria.InvalidExpectedEffect) as refused:
        criteria.parse_criteria([{**MATCH, "weight": 0}])
    assert refused.value.errors[0].pointer == "/preconditions/0/weight"


# --- matching ---


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (False, 0, False),
        (True, True, True),
        (None, None, True),
        (None, False, False),
        ("1", 1, False),
        ([1, True], [1.0, True], True),
        ([1, True], [1, 1], False),
        ({"a": 1, "b": [{}]}, {"b": [{}], "a": 1.0}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ([1], {"0": 1}, False),
        ("é", "e\u0301", False),
    ],
)
def test_json_values_are_equal_as_json(one: Any, other: Any, equal: bool) -> None:
    assert same(one, other) is equal
    assert same(other, one) is equal


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
)


@given(JSON)
def test_everything_equals_itself(value: Any) -> None:
    assert same(value, value)


@pytest.mark.parametrize(
    ("spec", "passed"),
    [
        (StateMatch("a.b", "equals", 5), True),
        (StateMatch("a.missing", "equals", None), True),
        (StateMatch("a.missing", "equals", 5), False),
        (StateMatch("a.on", "equals", 1), False),
        (StateMatch("a.on", "in", [0, 1, "x"]), False),
        (StateMatch("a.on", "in", [0, True]), True),
        (StateMatch("a.name", "matches", "^gr.ce$"), True),
        (StateMatch("a.name", "matches", "rac"), True),
        (StateMatch("a.b", "matches", "5"), False),
        (StateMatch("length(list)", "equals", 3), True),
        (StateMatch("list[?n > `1`].n", "equals", [2, 3]), True),
    ],
)
def test_a_state_matches_or_not(spec: StateMatch, passed: bool) -> None:
    world = {"a": {"b": 5, "on": True, "name": "grace"}, "list": [{"n": 1}, {"n": 2}, {"n": 3}]}
    assert criteria.state_matches(spec, world)[0] is passed


def test_a_path_that_cannot_be_taken_is_no_match_and_no_mismatch() -> None:
    with pytest.raises(ValueError, match="could not be taken"):
        criteria.state_matches(StateMatch("length(a)", "equals", 1), {"a": 5})


def test_patterns_do_not_blow_up() -> None:
    spec = StateMatch("a", "matches", "^(a+)+$")
    assert criteria.state_matches(spec, {"a": "a" * 50_000 + "b"})[0] is False


# --- samples ---


@pytest.mark.parametrize(
    ("measure", "samples", "outcome"),
    [
        (Measure(), [], PENDING),
        (Measure(), [PASSED], PASSED),
        (Measure(), [FAILED], FAILED),
        (Measure(), [INCONCLUSIVE], INCONCLUSIVE),
        (Measure(on_inconclusive="fail"), [INCONCLUSIVE], FAILED),
        (Measure(on_inconclusive="retry"), [INCONCLUSIVE], INCONCLUSIVE),
        (Measure(count=3), [PASSED, PASSED], PENDING),
        (Measure(count=3), [PASSED, FAILED], FAILED),
        (Measure(count=3), [PASSED] * 3, PASSED),
        (Measure(count=3, failure_limit=1), [FAILED], PENDING),
        (Measure(count=3, failure_limit=1), [FAILED, PASSED, PASSED], PASSED),
        (Measure(count=3, failure_limit=1), [FAILED, FAILED], FAILED),
        (Measure(count=3, failure_limit=2), [FAILED, FAILED, INCONCLUSIVE], INCONCLUSIVE),
        (Measure(count=3, failure_limit=2, on_inconclusive="retry"), [FAILED, FAILED, INCONCLUSIVE], FAILED),
        (Measure(count=5, failure_limit=4, consecutive_successes=2), [FAILED, PASSED], PENDING),
        (Measure(count=5, failure_limit=4, consecutive_successes=2), [FAILED, PASSED, PASSED], PASSED),
        (Measure(count=3, failure_limit=2, consecutive_successes=2), [PASSED, FAILED, PASSED], FAILED),
        (
            Measure(count=2, on_inconclusive="retry", consecutive_successes=2),
            [INCONCLUSIVE, PASSED],
            INCONCLUSIVE,
        ),
        (Measure(count=2, on_inconclusive="retry"), [INCONCLUSIVE, PASSED], PASSED),
    ],
)
def test_samples_add_up(measure: Measure, samples: list[Outcome], outcome: Outcome) -> None:
    assert conclude(measure, samples) is outcome


MEASURES = st.builds(
    Measure,
    count=st.integers(1, 5),
    failure_limit=st.integers(0, 4),
    consecutive_successes=st.integers(0, 5),
    on_inconclusive=st.sampled_from(["inconclusive", "retry", "fail"]),
)
SAMPLES = st.lists(st.sampled_from([PASSED, FAILED, INCONCLUSIVE]), max_size=5)


@given(MEASURES, SAMPLES)
def test_nothing_passes_that_never_passed(measure: Measure, samples: list[Outcome]) -> None:
    if conclude(measure, samples) is PASSED:
        assert PASSED in samples


@given(MEASURES, SAMPLES)
def test_all_samples_taken_is_never_pending(measure: Measure, samples: list[Outcome]) -> None:
    if len(samples) >= measure.count:
        assert conclude(measure, samples) is not PENDING


# --- the verdict ---


def measured(outcome: Outcome, weight: str = "1", *, required: bool = False, key: str = "/x") -> Measurement:
    return Measurement(key, CriterionType.STATE_MATCH, "x", Decimal(weight), required, outcome)


@pytest.mark.parametrize(
    ("measurements", "confidence", "outcome"),
    [
        ([measured(PASSED)], "1", "verified"),
        ([measured(FAILED)], "0", "violated"),
        ([measured(INCONCLUSIVE)], "0", "violated"),
        ([measured(PENDING)], "0", "violated"),
        ([measured(PASSED, "9"), measured(FAILED, "1")], "0.9", "verified"),
        ([measured(PASSED, "2.7"), measured(FAILED, "0.3")], "0.9", "verified"),
        ([measured(PASSED, "8.9999"), measured(FAILED, "1.0001")], "0.8999", "partial"),
        ([measured(PASSED, "9"), measured(FAILED, "1", required=True)], "0.9", "violated"),
        ([measured(PASSED, "9"), measured(INCONCLUSIVE, "1")], "0.9", "verified"),
        ([measured(PASSED, "9"), measured(INCONCLUSIVE, "1", required=True)], "0.9", "partial"),
        ([measured(PASSED, "3"), measured(FAILED, "7")], "0.3", "partial"),
        ([measured(PASSED, "2"), measured(INCONCLUSIVE, "7"), measured(FAILED, "1")], "0.2", "violated"),
        ([measured(PASSED), measured(PASSED), measured(FAILED)], "0.6666", "partial"),
    ],
)
def test_a_verdict_follows_from_the_weights(measurements: list[Measurement], confidence: str, outcome: str) -> None:
    judgement = judge(measurements, Decimal("0.3"))
    assert (judgement.confidence, judgement.outcome) == (Decimal(confidence), outcome)


def test_who_is_missing_is_named() -> None:
    judgement = judge([measured(FAILED, key="/a"), measured(INCONCLUSIVE, key="/b"), measured(PASSED, key="/c")])
    assert judgement.as_dict() == {
        "confidence": "0.3333",
        "outcome": "partial",
        "failed": ["/a"],
        "inconclusive": ["/b"],
    }


def test_nothing_measured_is_no_verdict() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        judge([])


MEASUREMENTS = st.lists(
    st.builds(
        measured,
        st.sampled_from(list(Outcome)),
        st.decimals("0.01", "100", places=2).map(str),
        required=st.booleans(),
    ),
    min_size=1,
    max_size=8,
)
THRESHOLDS = st.decimals("0", "1", places=2)


@given(MEASUREMENTS, THRESHOLDS)
def test_confidence_is_the_share_of_what_passed(measurements: list[Measurement], threshold: Decimal) -> None:
    judgement = judge(measurements, threshold)
    total = sum(m.weight for m in measurements)
    passed = sum(m.weight for m in measurements if m.outcome is PASSED)
    assert 0 <= passed / total - judgement.confidence < Decimal("0.0001")


@given(MEASUREMENTS, THRESHOLDS)
def test_a_required_failure_always_violates(measurements: list[Measurement], threshold: Decimal) -> None:
    spoiled = [*measurements, measured(FAILED, "0.01", required=True)]
    assert judge(spoiled, threshold).outcome == "violated"


@given(MEASUREMENTS, THRESHOLDS)
def test_verified_means_nine_tenths_and_no_required_gap(measurements: list[Measurement], threshold: Decimal) -> None:
    judgement = judge(measurements, threshold)
    if judgement.outcome == "verified":
        assert judgement.confidence >= Decimal("0.9")
        assert all(m.outcome is PASSED for m in measurements if m.required)


@given(MEASUREMENTS, THRESHOLDS, st.randoms())
def test_the_order_does_not_matter(measurements: list[Measurement], threshold: Decimal, random: Any) -> None:
    shuffled = list(measurements)
    random.shuffle(shuffled)
    one, other = judge(measurements, threshold), judge(shuffled, threshold)
    assert (one.confidence, one.outcome) == (other.confidence, other.outcome)


RANK = {"violated": 0, "partial": 1, "verified": 2}


@given(MEASUREMENTS, THRESHOLDS)
def test_one_more_success_never_makes_it_worse(measurements: list[Measurement], threshold: Decimal) -> None:
    before = judge(measurements, threshold)
    after = judge([*measurements, measured(PASSED)], threshold)
    assert RANK[after.outcome] >= RANK[before.outcome]


def test_a_criterion_has_a_title_for_people() -> None:
    each = Criterion("/x", CriterionType.STATE_MATCH, StateMatch("a", "equals", "x" * 200))
    assert each.title.startswith('a equals "xxx')
    assert len(each.title) < 120
