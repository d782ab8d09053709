"""Benchmark checks really measure, and drift is told from noise."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verification.benchmarks import checks
from verification.benchmarks.checks import Check, CheckResult, compare, drifted

QUIET = [10.0, 10.1, 9.9, 10.0, 10.2, 9.8, 10.0]


@pytest.fixture
def suite() -> Iterator[str]:
    @checks.register("test.quick", suite="test", title="Quick")
    def quick() -> None:
        time.sleep(0.001)

    @checks.register("test.broken", suite="test", title="Broken")
    def broken() -> None:
        raise RuntimeError("does not work")

    yield "test"
    checks.unregister("test.quick")
    checks.unregister("test.broken")


@pytest.mark.django_db
def test_the_smoke_suite_passes_here() -> None:
    results = checks.run_suite("smoke")
    assert [(result.name, result.error) for result in results if not result.passed] == []
    assert len(results) >= 4
    assert all(result.median_ms and len(result.samples_ms) == checks.SAMPLES for result in results)


def test_a_check_that_raises_has_failed_and_the_others_still_run(suite: str) -> None:
    progress: list[int] = []
    broken, quick = checks.run_suite(suite, progress=lambda percent, message: progress.append(percent))
    assert (broken.passed, broken.error) == (False, "RuntimeError: does not work")
    assert quick.passed
    assert quick.median_ms is not None
    assert quick.median_ms >= 1
    assert progress == [0, 50, 100]
    assert quick.as_dict()["samples_ms"] == list(quick.samples_ms)


def test_names_are_taken_once_and_suites_are_known(suite: str) -> None:
    with pytest.raises(ValueError, match="registered already"):
        checks.register("test.quick", suite="test", title="Again")(lambda: None)
    assert suite in checks.suites()
    with pytest.raises(checks.UnknownSuite):
        checks.run_suite("unknown")


def test_every_check_of_a_suite_is_found(suite: str) -> None:
    assert [type(check) for check in checks.of_suite(suite)] == [Check, Check]


@pytest.mark.parametrize(
    ("samples", "moved"),
    [
        (QUIET, False),
        ([11.5] * 7, False),  # 15 % slower: within the tolerance
        ([13.0] * 7, True),
        ([13.0, 13.1, 12.9, 13.0, 13.2, 12.8, 13.0], True),
        ([10.0, 10.0, 10.0, 10.0, 90.0, 90.0, 90.0], False),  # some slow samples, the median has not moved
        ([5.0, 21.0, 13.0, 3.0, 25.0, 13.0, 8.0], False),  # moved, but so noisy that it says nothing
        ([5.0] * 7, False),  # faster is no drift
    ],
)
def test_drift_is_more_than_the_tolerance_and_beyond_the_noise(samples: list[float], moved: bool) -> None:
    assert drifted(samples, QUIET) is moved


def test_a_tiny_check_does_not_drift_by_a_fraction_of_a_millisecond() -> None:
    assert not drifted([0.06] * 7, [0.02] * 7)
    assert drifted([2.0] * 7, [0.02] * 7)


SAMPLES = st.lists(st.floats(0.01, 1000), min_size=1, max_size=9)


@given(SAMPLES)
def test_nothing_drifts_from_itself(samples: list[float]) -> None:
    assert not drifted(samples, samples)


@given(SAMPLES, SAMPLES)
def test_two_runs_never_drift_from_each_other_both_ways(one: list[float], other: list[float]) -> None:
    assert not (drifted(one, other) and drifted(other, one))


def test_a_run_is_compared_check_by_check() -> None:
    golden = [
        {"name": "slow", "passed": True, "samples_ms": QUIET},
        {"name": "same", "passed": True, "samples_ms": QUIET},
        {"name": "was-broken", "passed": False, "samples_ms": [1.0]},
    ]
    comparison = compare(
        [
            CheckResult("slow", True, (20.0,) * 7),
            CheckResult("same", True, tuple(QUIET)),
            CheckResult("was-broken", True, (50.0,) * 7),
            CheckResult("new", True, (1.0,)),
            CheckResult("broken", False, error="x"),
        ],
        golden,
    )
    assert (comparison.failed, comparison.drifted, comparison.passed) == (["broken"], ["slow"], False)
    assert comparison.changes["slow"] == {"median_ms": 20.0, "golden_median_ms": 10.0}
    assert compare([CheckResult("new", True, (1.0,))], []).passed
