"""Nobody approves what is about something of their own, whoever asks for it (F)."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from auditlog.actors import SYSTEM
from auditlog.ids import new_id
from auditlog.refusals import Refused
from governance import agents, delegations, freezes, grants, holds, principals
from governance.models import Agent
from tests.harness.governed import Governed, contract_of, fresh
from verification.models import Contract, State

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(var_dir, users):
    return Governed(var_dir / "sandbox", users)


@pytest.fixture
def bot(world):
    """An agent of Bea's, who is a reviewer."""
    agent, _ = agents.create(name="beabot", owner=world.people.bea, by=SYSTEM, now=timezone.now())
    return agent


def who(user):
    return {"by": principals.actor_of(user), "user": user, "now": timezone.now()}


def refused(world, request, person):
    with pytest.raises(Refused) as refusal:
        world.decide(fresh(request), person)
    return refusal.value.code


def grant_for(world, bot):
    return grants.ask(
        agent=bot.name,
        action_type="config.update",
        target="file:*",
        max_uses=100,
        expires_at=timezone.now() + timedelta(days=30),
        reason="routine",
        **who(world.people.ada),
    ).approval


def exception_for(world, contract):
    freeze = freezes.create(
        name="quiet days",
        rule="DTSTART:20260101T000000Z\nRRULE:FREQ=DAILY",
        duration_seconds=86400,
        minimum_tier="tier_2",
        reason="nobody is here",
        **who(world.people.cem),
    )
    asked = freezes.ask_exception(
        freeze_id=freeze.pk, contract_id=contract.pk, reason="urgent", **who(world.people.ada)
    )
    return asked.approval


def release_of(world, **scope):
    held = holds.engage(reason="look first", **scope, **who(world.people.cem))
    return holds.release(hold_id=held.pk, reason="looked", **who(world.people.ada)).approval


def about_a_grant(world, bot):
    return grant_for(world, bot)


def about_a_frozen_contract(world, bot):
    return exception_for(world, world.submit(user=world.people.bea).contract)


def about_a_frozen_contract_of_the_agent(world, bot):
    return exception_for(world, world.submit(user=User.objects.get(pk=bot.user_id)).contract)


def about_a_held_agent(world, bot):
    return release_of(world, scope="agent", pattern="beabot")


def about_agents_held_by_a_glob(world, bot):
    return release_of(world, scope="agent", pattern="bea*")


def about_a_hold_a_contract_led_to(world, bot):
    contract = world.submit(user=world.people.bea).contract
    return release_of(world, scope="target", pattern=contract.target, contract_id=contract.pk)


def about_a_held_mission(world, bot):
    mission_id = new_id()
    contract = world.submit(user=world.people.bea).contract
    Contract.objects.filter(pk=contract.pk).update(mission_id=mission_id)
    return release_of(world, scope="mission", pattern=str(mission_id))


ABOUT = [
    about_a_grant,
    about_a_frozen_contract,
    about_a_frozen_contract_of_the_agent,
    about_a_held_agent,
    about_agents_held_by_a_glob,
    about_a_hold_a_contract_led_to,
    about_a_held_mission,
]


@pytest.mark.parametrize("ask", ABOUT)
def test_f_nobody_approves_what_is_about_their_own(world, bot, ask):
    people, request = world.people, ask(world, bot)
    assert refused(world, request, people.bea) == "separation_of_duties"
    delegations.create(delegate="cem", ends_at=timezone.now() + timedelta(days=1), reason="away", **who(people.bea))
    assert refused(world, request, people.cem) == "separation_of_duties"
    world.decide(fresh(request), people.dee)
    assert contract_of(request).state == State.AWAITING_APPROVAL


def test_f_what_is_nobodys_own_is_decided_by_everybody_who_did_not_ask(world, bot):
    request = release_of(world, scope="everything")
    world.decide(request, world.people.bea)
    world.decide(fresh(request), world.people.cem)
    assert contract_of(request).state == State.AUTHORIZED


def test_f_who_becomes_the_owner_of_the_agent_after_approving_lets_nothing_run(world, bot):
    request = grant_for(world, bot)
    world.decide(request, world.people.cem)
    world.decide(fresh(request), world.people.dee)
    Agent.objects.filter(pk=bot.pk).update(owner=world.people.dee)
    world.settle()
    assert contract_of(request).state == State.AWAITING_APPROVAL
    assert fresh(request).state == "stale"
