"""The switch: engaged by one person in one step, taken off by a tier_3 contract, its clock arithmetic."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from auditlog import log, mesh, sequencer
from auditlog.actors import SYSTEM
from auditlog.models import Entry
from auditlog.refusals import Refused
from auditlog.subjects import Subject
from governance import approvals, holding, holds, principals
from governance.models import Hold
from tests.harness.governed import Governed, contract_of, fresh
from verification.facts import ContractFact
from verification.models import Contract, State

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def span(start, stop):
    return NOON + timedelta(minutes=start), NOON + timedelta(minutes=stop)


@pytest.mark.parametrize(
    ("spans", "minutes"),
    [
        ([], 0),
        ([(0, 10)], 10),
        ([(0, 10), (20, 30)], 20),
        ([(0, 10), (5, 20)], 20),
        ([(0, 30), (5, 10)], 30),
        ([(5, 10), (0, 30), (30, 31)], 31),
        ([(10, 10)], 0),
    ],
)
def test_i_overlapping_holds_stop_the_clock_once(spans, minutes):
    assert holding.length_of_union([span(*each) for each in spans]) == timedelta(minutes=minutes)


@pytest.fixture
def world(var_dir, users, db):
    return Governed(var_dir / "sandbox", users)


def engage(world, who="ada", **more):
    user = getattr(world.people, who)
    wanted = {"scope": "everything", "reason": "look first", **more}
    return holds.engage(**wanted, by=principals.actor_of(user), user=user, now=timezone.now())


def test_one_person_stops_everything_in_one_step(world):
    hold = engage(world)
    entry = Entry.objects.get(fact="hold.engaged")
    assert entry.subject_id == str(hold.pk)
    assert entry.document()["data"] == {
        "scope": "everything",
        "pattern": "",
        "reason": "look first",
        "source": "person",
    }


def test_a_hold_that_is_there_is_not_engaged_twice(world):
    assert engage(world) == engage(world, "bea")
    assert Hold.objects.count() == 1


@pytest.mark.parametrize("who", ["eve", "cleo"])
def test_who_may_not_engage_one(world, who):
    with pytest.raises(Refused) as refusal:
        engage(world, who)
    assert refusal.value.code == "not_permitted"


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"scope": "galaxy"}, "/scope"),
        ({"pattern": "x"}, "/pattern"),
        ({"scope": "target"}, "/pattern"),
        ({"scope": "target", "pattern": "x" * 501}, "/pattern"),
        ({"scope": "target", "pattern": "\x00"}, "/pattern"),
        ({"reason": " "}, "/reason"),
    ],
)
def test_a_hold_that_makes_no_sense_is_refused(world, more, pointer):
    with pytest.raises(holds.InvalidHold) as refusal:
        engage(world, **more)
    assert pointer in [error.pointer for error in refusal.value.errors]


def test_proposals_and_decisions_are_still_taken_while_held(world):
    engage(world)
    request = world.ask()
    world.decide(request, world.people.bea)
    assert contract_of(request).state == State.AUTHORIZED


def test_d_taking_it_off_is_a_tier_3_contract_that_passes_holds_and_its_clock_runs(world, clock):
    hold = engage(world)
    ada = world.people.ada
    asked = holds.release(hold_id=hold.pk, reason="fine", by=principals.actor_of(ada), user=ada, now=timezone.now())
    assert (asked.tier, asked.contract.action_type) == ("tier_3", "hold.release")
    other = world.ask()
    clock.shift(timedelta(hours=24))
    assert approvals.expire_due(now=timezone.now()) == 1
    assert (fresh(asked.approval).state, fresh(other).state) == ("expired", "pending")


def test_d_who_asked_for_a_release_does_not_approve_it(world):
    hold = engage(world, "bea")
    bea = world.people.bea
    asked = holds.release(hold_id=hold.pk, reason="fine", by=principals.actor_of(bea), user=bea, now=timezone.now())
    with pytest.raises(Refused) as refusal:
        world.decide(asked.approval, bea)
    assert refusal.value.code == "separation_of_duties"


def test_a_hold_is_released_once(world):
    hold = engage(world)
    ada = world.people.ada
    by = principals.actor_of(ada)
    holding.mark_released(hold_id=hold.pk, by=by, reason="x", now=timezone.now())
    with pytest.raises(holding.NotEngaged):
        holds.release(hold_id=hold.pk, reason="again", by=by, user=ada, now=timezone.now())
    with pytest.raises(holding.NoSuchHold):
        holds.release(hold_id=world.agent.pk, reason="what", by=by, user=ada, now=timezone.now())


@pytest.mark.parametrize("target", ["file:conf[1]/a*.json", "*" * 500])
def test_an_exact_hold_holds_that_target_only(target):
    hold = Hold(scope=Hold.Scope.TARGET, pattern=target, is_exact=True)
    assert holding.covers(hold, Contract(target=target))
    assert not holding.covers(hold, Contract(target="file:conf1/ab.json"))


def failed_rollback(target):
    about = {"action_type": "command.run", "target": target, "tier": "tier_2", "to_state": "held", "revision": 1}
    with log.recording():
        log.append(
            ContractFact.HELD,
            actor=SYSTEM,
            subject=Subject("contract", "1"),
            data={**about, "from_state": "rolling_back", "reason": "it broke"},
            now=timezone.now(),
        )


def test_s_no_spelling_of_a_target_escapes_the_hold_or_stops_the_next(db):
    mesh.register_all()
    for target in ("*" * 300, "x" * 501, "file:plain"):
        failed_rollback(target)
    sequencer.run(None)
    mesh.deliver_all()
    held = list(Hold.objects.order_by("id").values_list("scope", "pattern", "is_exact"))
    assert held == [("target", "*" * 300, True), ("everything", "", False), ("target", "file:plain", True)]


def test_an_empty_or_unreadable_file_holds_too(var_dir):
    assert holding.file_reason() == ""
    (var_dir / "HOLD").touch()
    assert "HOLD" in holding.file_reason()
    (var_dir / "HOLD").unlink()
    (var_dir / "HOLD").mkdir()
    assert holding.file_reason()
