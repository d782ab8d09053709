"""Windows: approve now, run in the next one. The clock stands at noon (UTC) of Monday, 23 November 2026."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from dateutil.rrule import rrulestr
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog.models import Job
from governance import breakglass, calendars, policies, policy, principals
from governance.calendars import Window
from governance.policy import Requirements
from governance.proposals import Proposal
from tests.harness.governed import Governed, contract_of, facts, fresh
from verification.models import Contract, State

NIGHT = {"rule": "DTSTART:20260101T020000Z\nRRULE:FREQ=DAILY", "duration_seconds": 3600}
BERLIN = {"rule": "DTSTART;TZID=Europe/Berlin:20260101T220000\nRRULE:FREQ=DAILY", "duration_seconds": 7200}
SUNDAYS = {"rule": "DTSTART:20260104T000000Z\nRRULE:FREQ=WEEKLY;BYDAY=SU", "duration_seconds": 86400}
OVER = {"rule": "DTSTART:20200101T000000Z", "duration_seconds": 3600}
AT_TWO = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


def windows(*choices):
    return tuple(tuple(Window(**each) for each in choice) for choice in choices)


def at(text):
    return datetime.fromisoformat(f"{text}+00:00")


# --- calendars -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "after", "opens"),
    [
        (windows(), "2026-11-23T12:00", "2026-11-23T12:00"),
        (windows([NIGHT]), "2026-11-23T12:00", "2026-11-24T02:00"),
        (windows([NIGHT]), "2026-11-24T02:00", "2026-11-24T02:00"),
        (windows([NIGHT]), "2026-11-24T02:59:59", "2026-11-24T02:59:59"),
        (windows([NIGHT]), "2026-11-24T03:00", "2026-11-25T02:00"),
        (windows([BERLIN]), "2026-11-23T12:00", "2026-11-23T21:00"),
        (windows([BERLIN]), "2026-07-01T12:00", "2026-07-01T20:00"),
        (windows([NIGHT, BERLIN]), "2026-11-23T12:00", "2026-11-23T21:00"),
        (windows([NIGHT], [SUNDAYS]), "2026-11-23T12:00", "2026-11-29T02:00"),
        (windows([OVER]), "2026-11-23T12:00", None),
        (windows([NIGHT], [BERLIN]), "2026-11-23T12:00", None),
        (windows([NIGHT, OVER]), "2026-11-23T12:00", "2026-11-24T02:00"),
    ],
)
def test_the_first_moment_at_which_one_of_each_choice_is_open(choices, after, opens):
    found = calendars.first_opening(choices, at(after))
    assert found == (at(opens) if opens else None)


MARCH = "DTSTART;TZID=Europe/Berlin:20260328T180000\nRRULE:FREQ=YEARLY"
OCTOBER = "DTSTART;TZID=Europe/Berlin:20261024T180000\nRRULE:FREQ=YEARLY"


@pytest.mark.parametrize(
    ("rule", "begins", "ends"),
    [
        (MARCH, "2026-03-28T17:00", "2026-03-29T17:00"),
        (MARCH.replace("T180000", "T003000").replace("0328", "0329"), "2026-03-28T23:30", "2026-03-29T23:30"),
        (OCTOBER, "2026-10-24T16:00", "2026-10-25T16:00"),
        (OCTOBER.replace("T180000", "T003000").replace("1024", "1025"), "2026-10-24T22:30", "2026-10-25T22:30"),
        (MARCH.replace("2026", "2019"), "2026-03-28T17:00", "2026-03-29T17:00"),
        (MARCH.replace("YEARLY", "DAILY"), "2026-03-29T16:00", "2026-03-30T16:00"),
        (OCTOBER.replace("YEARLY", "DAILY"), "2026-10-25T17:00", "2026-10-26T17:00"),
    ],
)
def test_a_day_has_so_many_seconds_also_when_clocks_change(rule, begins, ends):
    window = Window(rule, 86_400)
    for moment in (at(begins), at(ends) - timedelta(seconds=1)):
        assert window.lasting(moment) == (at(begins), at(ends))
    assert (window.lasting(at(ends)) or (at(ends), None))[0] == at(ends)


@pytest.mark.parametrize(
    ("rule", "after", "starts"),
    [
        ("DTSTART:19000101T003000Z\nRRULE:FREQ=HOURLY", "2026-11-23T12:00", "2026-11-23T12:30"),
        ("DTSTART:19000101T010000Z\nRRULE:FREQ=HOURLY;INTERVAL=7", "2026-11-23T12:00", "2026-11-23T15:00"),
        ("DTSTART:19000102T010000Z\nRRULE:FREQ=DAILY;INTERVAL=9", "2026-11-23T12:00", "2026-11-27T01:00"),
        ("DTSTART:19000101T010000Z\nRRULE:FREQ=WEEKLY;INTERVAL=3;BYDAY=TU,SU", "2026-11-23T12:00", "2026-11-24T01:00"),
        ("DTSTART:19000131T010000Z\nRRULE:FREQ=MONTHLY", "2026-11-23T12:00", "2026-12-31T01:00"),
        ("DTSTART:19040229T010000Z\nRRULE:FREQ=YEARLY", "2026-11-23T12:00", "2028-02-29T01:00"),
        ("DTSTART:19040229T010000Z\nRRULE:FREQ=YEARLY", "2097-01-01T12:00", "2104-02-29T01:00"),
        ("DTSTART:20260101T010000Z\nRRULE:FREQ=MONTHLY;BYDAY=-1FR", "2026-11-23T12:00", "2026-11-27T01:00"),
        ("DTSTART:20261101T010000Z\nRRULE:FREQ=DAILY;COUNT=24", "2026-11-23T12:00", "2026-11-24T01:00"),
        ("DTSTART:20261101T010000Z\nRRULE:FREQ=DAILY;COUNT=23", "2026-11-23T12:00", None),
        ("DTSTART:20261101T010000Z\nRRULE:FREQ=YEARLY;COUNT=30", "2050-11-23T12:00", "2051-11-01T01:00"),
        ("DTSTART:20261101T010000Z\nRRULE:FREQ=DAILY;UNTIL=20261124T010000Z", "2026-11-23T12:00", "2026-11-24T01:00"),
        ("DTSTART:20261101T010000Z\nRRULE:FREQ=DAILY\nEXDATE:20261124T010000Z", "2026-11-23T12:00", "2026-11-25T01:00"),
        ("DTSTART:20261101T010000Z\nRDATE:20261201T050000Z", "2026-11-23T12:00", "2026-12-01T05:00"),
    ],
)
def test_the_next_occurrence_of_an_old_calendar_is_found_at_once(rule, after, starts):
    started = time.perf_counter()
    assert Window(rule, 60).next_start(at(after)) == (at(starts) if starts else None)
    assert time.perf_counter() - started < 1


NEVER = "BYMONTH=2;BYMONTHDAY=30"
MINUTES = ",".join(str(each) for each in range(60))


@pytest.mark.parametrize(
    "rule",
    [
        *(f"FREQ={each};{NEVER}" for each in ("HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY")),
        f"FREQ=DAILY;COUNT=3;{NEVER}",
        "FREQ=HOURLY;BYSETPOS=2",
        "FREQ=DAILY;INTERVAL=7;BYDAY=MO",
        "FREQ=HOURLY;COUNT=1000;BYMONTH=2;BYMONTHDAY=29;BYHOUR=3",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;INTERVAL=100000",
        "FREQ=DAILY;COUNT=100000",
        f"FREQ=DAILY;BYHOUR=1;BYMINUTE={MINUTES}",
        f"FREQ=HOURLY;BYMINUTE={MINUTES};BYSECOND={MINUTES}",
        "FREQ=DAILY\nEXRULE:FREQ=DAILY",
    ],
)
def test_a_calendar_that_would_be_searched_without_end_is_refused_in_bounded_time(rule):
    started = time.perf_counter()
    with pytest.raises(calendars.BadRule):
        Window(f"DTSTART:20260101T000000Z\nRRULE:{rule}", 3600).lasting(at("2026-11-23T12:00"))
    assert time.perf_counter() - started < 3


@settings(max_examples=60, deadline=None)
@given(
    frequency=st.sampled_from(["HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY"]),
    interval=st.integers(1, 5),
    parts=st.sampled_from(
        ["", ";BYDAY=MO,FR", ";BYHOUR=3,17", ";BYMONTH=3,10", ";BYMONTHDAY=1,-1", ";WKST=SU;BYDAY=SU"]
    ),
    begins=st.integers(0, 7 * 366 * 24 * 60).map(lambda each: at("2019-01-01T00:00") + timedelta(minutes=each)),
    now=st.integers(0, 366 * 24 * 60).map(lambda each: at("2026-01-01T00:00") + timedelta(minutes=each)),
)
def test_it_finds_what_counting_from_the_start_finds(frequency, interval, parts, begins, now):
    text = f"DTSTART;TZID=Europe/Berlin:{begins:%Y%m%dT%H%M%S}\nRRULE:FREQ={frequency};INTERVAL={interval}{parts}"
    until = now + timedelta(days=40)
    try:
        found = calendars.parse(text).between(now, until)
    except calendars.BadRule:
        return
    every = rrulestr(f"{text};UNTIL={until + timedelta(days=2):%Y%m%dT%H%M%SZ}")
    assert found == sorted({each.astimezone(UTC) for each in every if now <= each.astimezone(UTC) <= until})


# --- the language ----------------------------------------------------------------------------------------------


def rule(*given, name="nights", effect="tier_2", **more):
    return {"name": name, "effect": effect, "requirements": {"windows": list(given)}, **more}


def decided(*rules, action_type="config.update"):
    situation = policy.Situation(
        action_type, "file:app.json", {}, at("2026-11-23T12:00"), policy.Reversibility.REVERSIBLE
    )
    return policy.parse({"rules": list(rules)}).decide(situation)


def test_all_that_rules_say_of_windows_counts_and_order_does_not():
    one, other = rule(NIGHT), rule(SUNDAYS, BERLIN, name="more")
    asked = decided(one, other).requirements
    assert asked == decided(other, one).requirements
    assert set(asked.windows) == set(windows([NIGHT], sorted([SUNDAYS, BERLIN], key=lambda each: each["rule"])))
    assert Requirements.from_dict(asked.as_dict()) == asked


def test_a_policy_with_windows_reads_back_as_it_was_written():
    read = policy.parse({"rules": [rule(NIGHT)], "tiers": {"tier_3": {"windows": [SUNDAYS]}}})
    assert policy.parse(read.as_dict()) == read


@pytest.mark.parametrize("action_type", ["policy.change", "hold.release", "freeze.end", "grant.create"])
def test_what_changes_permission_never_waits_for_a_window(action_type):
    assert decided(rule(NIGHT), action_type=action_type).requirements.windows == ()


@pytest.mark.parametrize(
    ("window", "pointer"),
    [
        ({"rule": "every night", "duration_seconds": 3600}, "/rule"),
        ({"rule": "DTSTART:20260101T020000\nRRULE:FREQ=DAILY", "duration_seconds": 3600}, "/rule"),
        ({"rule": "DTSTART:20260101T020000Z\nRRULE:FREQ=MINUTELY", "duration_seconds": 3600}, "/rule"),
        ({**NIGHT, "duration_seconds": 59}, "/duration_seconds"),
        ({**NIGHT, "duration_seconds": 8 * 86400}, "/duration_seconds"),
        ({"rule": NIGHT["rule"]}, "/duration_seconds"),
        ({**NIGHT, "colour": "blue"}, "/colour"),
        ("night", ""),
    ],
)
def test_a_window_that_is_none_is_named(window, pointer):
    with pytest.raises(policy.InvalidPolicy) as refusal:
        policy.parse({"rules": [rule(window)]})
    assert f"/rules/0/requirements/windows/0{pointer}" in {error.pointer for error in refusal.value.errors}


def test_another_window_is_stricter_and_one_less_is_not():
    asked_then = Requirements(windows=windows([NIGHT]))
    assert policy.stricter(decided(rule(NIGHT)), asked_then, "tier_2") == ""
    assert policy.stricter(decided({**rule(), "requirements": {}}), asked_then, "tier_2") == ""
    why = policy.stricter(decided(rule(SUNDAYS)), asked_then, "tier_2")
    assert why == "The policy now lets it begin in other windows only."


# --- the gate --------------------------------------------------------------------------------------------------


@pytest.fixture
def world(db, var_dir, users):
    return Governed(var_dir / "sandbox", users)


NIGHTLY = rule(NIGHT, action_types=["config.update"])


def test_it_is_approved_now_and_runs_in_the_next_window(world, clock):
    world.policy(NIGHTLY)
    request = world.ask()
    world.decide(request, world.people.bea)
    world.settle()
    assert (contract_of(request).state, world.read()) == (State.AUTHORIZED, {"port": 8000})
    assert Job.objects.get(kind="execution.run").due_at == AT_TWO
    clock.move_to(AT_TWO - timedelta(seconds=1))
    world.settle()
    assert contract_of(request).state == State.AUTHORIZED
    clock.move_to(AT_TWO + timedelta(seconds=1))
    world.settle()
    assert (contract_of(request).state, world.read()) == (State.VERIFIED, {"port": 9000})


def test_an_approval_is_valid_from_the_opening_of_the_window_on(world, clock):
    world.policy({**NIGHTLY, "requirements": {"windows": [SUNDAYS], "valid_seconds": 3600}})
    request = world.ask()
    world.decide(request, world.people.bea)
    sunday = datetime(2026, 11, 29, 0, 0, tzinfo=UTC)
    assert fresh(request).valid_until == sunday + timedelta(hours=1)
    clock.move_to(sunday + timedelta(seconds=1))
    world.settle()
    assert contract_of(request).state == State.VERIFIED


def test_what_runs_by_itself_waits_for_its_window_too(world, clock):
    world.policy({**NIGHTLY, "effect": "tier_1"}, seeded=False)
    contract = world.submit().contract
    world.settle()
    contract.refresh_from_db()
    assert contract.state == State.AUTHORIZED
    clock.move_to(AT_TWO + timedelta(seconds=1))
    world.settle()
    contract.refresh_from_db()
    assert contract.state == State.VERIFIED


def test_a_window_after_the_time_that_was_asked_for(world, clock):
    world.policy(NIGHTLY)
    request = world.ask(not_before="2026-11-24T12:00:00Z")
    world.decide(request, world.people.bea)
    clock.move_to(AT_TWO + timedelta(seconds=1))
    world.settle()
    assert contract_of(request).state == State.AUTHORIZED
    clock.move_to(AT_TWO + timedelta(days=1, seconds=1))
    world.settle()
    assert contract_of(request).state == State.VERIFIED


def test_m_windows_the_policy_has_got_since_go_back_to_people(world, clock):
    request = world.ask(not_before="2026-11-23T13:00:00Z")
    world.decide(request, world.people.bea)
    world.policy(NIGHTLY)
    clock.move_to(at("2026-11-23T13:00:01"))
    world.settle()
    assert fresh(request).state == "stale"
    assert contract_of(request).state == State.AWAITING_APPROVAL
    assert "approval.stale" in facts(contract_of(request))


def test_e_the_windows_are_part_of_what_is_approved(world, clock):
    world.policy(NIGHTLY)
    request = world.ask()
    assert NIGHT["rule"].splitlines()[1] in request.document
    world.decide(request, world.people.bea)
    request.refresh_from_db()
    request.requirements = {**request.requirements, "windows": []}
    request.save(update_fields=["requirements"])
    world.settle()
    assert contract_of(request).state == State.CANCELLED
    assert world.read() == {"port": 8000}


def test_broken_glass_does_not_wait(world, clock):
    world.policy(NIGHTLY)
    bea = world.people.bea
    breakglass.use(
        proposal=Proposal.from_body(world.body()),
        reason="customers see errors",
        by=principals.actor_of(bea),
        user=bea,
        now=timezone.now(),
    )
    world.settle()
    assert world.read() == {"port": 9000}


def test_windows_that_never_open_again_let_it_expire(world, clock):
    world.policy({**NIGHTLY, "requirements": {"windows": [OVER], "valid_seconds": 3600}})
    request = world.ask()
    world.decide(request, world.people.bea)
    clock.shift(timedelta(hours=2))
    world.settle()
    assert contract_of(request).state == State.EXPIRED
    assert world.read() == {"port": 8000}


def test_evaluating_says_when_it_could_begin(world, clock):
    world.policy(NIGHTLY)
    asked = policies.evaluate(
        action_type="config.update",
        target="file:app.json",
        parameters={"path": "app.json", "merge": {"port": 1}},
        user=world.robot,
        now=timezone.now(),
    )
    assert asked.requirements.opens_at(timezone.now()) == AT_TWO
    assert Contract.objects.count() == 0


# --- where it is said ------------------------------------------------------------------------------------------


def test_reviewers_are_told_when_it_would_begin(world, clock, client):
    world.policy(NIGHTLY)
    request = world.ask()
    client.force_login(world.people.bea)
    for page in (f"/approvals/{request.pk}", f"/approvals/{request.pk}/brief"):
        shown = client.get(page, headers={"X-Grace-Fragment": "1"} if "brief" in page else {}).content.decode()
        assert "it runs in the next window, from 2026-11-24 02:00:00 UTC" in shown
        assert "DTSTART:20260101T020000Z" in shown
    told = client.get(f"/api/governance/approvals/{request.pk}").json()["data"]
    assert told["begins_at"] == "2026-11-24T02:00:00Z"
    assert told["requirements"]["windows"] == [[NIGHT]]
    world.decide(request, world.people.bea)
    clock.move_to(AT_TWO + timedelta(seconds=1))
    world.settle()
    client.force_login(world.people.bea)
    assert client.get(f"/api/governance/approvals/{request.pk}").json()["data"]["begins_at"] is None
    assert "data-next-window" not in client.get(f"/approvals/{request.pk}").content.decode()


def test_the_page_of_the_policy_shows_windows(world, clock, client):
    world.policy(NIGHTLY)
    client.force_login(world.people.bea)
    assert "begins only within DTSTART:20260101T020000Z" in client.get("/policies").content.decode()
