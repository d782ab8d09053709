"""Freeze windows: recurring, by tier, with exceptions people approved."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from auditlog import jobs
from auditlog.models import Entry, Job
from auditlog.refusals import Refused
from governance import calendars, freezes, freezing, holding, principals, proposals
from governance.models import Freeze, FreezeException
from tests.harness.governed import Governed, contract_of, fresh
from verification.models import Contract, State

# The clock of the tests stands at noon of Monday, 23 November 2026 (UTC).
MONDAYS = "DTSTART:20261102T110000Z\nRRULE:FREQ=WEEKLY;BYDAY=MO"
WEEKENDS = "DTSTART;TZID=Europe/Berlin:20261106T180000\nRRULE:FREQ=WEEKLY;BYDAY=FR"


def at(*when):
    return datetime(*when, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rule", "hours", "now", "window"),
    [
        (MONDAYS, 2, at(2026, 11, 23, 12), (at(2026, 11, 23, 11), at(2026, 11, 23, 13))),
        (MONDAYS, 2, at(2026, 11, 23, 11), (at(2026, 11, 23, 11), at(2026, 11, 23, 13))),
        (MONDAYS, 2, at(2026, 11, 23, 13), None),
        (MONDAYS, 2, at(2026, 11, 24, 12), None),
        (MONDAYS, 2, at(2026, 10, 26, 12), None),
        (WEEKENDS, 62, at(2026, 11, 22, 12), (at(2026, 11, 20, 17), at(2026, 11, 23, 7))),
        ("DTSTART:20261220T000000Z", 240, at(2026, 12, 25), (at(2026, 12, 20), at(2026, 12, 30))),
    ],
)
def test_the_occurrence_that_lasts_is_found(rule, hours, now, window):
    assert freezing.window_at(Freeze(rule=rule, duration_seconds=hours * 3600), now) == window


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "nonsense",
        "RRULE:FREQ=WEEKLY",
        "DTSTART:20261102T110000\nRRULE:FREQ=WEEKLY",
        "DTSTART:20261102T110000Z\nRRULE:FREQ=SOMETIMES",
        "DTSTART:20261102T110000Z\nRRULE:FREQ=SECONDLY",
        "DTSTART:20261102T110000Z\nRRULE:FREQ=MINUTELY",
        "DTSTART;TZID=Mars/Base:20261102T110000\nRRULE:FREQ=DAILY",
        "x" * 2000,
    ],
)
def test_a_rule_that_is_no_calendar_is_refused(rule):
    with pytest.raises(calendars.BadRule):
        calendars.parse(rule)


@pytest.fixture
def world(var_dir, users, db, clock):
    return Governed(var_dir / "sandbox", users)


def freeze(world, *, rule=MONDAYS, hours=2, tier="tier_2", name="mondays", who="ada"):
    user = getattr(world.people, who)
    return freezes.create(
        name=name,
        rule=rule,
        duration_seconds=hours * 3600,
        minimum_tier=tier,
        reason="nobody is here",
        by=principals.actor_of(user),
        user=user,
        now=timezone.now(),
    )


def approved(world):
    request = world.ask()
    world.decide(request, world.people.bea)
    return request


def test_nothing_of_the_tier_starts_while_it_lasts_and_it_starts_afterwards(world, clock):
    freeze(world)
    request = approved(world)
    world.settle()
    assert (contract_of(request).state, world.read()) == ("authorized", {"port": 8000})
    assert fresh(request).state == "approved"
    clock.shift(timedelta(hours=1, seconds=1))
    world.settle()
    assert contract_of(request).state == State.VERIFIED


@pytest.mark.parametrize(("tier", "starts"), [("tier_1", False), ("tier_2", False), ("tier_3", True)])
def test_only_its_tier_and_stricter_ones_are_frozen(world, tier, starts):
    freeze(world, tier=tier)
    request = approved(world)
    world.settle()
    assert (contract_of(request).state == State.VERIFIED) is starts


def test_i_the_validity_of_an_approval_stops_while_frozen(world, clock):
    freeze(world, rule="DTSTART:20261123T110000Z", hours=100)
    request = approved(world)
    clock.shift(timedelta(hours=98))
    world.settle()
    assert contract_of(request).state == State.AUTHORIZED
    clock.shift(timedelta(hours=2))
    world.settle()
    assert contract_of(request).state == State.VERIFIED


def agreed(world, submitted):
    """Two reviewers say yes, and it runs."""
    assert (submitted.tier, submitted.state) == ("tier_3", "awaiting_approval")
    for person in (world.people.bea, world.people.cem):
        world.decide(submitted.approval, person)
    world.settle()
    return Contract.objects.get(pk=submitted.contract.pk)


def test_d_an_exception_is_tier_3_and_for_one_contract_only(world):
    calendar = freeze(world, tier="tier_1")
    request = approved(world)
    ada = world.people.ada
    asked = freezes.ask_exception(
        freeze_id=calendar.pk,
        contract_id=request.contract_id,
        reason="it cannot wait",
        by=principals.actor_of(ada),
        user=ada,
        now=timezone.now(),
    )
    assert agreed(world, asked).state == State.VERIFIED
    jobs.run_until_idle(timezone.now() + timedelta(minutes=6))
    assert contract_of(request).state == State.VERIFIED
    other = approved(world)
    world.settle()
    assert contract_of(other).state == State.AUTHORIZED
    assert FreezeException.objects.count() == 1
    changes = [
        entry.document()["data"]["change"] for entry in Entry.objects.filter(fact="freeze.changed").order_by("id")
    ]
    assert changes == ["created", "excepted"]


def ask_exception(world, calendar, contract):
    ada = world.people.ada
    return freezes.ask_exception(
        freeze_id=calendar.pk,
        contract_id=contract.pk,
        reason="it cannot wait",
        by=principals.actor_of(ada),
        user=ada,
        now=timezone.now(),
    )


def revise(world, contract, port):
    """The agent's owner answers a request for changes."""
    body = world.body(port)
    return proposals.revise(
        contract_id=contract.pk,
        revision={"parameters": body["parameters"], "expected_effect": body["expected_effect"]},
        by=principals.actor_of(world.people.ada),
        user=world.people.ada,
        now=timezone.now(),
    )[1]


def test_d_an_exception_shows_all_of_the_contract_and_is_for_that_wording_only(world):
    calendar = freeze(world)
    request = world.ask()
    contract = contract_of(request)
    asked = ask_exception(world, calendar, contract)
    shown = json.loads(asked.approval.preview["body"])
    assert shown["parameters"] == {"path": "app.json", "merge": {"port": 9000}}
    assert (shown["target"], shown["revision"]) == ("file:app.json", 1)
    assert agreed(world, asked).state == State.VERIFIED
    world.decide(request, world.people.cem, "request_changes")
    world.decide(revise(world, contract, 6666), world.people.cem)
    world.settle()
    jobs.run_until_idle(timezone.now() + timedelta(minutes=6))
    assert contract_of(request).state == State.AUTHORIZED
    assert world.read() == {"port": 8000}
    assert agreed(world, ask_exception(world, calendar, contract_of(request))).state == State.VERIFIED
    jobs.run_until_idle(timezone.now() + timedelta(minutes=30))
    assert (contract_of(request).state, world.read()) == (State.VERIFIED, {"port": 6666})


def test_d_an_exception_asked_for_one_revision_does_not_reach_the_next(world):
    calendar = freeze(world)
    request = world.ask()
    asked = ask_exception(world, calendar, contract_of(request))
    world.decide(request, world.people.cem, "request_changes")
    revise(world, contract_of(request), 6666)
    assert agreed(world, asked).state == State.CANCELLED
    assert not FreezeException.objects.exists()


@pytest.mark.parametrize("edit", [{"digest": "0" * 64}, {"revision": 2}])
def test_d_an_exception_for_other_words_is_refused(world, edit):
    calendar, contract = freeze(world), contract_of(world.ask())
    meant = {"contract_id": str(contract.pk), "revision": 1, "digest": freezing.wording(contract), **edit}
    body = {
        "action_type": "freeze.except",
        "target": f"freeze:{calendar.pk}",
        "parameters": {"freeze_id": str(calendar.pk), **meant},
        "expected_effect": {"target_state": {"excepted": True}},
    }
    with pytest.raises(Refused) as refused:
        world.submit(body, user=world.people.ada)
    assert [error.code for error in refused.value.errors] == ["another_wording"]


def test_m_an_exception_nobody_approved_lets_nothing_start(world):
    calendar, request = freeze(world), approved(world)
    contract = contract_of(request)
    FreezeException.objects.create(
        freeze=calendar,
        contract=contract,
        revision=1,
        digest=freezing.wording(contract),
        approved_by=contract.pk,
        created_at=timezone.now(),
    )
    world.settle()
    assert contract_of(request).state == State.AUTHORIZED


# The approval is good for a day and frozen for three.


def frozen_for_three_days(world, clock):
    calendar = freeze(world, rule="DTSTART:20261123T110000Z", hours=500)
    request = approved(world)
    clock.shift(timedelta(days=3))
    world.settle()
    assert contract_of(request).state == State.AUTHORIZED
    return calendar, request


def end(world, calendar):
    ada = world.people.ada
    return freezes.ask_to_end(
        freeze_id=calendar.pk, reason="over", by=principals.actor_of(ada), user=ada, now=timezone.now()
    )


def test_i_frozen_time_counts_when_the_calendar_was_ended(world, clock):
    calendar, request = frozen_for_three_days(world, clock)
    assert agreed(world, end(world, calendar)).state == State.VERIFIED
    clock.shift(timedelta(hours=23))
    world.settle()
    assert contract_of(request).state == State.VERIFIED


def test_i_after_the_calendar_was_ended_the_clock_goes_on(world, clock):
    calendar, request = frozen_for_three_days(world, clock)
    Job.objects.filter(subject_id=str(request.contract_id)).update(due_at=timezone.now() + timedelta(hours=25))
    assert agreed(world, end(world, calendar)).state == State.VERIFIED
    clock.shift(timedelta(hours=25))
    world.settle()
    assert contract_of(request).state == State.EXPIRED


def test_i_frozen_time_counts_when_the_contract_was_excepted(world, clock):
    calendar, request = frozen_for_three_days(world, clock)
    assert agreed(world, ask_exception(world, calendar, contract_of(request))).state == State.VERIFIED
    clock.shift(timedelta(hours=1))
    world.settle()
    assert contract_of(request).state == State.VERIFIED


def test_d_ending_a_freeze_is_tier_3(world):
    calendar = freeze(world)
    ada = world.people.ada
    asked = freezes.ask_to_end(
        freeze_id=calendar.pk, reason="over", by=principals.actor_of(ada), user=ada, now=timezone.now()
    )
    assert agreed(world, asked).state == State.VERIFIED
    calendar.refresh_from_db()
    assert calendar.ended_at is not None
    request = approved(world)
    world.settle()
    assert contract_of(request).state == State.VERIFIED


def test_hold_release_passes_freezes(world):
    freeze(world, tier="tier_1")
    contract = Contract(action_type=holding.RELEASE, tier="tier_3")
    assert freezing.covering(contract, now=timezone.now()) is None


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"name": " "}, "/name"),
        ({"rule": "x"}, "/rule"),
        ({"rule": "DTSTART:20260101T000000Z\nRRULE:FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30"}, "/rule"),
        ({"hours": 0}, "/duration_seconds"),
        ({"hours": 24 * 40}, "/duration_seconds"),
        ({"tier": "tier_9"}, "/minimum_tier"),
    ],
)
def test_a_freeze_that_makes_no_sense_is_refused(world, more, pointer):
    with pytest.raises(freezes.InvalidFreeze) as refusal:
        freeze(world, **more)
    assert pointer in [error.pointer for error in refusal.value.errors]


def test_a_name_is_taken_once_and_who_may_not_is_refused(world):
    freeze(world)
    with pytest.raises(freezes.NameTaken):
        freeze(world)
    with pytest.raises(Refused) as refusal:
        freeze(world, who="eve", name="other")
    assert refusal.value.code == "not_permitted"


def test_a_calendar_that_cannot_be_read_any_more_freezes(world):
    freeze(world)
    Freeze.objects.update(rule="broken")
    request = approved(world)
    world.settle()
    assert contract_of(request).state == State.AUTHORIZED
