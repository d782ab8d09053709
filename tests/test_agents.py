"""Agents: who answers for them, and keys that are shown once, end, rotate with overlap, and can be taken away."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed

from auditlog import mesh
from auditlog.actors import SYSTEM
from auditlog.models import Entry
from auditlog.refusals import Refused
from governance import access, agents, principals
from governance.api.authentication import AgentAuthentication
from governance.models import Agent, AgentKey
from tests.harness.governed import Governed, contract_of, fresh

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(users):
    return users.ada


def create(ada, name="deployer", **more):
    return agents.create(name=name, owner=ada, by=principals.actor_of(ada), now=timezone.now(), **more)


def opens(key):
    try:
        user, _ = AgentAuthentication().authenticate_credentials(key.encode())
    except AuthenticationFailed:
        return None
    return user


def test_a_key_is_shown_once_and_stored_hashed(ada):
    agent, key = create(ada)
    assert key.startswith("grace_")
    token, row = AuthToken.objects.get(), AgentKey.objects.get()
    assert key not in (token.digest, token.token_key, row.token_digest, row.token_key)
    assert opens(key) == agent.user
    assert not agent.user.has_usable_password()
    assert row.expires_at - row.created_at == timedelta(days=90)
    entry = Entry.objects.get(fact="agent.created")
    assert key not in bytes(entry.bytes).decode()
    assert entry.document()["data"]["key"] == row.token_key


def test_a_key_ends(ada, clock):
    _, key = create(ada, key_days=1)
    clock.shift(timedelta(hours=23))
    assert opens(key)
    clock.shift(timedelta(hours=2))
    assert opens(key) is None


def test_rotation_lets_the_old_key_live_for_the_overlap(ada, clock):
    agent, old = create(ada)
    new = agents.rotate(agent_id=agent.pk, overlap=timedelta(hours=1), by=principals.actor_of(ada), now=timezone.now())
    assert opens(old) == opens(new) == agent.user
    clock.shift(timedelta(minutes=61))
    assert (opens(old), opens(new)) == (None, agent.user)
    assert Entry.objects.filter(fact="agent.key_rotated").count() == 1
    assert agent.keys.count() == 2


def test_a_revoked_agent_is_out_at_once_and_for_good(ada):
    agent, key = create(ada)
    for _ in range(2):
        agents.revoke(agent_id=agent.pk, by=principals.actor_of(ada), now=timezone.now(), reason="left")
    agent.refresh_from_db()
    assert opens(key) is None
    assert access.permissions(agent.user) == frozenset()
    assert Entry.objects.filter(fact="agent.revoked").count() == 1
    with pytest.raises(agents.NotActive):
        agents.rotate(agent_id=agent.pk, by=principals.actor_of(ada), now=timezone.now())


def test_an_agent_is_out_when_its_owner_is(ada):
    _, key = create(ada)
    ada.is_active = False
    ada.save()
    assert opens(key) is None


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"name": "Ab"}, "/name"),
        ({"name": "a b"}, "/name"),
        ({"name": "-a"}, "/name"),
        ({"key_days": 0}, "/key_days"),
        ({"key_days": 9999}, "/key_days"),
        ({"allowed_action_types": [""]}, "/allowed_action_types"),
    ],
)
def test_an_agent_that_makes_no_sense_is_refused(ada, more, pointer):
    with pytest.raises(agents.InvalidAgent) as refusal:
        create(ada, **more)
    assert [error.pointer for error in refusal.value.errors] == [pointer]


def test_an_agent_answers_for_no_agent(ada):
    agent, _ = create(ada)
    with pytest.raises(agents.InvalidAgent):
        agents.create(name="b", owner=agent.user, by=principals.actor_of(ada), now=timezone.now())


def test_a_name_is_taken_once(ada):
    create(ada)
    with pytest.raises(agents.NameTaken):
        create(ada)


def test_the_use_of_a_key_is_noted_once_a_minute(ada, clock):
    create(ada)
    row = AgentKey.objects.get()
    first = timezone.now()
    agents.used(row.token_digest, now=first)
    clock.shift(timedelta(seconds=59))
    agents.used(row.token_digest, now=timezone.now())
    row.refresh_from_db()
    assert row.last_used_at == first
    clock.shift(timedelta(seconds=2))
    agents.used(row.token_digest, now=timezone.now())
    row.refresh_from_db()
    assert row.last_used_at == timezone.now()


def test_an_overlap_without_end_is_refused(ada):
    agent, _ = create(ada)
    with pytest.raises(Refused):
        agents.rotate(agent_id=agent.pk, overlap=timedelta(days=99), by=principals.actor_of(ada), now=timezone.now())


# --- what a revoked agent asked for ---


@pytest.fixture
def world(var_dir, users):
    mesh.register_all()
    return Governed(var_dir / "sandbox", users)


def revoke(world):
    agents.revoke(agent_id=world.agent.pk, by=SYSTEM, now=timezone.now(), reason="compromised")


def test_revoking_an_agent_ends_what_it_asked_for(world):
    pending, approved = world.ask(port=1), world.ask(port=2)
    world.decide(approved, world.people.bea)
    returned = world.ask(port=3)
    world.decide(returned, world.people.bea, "request_changes")
    others = world.submit(world.body(4), user=world.people.ada).approval
    revoke(world)
    world.settle()
    assert [contract_of(each).state for each in (pending, approved, returned)] == ["cancelled"] * 3
    assert [fresh(each).state for each in (pending, approved)] == ["cancelled"] * 2
    assert contract_of(others).state == "awaiting_approval"
    assert world.read() == {"port": 8000}


def out(world):
    Agent.objects.update(state=Agent.State.REVOKED)


def inactive(world):
    User.objects.filter(pk=world.agent.user_id).update(is_active=False)


def without_owner(world):
    User.objects.filter(pk=world.agent.owner_id).update(is_active=False)


def not_allowed(world):
    Agent.objects.update(allowed_action_types=["http.request"])


@pytest.mark.parametrize("happens", [out, inactive, without_owner, not_allowed])
def test_m_what_was_authorized_does_not_start_once_its_requester_may_not(world, happens):
    request = world.ask()
    world.decide(request, world.people.bea)
    happens(world)
    world.settle()
    assert (contract_of(request).state, world.read()) == ("cancelled", {"port": 8000})


def test_m_what_runs_by_itself_does_not_start_either(world, clock):
    world.trust()
    later = timezone.now() + timedelta(days=1)
    contract = world.submit(world.body(not_before=later.isoformat())).contract
    inactive(world)
    clock.shift(timedelta(days=1, minutes=1))
    world.settle()
    contract.refresh_from_db()
    assert (contract.state, world.read()) == ("cancelled", {"port": 8000})
