"""Delegation: deciding in somebody's name, for a while, resolved at each decision and again before anything runs."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction
from django.utils import timezone

from auditlog.models import Entry
from auditlog.refusals import Refused
from governance import access, agents, approvals, delegating, delegations, principals, resolving
from governance.models import Decision, Delegation
from tests.harness.governed import Governed, at_once, contract_of, facts, fresh, newest
from verification.models import State

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(var_dir, users):
    """Configuration takes one reviewer; Cem has proposed nothing and reviews, Ada operates and owns the agent."""
    return Governed(var_dir / "sandbox", users)


@pytest.fixture
def sid(world):
    """Somebody in `security`, which the policy asks as well as one reviewer."""
    person = world.people.cleo
    person.groups.add(Group.objects.get_or_create(name="security")[0])
    world.policy(
        tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 1}, {"group": "security", "count": 1}]}}
    )
    return person


@pytest.fixture
def olaf(world):
    """An operator, who may propose and not decide."""
    person = type(world.people.ada).objects.create_user("olaf", first_name="Olaf", password=world.people.password)
    person.groups.add(Group.objects.get(name="operators"))
    return person


def delegate(delegator, to, *, days=7, groups=(), starts_in=timedelta(0), now=None):
    now = now or timezone.now()
    return delegations.create(
        delegate=to.username,
        groups=groups,
        starts_at=now + starts_in,
        ends_at=now + starts_in + timedelta(days=days),
        reason="on leave",
        by=principals.actor_of(delegator),
        user=delegator,
        now=now,
    )


def end(delegation, user):
    return delegations.end(
        delegation_id=delegation.pk, reason="back", by=principals.actor_of(user), user=user, now=timezone.now()
    )


def code(act):
    with pytest.raises(Refused) as refusal:
        act()
    return refusal.value.code


def pointers(act):
    with pytest.raises(Refused) as refusal:
        act()
    return [error.pointer for error in refusal.value.errors]


# --- deciding in somebody's name ---


def test_h_a_delegate_decides_in_the_name_of_who_delegated(world, olaf):
    request = world.ask()
    assert code(lambda: world.decide(request, olaf)) == "not_permitted"
    given = delegate(world.people.bea, olaf)
    assert access.may(olaf, "approvals.decide")
    world.decide(request, olaf)
    world.settle()
    assert (contract_of(request).state, world.read()) == (State.VERIFIED, {"port": 9000})
    decision = Decision.objects.get()
    assert (decision.person, decision.on_behalf_of, decision.delegation) == (olaf, world.people.bea, given)
    entry = Entry.objects.get(pk=decision.entry_id)
    assert entry.actor_id == str(olaf.pk)
    assert entry.document()["data"]["on_behalf_of"] == str(world.people.bea.pk)
    assert entry.document()["data"]["delegation"] == str(given.pk)
    assert [slot.on_behalf_of for slot in approvals.slots(fresh(request), now=timezone.now())] == ["Bea"]


def test_h_who_decides_anyway_speaks_for_themselves(world):
    delegate(world.people.bea, world.people.cem)
    request = world.ask()
    world.decide(request, world.people.cem)
    assert Decision.objects.get().delegation is None


def test_h_a_reviewer_speaks_for_another_group_where_that_fills_the_open_slot(world, sid):
    delegate(sid, world.people.cem)
    request = world.ask()
    world.decide(request, world.people.bea)
    world.decide(request, world.people.cem)
    assert Decision.objects.get(person=world.people.cem).on_behalf_of == sid
    assert contract_of(request).state == State.AUTHORIZED


def test_h_only_the_groups_that_were_delegated_count(world, sid, olaf):
    sid.groups.add(Group.objects.get(name="reviewers"))
    delegate(sid, olaf, groups=["security"])
    request = world.ask()
    world.decide(request, olaf)
    filled = {slot.group: slot.person for slot in approvals.slots(fresh(request), now=timezone.now())}
    assert filled == {"reviewers": None, "security": olaf}


def test_a_delegation_lasts_from_its_start_to_its_end(world, olaf, clock):
    delegate(world.people.bea, olaf, starts_in=timedelta(hours=1), days=1)
    request = world.ask()
    assert code(lambda: world.decide(request, olaf)) == "not_permitted"
    clock.shift(timedelta(hours=1))
    assert approvals.refusal(request, olaf, now=timezone.now()) is None
    clock.shift(timedelta(days=1))
    assert code(lambda: world.decide(request, olaf)) == "not_permitted"


def test_the_end_is_written_down_once_and_counted_before(world, olaf, clock):
    given = delegate(world.people.bea, olaf, days=1)
    clock.shift(timedelta(days=1))
    assert not access.may(olaf, "approvals.decide")
    assert [delegations.end_due(now=timezone.now()) for _ in range(2)] == [1, 0]
    given.refresh_from_db()
    assert given.ended_at == given.ends_at
    assert [fact for fact in facts() if "delegat" in fact] == ["approval.delegated", "approval.delegation_ended"]


# --- F: never the requester, nor whoever stands in for that side ---


def test_f_a_delegation_never_reaches_the_requester(world):
    delegate(world.people.bea, world.people.ada)
    own = world.submit(user=world.people.ada).approval
    assert code(lambda: world.decide(own, world.people.ada)) == "separation_of_duties"
    assert code(lambda: world.decide(world.ask(port=9001), world.people.ada)) == "separation_of_duties"


def test_f_a_delegate_of_the_requester_never_decides(world):
    request = world.submit(user=world.people.bea).approval
    delegate(world.people.bea, world.people.cem)
    for verdict in ("approve", "reject", "request_changes"):
        assert code(lambda: world.decide(request, world.people.cem, verdict)) == "separation_of_duties"  # noqa: B023
    world.decide(request, world.people.dee)
    assert contract_of(request).state == State.AUTHORIZED


def test_f_a_delegate_of_the_agents_owner_never_decides_not_even_as_a_reviewer(world):
    world.people.ada.groups.add(Group.objects.get(name="reviewers"))
    given = delegate(world.people.ada, world.people.cem)
    request = world.ask()
    assert code(lambda: world.decide(request, world.people.cem)) == "separation_of_duties"
    end(given, world.people.ada)
    world.decide(request, world.people.cem)
    assert contract_of(request).state == State.AUTHORIZED


def test_f_a_delegate_of_a_delegate_is_on_that_side_too_and_circles_end(world):
    world.people.ada.groups.add(Group.objects.get(name="reviewers"))
    delegate(world.people.ada, world.people.bea)
    delegate(world.people.bea, world.people.cem)
    delegate(world.people.cem, world.people.ada)
    request = world.ask()
    for person in (world.people.ada, world.people.bea, world.people.cem):
        assert code(lambda: world.decide(request, person)) == "separation_of_duties"  # noqa: B023
    world.decide(request, world.people.dee)
    assert contract_of(request).state == State.AUTHORIZED


def test_f_who_becomes_a_delegate_of_that_side_after_approving_lets_nothing_run(world):
    world.people.ada.groups.add(Group.objects.get(name="reviewers"))
    request = world.ask()
    world.decide(request, world.people.cem)
    delegate(world.people.ada, world.people.cem)
    world.settle()
    assert (contract_of(request).state, world.read()) == (State.AWAITING_APPROVAL, {"port": 8000})


def test_f_no_superuser_flag_and_no_debug_lifts_it_for_a_delegate(world, settings):
    settings.DEBUG = True
    world.people.ada.groups.add(Group.objects.get(name="reviewers"))
    world.people.cem.is_superuser = True
    world.people.cem.save()
    delegate(world.people.ada, world.people.cem)
    assert code(lambda: world.decide(world.ask(), world.people.cem)) == "separation_of_duties"


def test_f_a_delegate_of_that_side_settles_nothing_by_hand(world):
    contract = world.submit(user=world.people.bea).contract
    delegate(world.people.bea, world.people.cem)
    now = timezone.now()
    assert resolving.refusal(contract, world.people.cem, now=now).code == "separation_of_duties"
    assert resolving.refusal(contract, world.people.dee, now=now) is None


@pytest.mark.parametrize(
    ("steps", "reached"),
    [
        ([], {1}),
        ([(1, 2)], {1, 2}),
        ([(2, 1)], {1}),
        ([(1, 2), (2, 3), (4, 5)], {1, 2, 3}),
        ([(1, 2), (2, 1)], {1, 2}),
        ([(2, 3), (3, 1), (1, 2)], {1, 2, 3}),
    ],
)
def test_suspicion_goes_all_the_way(steps, reached):
    assert delegating.reached(frozenset({1}), steps) == reached


# --- authority goes one step ---


def test_h_what_was_delegated_cannot_be_passed_on(world, olaf):
    other = type(olaf).objects.create_user("otto")
    other.groups.add(Group.objects.get(name="operators"))
    delegate(world.people.bea, olaf)
    assert code(lambda: delegate(olaf, other)) == "not_permitted"
    now = timezone.now()
    Delegation.objects.create(
        delegator=olaf, delegate=other, starts_at=now, ends_at=now + timedelta(days=1), created_at=now, reason="x"
    )
    assert code(lambda: world.decide(world.ask(), other)) == "not_an_approver"


# --- G: a person counts once ---


@pytest.fixture
def two(world):
    """The same world, where configuration needs two reviewers."""
    world.policy(tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 2}]}})
    return world


def test_g_nobody_is_heard_by_themselves_and_by_a_delegate(two, olaf):
    delegate(two.people.bea, olaf)
    request = two.ask()
    two.decide(request, two.people.bea)
    assert code(lambda: two.decide(request, olaf)) == "already_decided"
    two.withdraw(request, two.people.bea)
    two.decide(request, olaf)
    assert code(lambda: two.decide(request, two.people.bea)) == "already_decided"
    assert contract_of(request).state == State.AWAITING_APPROVAL


def test_g_two_delegates_of_one_person_are_one(two, olaf):
    otto = type(olaf).objects.create_user("otto")
    otto.groups.add(Group.objects.get(name="operators"))
    for person in (olaf, otto):
        delegate(two.people.bea, person)
    request = two.ask()
    two.decide(request, olaf)
    assert code(lambda: two.decide(request, otto)) == "already_decided"


def test_g_one_delegate_of_two_people_is_one(two, olaf):
    for person in (two.people.bea, two.people.cem):
        delegate(person, olaf)
    request = two.ask()
    two.decide(request, olaf)
    assert code(lambda: two.decide(request, olaf)) == "already_decided"
    assert contract_of(request).state == State.AWAITING_APPROVAL
    two.decide(request, two.people.dee)
    assert contract_of(request).state == State.AUTHORIZED


def test_g_the_database_refuses_what_the_verb_would(two, olaf):
    delegate(two.people.bea, olaf)
    request = two.ask()
    two.decide(request, olaf)
    copy = {"request": request, "verdict": "approve", "digest": request.digest, "created_at": timezone.now()}
    with pytest.raises(IntegrityError), transaction.atomic():
        Decision.objects.create(person=two.people.dee, on_behalf_of=two.people.bea, **copy)


def test_g_a_row_written_behind_everybodys_back_fills_no_second_slot(two, olaf):
    given = delegate(two.people.bea, olaf)
    request = two.ask()
    two.decide(request, two.people.bea)
    Decision.objects.create(
        request=request,
        person=olaf,
        on_behalf_of=two.people.bea,
        delegation=given,
        verdict="approve",
        digest=request.digest,
        created_at=timezone.now(),
    )
    assert [slot.person for slot in approvals.slots(fresh(request), now=timezone.now())] == [two.people.bea, None]


def test_m_a_delegation_moved_to_another_person_lends_no_voice(two, olaf):
    given = delegate(two.people.bea, olaf)
    request = two.ask()
    two.decide(request, olaf)
    two.decide(request, two.people.dee)
    assert contract_of(request).state == State.AUTHORIZED
    type(given).objects.update(delegator=two.people.cem)
    two.people.bea.is_active = False
    two.people.bea.save()
    two.settle()
    assert two.read() == {"port": 8000}
    assert fresh(request).state == "stale"


@pytest.mark.django_db(transaction=True)
def test_n_a_person_and_their_delegate_at_once_are_one(two, olaf):
    delegate(two.people.bea, olaf)
    request = two.ask()
    answers = at_once([lambda person=person: two.decide(request, person) for person in (two.people.bea, olaf)])
    assert sorted(answers) == ["already_decided", "ok"]
    assert Decision.objects.count() == 1


# --- H: still so before it runs ---


def without_group(world, olaf, given):
    world.people.bea.groups.remove(Group.objects.get(name="reviewers"))


def inactive(world, olaf, given):
    world.people.bea.is_active = False
    world.people.bea.save()


def delegate_gone(world, olaf, given):
    olaf.groups.clear()


def revoked(world, olaf, given):
    end(given, world.people.bea)


@pytest.mark.parametrize("change", [without_group, inactive, delegate_gone, revoked])
def test_h_before_it_runs_everybody_is_still_in_their_place(world, olaf, change):
    given = delegate(world.people.bea, olaf)
    request = world.ask()
    world.decide(request, olaf)
    assert contract_of(request).state == State.AUTHORIZED
    change(world, olaf, given)
    world.settle()
    assert (contract_of(request).state, world.read()) == (State.AWAITING_APPROVAL, {"port": 8000})
    assert fresh(request).state == "stale"
    assert code(lambda: world.decide(newest(contract_of(request)), olaf)) in {"not_permitted", "not_an_approver"}


@pytest.mark.parametrize("change", [without_group, inactive, delegate_gone, revoked])
def test_h_when_deciding_everybody_is_in_their_place(world, olaf, change):
    given = delegate(world.people.bea, olaf)
    change(world, olaf, given)
    assert code(lambda: world.decide(world.ask(), olaf)) in {"not_permitted", "not_an_approver"}


def test_k_who_delegated_may_take_back_what_was_decided_in_their_name(world, olaf):
    delegate(world.people.bea, olaf)
    request = world.ask()
    world.decide(request, olaf)
    world.withdraw(request, world.people.bea)
    world.settle()
    assert (contract_of(request).state, world.read()) == (State.AWAITING_APPROVAL, {"port": 8000})


def test_l_an_edit_by_a_delegate_is_an_approval_in_the_name_of_who_delegated(world, olaf):
    delegate(world.people.bea, olaf)
    request = world.ask()
    edits = {"parameters": {"path": "app.json", "merge": {"port": 9001}}}
    edits["expected_effect"] = {"success_criteria": [{"type": "state_match", "path": "content.port", "equals": 9001}]}
    world.decide(request, olaf, edits=edits)
    world.settle()
    assert (world.read(), Decision.objects.get().on_behalf_of) == ({"port": 9001}, world.people.bea)


# --- making and ending ---


def test_who_cannot_decide_has_nothing_to_delegate(world, olaf):
    for person in (world.people.ada, world.people.eve, world.people.cleo):
        assert code(lambda: delegate(person, olaf)) == "not_permitted"  # noqa: B023


def test_only_people_who_take_part_can_stand_in(world):
    bea = world.people.bea
    for person in (world.people.eve, world.people.cleo, world.robot, bea):
        assert pointers(lambda: delegate(bea, person)) == ["/delegate"]  # noqa: B023
    world.people.ada.is_active = False
    world.people.ada.save()
    assert pointers(lambda: delegate(bea, world.people.ada)) == ["/delegate"]


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"days": 32}, ["/ends_at"]),
        ({"days": 0}, ["/ends_at"]),
        ({"days": -1}, ["/ends_at"]),
        ({"starts_in": timedelta(days=91)}, ["/starts_at"]),
        ({"groups": ["security"]}, ["/groups"]),
    ],
)
def test_a_delegation_has_bounds(world, more, wrong):
    assert pointers(lambda: delegate(world.people.bea, world.people.cem, **more)) == wrong


def test_a_reason_is_part_of_it(world):
    now = timezone.now()
    bea = world.people.bea
    told = {"by": principals.actor_of(bea), "user": bea, "now": now, "ends_at": now + timedelta(days=1)}
    assert pointers(lambda: delegations.create(delegate="cem", reason=" ", **told)) == ["/reason"]


def test_nobody_delegates_without_end(world, monkeypatch):
    monkeypatch.setattr(delegations, "MAX_OPEN", 1)
    given = delegate(world.people.bea, world.people.cem)
    assert code(lambda: delegate(world.people.bea, world.people.dee)) == "too_many_delegations"
    end(given, world.people.bea)
    assert delegate(world.people.bea, world.people.dee)


def test_it_is_ended_by_either_side_or_an_administrator_and_once(world, olaf):
    given = delegate(world.people.bea, olaf)
    assert code(lambda: end(given, world.people.cem)) == "not_yours"
    assert end(given, olaf).ended_by_label == "Olaf"
    assert end(given, world.people.bea).ended_by_label == "Olaf"
    assert facts().count("approval.delegation_ended") == 1
    assert end(delegate(world.people.bea, olaf), world.people.administrator).ended_at is not None


def test_an_agent_never_decides_through_a_delegation(world):
    other, _ = agents.create(
        name="other", owner=world.people.cem, by=principals.actor_of(world.people.cem), now=timezone.now()
    )
    now = timezone.now()
    Delegation.objects.create(
        delegator=world.people.bea,
        delegate=other.user,
        starts_at=now,
        ends_at=now + timedelta(days=1),
        created_at=now,
        reason="x",
    )
    assert not access.may(other.user, "approvals.decide")
    assert code(lambda: world.decide(world.ask(), other.user)) in {"not_permitted", "not_an_approver"}
