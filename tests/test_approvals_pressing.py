"""Nobody answers: reminders at half and nine tenths, then others are asked as well."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from auditlog.actors import SYSTEM
from auditlog.models import Entry
from auditlog.refusals import Refused
from governance import holding, holds, policy, pressing
from governance.models import ApprovalRequest
from tests.harness.governed import Governed, contract_of, facts, fresh, newest
from verification.models import State

HOUR = timedelta(hours=1)


@pytest.fixture
def world(var_dir, users, db):
    return Governed(var_dir / "sandbox", users)


def press():
    return pressing.press_due(now=timezone.now())


def told(contract):
    return [fact for fact in facts(contract) if fact in ("approval.reminded", "approval.escalated")]


def test_people_are_reminded_at_half_and_nine_tenths_once_each(world, clock):
    request = world.ask()
    clock.shift(timedelta(hours=11, minutes=59))
    assert press() == 0
    clock.shift(timedelta(minutes=1))
    assert (press(), press()) == (1, 0)
    clock.shift(timedelta(hours=9, minutes=36))
    assert (press(), press()) == (1, 0)
    assert told(contract_of(request)) == ["approval.reminded"] * 2
    percents = [entry.document()["data"]["percent"] for entry in Entry.objects.filter(fact="approval.reminded")]
    assert sorted(percents) == [50, 90]


def test_missed_reminders_are_one(world, clock):
    request = world.ask()
    clock.shift(timedelta(hours=23))
    assert (press(), press()) == (1, 0)
    assert told(contract_of(request)) == ["approval.reminded"]


def test_who_has_answered_is_left_alone(world, clock):
    world.decide(world.ask(), world.people.bea)
    clock.shift(timedelta(hours=23))
    assert press() == 0


def test_reminders_wait_while_held(world, clock):
    request = world.ask()
    hold = holds.engage(scope="everything", reason="x", by=SYSTEM, user=None, now=timezone.now())
    clock.shift(timedelta(hours=12))
    assert press() == 0
    holding.mark_released(hold_id=hold.pk, by=SYSTEM, reason="y", now=timezone.now())
    clock.shift(timedelta(hours=11))
    assert press() == 0
    clock.shift(HOUR)
    assert press() == 1
    assert fresh(request).reminder_count == 1


@pytest.fixture
def backed_up(world):
    """One reviewer, or after an hour somebody of `on-call` (Cleo)."""
    world.people.cleo.groups.add(Group.objects.create(name="on-call"))
    asked = {"approvals": [{"group": "reviewers", "count": 1}]}
    world.policy(tiers={"tier_2": {**asked, "escalate_to": "on-call", "escalate_after_seconds": 3600}})
    return world


def test_a_backup_group_is_asked_after_a_while(backed_up, clock):
    world, request = backed_up, backed_up.ask()
    with pytest.raises(Refused) as refusal:
        world.decide(request, world.people.cleo)
    assert refusal.value.code == "not_an_approver"
    clock.shift(HOUR)
    assert press() == 1
    assert told(contract_of(request)) == ["approval.escalated"]
    assert Entry.objects.get(fact="approval.escalated").document()["data"]["to_group"] == "on-call"
    world.decide(request, world.people.cleo)
    world.settle()
    assert contract_of(request).state == State.VERIFIED


def test_escalation_does_not_take_the_word_from_who_was_asked(backed_up, clock):
    request = backed_up.ask()
    clock.shift(HOUR)
    press()
    backed_up.decide(request, backed_up.people.bea)
    assert contract_of(request).state == State.AUTHORIZED


def test_f_escalation_never_reaches_the_requesters_side(backed_up, clock):
    ada = backed_up.people.ada
    ada.groups.add(Group.objects.get(name="on-call"))
    request = backed_up.ask()
    clock.shift(HOUR)
    press()
    with pytest.raises(Refused) as refusal:
        backed_up.decide(request, ada)
    assert refusal.value.code == "separation_of_duties"


def test_m_a_policy_that_no_longer_lets_them_stand_in_asks_again(backed_up, clock):
    request = backed_up.ask()
    clock.shift(HOUR)
    press()
    backed_up.decide(request, backed_up.people.cleo)
    backed_up.policy(tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 1}]}})
    backed_up.settle()
    assert fresh(request).state == ApprovalRequest.State.STALE
    asked = newest(contract_of(request))
    assert asked.requirements["escalate_to"] == ""


BASE = {"approvals": [{"group": "reviewers", "count": 1}]}


@pytest.mark.parametrize(
    ("tier", "rule", "to"),
    [
        ({**BASE, "escalate_to": "a"}, {}, "a"),
        (BASE, {"escalate_to": "a"}, ""),
        ({**BASE, "escalate_to": "a"}, {"escalate_to": "b"}, ""),
        ({**BASE, "escalate_to": "a"}, {"approvals": [{"group": "security", "count": 1}]}, ""),
        ({**BASE, "escalate_to": "a"}, {"approvals": [{"group": "security", "count": 1}], "escalate_to": "a"}, "a"),
    ],
)
def test_a_a_rule_never_adds_a_stand_in_to_what_another_asks(tier, rule, to):
    rules = [{"name": "r", "effect": "tier_2", "requirements": rule}]
    parsed = policy.parse({"rules": rules, "tiers": {"tier_2": tier}})
    situation = policy.Situation("a", "t", {}, timezone.now(), policy.Reversibility.REVERSIBLE)
    assert parsed.decide(situation).requirements.escalate_to == to
