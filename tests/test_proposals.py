"""From a proposal to a contract that is denied, waits or may run; and what is refused before that."""

import threading
import time
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from auditlog import log
from auditlog.actors import SYSTEM
from auditlog.models import Entry
from auditlog.refusals import Refused
from governance import looking, noting, principals, proposals
from governance.models import ApprovalRequest, Assessment
from governance.proposals import Proposal
from tests.harness.governed import Governed, contract_of, facts
from verification import contracts, executors
from verification.executors.base import ExecutorError
from verification.models import Contract, State
from verification.running import InsideTransaction

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(var_dir, users):
    return Governed(var_dir / "sandbox", users)


def refused(act):
    with pytest.raises(Refused) as refusal:
        act()
    return refusal.value


def test_it_waits_for_people_and_says_what_they_are_asked(world):
    submitted = world.submit()
    request = submitted.approval
    assert (submitted.tier, submitted.state) == ("tier_2", "awaiting_approval")
    assert submitted.digest == request.digest == Assessment.objects.get().digest
    assert request.requirements["approvals"] == [{"group": "reviewers", "count": 1}]
    assert '"port": 9000' in request.preview["body"]
    assert request.observation["state"]["content"] == {"port": 8000}
    assert request.risk["record"]["target"] == {
        "settled": 0,
        "verified": 0,
        "went_wrong": 0,
        "lower_bound": 0.0,
    }
    assert facts(submitted.contract)[:3] == ["contract.created", "contract.proposed", "contract.awaiting_approval"]
    assert facts(submitted.contract)[3] == "approval.requested"


def test_tier_1_is_authorized_at_once_on_its_assessment(world):
    world.trust()
    submitted = world.submit()
    assert (submitted.tier, submitted.state, submitted.approval) == ("tier_1", "authorized", None)
    assert submitted.contract.authorized_digest == submitted.digest == Assessment.objects.get().digest
    world.settle()
    submitted.contract.refresh_from_db()
    assert (submitted.contract.state, world.read()) == ("verified", {"port": 9000})


def test_a_denied_proposal_is_a_contract_that_says_why(world):
    world.policy({"name": "never ports", "effect": "deny", "reason": "Ports are fixed.", "instead": "service.restart"})
    submitted = world.submit()
    assert (submitted.state, submitted.tier, submitted.approval) == ("denied", "tier_3", None)
    moved = Entry.objects.get(fact="contract.denied").document()["data"]
    assert moved["reason"] == "Ports are fixed. Instead: service.restart"


def test_a_dry_run_answers_tier_and_preview_and_writes_nothing(world):
    before = Entry.objects.count()
    submitted = world.submit(dry_run=True, key="k")
    assert (submitted.tier, submitted.state, submitted.contract) == ("tier_2", "awaiting_approval", None)
    assert '"port": 9000' in submitted.look.preview.body
    assert (Contract.objects.count(), Entry.objects.count()) == (0, before)


# --- the same once more ---


def test_the_same_key_and_body_give_the_same_answer(world):
    first, second = world.submit(key="k"), world.submit(key="k")
    assert not first.replayed
    assert second.replayed
    assert (second.contract, second.approval) == (first.contract, first.approval)
    assert (second.digest, second.tier, second.state) == (first.digest, first.tier, first.state)
    assert Contract.objects.count() == 1


def test_the_same_key_is_another_key_for_somebody_else(world):
    assert world.submit(key="k").contract != world.submit(key="k", user=world.people.ada).contract


def test_the_same_key_with_another_body_is_refused(world):
    world.submit(key="k")
    assert refused(lambda: world.submit(world.body(9001), key="k")).code == "idempotency_key_reused"


@pytest.mark.parametrize("key", ["", "x" * 201, "a\x00b", "a\nb"])
def test_a_key_that_cannot_be_one_is_refused(world, key):
    assert refused(lambda: world.submit(key=key)).code == "bad_idempotency_key"


@pytest.mark.django_db(transaction=True)
def test_two_at_once_with_one_key_make_one_contract(world):
    barrier, answers, robot = threading.Barrier(4), [], world.robot

    def propose():
        barrier.wait()
        try:
            answers.append(world.submit(key="k", user=robot))
        except Exception as error:  # noqa: BLE001 - looked at below
            answers.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=propose) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(each).__name__ for each in answers] == ["Submitted"] * 4
    assert len({each.contract.pk for each in answers}) == 1
    assert Contract.objects.count() == ApprovalRequest.objects.count() == 1


# --- what is refused ---


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"action_type": "no.such"}, "unknown_action_type", "/action_type"),
        ({"expected_effect": {}}, "verifies_nothing", "/expected_effect"),
        ({"parameters": {"path": "app.json"}}, "invalid_proposal", "/parameters"),
        ({"target": "file:other.json"}, "invalid_proposal", "/target"),
        ({"preconditions": [{"type": "nonsense"}]}, "invalid_expected_effect", "/preconditions/0/type"),
        (
            {"expected_effect": {"success_criteria": [{"type": "state_match", "path": "a b", "equals": 1}]}},
            "invalid_expected_effect",
            "/expected_effect/success_criteria/0/path",
        ),
        (
            {"parameters": {"path": "../x", "merge": {}}, "target": "file:../x"},
            "invalid_proposal",
            "/parameters/path",
        ),
        ({"callback_url": "https://example.com/"}, "invalid_proposal", "/callback_url"),
    ],
)
def test_what_cannot_be_proposed_names_the_field_and_leaves_no_contract(world, change, code, pointer):
    refusal = refused(lambda: world.submit({**world.body(), **change}))
    assert refusal.code == code
    assert pointer in [error.pointer for error in refusal.errors]
    assert Contract.objects.count() == 0


def test_everything_wrong_is_named_at_once(world):
    body = {**world.body(), "target": "file:b.json", "expected_effect": {}, "preconditions": [{}]}
    pointers = {error.pointer for error in refused(lambda: world.submit(body)).errors}
    assert pointers == {"/target", "/expected_effect", "/preconditions/0/type"}


@pytest.mark.parametrize(
    ("body", "kind", "pointer", "code"),
    [
        ([], "MALFORMED", "", "wrong_type"),
        ({}, "MALFORMED", "/action_type", "missing"),
        ({"surprise": 1}, "MALFORMED", "/surprise", "unknown_member"),
        ({"a/b~c": 1}, "MALFORMED", "/a~1b~0c", "unknown_member"),
        ({"action_type": 1}, "MALFORMED", "/action_type", "wrong_type"),
        ({"target": "x" * 501}, "MALFORMED", "/target", "too_long"),
        ({"parameters": []}, "MALFORMED", "/parameters", "wrong_type"),
        ({"preconditions": {}}, "MALFORMED", "/preconditions", "wrong_type"),
        ({"preconditions": [{}] * 21}, "MALFORMED", "/preconditions", "too_long"),
        ({"mission_id": "x"}, "MALFORMED", "/mission_id", "wrong_type"),
        ({"confidence": 1.5}, "MALFORMED", "/confidence", "out_of_range"),
        ({"confidence": True}, "MALFORMED", "/confidence", "wrong_type"),
        ({"not_before": "2026-11-23T12:00:00"}, "MALFORMED", "/not_before", "wrong_type"),
        ({"not_before": "soon"}, "MALFORMED", "/not_before", "wrong_type"),
        ({"parameters": {"n": 2**53}}, "INVALID", "/parameters/n", "not_storable"),
        ({"parameters": {"n": [1e22]}}, "INVALID", "/parameters/n/0", "not_storable"),
        ({"parameters": {"n": float("nan")}}, "INVALID", "/parameters/n", "not_storable"),
        ({"parameters": {"s": "a\x00"}}, "INVALID", "/parameters/s", "not_storable"),
        ({"parameters": {"s": "\ud800"}}, "INVALID", "/parameters/s", "not_storable"),
        ({"parameters": {"a\x00": 1}}, "INVALID", "/parameters", "not_storable"),
        ({"parameters": {"s": "x" * 300_000}}, "TOO_LARGE", None, None),
    ],
)
def test_a_body_of_the_wrong_shape_is_refused_by_field(body, kind, pointer, code):
    whole = {"action_type": "a", "target": "t", **body} if body and isinstance(body, dict) else body
    refusal = refused(lambda: Proposal.from_body(whole))
    assert refusal.kind.name == kind
    if pointer is not None:
        assert (pointer, code) in [(error.pointer, error.code) for error in refusal.errors]


def test_nesting_without_end_is_refused():
    deep: dict = {}
    for _ in range(100):
        deep = {"a": deep}
    refusal = refused(lambda: Proposal.from_body({"action_type": "a", "target": "t", "parameters": deep}))
    assert refusal.errors[0].code == "too_deep"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"parameters": {"path": "../x", "merge": {}}, "target": "file:../x"}, "path_escapes"),
        ({"action_type": "no.such"}, "unknown_action_type"),
    ],
)
def test_reaching_for_what_one_may_not_have_is_a_fact(world, change, code):
    refused(lambda: world.submit({**world.body(), **change}))
    [entry] = Entry.objects.filter(fact="proposal.refused")
    assert (entry.outcome, entry.actor_kind) == ("refused", "agent")
    assert entry.document()["data"]["action_type"] == change.get("action_type", "config.update")


def test_a_slip_is_no_fact(world):
    refused(lambda: world.submit({**world.body(), "parameters": {"path": "app.json"}}))
    refused(lambda: world.submit({**world.body(), "expected_effect": {}}))
    assert not Entry.objects.filter(fact="proposal.refused").exists()


def test_junk_cannot_flood_the_log(world):
    for _ in range(noting.MOST_PER_MINUTE + 5):
        refused(lambda: world.submit({**world.body(), "action_type": "no.such"}))
    assert Entry.objects.filter(fact="proposal.refused").count() == noting.MOST_PER_MINUTE


def test_an_agent_may_propose_only_what_its_owner_allowed(world):
    world.agent.allowed_action_types = ["http.request"]
    world.agent.save()
    assert refused(world.submit).code == "action_type_not_allowed"
    assert world.submit(user=world.people.ada).state == "awaiting_approval"


@pytest.mark.parametrize("who", ["eve", "cleo"])
def test_who_may_not_propose_is_refused(world, who):
    assert refused(lambda: world.submit(user=getattr(world.people, who))).code == "not_permitted"


def test_a_flood_of_open_requests_is_stopped_with_a_time_to_come_back(world):
    world.agent.open_request_limit = 2
    world.agent.save()
    for port in (1, 2):
        world.submit(world.body(port))
    refusal = refused(lambda: world.submit(world.body(3)))
    assert (refusal.code, refusal.kind.name) == ("too_many_open_requests", "LIMITED")
    assert refusal.retry_after == proposals.RETRY_AFTER_SECONDS
    assert Contract.objects.count() == 2
    assert world.submit(world.body(3), user=world.people.ada).approval is not None


# --- looking ---


class Sluggish:
    """Passes on everything to a real executor, and is slow or blind."""

    def __init__(self, executor, problem):
        self.executor, self.problem = executor, problem

    def __getattr__(self, name):
        return getattr(self.executor, name)

    def observe(self, call):
        self.problem()
        return self.executor.observe(call)


def blind():
    raise ExecutorError("the disk is gone")


@pytest.mark.parametrize(("problem", "words"), [(blind, "disk is gone"), (lambda: time.sleep(0.5), "did not answer")])
def test_a_target_that_cannot_be_looked_at_is_refused(world, monkeypatch, problem, words):
    monkeypatch.setattr(looking, "DEADLINE_SECONDS", 0.1)
    executor = Sluggish(executors.get("config.update"), problem)
    call = executors.Call("config.update", "file:app.json", world.body()["parameters"])
    refusal = refused(lambda: looking.look(executor, call, seconds=0.1))
    assert refusal.code == "target_not_observable"
    assert words in refusal.detail


# --- second thoughts ---


def cancel(world, contract, user):
    return proposals.cancel(
        contract_id=contract.pk,
        by=principals.actor_of(user),
        user=user,
        reason="not needed",
        now=timezone.now(),
    )


@pytest.mark.parametrize("who", ["robot", "ada", "administrator"])
def test_k_who_asked_may_cancel_and_the_request_ends(world, who):
    request = world.ask()
    user = world.robot if who == "robot" else getattr(world.people, who)
    contract = cancel(world, contract_of(request), user)
    request.refresh_from_db()
    assert (contract.state, request.state) == ("cancelled", "cancelled")
    assert facts(contract)[-2:] == ["approval.cancelled", "contract.cancelled"]


def test_k_nobody_else_may_cancel(world):
    request = world.ask()
    assert refused(lambda: cancel(world, contract_of(request), world.people.bea)).code == "not_yours"
    assert refused(lambda: cancel(world, contract_of(request), world.people.eve)).code == "not_permitted"


def test_k_a_cancelled_approval_never_runs(world):
    request = world.ask()
    world.decide(request, world.people.bea)
    cancel(world, contract_of(request), world.robot)
    world.settle()
    assert contract_of(request).state == State.CANCELLED
    assert world.read() == {"port": 8000}


def revise(world, contract, body, user=None):
    user = user or world.robot
    by = principals.actor_of(user)
    return proposals.revise(contract_id=contract.pk, revision=body, by=by, user=user, now=timezone.now())


def test_j_changes_are_requested_and_answered_with_a_new_revision(world):
    request = world.ask()
    world.decide(request, world.people.bea, "request_changes", reason="another port please")
    contract = contract_of(request)
    assert contract.state == State.CHANGES_REQUESTED
    other = world.body(9001)
    revision, asked = revise(world, contract, {name: other[name] for name in ("parameters", "expected_effect")})
    assert (revision.number, revision.origin) == (2, "revised")
    assert asked.digest != request.digest
    assert contract_of(request).state == State.AWAITING_APPROVAL
    world.decide(asked, world.people.bea)
    world.settle()
    assert (contract_of(request).state, world.read()) == ("verified", {"port": 9001})


def test_only_who_asked_may_revise_and_only_when_asked_to(world):
    request = world.ask()
    body = {"parameters": world.body(9001)["parameters"]}
    with pytest.raises(contracts.NotNow):
        revise(world, contract_of(request), body)
    world.decide(request, world.people.bea, "request_changes")
    assert refused(lambda: revise(world, contract_of(request), body, world.people.cem)).code == "not_yours"
    assert refused(lambda: revise(world, contract_of(request), {"tier": "tier_1"})).code == "malformed"
    assert refused(lambda: revise(world, contract_of(request), {})).code == "malformed"


def test_what_is_observed_is_never_observed_inside_a_transaction(world):
    with pytest.raises(InsideTransaction), log.recording():
        world.submit()


def test_grace_itself_proposes_without_a_user(world):
    submitted = proposals.submit(
        proposal=Proposal.from_body(world.body()),
        by=SYSTEM,
        user=None,
        idempotency_key="step-1",
        now=timezone.now(),
    )
    assert submitted.contract.requested_by is None
    world.decide(submitted.approval, world.people.bea)
    assert contract_of(submitted.approval).state == State.AUTHORIZED


def test_a_revision_may_wait_for_its_time(world, clock):
    starts = timezone.now() + timedelta(hours=2)
    request = world.ask(not_before=starts.isoformat())
    world.decide(request, world.people.bea)
    world.settle()
    assert contract_of(request).state == State.AUTHORIZED
    clock.shift(timedelta(hours=2, seconds=1))
    world.settle()
    assert contract_of(request).state == State.VERIFIED


# --- what is denied is not looked at ---


@pytest.fixture
def secret(world):
    """A file nobody may touch by the policy."""
    (world.file.parent / "secrets.json").write_text('{"password": "hunter2"}')
    world.policy({"name": "no", "effect": "deny", "reason": "never", "targets": ["file:secrets.json"]})
    return {
        **world.body(),
        "target": "file:secrets.json",
        "parameters": {"path": "secrets.json", "content": "{}"},
        "expected_effect": {"target_state": {"exists": True}},
    }


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_the_policy_denies_is_neither_read_nor_shown(world, secret, monkeypatch, dry_run):
    monkeypatch.setattr(looking, "look", lambda *_, **__: pytest.fail("it was looked at"))
    submitted = world.submit(secret, dry_run=dry_run)
    assert (submitted.state, submitted.look) == ("denied", None)


def test_denied_dry_runs_are_facts_within_bounds(world, secret):
    for _ in range(30):
        world.submit(secret, dry_run=True)
    noted = [entry.document()["data"]["code"] for entry in Entry.objects.filter(fact="proposal.refused")]
    assert noted == ["denied_by_policy"] * 20


def test_keys_that_grace_makes_are_its_own(world):
    with pytest.raises(Refused) as refusal:
        world.submit(key="step:0190")
    assert (refusal.value.code, refusal.value.kind) == ("bad_idempotency_key", Refused.Kind.MALFORMED)
    assert not Contract.objects.exists()


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-11-23T12:00:00"])
def test_a_start_at_the_edges_of_time_or_without_an_offset_is_malformed(at):
    with pytest.raises(Refused) as refusal:
        Proposal.from_body({"action_type": "x", "target": "y", "not_before": at})
    assert [error.pointer for error in refusal.value.errors] == ["/not_before"]


def test_a_start_lies_at_most_a_year_ahead(world):
    far = (timezone.now() + timedelta(days=400)).isoformat()
    with pytest.raises(Refused) as refusal:
        world.submit(world.body(not_before=far))
    assert [(error.pointer, error.code) for error in refusal.value.errors] == [("/not_before", "out_of_range")]


def test_json_nested_without_end_is_malformed(world, client):
    client.force_login(world.people.ada)
    answer = client.post("/api/verification/contracts", "[" * 200_000, content_type="application/json")
    assert answer.status_code == 400
