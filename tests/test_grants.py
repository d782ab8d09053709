"""Standing grants: asked for at tier_3, bounded in every direction, used one by one, taken away at once."""

from datetime import timedelta

import pytest
from django.utils import timezone

from auditlog.models import Entry
from auditlog.refusals import Refused
from governance import agents, grants, principals
from governance.models import Grant, GrantUse
from tests.harness.governed import Governed, at_once, newest
from verification.models import Contract, State

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(var_dir, users):
    return Governed(var_dir / "sandbox", users)


def ask(world, **more):
    ada = world.people.ada
    wanted = {
        "agent": "deployer",
        "action_type": "config.update",
        "target": "file:*.json",
        "when": "parameters.merge.port < 10000",
        "max_uses": 2,
        "expires_at": timezone.now() + timedelta(days=7),
        "reason": "routine",
        **more,
    }
    return grants.ask(**wanted, by=principals.actor_of(ada), user=ada, now=timezone.now())


@pytest.fixture
def granted(world):
    """A world in which `deployer` may set ports under 10000 twice."""
    asked = ask(world)
    assert (asked.tier, asked.state) == ("tier_3", "awaiting_approval")
    for person in (world.people.bea, world.people.cem):
        world.decide(asked.approval, person)
    world.settle()
    assert Contract.objects.get(pk=asked.contract.pk).state == State.VERIFIED
    return world


def revoke(world):
    bea = world.people.bea
    return grants.revoke(
        grant_id=Grant.objects.get().pk, by=principals.actor_of(bea), user=bea, reason="enough", now=timezone.now()
    )


def test_what_a_grant_covers_runs_without_asking_and_every_use_is_a_fact(granted):
    submitted = granted.submit()
    assert (submitted.tier, submitted.state, submitted.approval) == ("tier_2", "authorized", None)
    granted.settle()
    submitted.contract.refresh_from_db()
    assert (submitted.contract.state, granted.read()) == ("verified", {"port": 9000})
    assert Grant.objects.get().use_count == GrantUse.objects.count() == 1
    entry = Entry.objects.get(fact="grant.used")
    assert entry.contract_id == submitted.contract.pk
    assert entry.document()["data"]["uses"] == 1


def test_a_grant_is_used_up(granted):
    states = [granted.submit(granted.body(port)).state for port in (1, 2, 3)]
    assert states == ["authorized", "authorized", "awaiting_approval"]
    assert Grant.objects.get().use_count == 2


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"path": "app.json", "merge": {"port": 10000}}},
        {"parameters": {"path": "app.json", "merge": {"host": "x"}}},
        {"parameters": {"path": "app.yaml", "merge": {"port": 1}}, "target": "file:app.yaml"},
    ],
)
def test_what_it_does_not_cover_asks_people(granted, change):
    (granted.file.parent / "app.yaml").write_text("port: 1\n")
    assert granted.submit({**granted.body(), **change}).state == "awaiting_approval"
    assert Grant.objects.get().use_count == 0


def test_it_covers_nobody_else(granted):
    other, _ = agents.create(
        name="other", owner=granted.people.ada, by=principals.actor_of(granted.people.ada), now=timezone.now()
    )
    for user in (other.user, granted.people.ada):
        assert granted.submit(user=user).state == "awaiting_approval"


def test_it_ends_by_itself(clock, granted):
    clock.shift(timedelta(days=7, seconds=1))
    assert granted.submit().state == "awaiting_approval"


def test_a_revoked_grant_sends_what_has_not_begun_to_people(granted):
    contract = granted.submit().contract
    revoke(granted)
    revoke(granted)
    assert Entry.objects.filter(fact="grant.revoked").count() == 1
    granted.settle()
    contract.refresh_from_db()
    assert (contract.state, granted.read()) == ("awaiting_approval", {"port": 8000})
    granted.decide(newest(contract), granted.people.bea)
    granted.settle()
    contract.refresh_from_db()
    assert contract.state == State.VERIFIED
    assert granted.submit().state == "awaiting_approval"


def test_a_grant_does_not_overrule_a_denial_nor_a_policy_that_became_stricter(granted):
    contract = granted.submit().contract
    granted.policy(tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 2}]}})
    granted.settle()
    contract.refresh_from_db()
    assert (contract.state, granted.read()) == ("awaiting_approval", {"port": 8000})
    granted.policy({"name": "no", "effect": "deny", "reason": "no"})
    assert granted.submit(granted.body(2)).state == "denied"
    assert Grant.objects.get().use_count == 1


def test_m_a_use_that_was_never_taken_lets_nothing_run(granted):
    contract = granted.submit().contract
    GrantUse.objects.all().delete()
    granted.settle()
    contract.refresh_from_db()
    assert (contract.state, granted.read()) == ("cancelled", {"port": 8000})


@pytest.mark.parametrize(
    "edit", [{"target": "file:*"}, {"when": ""}, {"max_uses": 500}, {"expires_at": timezone.now() + timedelta(days=80)}]
)
def test_m_a_grant_that_was_widened_in_its_row_lets_nothing_run(granted, edit):
    Grant.objects.update(**edit)
    contract = granted.submit().contract
    granted.settle()
    contract.refresh_from_db()
    assert (contract.state, granted.read()) == (State.CANCELLED, {"port": 8000})


def test_m_a_grant_whose_condition_names_a_secret_is_as_recorded(world):
    asked = ask(world, when="parameters.merge.port < 10000 && 'token=hunter22' != ''")
    for person in (world.people.bea, world.people.cem):
        world.decide(asked.approval, person)
    world.settle()
    contract = world.submit().contract
    world.settle()
    contract.refresh_from_db()
    assert (contract.state, world.read()) == (State.VERIFIED, {"port": 9000})
    assert not Entry.objects.filter(bytes__contains=b"hunter22").exists()


@pytest.mark.parametrize("more", [{}, {"salt": bytes(16)}, {"salt": b""}])
def test_m_a_secret_in_the_condition_of_a_grant_that_was_changed_in_its_row_lets_nothing_run(world, more):
    asked = ask(world, when="parameters.merge.port < 10000 && 'token=hunter22' != ''")
    for person in (world.people.bea, world.people.cem):
        world.decide(asked.approval, person)
    world.settle()
    Grant.objects.update(when="parameters.merge.port < 10000 && 'token=hunter33' != ''", **more)
    contract = world.submit().contract
    assert contract.state == State.AUTHORIZED
    world.settle()
    contract.refresh_from_db()
    assert (contract.state, world.read()) == (State.CANCELLED, {"port": 8000})


def test_m_a_grant_nobody_gave_lets_nothing_run(world):
    Grant.objects.create(
        agent=world.agent,
        action_type="config.update",
        target="*",
        max_uses=9,
        contract_id=world.agent.pk,
        created_at=timezone.now(),
        expires_at=timezone.now() + timedelta(days=1),
    )
    contract = world.submit().contract
    assert contract.state == State.AUTHORIZED
    world.settle()
    contract.refresh_from_db()
    assert (contract.state, world.read()) == (State.CANCELLED, {"port": 8000})


def test_m_a_grant_that_was_taken_away_cannot_be_put_back_in_its_row(granted):
    revoke(granted)
    Grant.objects.update(revoked_at=None)
    contract = granted.submit().contract
    granted.settle()
    contract.refresh_from_db()
    assert (contract.state, granted.read()) == (State.CANCELLED, {"port": 8000})


def test_a_dry_run_knows_of_the_grant_and_takes_no_use(granted):
    assert granted.submit(dry_run=True).state == "authorized"
    assert Grant.objects.get().use_count == 0


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"agent": "nobody"}, "/agent"),
        ({"action_type": "no.such"}, "/action_type"),
        ({"action_type": "grant.create"}, "/action_type"),
        ({"action_type": "policy.change"}, "/action_type"),
        ({"when": "now"}, "/when"),
        ({"max_uses": 0}, "/max_uses"),
        ({"expires_at": timezone.now() + timedelta(days=365)}, "/expires_at"),
        ({"expires_at": timezone.now() - timedelta(days=365)}, "/expires_at"),
    ],
)
def test_a_grant_without_bounds_is_refused(world, more, pointer):
    with pytest.raises(Refused) as refusal:
        ask(world, **more)
    assert pointer in [error.pointer for error in refusal.value.errors]


def test_f_the_agents_owner_may_ask_for_a_grant_but_not_approve_it(world):
    asked = ask(world)
    with pytest.raises(Refused) as refusal:
        world.decide(asked.approval, world.people.ada)
    assert refusal.value.code == "separation_of_duties"


@pytest.mark.django_db(transaction=True)
def test_n_the_last_use_is_taken_once(granted):
    robot = granted.robot
    answers = at_once([lambda port=port: granted.submit(granted.body(port), user=robot) for port in range(1, 7)])
    assert answers == ["ok"] * 6
    assert Grant.objects.get().use_count == GrantUse.objects.count() == 2
    assert Contract.objects.filter(state=State.AUTHORIZED).count() == 2
