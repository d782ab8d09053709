"""What the record teaches: arithmetic against tables, and the one query against rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Q

from auditlog.ids import new_id
from verification import learning
from verification.learning import Tally
from verification.models import Contract


@pytest.mark.parametrize(
    ("successes", "runs", "bound"),
    [
        (0, 0, 0.0),
        (0, 5, 0.0),
        (1, 1, 0.206549),
        (3, 3, 0.438503),
        (5, 5, 0.565518),
        (9, 10, 0.595850),
        (50, 100, 0.403832),
        (95, 100, 0.888248),
        (1000, 1000, 0.996173),
    ],
)
def test_the_lower_bound_is_low_while_there_is_little_to_go_by(successes: int, runs: int, bound: float) -> None:
    assert learning.wilson_lower_bound(successes, runs) == pytest.approx(bound, abs=1e-5)


@pytest.mark.parametrize(("successes", "runs"), [(1, 0), (-1, 3), (4, 3)])
def test_it_refuses_impossible_counts(successes: int, runs: int) -> None:
    with pytest.raises(ValueError, match="between"):
        learning.wilson_lower_bound(successes, runs)


def test_it_folds_buckets_into_one_stat_for_each_group() -> None:
    tallies = [
        Tally(("a",), None, runs=2, successes=1),
        Tally(("a",), 9, runs=4, successes=3, stated=3.6, squared_error=0.04 * 3 + 0.81),
        Tally(("a",), 5, runs=1, successes=1, stated=0.5, squared_error=0.25),
        Tally(("b",), 9, runs=10, successes=10, stated=9.0, squared_error=0.1),
    ]
    b, a = learning.fold(tallies, ["playbook"])
    assert (a.group, a.runs, a.successes) == ({"playbook": "a"}, 7, 5)
    assert a.mean_confidence == pytest.approx(4.1 / 5)
    assert a.brier_score == pytest.approx((0.93 + 0.25) / 5)
    assert [(row.low, row.runs, row.stated, row.succeeded) for row in a.calibration] == [
        (0.5, 1, 0.5, 1.0),
        (0.9, 4, pytest.approx(0.9), 0.75),
    ]
    assert b.success_rate == 1.0
    assert b.lower_bound > a.lower_bound


def test_nothing_stated_gives_no_score() -> None:
    (stat,) = learning.fold([Tally(("x",), None, runs=1, successes=0)], ["agent"])
    assert (stat.mean_confidence, stat.brier_score, stat.calibration) == (None, None, ())
    assert stat.as_dict()["brier_score"] is None


@pytest.fixture
def settled(db: None, now: datetime) -> Callable[..., Contract]:
    """Makes a settled contract; keyword arguments are columns."""

    def make(**columns: Any) -> Contract:
        given = {
            "id": new_id(),
            "action_type": "command.run",
            "executor_version": "1",
            "target": "command:x",
            "state": "verified",
            "requested_by_kind": "agent",
            "requested_by_label": "scout",
            "request_sha256": "0" * 64,
            "created_at": now - timedelta(minutes=1),
            "state_changed_at": now,
            "settled_at": now,
        }
        return Contract.objects.create(**{**given, **columns})

    return make


def test_it_counts_what_was_tried_in_one_query(
    settled: Callable[..., Contract], django_assert_num_queries: Any
) -> None:
    for state, stated in [
        ("verified", "0.9"),
        ("verified", "0.95"),
        ("rolled_back", "0.9"),
        ("failed", None),
    ]:
        settled(state=state, stated_confidence=stated and Decimal(stated), playbook="p")
    settled(state="denied", playbook="p")
    settled(state="rejected", playbook="p")
    settled(state="executing", playbook="p", settled_at=None)
    settled(state="failed", playbook="p", settled_at=None)
    with django_assert_num_queries(1):
        (stat,) = learning.stats(group_by=["playbook"])
    assert (stat.runs, stat.successes) == (4, 2)
    assert stat.lower_bound == pytest.approx(learning.wilson_lower_bound(2, 4))
    assert stat.mean_confidence == pytest.approx((0.9 + 0.95 + 0.9) / 3)
    assert stat.brier_score == pytest.approx((0.01 + 0.0025 + 0.81) / 3)
    assert [(row.low, row.high, row.runs) for row in stat.calibration] == [(0.9, 1.0, 3)]


def test_it_groups_by_every_dimension(settled: Callable[..., Contract]) -> None:
    settled(error_pattern="timeout", playbook="a")
    settled(error_pattern="timeout", playbook="b")
    settled(error_pattern="timeout", playbook="b", requested_by_kind="person", requested_by_label="Ada")
    groups = [stat.group for stat in learning.stats()]
    assert len(groups) == 3
    assert {group["agent"] for group in groups} == {"scout", ""}
    assert [stat.runs for stat in learning.stats(group_by=["error_pattern"])] == [3]


def test_it_leaves_out_what_is_older_or_not_asked_for(settled: Callable[..., Contract], now: datetime) -> None:
    settled(settled_at=now - timedelta(days=2))
    settled(playbook="p")
    assert [stat.runs for stat in learning.stats(group_by=["action_type"], since=now - timedelta(days=1))] == [1]
    assert [stat.runs for stat in learning.stats(group_by=["action_type"], where=Q(playbook="p"))] == [1]


@pytest.mark.parametrize("stated", ["0", "0.0999", "0.3", "0.7", "1"])
def test_a_stated_confidence_falls_into_its_own_bucket(settled: Callable[..., Contract], stated: str) -> None:
    settled(stated_confidence=Decimal(stated))
    (row,) = learning.stats(group_by=["action_type"])[0].calibration
    assert row.low == pytest.approx(min(math.floor(float(stated) * 10), 9) / 10)


def test_nobody_can_group_by_anything_else(db: None) -> None:
    with pytest.raises(learning.UnknownDimension) as refused:
        learning.stats(group_by=["action_type", "requested_by__password"])
    assert refused.value.errors[0].code == "not_allowed"
