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


# --- suspended, resumed, changed ---


def answers(verb, agent, user, **more):
    return verb(agent_id=agent.pk, by=principals.actor_of(user), user=user, now=timezone.now(), **more)


def told(agent):
    return list(Entry.objects.filter(fact__startswith="agent.").order_by("id").values_list("fact", flat=True))


def test_its_owner_suspends_an_agent_and_its_key_opens_nothing_until_it_is_resumed(ada):
    agent, key = create(ada)
    assert answers(agents.suspend, agent, ada, reason="it is confused").state == "suspended"
    assert opens(key) is None
    assert access.permissions(User.objects.get(pk=agent.user_id)) == frozenset()
    answers(agents.suspend, agent, ada)
    assert answers(agents.resume, agent, ada).state == "active"
    assert opens(key) == agent.user
    assert told(agent) == ["agent.created", "agent.suspended", "agent.resumed"]
    assert Entry.objects.get(fact="agent.suspended").data["reason"] == "it is confused"


def test_what_a_suspended_agent_asked_for_does_not_start(var_dir, users):
    world = Governed(var_dir / "sandbox", users)
    request = world.ask()
    world.decide(request, users.bea)
    answers(agents.suspend, world.agent, users.ada)
    world.settle()
    assert contract_of(request).state == "cancelled"


def test_others_than_its_owner_and_administrators_are_refused(ada, users):
    agent, _ = create(ada)
    for verb, more in (
        (agents.suspend, {}),
        (agents.resume, {}),
        (agents.change, {"allowed_action_types": [], "open_request_limit": 7}),
    ):
        with pytest.raises(agents.NotYours):
            answers(verb, agent, users.bea, **more)
        answers(verb, agent, users.administrator, **more)


def test_a_revoked_agent_stays_revoked(ada):
    agent, _ = create(ada)
    agents.revoke(agent_id=agent.pk, by=principals.actor_of(ada), now=timezone.now())
    for verb in (agents.suspend, agents.resume):
        with pytest.raises(agents.NotActive):
            answers(verb, agent, ada)


def test_what_it_may_is_said_anew(ada):
    agent, _ = create(ada, allowed_action_types=["config.update"])
    changed = answers(agents.change, agent, ada, allowed_action_types=["http.*"], open_request_limit=7)
    assert (changed.allowed_action_types, changed.open_request_limit) == (["http.*"], 7)
    answers(agents.change, agent, ada, allowed_action_types=["http.*"], open_request_limit=7)
    assert told(agent) == ["agent.created", "agent.changed"]
    data = Entry.objects.get(fact="agent.changed").data
    assert (data["allowed_action_types"], data["open_request_limit"]) == (["http.*"], 7)
    with pytest.raises(agents.InvalidAgent):
        answers(agents.change, agent, ada, allowed_action_types=[], open_request_limit=0)


@pytest.mark.parametrize(
    ("globs", "allowed"),
    [
        ([], True),
        (["config.update"], True),
        (["config.*"], True),
        (["*"], True),
        (["Config.*"], False),
        (["http.*"], False),
    ],
)
def test_what_an_agent_may_propose_is_matched_like_the_rules_of_a_policy(globs, allowed):
    assert principals.allows(Agent(allowed_action_types=globs), "config.update") is allowed
