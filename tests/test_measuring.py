"""Measuring against a real server: what was seen passes or fails, everything else is inconclusive."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import web_server
from tests.harness.web_server import WebServer
from verification import criteria, measuring
from verification.benchmarks import checks
from verification.criteria import Measurement, Outcome
from verification.measuring import World
from verification.models import BenchmarkRun

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def server(settings: Any) -> Iterator[WebServer]:
    with web_server.running() as running:
        settings.HTTP_ALLOWED_URLS = [running.url + "/"]
        yield running


@pytest.fixture
def prometheus(server: WebServer, settings: Any) -> WebServer:
    settings.PROMETHEUS_URL = server.url
    settings.HTTP_ALLOWED_URLS = []
    return server


def expected(*items: dict[str, Any], **members: Any) -> criteria.ExpectedEffect:
    return criteria.parse({"success_criteria": list(items), **members})


def once(item: dict[str, Any], world: World | None = None) -> Measurement:
    """The one measurement of the one criterion."""
    measured = measuring.measure(expected(item), world or World(observed={}), now=NOW)
    assert measured.due_in is None
    return measured.measurements[0]


def health(server: WebServer, path: str, **members: Any) -> dict[str, Any]:
    return {"type": "health_check", "url": f"{server.url}/{path}", **members}


# --- state and expressions ---


def test_the_target_state_is_measured_member_by_member() -> None:
    effect = criteria.parse({"target_state": {"exists": True, "count": 1}})
    world = World(observed={"exists": True, "count": True})
    first, second = measuring.measure(effect, world, now=NOW).measurements
    assert (first.outcome, second.outcome) == (Outcome.PASSED, Outcome.FAILED)
    assert second.expected == {"equals": 1}
    assert second.observed is True
    assert second.reason


def test_a_target_that_could_not_be_observed_is_inconclusive() -> None:
    world = World(observed=None, result={"exit_code": 0})
    assert once({"type": "state_match", "path": "a", "equals": None}, world).outcome is Outcome.INCONCLUSIVE
    assert once({"type": "expression", "expression": "observed == null"}, world).outcome is Outcome.INCONCLUSIVE
    assert once({"type": "expression", "expression": "result.exit_code == 0"}, world).outcome is Outcome.PASSED


def test_an_expression_sees_the_whole_world() -> None:
    world = World(
        observed={"n": 2}, baseline={"n": 1}, result={"exit_code": 0}, metrics={"ms": 5}, parameters={"by": 1}
    )
    source = "observed.n == baseline.n + parameters.by && result.exit_code == 0 && metrics.ms < 10"
    assert once({"type": "expression", "expression": source}, world).outcome is Outcome.PASSED
    assert once({"type": "expression", "expression": "observed.n == 3"}, world).outcome is Outcome.FAILED


@pytest.mark.parametrize("source", ["observed.missing == 1", "observed.n", "baseline.n == 1"])
def test_an_expression_without_an_answer_is_inconclusive(source: str) -> None:
    found = once({"type": "expression", "expression": source}, World(observed={"n": 1}))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reason


def test_a_path_that_cannot_be_taken_is_inconclusive() -> None:
    found = once({"type": "state_match", "path": "length(n)", "equals": 1}, World(observed={"n": 1}))
    assert found.outcome is Outcome.INCONCLUSIVE


def test_what_is_kept_is_bounded_and_can_be_stored() -> None:
    found = once({"type": "state_match", "path": "@", "equals": 1}, World(observed={"x": "y" * 100_000}))
    assert len(json.dumps(found.as_dict())) < 10_000
    assert found.observed["sha256"]


# --- health ---


@pytest.mark.parametrize(
    ("path", "members", "outcome"),
    [
        ("ok", {}, Outcome.PASSED),
        ("ok", {"status": 200, "contains": '"ok"', "max_latency_ms": 30_000}, Outcome.PASSED),
        ("ok", {"status": 204}, Outcome.FAILED),
        ("ok", {"contains": "absent"}, Outcome.FAILED),
        ("ok", {"max_latency_ms": 0}, Outcome.FAILED),
        ("broken", {}, Outcome.FAILED),
        ("broken", {"status": 500}, Outcome.PASSED),
        ("redirect", {}, Outcome.FAILED),
        ("hangs-up", {}, Outcome.FAILED),
        ("never", {"max_latency_ms": 200}, Outcome.FAILED),
    ],
)
def test_health_is_what_the_server_answers(
    server: WebServer, path: str, members: dict[str, Any], outcome: Outcome
) -> None:
    found = once(health(server, path, **members))
    assert found.outcome is outcome
    assert bool(found.reason) is (outcome is not Outcome.PASSED)


def test_a_server_that_is_down_is_not_healthy(settings: Any) -> None:
    with web_server.running() as server:
        settings.HTTP_ALLOWED_URLS = [server.url]
    assert once(health(server, "ok")).outcome is Outcome.FAILED


def test_a_url_that_may_not_be_called_is_inconclusive(server: WebServer, settings: Any) -> None:
    settings.HTTP_ALLOWED_URLS = []
    assert once(health(server, "ok")).outcome is Outcome.INCONCLUSIVE
    assert server.requests == []


# --- metrics ---


def metric(**members: Any) -> dict[str, Any]:
    return {"type": "metric_threshold", "query": "rate(x[5m])", "operator": "lt", "value": 5, **members}


def vector(*values: str) -> dict[str, Any]:
    series = [{"metric": {}, "value": [1, value]} for value in values]
    return {"status": "success", "data": {"resultType": "vector", "result": series}}


@pytest.mark.parametrize(
    ("document", "outcome"),
    [
        (vector("4.9"), Outcome.PASSED),
        (vector("5"), Outcome.FAILED),
        (vector(), Outcome.INCONCLUSIVE),
        (vector("1", "2"), Outcome.INCONCLUSIVE),
        (vector("NaN"), Outcome.INCONCLUSIVE),
        (vector("+Inf"), Outcome.INCONCLUSIVE),
        ({"status": "success", "data": {"resultType": "scalar", "result": [1, "3"]}}, Outcome.PASSED),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, Outcome.INCONCLUSIVE),
        ({"status": "error", "error": "parse error"}, Outcome.INCONCLUSIVE),
        ({"unexpected": True}, Outcome.INCONCLUSIVE),
        (["unexpected"], Outcome.INCONCLUSIVE),
        ({"status": "success", "data": {"resultType": "vector", "result": [{}]}}, Outcome.INCONCLUSIVE),
    ],
)
def test_a_metric_is_one_number(prometheus: WebServer, document: Any, outcome: Outcome) -> None:
    prometheus.metrics = document
    assert once(metric()).outcome is outcome
    assert prometheus.requests[0]["path"] == f"/api/v1/query?query={quote('rate(x[5m])', safe='')}"


@pytest.mark.parametrize(
    ("operator", "passes"),
    [("lt", False), ("lte", True), ("gt", False), ("gte", True), ("eq", True), ("ne", False)],
)
def test_a_metric_is_compared(prometheus: WebServer, operator: str, passes: bool) -> None:
    prometheus.metrics = vector("5")
    assert (once(metric(operator=operator)).outcome is Outcome.PASSED) is passes


def test_a_metric_may_be_compared_with_before(prometheus: WebServer) -> None:
    effect = expected(metric(operator="lte", value=1.1, relative_to="baseline"), metric())
    prometheus.metrics = vector("100")
    before = measuring.before(effect)
    assert before == {"/success_criteria/0": 100.0}
    for now, outcome in (("110", Outcome.PASSED), ("111", Outcome.FAILED)):
        prometheus.metrics = vector(now)
        measured = measuring.measure(effect, World(observed={}, baseline_metrics=before), now=NOW)
        assert measured.measurements[0].outcome is outcome
    without = measuring.measure(effect, World(observed={}), now=NOW)
    assert without.measurements[0].outcome is Outcome.INCONCLUSIVE


def test_without_prometheus_a_metric_is_inconclusive(settings: Any) -> None:
    settings.PROMETHEUS_URL = None
    assert once(metric()).outcome is Outcome.INCONCLUSIVE
    settings.PROMETHEUS_URL = "http://127.0.0.1:9/"
    assert once(metric()).outcome is Outcome.INCONCLUSIVE
    assert measuring.before(expected(metric(relative_to="baseline"))) == {}


# --- benchmarks ---


@pytest.mark.django_db
def test_a_benchmark_passes_without_drift() -> None:
    @checks.register("test.check", suite="test", title="Check")
    def check() -> None:
        sum(range(1000))

    try:
        criterion = {"type": "benchmark", "suite": "test"}
        assert once(criterion).outcome is Outcome.PASSED
        golden = {"name": "test.check", "passed": True, "samples_ms": [1e-9] * 7}
        run = BenchmarkRun.objects.create(suite="test", is_golden=True, checks=[golden], created_at=NOW)
        assert once(criterion).outcome is Outcome.PASSED  # below the floor of what can be told apart
        checks.unregister("test.check")

        @checks.register("test.check", suite="test", title="Check")
        def broken() -> None:
            raise RuntimeError

        found = once(criterion)
        assert found.outcome is Outcome.FAILED
        assert found.observed["failed"] == ["test.check"]
        run.delete()
    finally:
        checks.unregister("test.check")
    assert once({"type": "benchmark", "suite": "test"}).outcome is Outcome.INCONCLUSIVE


# --- windows ---


def test_a_window_is_not_waited_for() -> None:
    measure = {"count": 3, "interval_seconds": 10, "failure_limit": 1}
    effect = expected({"type": "state_match", "path": "n", "equals": 1, "measure": measure})
    first = measuring.measure(effect, World(observed={"n": 1}), now=NOW)
    assert first.due_in == 10
    assert first.measurements[0].outcome is Outcome.PENDING
    kept = json.loads(json.dumps([each.as_dict() for each in first.measurements]))

    early = measuring.measure(effect, World(observed={"n": 2}), earlier=kept, now=NOW + timedelta(seconds=4))
    assert early.due_in == 6
    assert len(early.measurements[0].samples) == 1

    second = measuring.measure(effect, World(observed={"n": 2}), earlier=kept, now=NOW + timedelta(seconds=10))
    kept = [each.as_dict() for each in second.measurements]
    assert second.measurements[0].outcome is Outcome.PENDING
    third = measuring.measure(effect, World(observed={"n": 1}), earlier=kept, now=NOW + timedelta(seconds=20))
    assert third.due_in is None
    assert third.measurements[0].outcome is Outcome.PASSED
    assert [sample["outcome"] for sample in third.measurements[0].samples] == ["passed", "failed", "passed"]


def test_what_is_decided_is_not_measured_again() -> None:
    measure = {"count": 2, "interval_seconds": 10}
    effect = expected(
        {"type": "state_match", "path": "n", "equals": 1},
        {"type": "state_match", "path": "n", "equals": 1, "measure": measure},
    )
    first = measuring.measure(effect, World(observed={"n": 1}), now=NOW)
    assert [each.outcome for each in first.measurements] == [Outcome.PASSED, Outcome.PENDING]
    kept = [each.as_dict() for each in first.measurements]
    later = measuring.measure(effect, World(observed={"n": 2}), earlier=kept, now=NOW + timedelta(seconds=10))
    assert [each.outcome for each in later.measurements] == [Outcome.PASSED, Outcome.FAILED]
    assert later.measurements[0].observed == 1


def test_a_window_ends_as_soon_as_it_is_decided() -> None:
    measure = {"count": 10, "interval_seconds": 60, "failure_limit": 9, "consecutive_successes": 2}
    effect = expected({"type": "state_match", "path": "n", "equals": 1, "measure": measure})
    kept: list[dict[str, Any]] = []
    due_in: float | None = 0.0
    for step, n in enumerate([2, 1, 1]):
        measured = measuring.measure(effect, World(observed={"n": n}), earlier=kept, now=NOW + timedelta(minutes=step))
        kept, due_in = [each.as_dict() for each in measured.measurements], measured.due_in
    assert due_in is None
    assert kept[0]["passed"]


# --- what cannot be measured here ---


@pytest.mark.parametrize(
    ("item", "pointer", "code"),
    [
        ({"type": "health_check", "url": "http://10.0.0.1/"}, "/success_criteria/0/url", "url_not_allowed"),
        ({"type": "benchmark", "suite": "none"}, "/success_criteria/0/suite", "unknown_suite"),
        (metric(), "/success_criteria/0/query", "no_metrics"),
    ],
)
def test_what_cannot_be_measured_here_is_refused(settings: Any, item: dict[str, Any], pointer: str, code: str) -> None:
    settings.HTTP_ALLOWED_URLS = []
    settings.PROMETHEUS_URL = None
    with pytest.raises(criteria.InvalidExpectedEffect) as refused:
        measuring.require_measurable(expected(item).criteria, at="/expected_effect")
    assert [(e.pointer, e.code) for e in refused.value.errors] == [(f"/expected_effect{pointer}", code)]


def test_what_can_be_measured_is_not_refused(server: WebServer) -> None:
    items = [health(server, "ok"), {"type": "benchmark", "suite": "smoke"}]
    measuring.require_measurable(expected(*items).criteria, at="/expected_effect")


def test_a_precondition_is_one_sample() -> None:
    (criterion,) = criteria.parse_criteria([{"type": "state_match", "path": "n", "equals": 1}])
    assert measuring.measure_once(criterion, World(observed={"n": 1})).outcome is Outcome.PASSED
    assert measuring.measure_once(criterion, World(observed={"n": 2})).outcome is Outcome.FAILED
