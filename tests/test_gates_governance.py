"""What is checked once more just before something runs (M): each gate closed, and what follows."""

import os
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from auditlog import jobs, log, mesh
from auditlog.actors import SYSTEM
from auditlog.models import Entry, Job
from governance import approvals, gates, holding, holds, policies, pressing, principals, seeds
from governance.models import ApprovalRequest, Assessment, Decision, FileHold, Hold, Policy
from tests.harness import errands
from tests.harness.clients import Api
from tests.harness.governed import Governed, contract_of, facts, fresh, newest
from tests.harness.ledger import Ledger
from verification import contracts, executors
from verification import gates as below
from verification.models import Contract, Execution, Revision, State

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(var_dir, users):
    return Governed(var_dir / "sandbox", users)


@pytest.fixture
def approved(world):
    """A request that Bea approved and that nothing has run yet."""
    request = world.ask()
    world.decide(request, world.people.bea)
    return request


def untouched(world):
    return world.read() == {"port": 8000} and not Execution.objects.filter(started_at__isnull=False).exists()


def test_governance_registers_its_gates_and_holds_are_asked_first():
    names = [gate.name for gate in below.registered()]
    ours = [gate.name for gate in gates.GATES]
    assert [name for name in names if name in ours] == ours
    assert ours[0] == "holds"


# --- the digest is recomputed from what will run ---


def edit_parameters(contract):
    Revision.objects.filter(contract=contract).update(parameters={"path": "app.json", "merge": {"port": 666}})


def edit_effect(contract):
    Revision.objects.filter(contract=contract).update(expected_effect={"target_state": {"exists": True}})


def edit_preconditions(contract):
    Revision.objects.filter(contract=contract).update(
        preconditions=[{"type": "state_match", "path": "exists", "equals": True}]
    )


def edit_target(contract):
    Contract.objects.filter(pk=contract.pk).update(target="file:other.json")


def edit_requester(contract):
    Contract.objects.filter(pk=contract.pk).update(requested_by=None)


def edit_tier(contract):
    Contract.objects.filter(pk=contract.pk).update(tier="tier_1")


def edit_version(contract):
    Contract.objects.filter(pk=contract.pk).update(executor_version="0")


def edit_requirements(contract):
    ApprovalRequest.objects.filter(contract=contract).update(requirements={"approvals": []})


def edit_fingerprint(contract):
    ApprovalRequest.objects.filter(contract=contract).update(fingerprint="0" * 64)


def edit_expiry(contract):
    ApprovalRequest.objects.filter(contract=contract).update(expires_at=timezone.now() + timedelta(days=99))


def edit_digest(contract):
    Contract.objects.filter(pk=contract.pk).update(authorized_digest="0" * 64)


def edit_policy(contract):
    """An old version that says something else now is not the version that was asked."""
    Policy.objects.filter(is_active=True).update(digest="0" * 64)


@pytest.mark.parametrize(
    "edit",
    [
        edit_parameters,
        edit_effect,
        edit_preconditions,
        edit_target,
        edit_requester,
        edit_tier,
        edit_version,
        edit_requirements,
        edit_fingerprint,
        edit_expiry,
        edit_digest,
        edit_policy,
    ],
)
def test_m_a_row_edited_between_approval_and_run_is_not_run(world, approved, edit):
    (world.file.parent / "other.json").write_text("{}")
    edit(contract_of(approved))
    world.settle()
    contract = contract_of(approved)
    assert untouched(world)
    assert contract.state == State.CANCELLED
    assert fresh(approved).state == "cancelled"


# --- what rows say was decided is what the log says was decided ---


def two_approved(world):
    """A request that takes two people, approved by Bea and Cem."""
    world.policy(tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 2}]}})
    request = world.ask()
    world.decide(request, world.people.bea)
    world.decide(request, world.people.cem)
    return request


def refused_as_not_recorded(world, request, named=""):
    """Nothing ran, all of it is over, and the log says which row it was."""
    contract = contract_of(request)
    ended = Entry.objects.get(contract_id=contract.pk, fact="contract.cancelled").data["reason"]
    return (
        untouched(world)
        and contract.state == State.CANCELLED
        and fresh(request).state == "cancelled"
        and ended.startswith("not_as_recorded: ")
        and named in ended
    )


def forge(request, person, entry_id):
    return Decision.objects.create(
        request=request,
        person=person,
        person_label="",
        verdict="approve",
        digest=request.digest,
        entry_id=entry_id,
        created_at=timezone.now(),
    )


def authorize_by_hand(request, **more):
    """Write into the rows that a request is approved and its contract authorized, and owe its execution."""
    now = timezone.now()
    until = now + timedelta(hours=1)
    ApprovalRequest.objects.filter(pk=request.pk).update(state="approved", valid_until=until)
    Contract.objects.filter(pk=request.contract_id).update(
        state=State.AUTHORIZED,
        tier=request.tier,
        authorized_digest=request.digest,
        **{"authorized_at": now, "valid_until": until, **more},
    )
    with log.recording():
        jobs.enqueue(kind=contracts.EXECUTION_JOB, subject_id=str(request.contract_id), now=now)


def test_m_a_decision_that_was_given_to_somebody_else_is_not_theirs(world):
    request, people = two_approved(world), world.people
    Decision.objects.filter(request=request, person=people.cem).update(person=people.dee)
    people.cem.is_active = False
    people.cem.save()
    world.settle()
    assert refused_as_not_recorded(world, request, f"of person {people.dee.pk}")


def test_m_a_decision_that_names_another_entry_was_taken_by_nobody(world):
    request = world.ask()
    forged = forge(request, world.people.bea, Entry.objects.latest("id").pk)
    authorize_by_hand(request)
    world.settle()
    assert refused_as_not_recorded(world, request, str(forged.pk))


def test_m_a_decision_written_between_two_real_ones_is_not_run(world):
    world.policy(tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 2}]}})
    request = world.ask()
    forged = forge(request, world.people.bea, None)
    world.decide(request, world.people.cem)
    assert contract_of(request).state == State.AUTHORIZED
    world.settle()
    assert refused_as_not_recorded(world, request, str(forged.pk))


def test_m_the_entry_of_one_request_says_nothing_of_another(world):
    real, request = world.ask(), world.ask(port=9001)
    world.decide(real, world.people.bea)
    forge(request, world.people.bea, Decision.objects.get(request=real).entry_id)
    authorize_by_hand(request)
    world.settle()
    assert contract_of(real).state == State.VERIFIED
    assert contract_of(request).state == State.CANCELLED
    assert world.read() == {"port": 9000}


def test_m_a_rejection_turned_into_an_approval_is_none(world):
    world.policy(tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 2}], "denials": 2}})
    request = world.ask()
    world.decide(request, world.people.bea, "reject")
    Decision.objects.update(verdict="approve")
    world.decide(request, world.people.cem)
    world.settle()
    assert refused_as_not_recorded(world, request, f"of person {world.people.bea.pk}")


def test_k_an_approval_that_was_taken_back_cannot_be_put_back_in_its_row(world, approved):
    contract = contract_of(approved)
    world.withdraw(approved, world.people.bea)
    Decision.objects.update(withdrawn_at=None)
    authorize_by_hand(approved, authorized_at=contract.authorized_at, valid_until=contract.valid_until)
    world.settle()
    assert refused_as_not_recorded(world, approved, f"of person {world.people.bea.pk}")


def test_i_a_validity_prolonged_in_the_row_does_not_count(world, clock):
    request = world.ask()
    world.decide(request, world.people.bea)
    Contract.objects.update(valid_until=timezone.now() + timedelta(days=30))
    clock.shift(timedelta(hours=25))
    world.settle()
    assert refused_as_not_recorded(world, request)


def test_m_a_backup_group_that_was_never_asked_cannot_stand_in(world):
    ops = Group.objects.create(name="on-call")
    world.people.dee.groups.set([ops, Group.objects.get(name="operators")])
    ops.permissions.set(Group.objects.get(name="reviewers").permissions.all())
    once_late = {"escalate_to": "on-call", "escalate_after_seconds": 3600}
    world.policy(tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 1}], **once_late}})
    request = world.ask()
    ApprovalRequest.objects.filter(pk=request.pk).update(escalated_at=timezone.now())
    world.decide(fresh(request), world.people.dee)
    world.settle()
    assert refused_as_not_recorded(world, request, "others were asked")


def test_m_a_request_nobody_had_to_approve_is_not_approved_by_its_row(world):
    world.policy(tiers={"tier_2": {"approvals": []}})
    request = world.ask()
    authorize_by_hand(request)
    world.settle()
    assert untouched(world)
    assert contract_of(request).state == State.CANCELLED


def test_m_a_tier_1_row_edited_before_it_runs_is_not_run(world):
    world.trust()
    contract = world.submit().contract
    edit_parameters(contract)
    world.settle()
    contract.refresh_from_db()
    assert untouched(world)
    assert contract.state == State.CANCELLED


def test_m_a_contract_nobody_authorized_is_not_run_because_a_row_says_so(world):
    request = world.ask()
    contract = contract_of(request)
    digest = Assessment.objects.get().digest
    for tier in ("tier_2", "tier_1"):
        Contract.objects.filter(pk=contract.pk).update(
            state=State.AUTHORIZED, authorized_digest=digest, tier=tier, authorized_at=timezone.now()
        )
        with log.recording():
            jobs.enqueue(kind=contracts.EXECUTION_JOB, subject_id=str(contract.pk), now=timezone.now())
        world.settle()
        assert untouched(world)
        assert contract_of(request).state == State.CANCELLED


def test_m_another_version_of_the_executor_is_not_what_was_approved(world, approved, monkeypatch):
    monkeypatch.setattr(type(executors.get("config.update")), "version", "2")
    world.settle()
    assert untouched(world)
    assert contract_of(approved).state == State.CANCELLED
    assert "another version" in fresh(approved).closing_reason


# --- the policy is asked again ---


def test_m_a_policy_tightened_after_approval_sends_it_back_to_people(world, approved):
    world.policy(tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 2}]}})
    world.settle()
    asked = newest(contract_of(approved))
    assert untouched(world)
    assert (fresh(approved).state, asked.state) == ("stale", "pending")
    assert asked.requirements["approvals"] == [{"group": "reviewers", "count": 2}]
    assert "approval.stale" in facts(contract_of(approved))
    world.decide(asked, world.people.bea)
    world.decide(asked, world.people.cem)
    world.settle()
    assert contract_of(approved).state == State.VERIFIED


@pytest.mark.parametrize(
    "tighter", [{"cooldown_seconds": 86400}, {"valid_seconds": 60}, {"max_attempts": 1}, {"expires_seconds": 3600}]
)
def test_m_whatever_became_stricter_is_asked_about_again(world, clock, tighter):
    first, request = world.ask(), world.ask(port=9100)
    for each in (first, request):
        world.decide(each, world.people.bea)
    jobs.run(Job.objects.get(subject_id=str(first.contract_id), kind=contracts.EXECUTION_JOB).pk)
    world.write({"port": 8000})
    world.policy(tiers={"tier_2": {**seeds.POLICY["tiers"]["tier_2"], **tighter}})
    clock.shift(timedelta(minutes=30))
    world.settle()
    asked = newest(contract_of(request))
    assert world.read() == {"port": 8000}
    assert (fresh(request).state, asked.state) == ("stale", "pending")
    assert asked.requirements.items() >= tighter.items()


def test_m_a_tier_1_contract_whose_policy_was_tightened_asks_people(world):
    world.trust()
    contract = world.submit().contract
    world.policy()
    world.settle()
    contract.refresh_from_db()
    assert untouched(world)
    assert contract.state == State.AWAITING_APPROVAL
    world.decide(newest(contract), world.people.bea)
    world.settle()
    contract.refresh_from_db()
    assert contract.state == State.VERIFIED


def test_m_a_policy_loosened_after_approval_changes_nothing(world, approved):
    world.trust()
    world.settle()
    assert contract_of(approved).state == State.VERIFIED


def test_m_a_policy_that_denies_it_now_ends_it(world, approved):
    world.policy({"name": "frozen", "effect": "deny", "reason": "not this week"})
    world.settle()
    assert untouched(world)
    assert contract_of(approved).state == State.CANCELLED


def test_m_a_policy_that_cannot_be_trusted_lets_nothing_start(world):
    world.trust()
    contract = world.submit().contract
    Policy.objects.filter(is_active=True).update(is_active=False)
    world.settle()
    contract.refresh_from_db()
    assert untouched(world)
    assert contract.state == State.AUTHORIZED
    with pytest.raises(policies.NoPolicy):
        world.submit()


def test_m_a_published_policy_whose_row_was_edited_decides_nothing(world):
    row = Policy.objects.get(is_active=True)
    Policy.objects.filter(pk=row.pk).update(rules=[{"name": "all", "effect": "tier_1"}])
    with pytest.raises(policies.PolicyDamaged):
        world.submit()


# --- time ---


def test_i_an_approval_not_used_in_time_is_refused_at_dispatch(world, clock):
    request = world.ask()
    world.decide(request, world.people.bea)
    clock.shift(timedelta(hours=24, seconds=1))
    world.settle()
    assert untouched(world)
    assert (contract_of(request).state, fresh(request).state) == ("expired", "expired")


def test_i_the_validity_of_tier_1_ends_too(world, clock):
    world.trust()
    contract = world.submit().contract
    clock.shift(timedelta(hours=24, seconds=1))
    world.settle()
    contract.refresh_from_db()
    assert untouched(world)
    assert contract.state == State.EXPIRED


def test_i_the_clock_of_an_approval_stops_while_held(world, clock):
    request = world.ask()
    world.decide(request, world.people.bea)
    hold = held(world, scope="target", pattern="file:*")
    clock.shift(timedelta(hours=30))
    world.settle()
    assert contract_of(request).state == State.AUTHORIZED
    holding.mark_released(hold_id=hold.pk, by=SYSTEM, reason="over", now=timezone.now())
    clock.shift(timedelta(minutes=1))
    world.settle()
    assert contract_of(request).state == State.VERIFIED


# --- people ---


def test_h_an_approver_removed_from_the_group_is_not_dispatched(world, approved):
    world.people.bea.groups.clear()
    world.settle()
    asked = newest(contract_of(approved))
    assert untouched(world)
    assert (fresh(approved).state, asked.state) == ("stale", "pending")
    world.decide(asked, world.people.cem)
    world.settle()
    assert contract_of(approved).state == State.VERIFIED


def test_h_an_approver_no_longer_active_is_not_dispatched(world, approved):
    world.people.bea.is_active = False
    world.people.bea.save()
    world.settle()
    assert untouched(world)
    assert fresh(approved).state == "stale"


def test_f_an_approver_who_became_the_agents_owner_is_not_dispatched(world, approved):
    world.agent.owner = world.people.bea
    world.agent.save()
    world.settle()
    assert untouched(world)
    assert fresh(approved).state == "stale"


def test_e_a_decision_written_for_another_digest_counts_for_nothing(world, approved):
    Decision.objects.update(digest="0" * 64)
    world.settle()
    assert untouched(world)
    assert fresh(approved).state == "stale"


# --- drift ---


def test_m_drift_does_not_matter_where_nobody_looked(world):
    world.trust()
    contract = world.submit().contract
    world.write({"port": 1})
    world.settle()
    contract.refresh_from_db()
    assert (contract.state, world.read()) == ("verified", {"port": 9000})


# --- holds ---


def held(world, **more):
    return holds.engage(
        **{"scope": "everything", "reason": "look first", **more},
        by=principals.actor_of(world.people.bea),
        user=world.people.bea,
        now=timezone.now(),
    )


@pytest.mark.parametrize(
    ("scope", "pattern", "covers"),
    [
        ("everything", "", True),
        ("agent", "deploy*", True),
        ("agent", "other", False),
        ("action_type", "config.*", True),
        ("action_type", "command.run", False),
        ("target", "file:app.json", True),
        ("target", "file:b*", False),
        ("mission", "0195d7a0-0000-7000-8000-000000000000", False),
    ],
)
def test_a_hold_stops_what_is_in_its_scope_and_nothing_else(world, approved, scope, pattern, covers):
    held(world, scope=scope, pattern=pattern)
    world.settle()
    assert contract_of(approved).state == (State.AUTHORIZED if covers else State.VERIFIED)
    assert fresh(approved).state == ("approved" if covers else "spent")


def test_a_file_holds_everything_on_this_host(world, approved, var_dir):
    (var_dir / "HOLD").write_text("fire in the machine room")
    world.settle()
    assert untouched(world)
    assert contract_of(approved).state == State.AUTHORIZED
    (var_dir / "HOLD").unlink()
    jobs.run_until_idle(timezone.now() + timedelta(minutes=1))
    assert contract_of(approved).state == State.VERIFIED


def hold_by_file(var_dir):
    """The file as somebody writes it at this moment of the tests' clock; what the clock calls looks once."""
    file = var_dir / "HOLD"
    file.write_text("smoke")
    os.utime(file, (timezone.now().timestamp(),) * 2)
    return file


def look(world):
    """What runs by the clock, a little later."""
    pressing.press_due(now=timezone.now())
    approvals.expire_due(now=timezone.now())
    world.settle()


def test_i_clocks_stop_while_a_file_holds_the_host(world, clock, var_dir):
    approved, pending = world.ask(), world.ask(port=9001)
    world.decide(approved, world.people.bea)
    file = hold_by_file(var_dir)
    clock.shift(timedelta(hours=30))
    look(world)
    assert (contract_of(approved).state, fresh(pending).state) == ("authorized", "pending")
    assert fresh(pending).reminder_count == 0
    file.unlink()
    clock.shift(timedelta(hours=23))
    world.decide(pending, world.people.cem)
    look(world)
    assert "expired" not in {contract_of(approved).state, contract_of(pending).state}
    assert contract_of(approved).state == State.VERIFIED


def test_i_a_file_that_is_gone_stops_no_clock_any_more(world, clock, var_dir):
    pending = world.ask()
    file = hold_by_file(var_dir)
    clock.shift(timedelta(hours=2))
    look(world)
    file.unlink()
    clock.shift(timedelta(hours=23))
    look(world)
    assert fresh(pending).state == "pending"
    clock.shift(timedelta(hours=2))
    look(world)
    assert fresh(pending).state == "expired"


def test_i_a_file_counts_from_when_it_was_written_even_if_nobody_could_look(world, clock, var_dir):
    pending = world.ask()
    hold_by_file(var_dir)
    clock.shift(timedelta(hours=100))
    look(world)
    assert fresh(pending).state == "pending"
    assert FileHold.objects.get().last_seen_at == timezone.now()


def test_i_the_clock_stops_while_held_although_the_target_cannot_be_observed(world, clock):
    request = world.ask()
    world.decide(request, world.people.bea)
    hold = held(world)
    world.file.unlink()
    world.file.mkdir()
    clock.shift(timedelta(hours=25))
    world.settle()
    assert contract_of(request).state == State.AUTHORIZED
    holding.mark_released(hold_id=hold.pk, by=SYSTEM, reason="over", now=timezone.now())
    clock.shift(timedelta(hours=23))
    world.settle()
    assert contract_of(request).state == State.AUTHORIZED
    clock.shift(timedelta(hours=2))
    world.settle()
    assert (contract_of(request).state, fresh(request).state) == ("expired", "expired")


def test_a_released_hold_lets_go_on_at_once(world, approved):
    hold = held(world)
    world.settle()
    assert untouched(world)
    submitted = holds.release(
        hold_id=hold.pk,
        reason="all is well",
        by=principals.actor_of(world.people.ada),
        user=world.people.ada,
        now=timezone.now(),
    )
    assert (submitted.tier, submitted.state) == ("tier_3", "awaiting_approval")
    world.decide(submitted.approval, world.people.bea)
    world.settle()
    assert Hold.objects.get().released_at is None
    world.decide(submitted.approval, world.people.cem)
    world.settle()
    submitted.contract.refresh_from_db()
    assert (submitted.contract.state, contract_of(approved).state) == ("verified", "verified")
    assert Hold.objects.get().released_at is not None


# --- cooldown ---


def test_a_cooldown_the_policy_asks_for_is_waited_out(world, clock):
    rule = {"name": "calm", "effect": "tier_1", "action_types": ["config.update"]}
    world.policy({**rule, "requirements": {"cooldown_seconds": 600}}, seeded=False)
    first = world.submit(world.body(1)).contract
    world.settle()
    clock.shift(timedelta(seconds=10))
    second = world.submit(world.body(2)).contract
    world.settle()
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("verified", "authorized")
    clock.shift(timedelta(seconds=600))
    world.settle()
    second.refresh_from_db()
    assert second.state == State.VERIFIED


# --- attempts ---


@pytest.fixture
def failing(world, var_dir):
    """A contract of Ada's that was approved for one attempt, which failed and did nothing."""
    once = {"tier_2": {**seeds.POLICY["tiers"]["tier_2"], "max_attempts": 1}}
    world.policy({"name": "ledgers", "effect": "tier_2", "action_types": ["ledger.append"]}, tiers=once)
    executor = executors.register(Ledger(var_dir))
    body = {
        "action_type": executor.action_type,
        "target": "ledger:a",
        "parameters": {"line": "one", "then": "refuse"},
        "expected_effect": {"target_state": {"count": 1}},
    }
    request = world.submit(body, user=world.people.ada).approval
    world.decide(request, world.people.bea)
    world.settle()
    yield request
    executors.unregister(executor.action_type)


def retry(world, contract):
    answer = Api(user=world.people.ada).post(f"/api/verification/contracts/{contract.pk}/retry", {})
    mesh.register_all()
    errands.hear()
    world.settle()
    return answer


def test_e_an_approval_is_not_stretched_by_retrying(world, failing):
    contract = contract_of(failing)
    assert (contract.state, contract.executions.count()) == (State.FAILED, 1)
    assert retry(world, contract).json()["data"]["state"] == "awaiting_approval"
    assert retry(world, contract).status_code == 409
    asked = newest(contract)
    assert (asked.state, asked.pk == failing.pk, contract.executions.count()) == ("pending", False, 1)
    assert "was tried before: attempts made in vain: 1" in asked.risk["factors"]
    world.decide(asked, world.people.cem)
    world.settle()
    assert (contract_of(asked).state, contract.executions.count()) == (State.FAILED, 2)


def test_e_attempts_added_in_the_row_are_not_made(world, failing):
    contract = contract_of(failing)
    Contract.objects.update(max_attempts=9)
    retry(world, contract)
    assert contract.executions.count() == 1
    assert contract_of(failing).dead_lettered_at is not None
    assert "attempts_used_up" in Entry.objects.filter(fact="contract.dead_lettered").latest("id").data["error"]


# --- what follows from failure ---


def test_s_a_failed_rollback_holds_the_target(world):
    contract = contract_of(world.ask())
    mesh.register_all()
    with log.recording():
        Contract.objects.filter(pk=contract.pk).update(state=State.ROLLING_BACK)
        contract.refresh_from_db()
        contracts.move(contract, State.HELD, by=SYSTEM, now=timezone.now(), reason="the disk is full")
    world.settle()
    hold = Hold.objects.get()
    assert (hold.scope, hold.pattern, hold.source) == ("target", "file:app.json", "rollback_failed")
    assert (hold.contract_id, "the disk is full" in hold.reason) == (contract.pk, True)
