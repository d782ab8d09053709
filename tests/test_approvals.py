"""What people decide, letter by letter, and what becomes of it. Everything here runs for real on `app.json`."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from auditlog import jobs, log, mesh
from auditlog.actors import SYSTEM
from auditlog.models import Entry
from auditlog.refusals import Refused
from governance import agents, approvals, holding, holds, noting, principals, proposals
from governance.models import ApprovalRequest, Decision
from tests.harness.governed import Governed, contract_of, facts, fresh, newest
from verification import contracts
from verification.models import State

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(var_dir, users):
    return Governed(var_dir / "sandbox", users)


@pytest.fixture
def two(world):
    """The same world, where configuration needs two reviewers."""
    world.policy(tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 2}]}})
    return world


def code(act):
    with pytest.raises(Refused) as refusal:
        act()
    return refusal.value.code


def test_an_approval_authorizes_and_the_action_runs_and_is_verified(world):
    request = world.ask()
    world.decide(request, world.people.bea)
    contract = contract_of(request)
    assert (fresh(request).state, contract.state) == ("approved", "authorized")
    assert contract.authorized_digest == request.digest
    assert fresh(request).valid_until == contract.valid_until
    world.settle()
    assert (fresh(request).state, contract_of(request).state) == ("spent", "verified")
    assert world.read() == {"port": 9000}
    assert [fact for fact in facts(contract) if fact.startswith(("approval", "contract"))] == [
        "contract.created",
        "contract.proposed",
        "contract.awaiting_approval",
        "approval.requested",
        "approval.decided",
        "approval.granted",
        "contract.authorized",
        "contract.executing",
        "contract.verifying",
        "contract.verified",
    ]


def test_a_decision_is_bound_to_its_entry_in_the_log(world):
    request = world.ask()
    world.decide(request, world.people.bea, reason="read it twice")
    decision = Decision.objects.get()
    entry = Entry.objects.get(pk=decision.entry_id)
    assert entry.fact == "approval.decided"
    data = entry.document()["data"]
    assert (data["digest"], data["verdict"], data["reason"]) == (request.digest, "approve", "read it twice")
    assert entry.actor_id == str(world.people.bea.pk)


# --- E ---


@pytest.mark.parametrize("digest", ["", "0" * 64, "not a digest", "\u00e9"])
def test_e_a_decision_with_another_digest_is_refused(world, digest):
    request = world.ask()
    assert code(lambda: world.decide(request, world.people.bea, digest=digest)) == "stale_digest"
    assert (fresh(request).state, Decision.objects.count()) == ("pending", 0)


def test_e_an_approval_is_spent_by_its_execution_and_allows_no_second_one(world):
    request = world.ask()
    world.decide(request, world.people.bea)
    world.settle()
    world.write({"port": 1})
    contract = contract_of(request)
    with log.recording():
        jobs.enqueue(kind=contracts.EXECUTION_JOB, subject_id=str(contract.pk), now=timezone.now())
    world.settle()
    assert world.read() == {"port": 1}
    assert contract.executions.count() == 1


def test_e_a_decision_sent_twice_counts_once(two):
    request = two.ask()
    two.decide(request, two.people.bea)
    assert code(lambda: two.decide(request, two.people.bea)) == "already_decided"
    assert contract_of(request).state == State.AWAITING_APPROVAL


def test_e_a_decision_on_what_is_decided_is_refused(world):
    request = world.ask()
    world.decide(request, world.people.bea)
    assert code(lambda: world.decide(request, world.people.cem)) == "request_not_pending"
    assert code(lambda: world.decide(request, world.people.cem, "reject")) == "request_not_pending"


# --- F ---


def test_f_the_requester_never_decides(world):
    world.people.bea.groups.add(Group.objects.get(name="operators"))
    request = world.submit(user=world.people.bea).approval
    for verdict in ("approve", "reject", "request_changes"):
        assert code(lambda: world.decide(request, world.people.bea, verdict)) == "separation_of_duties"  # noqa: B023


def test_f_the_agents_owner_never_decides(world):
    world.people.ada.groups.add(Group.objects.get(name="reviewers"))
    assert code(lambda: world.decide(world.ask(), world.people.ada)) == "separation_of_duties"


def test_f_the_agent_itself_never_decides(world):
    world.robot.groups.add(Group.objects.get(name="reviewers"))
    assert code(lambda: world.decide(world.ask(), world.robot)) == "separation_of_duties"


def test_f_no_superuser_flag_and_no_debug_lifts_it(world, settings):
    settings.DEBUG = True
    ada = world.people.ada
    ada.is_superuser = True
    ada.save()
    ada.groups.add(Group.objects.get(name="reviewers"))
    assert code(lambda: world.decide(world.ask(), ada)) == "separation_of_duties"
    assert code(lambda: world.decide(world.submit(user=ada).approval, ada)) == "separation_of_duties"


def test_f_another_agent_never_decides(world):
    other, _ = agents.create(
        name="other", owner=world.people.cem, by=principals.actor_of(world.people.cem), now=timezone.now()
    )
    other.user.groups.add(Group.objects.get(name="reviewers"))
    assert code(lambda: world.decide(world.ask(), other.user)) == "not_permitted"


# --- G ---


def test_g_one_person_in_two_groups_fills_one_slot(world):
    security = Group.objects.create(name="security")
    world.people.bea.groups.add(security)
    world.policy(
        tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 1}, {"group": "security", "count": 1}]}}
    )
    request = world.ask()
    world.decide(request, world.people.bea)
    assert contract_of(request).state == State.AWAITING_APPROVAL
    assert [slot.person is None for slot in approvals.slots(fresh(request), now=timezone.now())] == [False, True]
    world.decide(request, world.people.cem)
    assert contract_of(request).state == State.AUTHORIZED


def test_g_two_people_are_two(two):
    request = two.ask()
    two.decide(request, two.people.bea)
    assert contract_of(request).state == State.AWAITING_APPROVAL
    two.decide(request, two.people.cem)
    assert contract_of(request).state == State.AUTHORIZED


# --- H ---


@pytest.mark.parametrize("who", ["ada", "eve", "cleo", "administrator"])
def test_h_who_is_not_asked_cannot_decide(world, who):
    request = world.submit(user=world.people.dee).approval
    person = getattr(world.people, who)
    assert code(lambda: world.decide(request, person)) in {"not_an_approver", "not_permitted"}


def test_h_a_group_named_by_the_policy_may_decide_where_it_is_named(world):
    sre = Group.objects.create(name="sre")
    world.people.cleo.groups.add(sre)
    world.policy(
        {
            "name": "ports are for sre",
            "effect": "tier_2",
            "action_types": ["config.update"],
            "requirements": {"approvals": [{"group": "sre", "count": 1}]},
        },
        tiers={"tier_2": {}},
    )
    request = world.ask()
    assert code(lambda: world.decide(request, world.people.bea)) == "not_an_approver"
    world.decide(request, world.people.cleo)
    assert contract_of(request).state == State.AUTHORIZED


def test_h_somebody_inactive_cannot_decide_even_with_an_old_session(world):
    request = world.ask()
    stale = world.people.bea
    type(stale).objects.filter(pk=stale.pk).update(is_active=False)
    assert code(lambda: world.decide(request, stale)) == "not_permitted"


def test_h_an_approver_who_left_the_group_fills_no_slot_any_more(two):
    request = two.ask()
    two.decide(request, two.people.bea)
    two.people.bea.groups.clear()
    two.decide(request, two.people.cem)
    assert contract_of(request).state == State.AWAITING_APPROVAL
    two.decide(request, two.people.dee)
    assert contract_of(request).state == State.AUTHORIZED


# --- I ---


def test_i_a_request_expires_and_expiry_never_approves(world, clock):
    request = world.ask()
    clock.shift(timedelta(hours=24))
    assert code(lambda: world.decide(request, world.people.bea)) == "request_expired"
    assert approvals.expire_due(now=timezone.now()) == 1
    assert (fresh(request).state, contract_of(request).state) == ("expired", "expired")
    assert facts(contract_of(request))[-2:] == ["approval.expired", "contract.expired"]
    assert code(lambda: world.decide(request, world.people.bea)) == "request_expired"
    assert approvals.expire_due(now=timezone.now()) == 0


def test_i_a_request_does_not_expire_early(world, clock):
    request = world.ask()
    clock.shift(timedelta(hours=24) - timedelta(seconds=1))
    assert approvals.expire_due(now=timezone.now()) == 0
    world.decide(request, world.people.bea)


def test_i_a_request_for_changes_expires_like_a_pending_one(world, clock):
    request = world.ask()
    clock.shift(timedelta(hours=20))
    world.decide(request, world.people.bea, "request_changes")
    clock.shift(timedelta(hours=24) - timedelta(seconds=1))
    assert approvals.expire_due(now=timezone.now()) == 0
    clock.shift(timedelta(seconds=1))
    assert approvals.expire_due(now=timezone.now()) == 1
    assert (fresh(request).state, contract_of(request).state) == ("changes_requested", "expired")
    assert facts(contract_of(request))[-1] == "contract.expired"
    assert approvals.expire_due(now=timezone.now()) == 0


def test_i_a_request_for_changes_that_was_answered_does_not_expire_the_answer(world, clock):
    first = world.ask()
    world.decide(first, world.people.bea, "request_changes")
    clock.shift(timedelta(hours=23))
    _, second = proposals.revise(
        contract_id=first.contract_id,
        revision={"parameters": {"path": "app.json", "merge": {"port": 9001}}},
        by=principals.actor_of(world.robot),
        user=world.robot,
        now=timezone.now(),
    )
    clock.shift(timedelta(hours=2))
    assert approvals.expire_due(now=timezone.now()) == 0
    world.decide(second, world.people.bea, "request_changes")
    clock.shift(timedelta(hours=23))
    assert approvals.expire_due(now=timezone.now()) == 0
    clock.shift(timedelta(hours=1))
    assert approvals.expire_due(now=timezone.now()) == 1
    assert contract_of(first).state == "expired"


def test_i_the_clock_of_who_has_to_answer_stops_while_held(world, clock):
    request = world.ask()
    world.decide(request, world.people.bea, "request_changes")
    holds.engage(scope="everything", pattern="", reason="x", by=SYSTEM, user=None, now=timezone.now())
    clock.shift(timedelta(hours=30))
    assert approvals.expire_due(now=timezone.now()) == 0
    assert contract_of(request).state == "changes_requested"


def test_i_the_clock_stops_while_held(world, clock):
    request = world.ask()
    hold = holds.engage(
        scope="target",
        pattern="file:*",
        reason="looking into it",
        by=principals.actor_of(world.people.bea),
        user=world.people.bea,
        now=timezone.now(),
    )
    clock.shift(timedelta(hours=30))
    assert approvals.expire_due(now=timezone.now()) == 0
    holding.mark_released(hold_id=hold.pk, by=principals.actor_of(world.people.bea), reason="done", now=timezone.now())
    clock.shift(timedelta(hours=23))
    assert approvals.expire_due(now=timezone.now()) == 0
    clock.shift(timedelta(hours=1))
    assert approvals.expire_due(now=timezone.now()) == 1
    assert fresh(request).state == "expired"


# --- J ---


def test_j_one_rejection_ends_it(two):
    request = two.ask()
    two.decide(request, two.people.bea)
    two.decide(request, two.people.cem, "reject", reason="wrong port")
    assert (fresh(request).state, contract_of(request).state) == ("rejected", "rejected")
    assert fresh(request).closing_reason == "wrong port"
    two.settle()
    assert two.read() == {"port": 8000}


def test_j_the_policy_may_ask_for_more_rejections(world):
    world.policy(tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 1}], "denials": 2}})
    request = world.ask()
    world.decide(request, world.people.bea, "reject")
    assert fresh(request).state == "pending"
    world.decide(request, world.people.cem, "reject")
    assert fresh(request).state == "rejected"


@pytest.mark.parametrize(
    ("verdict", "more", "pointer"),
    [
        ("maybe", {}, "/verdict"),
        ("reject", {"reason": " "}, "/reason"),
        ("request_changes", {"reason": ""}, "/reason"),
        ("approve", {"reason": "x" * 4001}, "/reason"),
        ("approve", {"reason": "\x00"}, "/reason"),
        ("reject", {"edits": {"parameters": {}}}, "/edits"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(world, verdict, more, pointer):
    request = world.ask()
    with pytest.raises(approvals.BadDecision) as refusal:
        world.decide(request, world.people.bea, verdict, **more)
    assert pointer in [error.pointer for error in refusal.value.errors]


def test_a_request_nobody_made_is_not_found(world):
    request = world.ask()
    request.pk = request.contract_id
    assert code(lambda: world.decide(request, world.people.bea)) == "approval_not_found"


# --- K ---


def test_k_a_withdrawn_approval_stops_a_queued_execution(world):
    request = world.ask()
    world.decide(request, world.people.bea)
    world.withdraw(request, world.people.bea)
    assert (fresh(request).state, contract_of(request).state) == ("pending", "awaiting_approval")
    assert contract_of(request).authorized_digest == ""
    world.settle()
    assert world.read() == {"port": 8000}
    assert ApprovalRequest.objects.count() == 1
    world.decide(request, world.people.cem)
    world.settle()
    assert world.read() == {"port": 9000}


def test_k_who_withdrew_may_decide_anew(world):
    request = world.ask()
    world.decide(request, world.people.bea)
    world.withdraw(request, world.people.bea)
    world.decide(request, world.people.bea, "reject")
    assert fresh(request).state == "rejected"
    assert Decision.objects.filter(withdrawn_at=None).count() == 1


def test_k_a_surplus_approval_is_withdrawn_and_nothing_else_changes(two):
    request = two.ask()
    for person in (two.people.bea, two.people.cem):
        two.decide(request, person)
    assert code(lambda: two.withdraw(request, two.people.dee)) == "nothing_to_withdraw"
    two.withdraw(request, two.people.cem)
    assert fresh(request).state == "pending"


def test_k_nothing_is_withdrawn_once_it_has_begun(world):
    request = world.ask()
    world.decide(request, world.people.bea)
    world.settle()
    assert code(lambda: world.withdraw(request, world.people.bea)) == "already_started"


# --- L ---


def edits(world, port):
    body = world.body(port)
    return {"parameters": body["parameters"], "expected_effect": body["expected_effect"]}


def test_l_an_edited_approval_runs_as_edited_and_all_three_wordings_are_kept(world):
    request = world.ask()
    opened = world.decide(request, world.people.bea, edits=edits(world, 9500))
    assert opened.pk != request.pk
    assert opened.digest != request.digest
    assert (fresh(request).state, fresh(opened).state) == ("cancelled", "approved")
    world.settle()
    contract = contract_of(request)
    assert (contract.state, world.read()) == ("verified", {"port": 9500})
    wordings = [(each.origin, each.parameters["merge"]["port"]) for each in contract.revisions.all()]
    assert wordings == [("proposed", 9000), ("edited", 9500)]
    assert contract.executions.get().revision.number == 2
    decided = Entry.objects.get(fact="approval.decided").document()["data"]
    assert (decided["edited"], decided["shown_digest"], decided["digest"]) == (True, request.digest, opened.digest)


def test_l_the_editors_approval_counts_and_the_others_fall(two):
    request = two.ask()
    two.decide(request, two.people.bea)
    opened = two.decide(request, two.people.cem, edits=edits(two, 9500))
    assert fresh(opened).state == "pending"
    assert [slot.person for slot in approvals.slots(fresh(opened), now=timezone.now())] == [two.people.cem, None]
    two.decide(opened, two.people.bea)
    assert contract_of(request).state == State.AUTHORIZED


def test_l_the_requester_still_cannot_approve_what_was_edited(world):
    world.policy(tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 2}]}})
    request = world.submit(user=world.people.dee).approval
    opened = world.decide(request, world.people.bea, edits=edits(world, 9500))
    assert code(lambda: world.decide(opened, world.people.dee)) == "separation_of_duties"


def test_l_an_edit_is_checked_like_a_proposal(world):
    request = world.ask()
    bad = {"parameters": {"path": "../x", "merge": {}}}
    assert code(lambda: world.decide(request, world.people.bea, edits=bad)) == "invalid_proposal"
    assert code(lambda: world.decide(request, world.people.bea, edits={"tier": 1})) == "malformed"
    assert fresh(request).state == "pending"


def test_l_an_edit_the_policy_denies_leaves_the_request_as_it_was(world):
    world.policy({"name": "not 666", "effect": "deny", "reason": "no", "when": "parameters.merge.port == 666"})
    request = world.ask()
    act = world.decide
    assert code(lambda: act(request, world.people.bea, edits=edits(world, 666))) == "edit_denied_by_policy"
    assert (fresh(request).state, contract_of(request).current_revision) == ("pending", 1)


def test_l_an_edit_never_asks_for_less(world):
    world.policy(
        {
            "name": "high ports are grave",
            "effect": "tier_3",
            "when": "parameters.merge.port > 8999",
            "action_types": ["config.update"],
        }
    )
    request = world.ask()
    opened = world.decide(request, world.people.bea, edits=edits(world, 8500))
    assert (opened.tier, fresh(opened).state) == ("tier_3", "pending")


# --- M ---


def test_m_the_world_moved_so_people_are_asked_again_and_shown_how(world):
    request = world.ask()
    world.decide(request, world.people.bea)
    world.write({"port": 8001})
    world.settle()
    asked = newest(contract_of(request))
    assert (fresh(request).state, contract_of(request).state) == ("stale", "awaiting_approval")
    assert (asked.state, asked.pk != request.pk) == ("pending", True)
    assert asked.drift["request"] == str(request.pk)
    assert asked.drift["before"]["content"] == {"port": 8000}
    assert asked.drift["after"]["content"] == {"port": 8001}
    assert world.read() == {"port": 8001}
    world.decide(asked, world.people.bea)
    world.settle()
    assert (contract_of(request).state, world.read()) == ("verified", {"port": 9000})


def test_asking_again_twice_asks_once(world):
    request = world.ask()
    world.decide(request, world.people.bea)
    world.write({"port": 8001})
    world.settle()
    before = ApprovalRequest.objects.count()
    approvals.owe_reopening(request.contract_id, now=timezone.now())
    approvals.reopen(request.contract_id, now=timezone.now())
    mesh.deliver_all()
    world.settle()
    assert ApprovalRequest.objects.count() == before == 2


def test_what_cannot_be_asked_any_more_ends(world):
    request = world.ask()
    world.decide(request, world.people.bea)
    world.policy({"name": "never", "effect": "deny", "reason": "no more"})
    world.settle()
    assert (contract_of(request).state, fresh(request).state) == ("cancelled", "cancelled")
    assert "no more" in fresh(request).closing_reason


# --- batches ---


def test_a_batch_decides_each_item_by_its_own_digest(world):
    first, second, third = world.ask(port=1), world.ask(port=2), world.ask(port=3)
    items = [
        {"request_id": first.pk, "verdict": "approve", "digest": first.digest},
        {"request_id": second.pk, "verdict": "approve", "digest": first.digest},
        {"request_id": third.pk, "verdict": "reject", "digest": third.digest, "reason": "no"},
    ]
    bea = world.people.bea
    results = approvals.decide_many(items=items, by=principals.actor_of(bea), user=bea, now=timezone.now())
    assert [result.refused.code if result.refused else result.request.state for result in results] == [
        "approved",
        "stale_digest",
        "rejected",
    ]


def test_a_second_factor_the_policy_asks_for_is_needed(world):
    world.policy(tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 1}], "second_factor": True}})
    request = world.ask()
    assert code(lambda: world.decide(request, world.people.bea)) == "second_factor_required"
    world.decide(request, world.people.bea, second_factor=True)
    assert contract_of(request).state == State.AUTHORIZED


# --- refusals that matter are facts ---


def test_f_an_attempt_to_decide_on_ones_own_is_a_fact(world):
    world.people.ada.groups.add(Group.objects.get(name="reviewers"))
    request = world.ask()
    assert code(lambda: world.decide(request, world.people.ada)) == "separation_of_duties"
    assert code(lambda: world.decide(request, world.people.bea, digest="0" * 64)) == "stale_digest"
    noted = Entry.objects.filter(fact="approval.refused", contract_id=request.contract_id).order_by("id")
    assert [entry.document()["data"]["code"] for entry in noted] == ["separation_of_duties", "stale_digest"]
    assert {entry.outcome for entry in noted} == {"refused"}


def test_junk_decisions_cannot_flood_the_log(world):
    request = world.ask()
    for _ in range(noting.MOST_PER_MINUTE + 5):
        assert code(lambda: world.decide(request, world.people.eve)) == "not_permitted"
    assert Entry.objects.filter(fact="approval.refused").count() == noting.MOST_PER_MINUTE
    unnoted = Entry.objects.get(fact="refusals.unnoted")
    assert unnoted.document()["data"] == {"of": "approval.refused", "noted_per_minute": noting.MOST_PER_MINUTE}
    assert str(world.people.eve.pk) in unnoted.subject_id


def test_i_requests_that_are_held_keep_no_other_from_expiring(world, clock, monkeypatch):
    monkeypatch.setattr(approvals, "EXPIRE_AT_ONCE", 2)
    held = [world.ask(port=port) for port in (1, 2, 3)]
    clock.shift(timedelta(minutes=1))
    other = world.submit(world.body(4), user=world.people.ada).approval
    holds.engage(scope="agent", pattern="deployer", reason="x", by=SYSTEM, user=None, now=timezone.now())
    clock.shift(timedelta(hours=25))
    assert approvals.expire_due(now=timezone.now()) == 1
    assert [fresh(each).state for each in (*held, other)] == ["pending"] * 3 + ["expired"]
