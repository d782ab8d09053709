"""Settling by hand: by a person who may, and never by who asked for it."""

import pytest
from django.utils import timezone

from auditlog.refusals import Refused
from governance import principals, resolving
from governance.models import Agent
from tests.harness.governed import Governed
from verification.models import Contract

pytestmark = pytest.mark.django_db

HALF = {
    "success_criteria": [
        {"type": "state_match", "path": "content.port", "equals": 9000},
        {"type": "state_match", "path": "content.port", "equals": 1},
    ]
}


@pytest.fixture
def world(var_dir, users):
    return Governed(var_dir / "sandbox", users)


def partial(world, user=None):
    request = world.submit(world.body(expected_effect=HALF), user=user).approval
    world.decide(request, world.people.cem)
    world.settle()
    contract = Contract.objects.get(pk=request.contract_id)
    assert contract.state == "partial"
    return contract


def resolve(contract, user):
    return resolving.resolve(
        contract_id=contract.pk,
        verdict="verified",
        reason="I looked",
        by=principals.actor_of(user),
        user=user,
        now=timezone.now(),
    )


def code(act):
    with pytest.raises(Refused) as refusal:
        act()
    return refusal.value.code


def test_f_who_asked_does_not_settle_it(world):
    contract = partial(world, world.people.bea)
    assert code(lambda: resolve(contract, world.people.bea)) == "separation_of_duties"
    assert resolve(contract, world.people.dee).state == "verified"


def test_f_nor_does_the_owner_of_the_agent_that_asked(world):
    contract = partial(world)
    Agent.objects.update(owner=world.people.bea)
    assert code(lambda: resolve(contract, world.people.bea)) == "separation_of_duties"
    assert resolve(contract, world.people.cem).state == "verified"


def test_who_may_not_settle(world):
    contract = partial(world)
    assert code(lambda: resolve(contract, world.people.eve)) == "not_permitted"


def test_f_the_pages_and_the_api_refuse_it_too(world, client):
    contract = partial(world, world.people.bea)
    client.force_login(world.people.bea)
    body = {"verdict": "verified", "reason": "mine"}
    answer = client.post(f"/api/verification/contracts/{contract.pk}/resolve", body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (403, "separation_of_duties")
    client.post(f"/contracts/{contract.pk}/resolve", {"verdict": "verified", "resolve_reason": "mine"})
    contract.refresh_from_db()
    assert contract.state == "partial"
