"""What changes permission asks for the same permission through every door, whoever asks."""

from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from auditlog.actors import SYSTEM
from governance import access, policy, principals, proposals
from governance.proposals import Proposal
from governance.seeds import POLICY
from tests.harness.clients import Api
from tests.harness.governed import Governed, facts
from tests.harness.people import People
from verification import executors
from verification.models import Contract

GOVERNING = sorted(each.action_type for each in executors.all() if policy.governs(each.action_type))


@pytest.fixture
def world(db: Any, var_dir: Path, users: People) -> Governed:
    return Governed(var_dir / "sandbox", users)


def example(action_type: str) -> dict[str, Any]:
    return {"justification": "I would like to.", **executors.get(action_type).example}


def test_every_type_that_governs_names_its_permission() -> None:
    assert set(GOVERNING) == set(access.GOVERNING_PERMISSIONS)


@pytest.mark.parametrize("action_type", GOVERNING)
def test_an_agent_asks_for_nothing_that_governs_by_proposing_it(world: Governed, action_type: str) -> None:
    for more in ({}, {"dry_run": True}):
        answer = Api(key=world.key).post("/api/verification/contracts", {**example(action_type), **more})
        assert (answer.status_code, answer.json()["code"]) == (403, "not_permitted")
    assert not Contract.objects.exists()
    assert facts().count("proposal.refused") == 2


@pytest.mark.parametrize("action_type", GOVERNING)
def test_nor_does_grace_on_behalf_of_an_agent(world: Governed, action_type: str) -> None:
    body = {**example(action_type), "justification": "cures what the agent reported"}
    proposal = Proposal(**{**body, "on_behalf_of_id": world.robot.pk})
    with pytest.raises(access.Forbidden):
        proposals.submit(proposal=proposal, by=SYSTEM, user=None, idempotency_key=None, now=timezone.now())


def test_a_person_who_may_asks_by_proposing_it(world: Governed) -> None:
    body = {**example("policy.change"), "parameters": {"policy": policy.parse(POLICY).as_dict()}}
    proposed = proposals.submit(
        proposal=Proposal(**body),
        by=principals.actor_of(world.people.ada),
        user=world.people.ada,
        idempotency_key=None,
        now=timezone.now(),
    )
    assert proposed.state == "awaiting_approval"
