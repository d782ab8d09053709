"""The floor of autonomy: what ended otherwise than promised too often runs by itself no more. It only tightens."""

import json

import pytest

from governance.risk import Record
from tests.harness.governed import Governed, newest
from verification.models import State

pytestmark = pytest.mark.django_db

FLOOR = {
    "name": "what goes wrong too often is looked at",
    "effect": "tier_2",
    "when": "risk.record.action_type.settled >= 3 && risk.record.action_type.lower_bound < 0.35",
}
TRUSTED = {"name": "trusted", "effect": "tier_1", "action_types": ["config.update"]}


@pytest.fixture
def world(var_dir, users):
    return Governed(var_dir / "sandbox", users)


def change(world, name, *, kept=True):
    """A change of a file of its own, which keeps its promise or does not."""
    path = f"{name}.json"
    (world.file.parent / path).write_text(json.dumps({"port": 1}))
    effect = {"success_criteria": [{"type": "state_match", "path": "content.port", "equals": 2 if kept else 3}]}
    body = {"target": f"file:{path}", "parameters": {"path": path, "merge": {"port": 2}}, "expected_effect": effect}
    return world.submit({"action_type": "config.update", **body})


def test_what_falls_under_the_floor_asks_people_and_says_why(world):
    world.policy(TRUSTED, FLOOR, seeded=False)
    for name in ("a", "b", "c"):
        assert change(world, name, kept=False).tier == "tier_1"
        world.settle()
    asked = change(world, "d")
    assert (asked.tier, asked.state) == ("tier_2", "awaiting_approval")
    assert FLOOR["name"] in [match.rule for match in asked.evaluation.ruling.matched]


def test_what_keeps_its_promises_goes_on_by_itself(world):
    world.policy(TRUSTED, FLOOR, seeded=False)
    for name in ("a", "b", "c"):
        change(world, name)
        world.settle()
    assert change(world, "d").tier == "tier_1"


def test_m_what_was_authorized_before_it_fell_goes_to_people(world):
    world.policy(TRUSTED, seeded=False)
    for name in ("a", "b"):
        change(world, name, kept=False)
        world.settle()
    waiting = change(world, "d").contract
    world.policy(TRUSTED, {**FLOOR, "when": FLOOR["when"].replace(">= 3", ">= 2")}, seeded=False)
    world.settle()
    waiting.refresh_from_db()
    assert waiting.state == State.AWAITING_APPROVAL
    assert newest(waiting).tier == "tier_2"


def test_a_floor_never_loosens(world):
    world.policy({**TRUSTED, "effect": "tier_3"}, {**FLOOR, "effect": "tier_1", "when": ""}, seeded=False)
    assert change(world, "a").tier == "tier_3"


@pytest.mark.parametrize(("settled", "verified", "at_most"), [(0, 0, 0.0), (3, 0, 0.01), (3, 3, 0.44), (10, 9, 0.6)])
def test_the_bound_is_cautious(settled, verified, at_most):
    assert Record(settled, verified, settled - verified).lower_bound <= at_most
