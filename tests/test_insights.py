"""Insights: said when a record crosses a line, once, and by nobody else's contract."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from auditlog import log, mesh, sequencer
from auditlog.actors import SYSTEM
from auditlog.ids import new_id
from auditlog.models import Entry
from grace_site import metrics
from verification import contracts, insights
from verification.facts import ContractFact
from verification.insights import Suggestion
from verification.models import Contract

MOVED = {"tier": "tier_1", "from_state": "verifying", "revision": 1, "reason": ""}


@pytest.mark.parametrize(
    ("successes", "runs", "expected"),
    [
        (0, 0, None),
        (0, 2, None),
        (0, 3, Suggestion.TIGHTEN),
        (1, 3, Suggestion.TIGHTEN),
        (2, 3, None),
        (3, 5, None),
        (59, 100, Suggestion.TIGHTEN),
        (60, 100, None),
        (4, 4, None),
        (5, 5, Suggestion.RELY),
        (9, 10, None),
        (91, 100, Suggestion.RELY),
    ],
)
def test_it_suggests_only_what_enough_runs_bear_out(successes: int, runs: int, expected: Suggestion | None) -> None:
    assert insights.suggestion(successes, runs) == expected


@pytest.fixture(autouse=True)
def _gauges_are_read_anew() -> None:
    metrics.gauges._read_at = float("-inf")


@pytest.fixture
def settle(db: None, now: datetime) -> Callable[..., Contract]:
    """Settles one more contract, a minute after the one before, and lets everybody hear of it."""
    at = [now - timedelta(hours=1)]
    mesh.register_all(now)

    def settle(state: str, **columns: Any) -> Contract:
        at[0] += timedelta(minutes=1)
        given = {
            "id": new_id(),
            "action_type": "command.run",
            "executor_version": "1",
            "target": "command:x",
            "state": state,
            "tier": "tier_1",
            "playbook": "p",
            "requested_by_kind": "agent",
            "requested_by_label": "scout",
            "request_sha256": "0" * 64,
            "stated_confidence": Decimal("0.9"),
            "created_at": at[0],
            "state_changed_at": at[0],
            "settled_at": at[0],
        }
        contract = Contract.objects.create(**{**given, **columns})
        say(contract, state)
        hear()
        return contract

    return settle


def say(contract: Contract, state: str) -> None:
    about = {"action_type": contract.action_type, "target": contract.target, "to_state": state}
    with log.recording():
        log.append(
            ContractFact[state.upper()],
            actor=SYSTEM,
            subject=contracts.subject_of(contract),
            data={**MOVED, **about},
            now=contract.state_changed_at,
            contract_id=contract.pk,
        )


def hear() -> None:
    while sequencer.run(None) + mesh.deliver_all():
        pass


def said() -> list[tuple[str, int, int]]:
    """Every insight in log order: what it suggests, of how many successes in how many runs."""
    found = Entry.objects.filter(fact="learning.insight").order_by("leaf__index")
    return [(entry.data["suggestion"], entry.data["successes"], entry.data["runs"]) for entry in found]


def test_the_third_failure_is_the_one_that_says_something(settle: Callable[..., Contract]) -> None:
    settle("failed")
    settle("rolled_back")
    assert said() == []
    third = settle("failed")
    assert said() == [("tighten", 0, 3)]
    entry = Entry.objects.get(fact="learning.insight")
    assert entry.contract_id == third.pk
    assert entry.data == {
        "action_type": "command.run",
        "playbook": "p",
        "error_pattern": "",
        "agent": "scout",
        "runs": 3,
        "successes": 0,
        "lower_bound": "0.0000",
        "suggestion": "tighten",
    }
    assert Entry.objects.get(pk=entry.caused_by).contract_id == third.pk
    settle("failed")
    assert len(said()) == 1, "what has been said is not said again with every failure"


def test_a_record_that_recovers_is_relied_on_and_may_fall_again(settle: Callable[..., Contract]) -> None:
    for state in ["verified"] * 5:
        settle(state)
    assert said() == [("rely", 5, 5)]
    for state in ["failed"] * 4:
        settle(state)
    assert said() == [("rely", 5, 5), ("tighten", 5, 9)]


def test_each_playbook_pattern_and_agent_has_a_record_of_its_own(settle: Callable[..., Contract]) -> None:
    settle("failed", playbook="q")
    settle("failed", error_pattern="timeout")
    settle("failed", requested_by_label="other")
    settle("failed", requested_by_kind="person", requested_by_label="scout")
    settle("failed", action_type="config.update")
    settle("failed")
    assert said() == []


def test_what_is_told_twice_is_said_once(settle: Callable[..., Contract]) -> None:
    last = [settle("failed") for _ in range(3)][-1]
    say(last, "failed")
    hear()
    assert len(said()) == 1


def test_a_failure_that_is_tried_again_has_not_settled(settle: Callable[..., Contract]) -> None:
    for _ in range(3):
        settle("failed", settled_at=None)
    assert said() == []


def test_what_was_long_ago_says_nothing_of_now(settle: Callable[..., Contract], now: datetime) -> None:
    for _ in range(2):
        settle("failed", settled_at=now - timedelta(days=91))
    settle("failed")
    assert said() == []


def test_the_metric_is_the_lower_bound_of_each_playbook(settle: Callable[..., Contract]) -> None:
    for state in ["verified"] * 9 + ["failed"]:
        settle(state, playbook="restore")
    settle("verified", playbook="")
    lines = Client().get("/metrics").content.decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if line.startswith("grace_playbook_success_lower_bound{"))
    assert {name: round(float(value), 4) for name, value in values.items()} == {
        'grace_playbook_success_lower_bound{playbook="restore"}': 0.5958
    }
