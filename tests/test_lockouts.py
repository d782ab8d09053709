"""A policy that nobody could satisfy, and so nobody replace, is refused."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from governance import amendments, lockouts, policies, policy, principals
from governance.models import Policy
from governance.proposals import Submitted
from governance.seeds import POLICY
from tests.harness.governed import Governed, contract_of, fresh
from tests.harness.people import People
from verification.models import State

pytestmark = pytest.mark.django_db
DENIES = {"name": "nothing", "effect": "deny", "reason": "Because."}


@pytest.fixture
def world(var_dir: Path, users: People) -> Governed:
    made = Governed(var_dir / "sandbox", users)
    assert users.reviewers
    Group.objects.create(name="empty")
    return made


def asks(*approvals: tuple[str, int], **more: Any) -> dict[str, Any]:
    return {"approvals": [{"group": group, "count": count} for group, count in approvals], **more}


def propose(world: Governed, **more: Any) -> Submitted:
    ada = world.people.ada
    return amendments.propose(
        document={**POLICY, **more},
        note="",
        reason="a change",
        by=principals.actor_of(ada),
        user=ada,
        now=timezone.now(),
    )


TIERS = POLICY["tiers"]


@pytest.mark.parametrize(
    ("more", "pointer", "code"),
    [
        ({"tiers": {**TIERS, "tier_3": asks()}}, "/policy/tiers/tier_3/approvals", "missing"),
        ({"tiers": {"tier_2": TIERS["tier_2"]}}, "/policy/tiers/tier_3/approvals", "missing"),
        ({"tiers": {**TIERS, "tier_2": asks()}}, "/policy/tiers/tier_2/approvals", "missing"),
        ({"tiers": {**TIERS, "tier_3": asks(("ghosts", 1))}}, "/policy/tiers/tier_3/approvals", "no_such_group"),
        ({"tiers": {**TIERS, "tier_3": asks(("empty", 1))}}, "/policy/tiers/tier_3/approvals", "too_few_people"),
        ({"tiers": {**TIERS, "tier_3": asks(("reviewers", 4))}}, "/policy/tiers/tier_3/approvals", "too_few_people"),
        (
            {"tiers": {**TIERS, "tier_3": asks(("reviewers", 2), escalate_to="ghosts")}},
            "/policy/tiers/tier_3/escalate_to",
            "no_such_group",
        ),
        (
            {"rules": [{"name": "all", "effect": "tier_2", "requirements": asks(("ghosts", 1))}]},
            "/policy/rules/0/requirements/approvals",
            "no_such_group",
        ),
        ({"rules": [DENIES]}, "/policy/rules", "locks_out"),
        ({"unmatched": "deny", "rules": []}, "/policy/rules", "locks_out"),
    ],
)
def test_d_a_policy_nobody_could_satisfy_is_not_proposed(
    world: Governed, more: dict[str, Any], pointer: str, code: str
) -> None:
    with pytest.raises(policies.Refused) as refusal:
        propose(world, **more)
    assert (pointer, code) in {(error.pointer, error.code) for error in refusal.value.errors}


def test_d_people_who_left_since_are_missed_when_it_would_come_into_force(world: Governed) -> None:
    people = world.people
    request = propose(world, tiers={**TIERS, "tier_2": asks(("reviewers", 3))}).approval
    assert request is not None
    world.decide(request, people.bea)
    world.decide(fresh(request), people.cem)
    people.dee.is_active = False
    people.dee.save()
    world.settle()
    assert contract_of(request).state == State.FAILED
    assert Policy.objects.get(is_active=True).tiers["tier_2"] == TIERS["tier_2"]


def test_d_one_persons_word_is_allowed_and_shown_as_a_risk(world: Governed) -> None:
    request = propose(world, tiers={**TIERS, "tier_3": asks(("reviewers", 1))}).approval
    assert request is not None
    assert "One person's word is enough for policy.change." in request.preview["summary"]
    assert lockouts.risks(policy.parse(POLICY)) == []
