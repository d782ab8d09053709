"""From authorized to settled: each attempt observed, each ending proved in the world and in the log."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from auditlog import entries, jobs
from auditlog.actors import Actor
from auditlog.models import Entry, Job
from tests.harness.ledger import Ledger
from verification import contracts, executors, gates, running
from verification.executors.base import ExecutorError
from verification.gates import Closed, Then
from verification.models import Contract, Execution, Snapshot, State

pytestmark = pytest.mark.django_db

ADA = Actor("person", "1", "Ada")
LONG = running.PATIENCE.total_seconds() + 1


class Open:
    """A gate which lets everything pass until it is told otherwise."""

    name = "test"
    why: Closed | None = None

    def check(self, dispatch):
        return self.why

    def closed(self, dispatch, why):
        pass

    def begun(self, dispatch):
        pass


@pytest.fixture
def gate(monkeypatch):
    only = Open()
    monkeypatch.setattr(gates, "_gates", {"test": only})
    return only


@pytest.fixture
def ledger(tmp_path):
    executor = executors.register(Ledger(tmp_path))
    yield executor
    executors.unregister(executor.action_type)


def going_back(snapshot):
    """A contract that undoes what was done since a snapshot."""
    now = timezone.now()
    draft = contracts.Draft(
        action_type="contract.rollback",
        target=snapshot.scope,
        parameters={"snapshot_id": str(snapshot.pk)},
        expected_effect={"target_state": snapshot.baseline},
    )
    asked = {"requested_by_id": None, "by": ADA, "idempotency_key": None, "request_sha256": "0" * 64}
    contract = contracts.propose(draft=draft, **asked, executor_version="1", now=now)
    return contracts.authorize(
        contract_id=contract.pk, tier="tier_2", digest="d" * 64, valid_until=None, by=ADA, now=now
    )


def authorized(
    *,
    target="ledger:a",
    tier="tier_1",
    effect=None,
    preconditions=(),
    max_attempts=3,
    not_before=None,
    valid_until=None,
    **parameters,
):
    """A contract that appends the line `one` and promises to have done so."""
    now = timezone.now()
    draft = contracts.Draft(
        action_type="ledger.append",
        target=target,
        parameters={"line": "one", **parameters},
        expected_effect=effect or {"target_state": {"count": 1}},
        preconditions=list(preconditions),
        max_attempts=max_attempts,
        not_before=not_before,
    )
    contract = contracts.propose(
        draft=draft,
        requested_by_id=None,
        by=ADA,
        idempotency_key=None,
        request_sha256="0" * 64,
        executor_version="1",
        now=now,
    )
    return contracts.authorize(
        contract_id=contract.pk, tier=tier, digest="d" * 64, valid_until=valid_until, by=ADA, now=now
    )


def settle(contract, seconds=0.0):
    """Run what is due `seconds` from now, and answer the contract as it is then."""
    jobs.run_until_idle(timezone.now() + timedelta(seconds=seconds))
    contract.refresh_from_db()
    return contract


def facts(contract):
    return [entry.fact for entry in entries.timeline(contract_id=contract.pk)]


def test_it_executes_and_verifies_against_the_observed_world(gate, ledger):
    contract = settle(authorized())
    assert contract.state == State.VERIFIED
    assert contract.confidence == 1
    assert ledger.lines("ledger:a") == ["one"]
    assert facts(contract) == [
        "contract.created",
        "contract.proposed",
        "contract.authorized",
        "contract.executing",
        "agentic.action_executing",
        "snapshot.created",
        "contract.verifying",
        "contract.verified",
        "agentic.action_completed",
    ]
    execution = contract.executions.get()
    assert execution.baseline == {"lines": [], "count": 0}
    assert execution.observed == {"lines": ["one"], "count": 1}
    assert not execution.holds_target


def test_the_executors_own_word_counts_for_nothing(gate, ledger):
    contract = settle(authorized(effect={"target_state": {"count": 2}}))
    assert contract.executions.get().result["ok"] is True
    assert contract.state == State.ROLLED_BACK
    assert ledger.lines("ledger:a") == []


def test_a_violation_is_rolled_back_byte_for_byte_and_the_rollback_is_verified(gate, ledger):
    before = b"old line without newline at the end"
    ledger.path("ledger:a").write_bytes(before)
    contract = settle(authorized(effect={"target_state": {"count": 7}}))
    assert contract.state == State.ROLLED_BACK
    assert ledger.path("ledger:a").read_bytes() == before
    assert facts(contract)[-6:] == [
        "contract.verifying",
        "contract.violated",
        "agentic.action_failed",
        "contract.rolling_back",
        "snapshot.restored",
        "contract.rolled_back",
    ]
    execution = contract.executions.get()
    assert execution.rollback_observed["lines"] == [before.decode()]
    assert execution.snapshot.state == Snapshot.State.RESTORED


def test_a_rollback_that_had_nothing_to_undo_restored_no_snapshot(gate, ledger):
    contract = settle(authorized(then="pretend", effect={"target_state": {"count": 7}}))
    assert contract.state == State.ROLLED_BACK
    assert "snapshot.restored" not in facts(contract)
    assert contract.executions.get().snapshot.state == Snapshot.State.ACTIVE


def test_a_snapshot_from_which_nothing_could_be_restored_is_not_said_to_be(gate, ledger):
    contract = settle(authorized(effect={"target_state": {"count": 7}}, cannot_restore=True))
    assert contract.state == State.HELD
    assert "snapshot.restored" not in facts(contract)


def test_a_contract_undone_by_hand_restored_its_snapshot(gate, ledger):
    contract = settle(authorized())
    kept = contract.executions.get().snapshot
    assert settle(going_back(kept)).state == State.VERIFIED
    assert ledger.lines("ledger:a") == []
    assert facts(contract)[-1] == "snapshot.restored"
    kept.refresh_from_db()
    assert kept.state == Snapshot.State.RESTORED


def test_s_a_rollback_that_cannot_be_verified_is_held_and_keeps_the_target(gate, ledger):
    contract = settle(authorized(effect={"target_state": {"count": 7}}, cannot_restore=True))
    assert contract.state == State.HELD
    assert contract.executions.get().holds_target
    waiting = settle(authorized())
    assert waiting.state == State.AUTHORIZED
    assert len(ledger.lines("ledger:a")) == 1


def test_a_person_resolves_what_is_held_and_the_target_becomes_free(gate, ledger):
    held = settle(authorized(effect={"target_state": {"count": 7}}, cannot_restore=True))
    waiting = settle(authorized(effect={"target_state": {"count": 2}}))
    contracts.resolve(contract_id=held.pk, verdict="rolled_back", reason="looked myself", by=ADA, now=timezone.now())
    assert settle(held).state == State.ROLLED_BACK
    assert settle(waiting).state == State.VERIFIED


def test_what_cannot_be_taken_back_is_held_when_it_is_violated(gate, ledger):
    contract = settle(authorized(effect={"target_state": {"count": 7}}, reversibility="irreversible"))
    assert contract.state == State.HELD
    assert ledger.lines("ledger:a") == ["one"]


def test_between_the_thresholds_a_person_has_to_look(gate, ledger):
    effect = {
        "success_criteria": [
            {"type": "state_match", "path": "count", "equals": 1},
            {"type": "state_match", "path": "count", "equals": 2},
        ]
    }
    contract = settle(authorized(effect=effect))
    assert contract.state == State.PARTIAL
    assert str(contract.confidence) == "0.5000"


def test_r_a_failure_that_did_nothing_is_retried_and_then_dead_lettered(gate, ledger):
    contract = authorized(then="refuse", max_attempts=2)
    assert settle(contract).state == State.FAILED
    assert contract.dead_lettered_at is None
    assert settle(contract, seconds=10).dead_lettered_at is not None
    assert len(ledger.executed) == 2
    assert facts(contract)[-1] == "contract.dead_lettered"


def test_a_person_retries_a_dead_letter_under_the_same_authorization(gate, ledger):
    contract = given_up_early(gate)
    contracts.retry(contract_id=contract.pk, by=ADA, now=timezone.now())
    settle(contract)
    assert contract.executions.count() == 2
    assert contract.authorized_digest == "d" * 64


def given_up_early(gate, **more):
    """A contract with one of three attempts made, which may not be tried again; what was in its way is gone."""
    contract = settle(authorized(then="refuse", **more))
    gate.why = Closed("test", "drifted", "The target moved.", Then.REAPPROVE)
    settle(contract, seconds=10)
    assert contract.dead_lettered_at
    gate.why = None
    return contract


def test_e_once_its_attempts_are_used_up_a_retry_has_to_be_authorized(gate, ledger):
    contract = settle(authorized(then="refuse", max_attempts=1))
    again = contracts.retry(contract_id=contract.pk, by=ADA, now=timezone.now())
    assert (again.state, again.authorized_digest, again.max_attempts) == (State.AWAITING_APPROVAL, "", 2)
    settle(contract, seconds=600)
    assert contract.executions.count() == 1


def test_r_a_failure_that_did_something_is_never_retried_blindly(gate, ledger):
    contract = settle(authorized(then="fail", effect={"target_state": {"count": 7}}))
    assert contract.state == State.ROLLED_BACK
    assert len(ledger.executed) == 1


def test_a_failed_executor_whose_criteria_hold_is_verified(gate, ledger):
    assert settle(authorized(then="fail")).state == State.VERIFIED


def test_p_an_executor_that_breaks_leaves_a_doubt_which_is_settled_by_looking(gate, ledger):
    contract = settle(authorized(then="raise", deadline=1, max_attempts=1))
    assert contract.state == State.EXECUTING
    settle(contract, seconds=4)
    assert contract.state == State.IN_DOUBT
    settle(contract, seconds=60)
    assert contract.state == State.FAILED
    assert "contract.in_doubt" in facts(contract)
    assert len(ledger.executed) == 1


def test_p_a_lost_worker_whose_work_was_done_is_recovered_and_does_it_once(gate, ledger):
    contract = authorized()
    _lose_the_worker_after_the_effect(contract, ledger)
    settle(contract, seconds=40)
    assert contract.state == State.VERIFIED
    assert contract.executions.get().recovered
    assert ledger.lines("ledger:a") == ["one"]


def test_p_a_lost_worker_that_did_nothing_is_retried_only_after_its_deadline(gate, ledger):
    contract = authorized(deadline=50)
    _lose_the_worker_before_the_effect(contract)
    assert settle(contract, seconds=40).state == State.IN_DOUBT
    assert ledger.lines("ledger:a") == []
    settle(contract, seconds=100)
    settle(contract, seconds=200)
    assert contract.state == State.VERIFIED
    assert ledger.lines("ledger:a") == ["one"]
    assert contract.executions.count() == 2


def test_p_what_its_executor_lost_sight_of_is_in_doubt_and_not_failed(gate, ledger):
    contract = settle(authorized(then="lose", deadline=50, max_attempts=1))
    assert contract.state == State.IN_DOUBT
    assert contract.executions.get().holds_target
    assert list(entries.timeline(contract_id=contract.pk))[-1].data["reason"] == "lost sight of the ledger"
    assert settle(contract, seconds=40).state == State.IN_DOUBT
    assert settle(contract, seconds=100).state == State.FAILED
    assert contract.dead_lettered_at


def test_p_what_its_executor_lost_sight_of_is_verified_once_it_is_seen_to_be_done(gate, ledger):
    contract = settle(authorized(then="lose", deadline=50))
    ledger.path("ledger:a").write_text("one\n")
    assert settle(contract, seconds=10).state == State.VERIFIED
    assert contract.executions.get().recovered


def test_p_criteria_that_held_before_do_not_verify_what_was_never_done(gate, ledger):
    held_before = {"success_criteria": [{"type": "expression", "expression": "observed.count < 9"}]}
    contract = authorized(deadline=50, effect=held_before)
    _lose_the_worker_before_the_effect(contract)
    assert settle(contract, seconds=40).state == State.IN_DOUBT
    settle(contract, seconds=100)
    settle(contract, seconds=200)
    assert contract.state == State.VERIFIED
    assert ledger.lines("ledger:a") == ["one"]


def test_nothing_is_done_when_the_way_back_cannot_be_kept(gate, ledger, monkeypatch):
    def refuse(call, store):
        raise ExecutorError("the ledger is too large")

    monkeypatch.setattr(ledger, "snapshot", refuse)
    contract = settle(authorized(max_attempts=1))
    assert contract.state == State.FAILED
    assert ledger.executed == []
    assert "too large" in contract.executions.get().result["error"]


def test_what_comes_back_as_another_incarnation_is_back(gate, ledger, monkeypatch):
    monkeypatch.setattr(ledger, "untouched", lambda call, baseline, observation: False)
    contract = settle(authorized(effect={"target_state": {"count": 5}}))
    assert contract.state == State.ROLLED_BACK
    assert ledger.lines("ledger:a") == []


def test_a_rollback_its_executor_cannot_confirm_is_held(gate, ledger, monkeypatch):
    def unsure(call, baseline, observation, snapshot):
        raise ExecutorError("the ledger cannot be asked")

    monkeypatch.setattr(ledger, "untouched", lambda call, baseline, observation: False)
    monkeypatch.setattr(ledger, "is_back", unsure)
    contract = settle(authorized(effect={"target_state": {"count": 5}}))
    assert contract.state == State.ROLLING_BACK
    assert settle(contract, seconds=LONG).state == State.HELD
    assert len(ledger.restored) == 1


def test_a_target_that_cannot_be_read_after_a_success_is_looked_at_again(gate, ledger):
    contract = settle(authorized(hidden_by="execute"))
    assert contract.state == State.VERIFYING
    assert settle(contract, seconds=30).state == State.VERIFYING
    ledger.unreadable = False
    assert settle(contract, seconds=60).state == State.VERIFIED
    assert ledger.lines("ledger:a") == ["one"]
    assert "contract.violated" not in facts(contract)


def test_a_target_that_cannot_be_read_for_long_is_taken_back(gate, ledger):
    contract = settle(authorized(hidden_by="execute"))
    assert settle(contract, seconds=LONG).state == State.ROLLED_BACK
    assert ledger.lines("ledger:a") == []


def test_a_rollback_that_cannot_be_seen_is_done_once_and_looked_at_again(gate, ledger, monkeypatch):
    monkeypatch.setattr(ledger, "restore_is_repeatable", False)
    contract = settle(authorized(effect={"target_state": {"count": 7}}, hidden_by="restore"))
    assert contract.state == State.ROLLING_BACK
    ledger.unreadable = False
    assert settle(contract, seconds=40).state == State.ROLLED_BACK
    assert len(ledger.restored) == 1
    assert "snapshot.restored" in facts(contract)


def test_a_rollback_that_can_never_be_seen_is_held(gate, ledger):
    contract = settle(authorized(effect={"target_state": {"count": 7}}, hidden_by="restore"))
    assert settle(contract, seconds=LONG).state == State.HELD
    assert len(ledger.restored) == 1


def test_a_failure_that_cannot_be_seen_is_looked_at_again(gate, ledger):
    contract = settle(authorized(then="fail", hidden_by="execute"))
    assert contract.state == State.EXECUTING
    ledger.unreadable = False
    assert settle(contract, seconds=10).state == State.VERIFIED


def test_what_is_not_measured_by_the_target_does_not_wait_for_it(gate, ledger):
    effect = {"success_criteria": [{"type": "expression", "expression": "result.said == 'done'"}]}
    assert settle(authorized(effect=effect, hidden_by="execute")).state == State.VERIFIED
    reading = authorized(
        then="refuse", reversibility="read_only", hidden_by="execute", max_attempts=1, target="ledger:b"
    )
    ledger.unreadable = False
    assert settle(reading).state == State.FAILED


def test_a_window_is_not_spoilt_by_one_look_that_fails(gate, ledger):
    window = {"count": 3, "interval_seconds": 100}
    effect = {"success_criteria": [{"type": "state_match", "path": "count", "equals": 1, "measure": window}]}
    contract = settle(authorized(effect=effect))
    for seconds, unreadable in ((110, True), (130, False), (300, True)):
        ledger.unreadable = unreadable
        assert settle(contract, seconds=seconds).state == State.VERIFYING
    assert contract.executions.get().unread_since is not None, "it was readable in between, so the time counts anew"
    ledger.unreadable = False
    assert settle(contract, seconds=320).state == State.VERIFIED


def test_p_a_doubt_is_not_settled_by_one_look_that_fails(gate, ledger):
    contract = authorized()
    _lose_the_worker_after_the_effect(contract, ledger)
    ledger.unreadable = True
    assert settle(contract, seconds=100).state == State.IN_DOUBT
    assert settle(contract, seconds=150).state == State.IN_DOUBT
    ledger.unreadable = False
    assert settle(contract, seconds=200).state == State.VERIFIED
    assert ledger.lines("ledger:a") == ["one"]


def test_q_a_late_worker_with_an_old_token_records_nothing(gate, ledger):
    contract = authorized()
    job = Job.objects.get(subject_id=str(contract.pk))
    _, late = jobs.claim(job.pk)
    execution = running.executions.adopt(contract_id=contract.pk, lease=late, now=timezone.now())
    later = timezone.now() + timedelta(seconds=60)
    assert jobs.claim(job.pk, now=later) is not None
    with pytest.raises(jobs.LeaseLost):
        running.begin(running.Attempt.of(execution, late))
    contract.refresh_from_db()
    assert contract.state == State.AUTHORIZED


def test_q_a_worker_whose_lease_ran_out_records_nothing_though_nobody_took_over(gate, ledger):
    contract = authorized()
    attempt = _begun(contract)
    running._keep_the_way_back(attempt)
    result = running._execute(attempt)
    before = facts(contract)
    later = timezone.now() + timedelta(seconds=31)
    late = {"execution_id": attempt.execution.pk, "lease": jobs.Lease(attempt.lease.job, later), "now": later}
    with pytest.raises(jobs.LeaseLost):
        running.executions.record_result(**late, result=result)
    with pytest.raises(jobs.LeaseLost):
        running.executions.keep_snapshot(**late, snapshot=Snapshot())
    assert facts(contract) == before
    assert settle(contract, seconds=32).state == State.VERIFIED
    assert contract.executions.get().recovered
    assert ledger.lines("ledger:a") == ["one"]


def test_with_no_gate_registered_nothing_starts(monkeypatch, ledger):
    monkeypatch.setattr(gates, "_gates", {})
    contract = settle(authorized())
    assert contract.state == State.AUTHORIZED
    assert ledger.executed == []
    assert not Execution.objects.exists()


@pytest.mark.parametrize(
    ("then", "state"),
    [
        (Then.WAIT, State.AUTHORIZED),
        (Then.REAPPROVE, State.AWAITING_APPROVAL),
        (Then.EXPIRE, State.EXPIRED),
        (Then.CANCEL, State.CANCELLED),
    ],
)
def test_m_a_closed_gate_decides_what_becomes_of_the_contract(gate, ledger, then, state):
    gate.why = Closed("test", "not_today", "Not today.", then)
    contract = settle(authorized())
    assert contract.state == state
    assert ledger.executed == []
    assert not Execution.objects.exists()


def test_what_waited_for_a_gate_runs_once_it_is_open(gate, ledger):
    gate.why = Closed("test", "not_yet", "Not yet.", Then.WAIT, retry_after=5)
    contract = settle(authorized())
    gate.why = None
    assert settle(contract, seconds=6).state == State.VERIFIED


def test_an_unmet_precondition_stops_it_before_anything_is_touched(gate, ledger):
    contract = settle(authorized(preconditions=[{"type": "state_match", "path": "count", "equals": 5}]))
    assert contract.state == State.CANCELLED
    assert ledger.executed == []


def test_a_target_that_cannot_be_read_is_not_touched(gate, ledger):
    ledger.unreadable = True
    contract = settle(authorized())
    assert contract.state == State.AUTHORIZED
    assert ledger.executed == []
    ledger.unreadable = False
    assert settle(contract, seconds=10).state == State.VERIFIED


def test_a_running_contract_that_is_cancelled_and_did_something_is_rolled_back(gate, ledger):
    contract = authorized(then="wait", effect={"target_state": {"count": 7}})
    attempt = _begun(contract)
    cancel(contract)
    said = Entry.objects.get(contract_id=contract.pk, fact="contract.cancel_requested")
    assert (said.actor_id, said.data["state"], said.data["reason"]) == (ADA.id, "executing", "not needed")
    running.perform(attempt)
    settle(contract, seconds=40)
    assert contract.state == State.ROLLED_BACK
    assert ledger.lines("ledger:a") == []


def test_an_authorized_contract_is_cancelled_at_once(gate, ledger):
    contract = authorized()
    cancel(contract)
    assert settle(contract).state == State.CANCELLED
    assert ledger.executed == []


def test_a_lost_worker_whose_contract_was_cancelled_and_did_nothing_has_no_successor(gate, ledger):
    contract = authorized(deadline=50)
    _lose_the_worker_before_the_effect(contract)
    cancel(contract)
    assert settle(contract, seconds=40).state == State.IN_DOUBT
    settle(contract, seconds=100)
    assert contract.state == State.CANCELLED
    assert contract.settled_at
    settle(contract, seconds=1000)
    assert ledger.executed == []
    assert facts(contract)[-3:] == ["contract.executing", "contract.cancelled", "agentic.action_failed"]


def test_a_doubt_can_be_cancelled_and_what_was_done_is_verified_all_the_same(gate, ledger):
    nothing, something = (authorized(then="lose", deadline=50, target=f"ledger:{name}") for name in ("a", "b"))
    for contract in (nothing, something):
        assert settle(contract).state == State.IN_DOUBT
        cancel(contract)
    ledger.path("ledger:b").write_text("one\n")
    assert settle(something, seconds=100).state == State.VERIFIED
    assert settle(nothing, seconds=100).state == State.CANCELLED
    assert len(ledger.executed) == 2


def test_a_contract_cancelled_while_its_failure_is_looked_at_is_cancelled(gate, ledger, monkeypatch):
    contract = authorized(then="refuse")
    _when_it_is_next_observed(ledger, monkeypatch, lambda: ledger.executed and cancel(contract))
    assert settle(contract).state == State.CANCELLED
    settle(contract, seconds=1000)
    assert len(ledger.executed) == 1


def test_a_contract_that_waits_for_its_retry_is_cancelled_and_has_none(gate, ledger):
    contract = settle(authorized(then="refuse"))
    assert contracts.can_be_cancelled(contract)
    answered = cancel(contract)
    assert (answered.state, answered.dead_lettered_at is not None) == (State.FAILED, True)
    settle(contract, seconds=1000)
    assert (contract.state, len(ledger.executed)) == (State.FAILED, 1)
    assert contract.settled_at
    said = list(entries.timeline(contract_id=contract.pk))[-1]
    assert (said.fact, said.actor_kind) == ("contract.dead_lettered", "person")
    assert said.data["error"] == "It was cancelled. not needed"
    assert not contracts.can_be_cancelled(contract)
    with pytest.raises(contracts.NotNow):
        cancel(contract)


def test_a_contract_cancelled_while_its_retry_looks_at_the_target_does_not_begin_again(gate, ledger, monkeypatch):
    contract = settle(authorized(then="refuse"))
    _when_it_is_next_observed(ledger, monkeypatch, lambda: cancel(contract))
    settle(contract, seconds=1000)
    assert (contract.state, len(ledger.executed)) == (State.FAILED, 1)
    assert contract.executions.count() == 1
    assert facts(contract)[-1] == "contract.dead_lettered"


def test_a_contract_cancelled_while_its_target_cannot_be_observed_stays_cancelled(gate, ledger, monkeypatch):
    contract = authorized(valid_until=timezone.now() + timedelta(hours=1))
    ledger.unreadable = True
    settle(contract)
    _when_it_is_next_observed(ledger, monkeypatch, lambda: cancel(contract))
    assert settle(contract, seconds=3601).state == State.CANCELLED
    assert facts(contract)[-1] == "contract.cancelled"


def test_nothing_begins_while_somebody_wants_it_stopped(gate, ledger):
    contract = settle(authorized(then="refuse"))
    Contract.objects.filter(pk=contract.pk).update(cancel_requested_at=timezone.now(), cancel_reason="not needed")
    settle(contract, seconds=1000)
    assert (contract.state, len(ledger.executed)) == (State.FAILED, 1)
    assert contract.dead_lettered_at


def test_a_person_may_retry_what_was_cancelled_before(gate, ledger):
    contract = settle(authorized(then="lose", deadline=50))
    cancel(contract)
    contracts.resolve(contract_id=contract.pk, verdict="failed", reason="looked", by=ADA, now=timezone.now())
    contracts.retry(contract_id=contract.pk, by=ADA, now=timezone.now())
    settle(contract)
    assert (contract.state, len(ledger.executed)) == (State.IN_DOUBT, 2)


def test_a_damaged_snapshot_restores_nothing(gate, ledger):
    ledger.path("ledger:a").write_text("old\n")
    original = running.verify

    def damage_then_verify(attempt):
        Snapshot.objects.update(manifest='{"items":[],"version":1}')
        return original(attempt)

    running.STEPS[Execution.State.VERIFYING] = damage_then_verify
    try:
        contract = settle(authorized(effect={"target_state": {"count": 7}}))
    finally:
        running.STEPS[Execution.State.VERIFYING] = original
    assert contract.state == State.HELD
    assert ledger.lines("ledger:a") == ["old", "one"]


def test_a_window_is_rescheduled_and_never_slept_through(gate, ledger):
    effect = {
        "success_criteria": [
            {
                "type": "state_match",
                "path": "count",
                "equals": 1,
                "measure": {"count": 3, "interval_seconds": 20},
            }
        ]
    }
    contract = settle(authorized(effect=effect))
    assert contract.state == State.VERIFYING
    assert settle(contract, seconds=5).state == State.VERIFYING


def test_what_only_reads_does_not_keep_its_target_to_itself(gate, ledger):
    ledger.path("ledger:a").write_text("one\n")
    long = {"count": 3, "interval_seconds": 3600}
    effect = {"success_criteria": [{"type": "state_match", "path": "count", "equals": 1, "measure": long}]}
    reading = settle(authorized(effect=effect, reversibility="read_only", then="refuse"))
    assert not reading.executions.get().holds_target
    assert settle(authorized(effect={"target_state": {"count": 2}})).state == State.VERIFIED


def test_verification_switched_off_claims_nothing(gate, ledger, settings):
    settings.VERIFICATION_ENABLED = False
    assert settle(authorized()).state == State.AUTHORIZED
    assert ledger.executed == []


def test_an_effect_inside_a_transaction_is_refused(gate, ledger):
    with pytest.raises(running.InsideTransaction), transaction.atomic():
        running.outside_transaction()


def test_p_authorized_twice_it_is_owed_once(gate, ledger):
    contract = authorized(not_before=timezone.now() + timedelta(hours=1))
    now = timezone.now()
    contracts.await_approval(
        contract_id=contract.pk, tier="tier_2", by=ADA, reason="the approval was withdrawn", now=now
    )
    contracts.authorize(contract_id=contract.pk, tier="tier_2", digest="d" * 64, valid_until=None, by=ADA, now=now)
    assert Job.objects.filter(subject_id=str(contract.pk)).exclude(state="cancelled").count() == 1
    assert settle(contract, seconds=3700).state == State.VERIFIED
    assert ledger.lines("ledger:a") == ["one"]


def test_p_a_second_job_never_carries_what_another_has_begun(gate, ledger):
    contract = authorized()
    _begun(contract)
    second = _another_job(contract)
    assert jobs.run(second.pk)
    second.refresh_from_db()
    assert second.state == "queued"
    assert ledger.lines("ledger:a") == []


def test_p_a_job_that_takes_over_from_an_ended_one_doubts_first(gate, ledger):
    contract = authorized(deadline=50)
    attempt = _begun(contract)
    running._keep_the_way_back(attempt)
    running._execute(attempt)
    Job.objects.filter(pk=attempt.lease.job_id).update(state="cancelled", lease_until=None)
    _another_job(contract)
    assert settle(contract).state == State.VERIFIED
    assert "contract.in_doubt" in facts(contract)
    assert ledger.lines("ledger:a") == ["one"]


def test_q_the_first_job_records_nothing_once_another_took_over(gate, ledger):
    contract = authorized()
    attempt = _begun(contract)
    Execution.objects.update(job_id=_another_job(contract).pk)
    with pytest.raises(jobs.LeaseLost):
        running.perform(attempt)


def test_a_retry_that_may_no_longer_start_is_dead_lettered_with_the_reason(gate, ledger):
    contract = settle(authorized(then="refuse"))
    gate.why = Closed("test", "drifted", "The target moved.", Then.REAPPROVE)
    settle(contract, seconds=10)
    assert contract.state == State.FAILED
    assert contract.dead_lettered_at
    assert contract.settled_at
    assert facts(contract)[-1] == "contract.dead_lettered"


def test_m_whatever_turns_it_away_every_gate_hears_of_it(gate, ledger, monkeypatch):
    heard = []
    monkeypatch.setattr(gate, "closed", lambda dispatch, why: heard.append(why.code))
    unmet = [{"type": "state_match", "path": "count", "equals": 5}]
    contract = settle(authorized(tier="tier_2", preconditions=unmet))
    assert contract.state == State.AWAITING_APPROVAL
    assert heard == ["precondition_unmet"]


def test_i_a_retry_by_a_person_needs_an_authorization_that_is_still_good(gate, ledger):
    until = timezone.now() + timedelta(hours=1)
    contract = given_up_early(gate, valid_until=until)
    with pytest.raises(contracts.AuthorizationUsedUp):
        contracts.retry(contract_id=contract.pk, by=ADA, now=until)
    contracts.retry(contract_id=contract.pk, by=ADA, now=until - timedelta(minutes=1))
    assert facts(contract)[-1] == "contract.retried"


def test_i_a_target_that_is_never_observable_lets_its_authorization_expire(gate, ledger):
    contract = authorized(valid_until=timezone.now() + timedelta(hours=1))
    ledger.unreadable = True
    assert settle(contract).state == State.AUTHORIZED
    gate.why = Closed("test", "authorization_expired", "It was not used in time.", Then.EXPIRE)
    assert settle(contract, seconds=3601).state == State.EXPIRED


def test_h_a_contract_that_no_job_carries_is_owed_again(gate, ledger):
    contract = authorized()
    Job.objects.update(state="cancelled")
    later = timezone.now() + timedelta(minutes=3)
    assert contracts.owe_what_is_owed_by_none(now=later) == 1
    assert contracts.owe_what_is_owed_by_none(now=later) == 0
    assert settle(contract, seconds=200).state == State.VERIFIED


def cancel(contract):
    return contracts.cancel(contract_id=contract.pk, by=ADA, reason="not needed", now=timezone.now())


def _when_it_is_next_observed(ledger, monkeypatch, do):
    """Have something happen while a worker looks at the ledger: once, when `do` answers anything."""
    observe, waiting = ledger.observe, [do]

    def meanwhile(call):
        if waiting and do():
            waiting.clear()
        return observe(call)

    monkeypatch.setattr(ledger, "observe", meanwhile)


def _another_job(contract):
    now = timezone.now()
    with transaction.atomic():
        return jobs.enqueue(kind=contracts.EXECUTION_JOB, subject_id=str(contract.pk), now=now)


def _begun(contract):
    job = Job.objects.get(subject_id=str(contract.pk))
    _, lease = jobs.claim(job.pk)
    execution = running.executions.adopt(contract_id=contract.pk, lease=lease, now=timezone.now())
    attempt = running.Attempt.of(execution, lease)
    assert running.begin(attempt)
    return running.Attempt.of(Execution.objects.get(pk=execution.pk), lease)


def _lose_the_worker_after_the_effect(contract, ledger):
    attempt = _begun(contract)
    running._keep_the_way_back(attempt)
    running._execute(attempt)


def _lose_the_worker_before_the_effect(contract):
    _begun(contract)
