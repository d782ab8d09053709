"""Playbooks: templates are read strictly, versions replace one another, runs go step by step."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from auditlog.actors import SYSTEM
from auditlog.models import Entry
from governance import policies, principals
from missions import missions, playbooks, templates
from missions.models import Mission, Playbook
from missions.templates import InvalidPlaybook, InvalidVariables
from tests.harness.errands import hear, lay_down_the_law, propose, settle, step, told
from tests.harness.ledger import Ledger
from tests.harness.people import People
from tests.test_missions import approve
from verification import executors
from verification.models import Contract

HOLE = {"line": {"schema": {"type": "string", "pattern": "^[a-z]+$"}, "default": "one"}}


# --- templates: no database ---


def parsed(variables: dict[str, Any] = HOLE, **parameters: Any) -> templates.Template:
    return templates.parse(variables=variables, steps=[step("Write {{line}}", line="{{line}}", **parameters)])


def test_holes_are_filled_with_their_types() -> None:
    variables = {**HOLE, "many": {"schema": {"type": "integer"}}}
    template = parsed(variables, nested=[{"deep": "{{many}}"}], said="{{many}} times {{line}}")
    (filled,) = template.fill({"many": 3, "line": "abc"})
    assert filled.title == "Write abc"
    assert filled.proposal["parameters"] == {"line": "abc", "nested": [{"deep": 3}], "said": "3 times abc"}
    assert set(filled.proposal) == {"action_type", "target", "parameters", "expected_effect"}


def test_a_default_stands_in() -> None:
    (filled,) = parsed().fill({})
    assert filled.proposal["parameters"]["line"] == "one"


@pytest.mark.parametrize(
    ("values", "pointer", "code"),
    [
        ({"line": "NO"}, "/variables/line", "no_match"),
        ({"line": 7}, "/variables/line", "wrong_type"),
        ({"other": "x"}, "/variables/other", "unknown_member"),
    ],
)
def test_wrong_values_are_named(values: dict[str, Any], pointer: str, code: str) -> None:
    with pytest.raises(InvalidVariables) as refused:
        parsed().fill(values)
    assert (pointer, code) in [(error.pointer, error.code) for error in refused.value.errors]


def test_a_value_without_default_is_required() -> None:
    with pytest.raises(InvalidVariables) as refused:
        parsed({"line": {"schema": {"type": "string"}}}).fill({})
    assert [error.code for error in refused.value.errors] == ["missing"]


def test_a_value_is_never_read_as_a_template() -> None:
    variables = {"line": {"schema": {"type": "string"}}, "secret": {"schema": {}, "default": "s"}}
    (filled,) = parsed(variables).fill({"line": "{{secret}}"})
    assert filled.proposal["parameters"]["line"] == "{{secret}}"


@pytest.mark.parametrize(
    ("variables", "steps", "pointer"),
    [
        ({}, [], "/steps"),
        ({}, [{**step("a"), "undo": {}}], "/steps/0/undo"),
        ({}, [{"title": "a"}], "/steps/0/action_type"),
        ({}, [step("{{unknown}}")], "/steps/0/title"),
        ({}, [step("a", deep=["{{unknown}}"])], "/steps/0/parameters/deep/0"),
        ({"x": {"schema": {"type": "nonsense"}}}, [step("a")], "/variables/x/schema"),
        ({"x": {"schema": {"$ref": "http://example.org/s.json"}}}, [step("a")], "/variables/x/schema"),
        ({"x": {"schema": {"type": "string"}, "default": 1}}, [step("a")], "/variables/x/default"),
        ({"X": {"schema": {}}}, [step("a")], "/variables"),
        ({}, [step("a", delay_seconds=-1)], "/steps/0/delay_seconds"),
    ],
)
def test_what_is_no_playbook_is_refused_by_field(variables: Any, steps: Any, pointer: str) -> None:
    with pytest.raises(InvalidPlaybook) as refused:
        templates.parse(variables=variables, steps=steps)
    assert any(error.pointer.startswith(pointer) for error in refused.value.errors)


# --- versions ---


def publish(name: str = "tidy", *steps: dict[str, Any], **more: Any) -> Playbook:
    given = {"title": f"Do {name}", "variables": {}, "by": SYSTEM, "now": timezone.now(), **more}
    return playbooks.publish(name=name, steps=list(steps) or [step("a")], **given)


@pytest.mark.django_db
def test_a_changed_document_is_a_new_version_and_the_same_one_is_not() -> None:
    first = publish()
    assert publish() == first
    second = publish("tidy", step("b"))
    assert (second.version, second.is_active) == (2, True)
    first.refresh_from_db()
    assert not first.is_active
    assert playbooks.active("tidy") == second
    assert Entry.objects.filter(fact="playbook.changed").count() == 2


@pytest.mark.django_db
def test_a_broken_document_is_not_published() -> None:
    with pytest.raises(InvalidPlaybook):
        publish("tidy", {"title": "only"})
    with pytest.raises(playbooks.NotFound):
        playbooks.active("tidy")


# --- runs ---


@pytest.fixture
def ledger(db: None, tmp_path: Any) -> Any:
    lay_down_the_law(timezone.now())
    executor = executors.register(Ledger(tmp_path))
    yield executor
    executors.unregister(executor.action_type)


def run(users: People, name: str = "tidy", **more: Any) -> Mission:
    ada = principals.actor_of(users.ada)
    return playbooks.run(name=name, by=ada, user=users.ada, now=timezone.now(), **more)


def test_a_run_goes_step_by_step_and_completes_by_itself(users: People, ledger: Ledger) -> None:
    publish("tidy", step("first", "ledger:calm1"), step("second", "ledger:calm2"))
    mission = run(users)
    assert [one.contract for one in mission.steps.all()] == [None, None]
    settle()
    mission.refresh_from_db()
    assert mission.state == "completed"
    one, two = (each.contract for each in mission.steps.select_related("contract"))
    assert (one.state, two.state) == ("verified", "verified")
    assert one.settled_at <= two.created_at
    assert {one.requested_by, two.requested_by} == {users.ada}
    assert {one.playbook, two.playbook} == {"tidy"}
    facts = told(mission.pk)
    assert facts[0] == "mission.started"
    assert facts[-1] == "mission.completed"
    assert facts.count("mission.progressed") == 2


def test_it_stops_at_the_first_step_that_goes_wrong(users: People, ledger: Ledger) -> None:
    publish("tidy", step("bad", "ledger:calm1", count=9), step("never", "ledger:calm2"))
    mission = run(users)
    settle()
    mission.refresh_from_db()
    assert mission.state == "failed"
    assert "rolled_back" in mission.ending_reason
    assert mission.steps.get(position=2).contract is None
    assert ledger.lines("ledger:calm2") == []


def test_a_step_that_cannot_be_proposed_fails_the_mission_with_the_reason(users: People, ledger: Ledger) -> None:
    publish("tidy", {**step("odd"), "expected_effect": {}})
    mission = run(users)
    settle()
    mission.refresh_from_db()
    failed = mission.steps.get()
    assert mission.state == "failed"
    assert failed.problem.startswith("verifies_nothing")
    assert missions.progress(mission_id=mission.pk).failed == 1
    assert "verifies_nothing" in mission.ending_reason


def test_who_runs_a_playbook_has_asked_for_its_steps(users: People, ledger: Ledger) -> None:
    publish("tidy", step("first", "ledger:code"), step("second", "ledger:calm2"))
    mission = run(users)
    settle()
    waiting = mission.steps.get(position=1).contract
    assert waiting is not None
    assert (waiting.state, waiting.tier, waiting.requested_by) == ("awaiting_approval", "tier_2", users.ada)
    assert mission.steps.get(position=2).contract is None
    approve(waiting, users.bea)
    settle()
    second = mission.steps.get(position=2).contract
    assert second is not None
    approve(second, users.bea)
    settle()
    mission.refresh_from_db()
    assert mission.state == "completed"


def test_c_a_plan_takes_the_highest_class_of_its_steps(users: People, ledger: Ledger) -> None:
    publish("tidy", step("first", "ledger:calm1"), step("second", "ledger:grave"))
    mission = run(users)
    settle()
    first = mission.steps.get(position=1).contract
    assert first is not None
    assert (first.state, first.tier) == ("awaiting_approval", "tier_3")
    assert ledger.lines("ledger:calm1") == []
    approve(first, users.bea)
    approve(first, users.cem)
    settle()
    assert ledger.lines("ledger:calm1") == ["one"]
    second = mission.steps.get(position=2).contract
    assert second is not None
    assert (second.state, second.tier) == ("awaiting_approval", "tier_3")


def test_c_a_plan_with_a_step_that_would_be_denied_does_not_begin_by_itself(users: People, ledger: Ledger) -> None:
    never = {"name": "never", "effect": "deny", "reason": "No.", "targets": ["ledger:calm2"]}
    in_force = policies.document_of(policies.current())
    document = {**in_force, "rules": [*in_force["rules"], never]}
    policies.publish(document=document, note="no", by=SYSTEM, now=timezone.now())
    publish("tidy", step("first", "ledger:calm1"), step("second", "ledger:calm2"))
    mission = run(users)
    settle()
    first = mission.steps.get(position=1).contract
    assert first is not None
    assert (first.state, first.tier) == ("awaiting_approval", "tier_3")


def test_c_a_plan_of_what_runs_by_itself_runs_by_itself(users: People, ledger: Ledger) -> None:
    publish("tidy", step("first", "ledger:calm1"), step("second", "ledger:calm2"))
    mission = run(users)
    settle()
    assert {each.contract.tier for each in mission.steps.select_related("contract") if each.contract} == {"tier_1"}


def test_a_rejected_step_fails_the_mission(users: People, ledger: Ledger) -> None:
    from governance import approvals
    from governance.models import ApprovalRequest

    publish("tidy", step("first", "ledger:code"))
    mission = run(users)
    settle()
    request = ApprovalRequest.objects.get()
    approvals.decide(
        request_id=request.pk,
        by=principals.actor_of(users.bea),
        user=users.bea,
        verdict="reject",
        digest=request.digest,
        reason="no",
        edits=None,
        now=timezone.now(),
    )
    settle()
    mission.refresh_from_db()
    assert mission.state == "failed"


def test_a_delayed_step_waits_in_its_contract(users: People, ledger: Ledger) -> None:
    publish("tidy", step("later", delay_seconds=600))
    mission = run(users)
    settle()
    contract = mission.steps.get().contract
    assert contract is not None
    assert contract.state == "authorized"
    settle(seconds=601)
    mission.refresh_from_db()
    assert mission.state == "completed"


def test_a_run_in_somebodys_mission_leaves_its_ending_to_them(users: People, ledger: Ledger) -> None:
    ada = principals.actor_of(users.ada)
    mission = missions.start(goal="Mine", by=ada, user=users.ada, now=timezone.now())
    propose(users.ada, mission_id=mission.pk, target="ledger:calm7", count=9)
    settle()
    publish("tidy", step("first", "ledger:calm1"), step("second", "ledger:calm2"))
    assert run(users, mission_id=mission.pk) == mission
    settle()
    mission.refresh_from_db()
    assert mission.state == "active"
    so_far = missions.progress(mission_id=mission.pk)
    assert (so_far.planned, so_far.completed, so_far.rolled_back) == (3, 2, 1)


def test_a_paused_mission_proposes_no_next_step(users: People, ledger: Ledger) -> None:
    publish("tidy", step("first", "ledger:calm1"), step("second", "ledger:calm2"))
    mission = run(users)
    missions.pause(mission_id=mission.pk, reason="wait", by=SYSTEM, now=timezone.now())
    settle()
    assert not Contract.objects.exists()
    missions.resume(mission_id=mission.pk, reason="go", by=SYSTEM, now=timezone.now())
    settle()
    mission.refresh_from_db()
    assert mission.state == "completed"


def test_proposing_a_step_twice_makes_one_contract(users: People, ledger: Ledger) -> None:
    publish("tidy", step("first", "ledger:code"))
    mission = run(users)
    first = mission.steps.get()
    playbooks.propose(step=first, now=timezone.now())
    playbooks.propose(step=first, now=timezone.now())
    settle()
    assert Contract.objects.count() == 1
    assert mission.steps.get().contract_id == Contract.objects.get().pk


def test_a_contract_whose_proposer_died_before_attaching_finds_its_step(users: People, ledger: Ledger) -> None:
    publish("tidy", step("first", "ledger:code"))
    mission = run(users)
    first = mission.steps.get()
    playbooks._submit(first, user=users.ada, by=principals.actor_of(users.ada), now=timezone.now())
    hear()
    first.refresh_from_db()
    assert first.contract_id == Contract.objects.get().pk
    assert mission.steps.count() == 1


def test_a_retried_step_takes_its_mission_up_again(users: People, ledger: Ledger) -> None:
    from verification import contracts

    publish("tidy", step("first", "ledger:calm1", then="refuse"), step("second", "ledger:calm2"))
    mission = run(users)
    for seconds in (0, 60, 600, 3600):
        settle(seconds=seconds)
    mission.refresh_from_db()
    contract = mission.steps.get(position=1).contract
    assert contract is not None
    assert (mission.state, contract.state) == ("failed", "failed")
    ledger.check = lambda call: []  # type: ignore[method-assign]
    ledger.execute = _succeed(ledger)  # type: ignore[method-assign]
    contracts.retry(contract_id=contract.pk, by=SYSTEM, now=timezone.now())
    settle(seconds=3700)
    mission.refresh_from_db()
    assert mission.state == "completed"
    assert "mission.resumed" in told(mission.pk)


def _succeed(ledger: Ledger) -> Any:
    from verification.executors.base import ExecutionResult

    def execute(call: Any, run: Any) -> ExecutionResult:
        with ledger.path(call.target).open("a") as file:
            file.write(call.parameters["line"] + "\n")
        return ExecutionResult.success()

    return execute


def test_bad_variables_and_unknown_names_run_nothing(users: People, ledger: Ledger) -> None:
    publish("tidy", step("{{line}}"), variables=HOLE)
    with pytest.raises(InvalidVariables):
        run(users, variables={"line": "NO"})
    with pytest.raises(playbooks.NotFound):
        run(users, "unheard-of")
    with pytest.raises(missions.NotFound):
        run(users, mission_id=uuid4())
    assert not Mission.objects.exists()


# --- choice ---


def _record(playbook: str, *, verified: int, failed: int) -> None:
    now = timezone.now()
    Contract.objects.bulk_create(
        Contract(
            action_type="ledger.append",
            executor_version="1",
            target="t",
            state=state,
            requested_by_kind="system",
            requested_by_label="sentinel",
            request_sha256="0" * 64,
            playbook=playbook,
            error_pattern="timeout",
            created_at=now,
            state_changed_at=now,
            settled_at=now,
        )
        for state, count in (("verified", verified), ("rolled_back", failed))
        for _ in range(count)
    )


@pytest.mark.django_db
def test_the_playbook_with_the_best_lower_bound_is_chosen() -> None:
    for name in ("oldest", "lucky", "proven"):
        publish(name, step(name), error_pattern="timeout")
    assert playbooks.best_for("database_locked") is None
    untried = playbooks.best_for("timeout")
    assert untried is not None
    assert (untried.playbook.name, untried.lower_bound) == ("oldest", 0.0)
    _record("lucky", verified=1, failed=0)
    _record("proven", verified=19, failed=1)
    _record("oldest", verified=0, failed=3)
    chosen = playbooks.best_for("timeout")
    assert chosen is not None
    assert chosen.playbook.name == "proven"
    assert 0.7 < chosen.lower_bound < 0.95


@pytest.mark.django_db
def test_nobody_else_fills_a_planned_step(users: People, ledger: Ledger) -> None:
    """A contract with the key of a step, from somebody else, is not that step's."""
    playbooks.publish(
        name="two",
        title="Two",
        steps=[step("One"), step("Two", line="two", count=2)],
        variables={},
        by=SYSTEM,
        now=timezone.now(),
    )
    ada = users.ada
    mission = playbooks.run(name="two", by=principals.actor_of(ada), user=ada, now=timezone.now())
    second = mission.steps.get(position=2)
    forged = propose(users.bea, mission_id=mission.pk, line="forged")
    Contract.objects.filter(pk=forged.pk).update(idempotency_key=second.key)
    assert playbooks._proposed(second) is None
    hear()
    second.refresh_from_db()
    assert second.contract is None
