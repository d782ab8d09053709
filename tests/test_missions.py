"""Missions: steps get their places, progress is counted, endings are earned."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from auditlog.actors import SYSTEM
from auditlog.refusals import Refused
from governance import access, approvals, principals
from governance.models import ApprovalRequest
from missions import missions
from missions.models import Mission, Step
from missions.progress import Progress
from tests.harness.clients import agent_of
from tests.harness.errands import hear, lay_down_the_law, propose, settle, told
from tests.harness.ledger import Ledger
from tests.harness.people import People
from verification import contracts, executors
from verification.models import Contract, Snapshot

pytestmark = pytest.mark.django_db


@pytest.fixture
def ledger(tmp_path: Any) -> Any:
    """The ledger, and a policy that knows it."""
    lay_down_the_law(timezone.now())
    executor = executors.register(Ledger(tmp_path))
    yield executor
    executors.unregister(executor.action_type)


@pytest.fixture
def mission(users: People) -> Mission:
    """A mission of Ada's."""
    return start(users)


def start(users: People, goal: str = "Keep the books") -> Mission:
    return missions.start(goal=goal, by=principals.actor_of(users.ada), user=users.ada, now=timezone.now())


def approve(contract: Contract, user: Any) -> None:
    request = ApprovalRequest.objects.get(contract=contract, state="pending")
    approvals.decide(
        request_id=request.pk,
        by=principals.actor_of(user),
        user=user,
        verdict="approve",
        digest=request.digest,
        reason="fine",
        edits=None,
        now=timezone.now(),
    )


def test_it_starts_active_and_says_so(users: People, mission: Mission) -> None:
    assert (mission.state, mission.started_by, mission.started_by_label) == ("active", users.ada, "Ada")
    assert told(mission.pk) == ["mission.started"]


@pytest.mark.parametrize("goal", ["", "   ", "x" * 501])
def test_it_needs_a_goal(users: People, goal: str) -> None:
    with pytest.raises(missions.EmptyGoal) as refused:
        start(users, goal)
    assert refused.value.errors[0].pointer == "/goal"
    assert not Mission.objects.exists()


def test_contracts_proposed_for_it_get_their_places_in_order(users: People, ledger: Ledger, mission: Mission) -> None:
    proposed = [propose(users.ada, mission_id=mission.pk, target=f"ledger:calm{place}") for place in range(3)]
    settle()
    steps = list(mission.steps.all())
    assert [step.contract_id for step in steps] == [contract.pk for contract in proposed]
    assert [step.position for step in steps] == [1, 2, 3]
    assert missions.progress(mission_id=mission.pk) == Progress(3, 3, 0, 0)
    assert told(mission.pk).count("mission.progressed") == 3
    mission.refresh_from_db()
    assert mission.state == "active"


def test_the_mission_id_is_on_everything_that_happens_for_it(users: People, ledger: Ledger, mission: Mission) -> None:
    propose(users.ada, mission_id=mission.pk)
    settle()
    facts = told(mission.pk)
    for fact in ("contract.created", "contract.executing", "agentic.action_completed", "contract.verified"):
        assert fact in facts
    assert facts.index("contract.verified") < facts.index("mission.progressed")


def test_hearing_everything_twice_changes_nothing(users: People, ledger: Ledger, mission: Mission) -> None:
    from auditlog.models import Subscription

    propose(users.ada, mission_id=mission.pk)
    settle()
    before = told(mission.pk)
    Subscription.objects.update(cursor=0)
    settle()
    assert told(mission.pk) == before
    assert mission.steps.count() == 1


def test_a_rolled_back_step_costs_confidence(users: People, ledger: Ledger, mission: Mission) -> None:
    propose(users.ada, mission_id=mission.pk)
    propose(users.ada, mission_id=mission.pk, target="ledger:calm2", count=7)
    settle()
    so_far = missions.progress(mission_id=mission.pk)
    assert (so_far.planned, so_far.completed, so_far.failed, so_far.rolled_back) == (2, 1, 0, 1)
    assert str(so_far.confidence) == "0.4000"


def test_it_cannot_be_completed_while_steps_are_unsettled(users: People, ledger: Ledger, mission: Mission) -> None:
    done = propose(users.ada, mission_id=mission.pk)
    settle()
    waiting = propose(users.ada, mission_id=mission.pk, target="ledger:code")
    hear()
    with pytest.raises(missions.Unsettled) as refused:
        missions.complete(mission_id=mission.pk, by=SYSTEM, now=timezone.now())
    (error,) = refused.value.errors
    assert error.pointer == "/steps/2"
    assert str(waiting.pk) in error.detail
    assert "awaiting_approval" in error.detail
    assert str(done.pk) not in error.detail
    approve(waiting, users.bea)
    settle()
    ended = missions.complete(mission_id=mission.pk, by=SYSTEM, now=timezone.now(), reason="done")
    assert (ended.state, ended.ending_reason) == ("completed", "done")
    assert told(mission.pk)[-1] == "mission.completed"


def test_it_ends_once(users: People, mission: Mission) -> None:
    missions.complete(mission_id=mission.pk, by=SYSTEM, now=timezone.now())
    for again in (missions.complete, missions.pause, missions.resume, missions.abandon):
        arguments: dict[str, Any] = {
            "mission_id": mission.pk,
            "by": SYSTEM,
            "now": timezone.now(),
            "reason": "",
        }
        if again is missions.abandon:
            arguments["user"] = None
        with pytest.raises(missions.NotNow):
            again(**arguments)
    assert told(mission.pk) == ["mission.started", "mission.completed"]


def test_abandoning_cancels_what_has_not_started(users: People, ledger: Ledger, mission: Mission) -> None:
    waiting = propose(users.ada, mission_id=mission.pk, target="ledger:code")
    authorized = propose(users.ada, mission_id=mission.pk, target="ledger:calm")
    hear()
    missions.abandon(
        mission_id=mission.pk,
        reason="Not needed.",
        by=principals.actor_of(users.ada),
        user=users.ada,
        now=timezone.now(),
    )
    settle()
    for contract in (waiting, authorized):
        contract.refresh_from_db()
        assert contract.state == "cancelled"
    assert not ApprovalRequest.objects.filter(state="pending").exists()
    assert ledger.lines("ledger:calm") == []
    mission.refresh_from_db()
    assert (mission.state, mission.ending_reason) == ("cancelled", "Not needed.")
    assert missions.progress(mission_id=mission.pk).failed == 2


def test_a_paused_mission_starts_nothing_until_it_is_taken_up_again(
    users: People, ledger: Ledger, mission: Mission
) -> None:
    contract = propose(users.ada, mission_id=mission.pk)
    hear()
    missions.pause(mission_id=mission.pk, reason="lunch", by=SYSTEM, now=timezone.now())
    settle()
    contract.refresh_from_db()
    assert contract.state == "authorized"
    missions.resume(mission_id=mission.pk, reason="back", by=SYSTEM, now=timezone.now())
    settle(seconds=60)
    contract.refresh_from_db()
    assert contract.state == "verified"
    facts = told(mission.pk)
    assert facts.index("mission.paused") < facts.index("mission.resumed") < facts.index("contract.verified")


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled", "rolled_back"])
def test_nothing_can_be_proposed_for_a_mission_that_has_ended(
    users: People, ledger: Ledger, mission: Mission, state: str
) -> None:
    Mission.objects.update(state=state)
    with pytest.raises(Refused) as refused:
        propose(users.ada, mission_id=mission.pk)
    assert [(error.pointer, error.code) for error in refused.value.errors] == [("/mission_id", "mission_ended")]
    assert not Contract.objects.exists()


def test_nothing_can_be_proposed_for_a_mission_nobody_knows(users: People, ledger: Ledger) -> None:
    with pytest.raises(Refused) as refused:
        propose(users.ada, mission_id=uuid4())
    assert [error.code for error in refused.value.errors] == ["unknown_mission"]


def test_an_agent_adds_to_the_missions_of_its_own_side_and_knows_no_other(
    users: People, ledger: Ledger, mission: Mission
) -> None:
    agent = agent_of(users.ada, timezone.now())[0]
    foreign = agent_of(users.bea, timezone.now(), name="nosy")[0]
    with pytest.raises(Refused) as refused:
        propose(foreign.user, mission_id=mission.pk)
    assert [(error.pointer, error.code) for error in refused.value.errors] == [("/mission_id", "unknown_mission")]
    assert propose(agent.user, mission_id=mission.pk).mission_id == mission.pk


def test_attaching_is_for_its_own_contracts_and_once(users: People, ledger: Ledger, mission: Mission) -> None:
    other = start(users, "Something else")
    contract = propose(users.ada, mission_id=mission.pk)

    def attach(to: Mission, what: Contract) -> Step:
        return missions.attach(mission_id=to.pk, contract_id=what.pk, by=SYSTEM, now=timezone.now())

    with pytest.raises(missions.InAnotherMission):
        attach(other, contract)
    assert attach(mission, contract) == attach(mission, contract)
    with pytest.raises(missions.InAnotherMission):
        attach(other, contract)
    with pytest.raises(missions.InAnotherMission):
        attach(mission, propose(users.ada, target="ledger:calm9"))
    with pytest.raises(missions.NotFound):
        missions.attach(mission_id=uuid4(), contract_id=contract.pk, by=SYSTEM, now=timezone.now())


def test_what_settled_before_it_was_attached_is_counted_all_the_same(
    users: People, ledger: Ledger, mission: Mission
) -> None:
    contract = propose(users.ada, mission_id=mission.pk)
    contracts.cancel(contract_id=contract.pk, by=SYSTEM, reason="", now=timezone.now())
    step = missions.attach(mission_id=mission.pk, contract_id=contract.pk, by=SYSTEM, now=timezone.now())
    assert step.reached == "cancelled"


def test_with_tracking_off_contracts_keep_their_mission_id_and_nothing_else(
    users: People, ledger: Ledger, settings: Any
) -> None:
    settings.MISSION_TRACKING_ENABLED = False
    with pytest.raises(missions.TrackingOff):
        start(users)
    mission_id = uuid4()
    contract = propose(users.ada, mission_id=mission_id)
    settle()
    contract.refresh_from_db()
    assert (contract.state, contract.mission_id) == ("verified", mission_id)
    assert not Mission.objects.exists()
    assert not Step.objects.exists()
    facts = told(mission_id)
    assert "contract.verified" in facts
    assert not [fact for fact in facts if fact.startswith("mission.")]


def test_progress_of_many_takes_no_more_queries_than_of_one(
    users: People, ledger: Ledger, django_assert_num_queries: Any
) -> None:
    found = [start(users, f"Goal {place}") for place in range(4)]
    propose(users.ada, mission_id=found[0].pk)
    settle()
    with django_assert_num_queries(2):
        counted = missions.progress_of([mission.pk for mission in found] + [uuid4()])
    assert len(counted) == 4
    assert [counted[mission.pk].planned for mission in found] == [1, 0, 0, 0]


def test_who_may_give_a_mission_up_takes_back_what_waits_in_it(users: People, ledger: Ledger, mission: Mission) -> None:
    contract = propose(users.ada, mission_id=mission.pk, target="ledger:code")
    hear()
    bea = principals.actor_of(users.bea)
    missions.abandon(mission_id=mission.pk, reason="", by=bea, user=users.bea, now=timezone.now())
    contract.refresh_from_db()
    assert contract.state == "cancelled"
    entry = missions.timeline(mission_id=mission.pk).get(fact="contract.cancelled")
    assert entry.actor_id == str(users.bea.pk)


def test_what_has_not_been_heard_of_yet_is_not_forgotten(users: People, ledger: Ledger, mission: Mission) -> None:
    waiting = propose(users.ada, mission_id=mission.pk, target="ledger:code")
    with pytest.raises(missions.Unsettled):
        missions.complete(mission_id=mission.pk, by=SYSTEM, now=timezone.now())
    missions.abandon(mission_id=mission.pk, reason="", by=SYSTEM, user=None, now=timezone.now())
    waiting.refresh_from_db()
    assert waiting.state == "cancelled"
    hear()
    assert mission.steps.get().reached == "cancelled"


def test_what_slips_in_while_a_mission_is_abandoned_is_cancelled_too(
    users: People, ledger: Ledger, mission: Mission
) -> None:
    late = propose(users.ada, mission_id=mission.pk, target="ledger:code")
    Mission.objects.update(state="cancelled", ending_reason="Too late.")
    hear()
    late.refresh_from_db()
    assert late.state == "cancelled"
    assert not mission.steps.exists()


def test_a_poor_health_score_lowers_confidence(users: People, ledger: Ledger, mission: Mission) -> None:
    for health_score, minutes in ((95, 2), (40, 1)):
        Snapshot.objects.create(
            kind="pre_action",
            scope="test",
            mission_id=mission.pk,
            manifest="{}",
            manifest_sha256="0" * 64,
            signature="",
            health_score=health_score,
            created_by_label="system",
            created_at=timezone.now() - timedelta(minutes=minutes),
        )
    propose(users.ada, mission_id=mission.pk)
    settle()
    so_far = missions.progress(mission_id=mission.pk)
    assert (so_far.health_score, str(so_far.confidence)) == (40, "0.9000")


@pytest.mark.parametrize(
    ("who", "verb"),
    [("eve", "start"), ("cleo", "start"), ("eve", "complete"), ("cleo", "abandon"), ("eve", "pause")],
)
def test_only_who_may_starts_and_ends_missions(users: People, mission: Mission, who: str, verb: str) -> None:
    user = getattr(users, who)
    given: dict[str, Any] = {"by": principals.actor_of(user), "user": user, "now": timezone.now()}
    given |= {"goal": "x"} if verb == "start" else {"mission_id": mission.pk, "reason": ""}
    with pytest.raises(access.Forbidden):
        getattr(missions, verb)(**given)
    assert told(mission.pk) == ["mission.started"]
