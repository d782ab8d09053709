"""Incidents: nothing reported is lost, one problem is one incident, and the story hangs together to its
end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone

from auditlog.actors import SYSTEM, Actor
from auditlog.models import Entry, Job
from governance import agents, approvals, holds, principals
from governance import seeds as governance_seeds
from governance.models import ApprovalRequest
from missions import incidents, missions, patterns, playbooks, reports, sandbox, seeds
from missions.models import Incident, Mission
from missions.reports import ErrorReport, InvalidReport
from missions.sandbox import Sandbox
from tests.harness.clients import agent_of
from tests.harness.errands import hear, settle, step, told
from tests.harness.people import People
from tests.test_missions import approve
from verification.models import Contract

pytestmark = pytest.mark.django_db

SCOUT = Actor("agent", "7", "scout")

STORY = [
    "error.detected",
    "agentic.problem_identified",
    "agentic.action_planned",
    "agentic.action_executing",
    "agentic.action_completed",
    "agentic.problem_resolved",
]


@pytest.fixture
def world(var_dir: Any) -> Sandbox:
    """A new sandbox, the seeded policy and the seeded playbooks."""
    written = sandbox.write()
    governance_seeds.seed(now=timezone.now())
    seeds.seed(now=timezone.now())
    return written


def locked(**more: Any) -> ErrorReport:
    given = {
        "error_type": "OperationalError",
        "error_message": "database is locked: lock file app.lock exists",
        "severity": "error",
        "source": "billing",
    }
    return ErrorReport(**{**given, **more})


def tell(report: ErrorReport | None = None, *, user: User | None = None) -> Incident:
    by = principals.actor_of(user) if user else SCOUT
    return incidents.report(report=report or locked(), by=by, user=user, now=timezone.now())


def after(incident: Incident) -> Incident:
    """Everything due was done; the incident as it is then."""
    settle()
    incident.refresh_from_db()
    return incident


# --- from error to resolution ---


def test_a_known_problem_is_cured_without_a_person(world: Sandbox) -> None:
    incident = after(tell())
    assert incident.state == "resolved"
    assert (incident.error_pattern, str(incident.confidence)) == ("database_locked", "0.9000")
    assert incident.playbook == "release-stale-lock"
    assert not world.lock.exists()
    contract = Contract.objects.get()
    assert (contract.state, contract.tier, contract.incident_id) == ("verified", "tier_1", incident.pk)
    assert (contract.playbook, contract.error_pattern) == ("release-stale-lock", "database_locked")
    assert str(contract.stated_confidence) == "0.9000"
    assert incident.mission is not None
    assert incident.mission.state == "completed"


def test_the_whole_story_carries_one_mission_id_in_order(world: Sandbox) -> None:
    incident = after(tell())
    assert incident.mission_id is not None
    facts = told(incident.mission_id)
    assert facts[0] == "error.detected"
    assert [fact for fact in facts if fact in STORY] == STORY
    for fact in (
        "incident.opened",
        "mission.started",
        "mission.progressed",
        "mission.completed",
        "incident.resolved",
    ):
        assert facts.count(fact) == 1


def test_each_part_of_the_story_names_what_led_to_it(world: Sandbox) -> None:
    incident = after(tell())
    by_fact = {entry.fact: entry for entry in Entry.objects.filter(mission_id=incident.mission_id)}
    by_id = {entry.pk: entry for entry in by_fact.values()}

    def causes(fact: str) -> list[str]:
        found, entry = [], by_fact[fact]
        while entry.caused_by in by_id:
            entry = by_id[entry.caused_by]
            found.append(entry.fact)
        return found

    assert causes("agentic.problem_identified") == ["error.detected"]
    assert causes("agentic.action_planned") == ["agentic.problem_identified", "error.detected"]
    assert causes("contract.created")[-1] == "error.detected"
    assert causes("agentic.action_executing")[-1] == "error.detected"
    assert causes("incident.resolved")[:4] == [
        "agentic.problem_resolved",
        "mission.progressed",
        "contract.verified",
        "contract.authorized",
    ]
    assert causes("incident.resolved")[-1] == "error.detected"


def test_an_action_that_fails_hands_the_incident_to_people(world: Sandbox) -> None:
    playbooks.publish(
        name="release-stale-lock",
        title="Promise too much",
        error_pattern="database_locked",
        variables={},
        steps=[
            {
                **seeds.PLAYBOOKS[0]["steps"][0],
                "expected_effect": {"target_state": {"locked": "never"}},
            }
        ],
        by=SYSTEM,
        now=timezone.now(),
    )
    before = world.lock.read_bytes()
    incident = after(tell())
    assert incident.state == "escalated"
    assert "rolled_back" in incident.escalation_reason
    assert incident.resolved_at is None
    assert incident.mission is not None
    assert incident.mission.state == "failed"
    assert world.lock.read_bytes() == before
    facts = told(incident.mission_id)
    assert "agentic.action_failed" in facts
    assert "incident.escalated" in facts
    assert "agentic.problem_resolved" not in facts


def test_what_the_policy_keeps_for_people_waits_for_them(users: People, world: Sandbox) -> None:
    report = locked(error_type="ConfigError", error_message="max_connections 0 is out of range")
    incident = after(tell(report))
    assert (incident.state, incident.error_pattern) == ("planned", "validation_error")
    look = Contract.objects.get()
    assert (look.state, look.tier) == ("awaiting_approval", "tier_2"), "the plan changes something"
    approve(look, users.bea)
    incident = after(incident)
    change = Contract.objects.get(settled_at=None)
    assert (change.state, change.tier) == ("awaiting_approval", "tier_2")
    approve(change, users.bea)
    incident = after(incident)
    assert incident.state == "resolved"


def test_values_from_the_report_fill_the_playbook_and_bad_ones_do_not(world: Sandbox) -> None:
    report = locked(error_type="validation_error", error_message="x", context={"max_connections": 40, "other": 1})
    incident = after(tell(report))
    planned = incident.steps.get(position=2)
    assert planned.plan is not None
    assert planned.plan["proposal"]["parameters"]["merge"] == {"max_connections": 40}
    wrong = locked(error_type="validation_error", error_message="y", context={"max_connections": "'; DROP"})
    incident = after(tell(wrong))
    assert incident.state == "escalated"
    assert "cannot be run" in incident.escalation_reason


# --- what it may do by itself ---


@pytest.mark.parametrize(
    ("pattern", "tier"),
    [
        ("timeout", "tier_2"),
        ("dependency_unavailable", "tier_2"),
        ("permission_denied", "tier_3"),
        ("odd", "tier_3"),
    ],
)
def test_where_it_is_not_sure_enough_it_asks(world: Sandbox, pattern: str, tier: str) -> None:
    playbooks.publish(
        name=f"cure-{pattern.replace('_', '-')}",
        title="Release",
        error_pattern="unknown" if pattern == "odd" else pattern,
        variables={},
        steps=seeds.PLAYBOOKS[0]["steps"],
        by=SYSTEM,
        now=timezone.now(),
    )
    incident = after(tell(locked(error_type=pattern, error_message="something")))
    assert incident.state == "planned"
    contract = Contract.objects.get()
    assert (contract.state, contract.tier) == ("awaiting_approval", tier)
    assert world.lock.exists()


def test_told_not_to_execute_it_proposes_everything_for_approval(world: Sandbox, settings: Any, users: People) -> None:
    settings.SELF_HEAL_EXECUTE = False
    incident = after(tell())
    contract = Contract.objects.get()
    assert (contract.state, contract.tier) == ("awaiting_approval", "tier_2")
    assert world.lock.exists()
    approve(contract, users.bea)
    incident = after(incident)
    assert incident.state == "resolved"


def test_told_only_to_observe_it_plans_and_proposes_nothing(world: Sandbox, settings: Any) -> None:
    settings.SELF_HEAL_OBSERVE_ONLY = True
    incident = after(tell())
    assert incident.state == "planned"
    assert not Contract.objects.exists()
    assert world.lock.exists()
    assert incident.mission is not None
    assert incident.mission.state == "planned"
    assert incident.steps.count() == 1
    planned = Entry.objects.get(fact="agentic.action_planned")
    assert planned.data["observe_only"] is True
    missions.resume(mission_id=incident.mission_id, reason="go on", by=SYSTEM, now=timezone.now())
    incident = after(incident)
    assert incident.state == "resolved"


def test_a_problem_nobody_knows_a_cure_for_is_handed_to_people(world: Sandbox, users: People) -> None:
    incident = after(tell(locked(error_type="Odd", error_message="sideways")))
    assert (incident.state, incident.error_pattern) == ("escalated", "unknown")
    assert "No playbook" in incident.escalation_reason
    assert not Contract.objects.exists()
    assert incident.mission is not None
    assert incident.mission.state == "planned"
    missions.complete(
        mission_id=incident.mission_id,
        by=principals.actor_of(users.ada),
        now=timezone.now(),
        reason="by hand",
    )
    incident = after(incident)
    assert incident.state == "resolved"


def test_with_tracking_off_an_error_is_taken_in_and_handed_to_people(world: Sandbox, settings: Any) -> None:
    settings.MISSION_TRACKING_ENABLED = False
    incident = after(tell())
    assert (incident.state, incident.mission) == ("escalated", None)
    assert "not tracked" in incident.escalation_reason
    assert Entry.objects.filter(fact="error.detected").count() == 1


def test_planning_that_fails_for_good_loses_nothing(world: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a bug in a pattern")

    monkeypatch.setattr(patterns, "classify", broken)
    incident = tell()
    for seconds in (0, 60, 600, 3600, 36000):
        settle(seconds=seconds)
    incident.refresh_from_db()
    assert incident.state == "escalated"
    assert "RuntimeError" in incident.escalation_reason
    assert Job.objects.get(kind=incidents.PLAN_JOB).state == "dead"
    assert Entry.objects.filter(fact="error.detected").count() == 1


# --- one problem, one incident ---


def test_the_same_problem_again_counts_on_the_open_incident(world: Sandbox) -> None:
    first = tell()
    second = tell(locked(error_message="database is locked:  lock file APP.lock exists"))
    assert first == second
    assert second.occurrence_count == 2
    assert Entry.objects.filter(fact="error.detected").count() == 2
    assert Entry.objects.filter(fact="incident.opened").count() == 1
    assert Job.objects.filter(kind=incidents.PLAN_JOB).count() == 1
    resolved = after(first)
    assert tell() != resolved


def test_an_error_inside_an_incidents_mission_opens_no_other(world: Sandbox) -> None:
    incident = tell()
    inside = tell(locked(error_type="Other", error_message="disk is full", mission_id=incident.mission_id))
    assert inside == incident
    assert (Incident.objects.count(), inside.occurrence_count) == (1, 1)
    assert told(incident.mission_id).count("error.detected") == 2


def test_an_error_in_somebodys_mission_is_cured_within_it(world: Sandbox, users: People) -> None:
    ada = principals.actor_of(users.ada)
    mission = missions.start(goal="Mine", by=ada, user=users.ada, now=timezone.now())
    incident = after(tell(locked(mission_id=mission.pk)))
    assert (incident.mission, incident.state) == (mission, "resolved")
    mission.refresh_from_db()
    assert mission.state == "active"
    assert [fact for fact in told(mission.pk) if fact in STORY] == STORY


def test_an_error_from_a_mission_that_has_ended_gets_one_of_its_own(world: Sandbox, users: People) -> None:
    ada = principals.actor_of(users.ada)
    mission = missions.start(goal="Mine", by=ada, user=users.ada, now=timezone.now())
    missions.complete(mission_id=mission.pk, by=ada, now=timezone.now())
    incident = tell(locked(mission_id=mission.pk))
    assert incident.mission_id != mission.pk


def test_an_error_from_a_mission_nobody_knows_is_refused(world: Sandbox) -> None:
    with pytest.raises(incidents.UnknownMission) as refused:
        tell(locked(mission_id=uuid4()))
    assert refused.value.errors[0].pointer == "/mission_id"
    assert not Incident.objects.exists()
    assert not Mission.objects.exists()


def test_an_agent_reports_into_no_mission_of_somebody_else(world: Sandbox, users: People) -> None:
    mission = missions.start(goal="Mine", by=principals.actor_of(users.ada), user=users.ada, now=timezone.now())
    nosy = agent_of(users.bea, timezone.now(), name="nosy")[0].user
    with pytest.raises(incidents.UnknownMission):
        tell(locked(mission_id=mission.pk), user=nosy)
    agent = agent_of(users.ada, timezone.now())[0].user
    assert tell(locked(mission_id=mission.pk), user=agent).mission_id == mission.pk


@pytest.mark.django_db(transaction=True)
def test_eight_reports_at_once_are_one_incident(world: Sandbox) -> None:
    barrier, found = threading.Barrier(8), []

    def report() -> None:
        try:
            barrier.wait()
            found.append(tell().pk)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=report) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    incident = Incident.objects.get()
    assert incident.occurrence_count == 8
    assert Entry.objects.filter(fact="error.detected").count() == 8
    assert Mission.objects.count() == 1


# --- what a report may look like ---


BODY = {"error_type": "E", "error_message": "m", "severity": "error", "source": "s"}


def test_a_body_is_read() -> None:
    mission_id = uuid4()
    body = {**BODY, "error_id": "e-1", "mission_id": str(mission_id), "context": {"a": 1.5}}
    report = ErrorReport.from_body(body)
    assert (report.error_id, report.mission_id, report.context) == ("e-1", mission_id, {"a": 1.5})
    assert ErrorReport.from_body({**BODY, "error_id": None, "mission_id": None, "context": None}).context == {}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"error_type": ""}, "/error_type"),
        ({"error_type": "x" * 201}, "/error_type"),
        ({"error_message": None}, "/error_message"),
        ({"severity": "apocalyptic"}, "/severity"),
        ({"mission_id": "not a uuid"}, "/mission_id"),
        ({"context": []}, "/context"),
        ({"more": 1}, "/more"),
    ],
)
def test_a_wrong_body_is_refused_by_field(change: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidReport) as refused:
        ErrorReport.from_body({**BODY, **change})
    assert [error.pointer for error in refused.value.errors] == [pointer]


@pytest.mark.parametrize("body", [None, [], "text", 7, {}])
def test_what_is_no_report_is_refused(body: object) -> None:
    with pytest.raises(InvalidReport):
        ErrorReport.from_body(body)
    with pytest.raises(InvalidReport):
        reports.from_alertmanager(body)


def alert(**more: Any) -> dict[str, Any]:
    return {"status": "firing", "labels": {"alertname": "ServiceDown"}, "fingerprint": "b2f0", **more}


def test_alerts_that_fire_become_reports() -> None:
    body = {
        "version": "4",
        "status": "firing",
        "groupLabels": {},
        "alerts": [
            alert(
                labels={"alertname": "ServiceDown", "job": "billing", "severity": "CRITICAL"},
                annotations={"summary": "short", "description": "connection refused by billing"},
            ),
            alert(status="resolved"),
            alert(labels={"alertname": "Slow", "error_type": "timeout", "severity": "page"}, fingerprint="c3"),
        ],
    }
    down, slow = reports.from_alertmanager(body)
    assert (down.error_type, down.error_message) == ("ServiceDown", "connection refused by billing")
    assert (down.severity, down.source, down.error_id) == ("critical", "billing", "b2f0")
    assert (slow.error_type, slow.severity, slow.source, slow.error_message) == (
        "timeout",
        "warning",
        "alertmanager",
        "Slow",
    )
    assert down.fingerprint != slow.fingerprint


def test_an_alert_is_known_by_its_own_fingerprint() -> None:
    first, again = (
        reports.from_alertmanager({"alerts": [alert(annotations={"summary": text})]})[0].fingerprint
        for text in ("down since 3 minutes, disk at 81 %", "still down, now the other disk")
    )
    assert first == again


@pytest.mark.parametrize(
    "alerts",
    [[{}], [alert(status="odd")], [alert(labels={})], [alert(labels={"alertname": 7})], [alert()] * 201],
)
def test_a_wrong_notification_is_refused(alerts: Any) -> None:
    with pytest.raises(InvalidReport) as refused:
        reports.from_alertmanager({"alerts": alerts})
    assert refused.value.errors[0].pointer.startswith("/alerts")


# --- the sandbox ---


def test_the_sandbox_is_written_once_and_its_world_is_left_alone(world: Sandbox) -> None:
    world.lock.unlink()
    world.config.write_text('{"max_connections": 7}\n')
    (world.commands / "lock.py").write_text("old")
    before = world.commands_file.stat().st_mtime_ns
    sandbox.write()
    assert not world.lock.exists()
    assert world.config.read_text() == '{"max_connections": 7}\n'
    assert "probe|release|restore" in (world.commands / "lock.py").read_text()
    assert world.commands_file.stat().st_mtime_ns == before
    assert world.commands_file.stat().st_mode & 0o077 == 0


def test_its_commands_are_out_of_reach_of_config_update(world: Sandbox, settings: Any) -> None:
    from verification.executors.command_run import templates

    assert templates.names() == ["sandbox.release_lock", "sandbox.status"]
    assert not templates.problems()
    for root in settings.CONFIG_ROOTS:
        assert not world.commands_file.is_relative_to(root)


def test_seeding_again_changes_nothing_and_never_overwrites_people(world: Sandbox) -> None:
    assert seeds.seed(now=timezone.now()) == []
    playbooks.publish(
        name="release-stale-lock",
        title="Ours",
        error_pattern="database_locked",
        variables={},
        steps=[step("ours")],
        by=Actor("person", "1", "Ada"),
        now=timezone.now(),
    )
    assert seeds.seed(now=timezone.now()) == []
    assert playbooks.active("release-stale-lock").title == "Ours"


def test_the_service_is_as_well_as_its_files_say(world: Sandbox, free_port: Callable[[], int]) -> None:
    import json
    import subprocess
    import time
    import urllib.error
    import urllib.request

    port = free_port()
    with subprocess.Popen(world.service_argv(port)) as service:

        def health() -> tuple[int, dict[str, Any]]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.load(error)

        try:
            for _ in range(100):
                try:
                    code, body = health()
                    break
                except urllib.error.URLError:
                    time.sleep(0.05)
            assert (code, body["problem"]) == (500, "database is locked: lock file app.lock exists")
            world.lock.unlink()
            assert health()[0] == 200
            world.config.write_text('{"max_connections": 100000}')
            code, body = health()
            assert (code, body["healthy"]) == (500, False)
            assert "out of range" in body["problem"]
            world.config.write_text("not json")
            assert health()[0] == 500
        finally:
            service.terminate()


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Finds a port nobody listens on."""
    import socket

    def find() -> int:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            return int(listener.getsockname()[1])

    return find


def test_reactions_alone_run_no_job(world: Sandbox) -> None:
    incident = tell()
    hear()
    incident.refresh_from_db()
    assert incident.state == "open"


# --- on whose behalf (F) ---


def cure_reported_by(user: Any) -> Incident:
    """An error whose cure people have to approve, planned and proposed as far as it goes."""
    report = ErrorReport.from_body(
        {
            "error_type": "validation_error",
            "error_message": "max_connections is out of range",
            "severity": "error",
            "source": "billing",
            "context": {"max_connections": 7},
        }
    )
    by = principals.actor_of(user)
    incident = incidents.report(report=report, by=by, user=user, now=timezone.now())
    settle()
    return incident


def test_f_who_reported_the_error_does_not_approve_its_cure(world: Sandbox, users: People, settings: Any) -> None:
    settings.SELF_HEAL_EXECUTE = False
    cure_reported_by(users.bea)
    contract = Contract.objects.get()
    assert (contract.requested_by, contract.on_behalf_of) == (None, users.bea)
    with pytest.raises(approvals.SeparationOfDuties):
        approve(contract, users.bea)
    approve(contract, users.cem)
    assert str(users.bea.pk) in ApprovalRequest.objects.get().document


def test_f_nor_does_the_owner_of_the_agent_that_reported_it(world: Sandbox, users: People, settings: Any) -> None:
    settings.SELF_HEAL_EXECUTE = False
    agent, _ = agents.create(name="scout", owner=users.bea, by=SYSTEM, now=timezone.now())
    cure_reported_by(agent.user)
    with pytest.raises(approvals.SeparationOfDuties):
        approve(Contract.objects.get(), users.bea)
    approve(Contract.objects.get(), users.cem)


def test_a_hold_on_the_agent_that_reported_it_holds_the_cure(world: Sandbox, users: People, settings: Any) -> None:
    settings.SELF_HEAL_EXECUTE = False
    agent, _ = agents.create(name="scout", owner=users.ada, by=SYSTEM, now=timezone.now())
    holds.engage(scope="agent", pattern="scout", reason="rogue", by=SYSTEM, user=None, now=timezone.now())
    cure_reported_by(agent.user)
    approve(Contract.objects.get(), users.cem)
    settle()
    assert Contract.objects.get().state == "authorized"


def test_an_agent_reaches_no_action_type_by_reporting_errors(world: Sandbox, users: People) -> None:
    agent, _ = agents.create(
        name="scout", owner=users.ada, allowed_action_types=["http.request"], by=SYSTEM, now=timezone.now()
    )
    incident = cure_reported_by(agent.user)
    assert not Contract.objects.exists()
    incident.refresh_from_db()
    assert incident.state == "escalated"
    assert "action_type_not_allowed" in incident.escalation_reason


def test_an_agent_cannot_flood_people_by_reporting_errors(world: Sandbox, users: People, settings: Any) -> None:
    settings.SELF_HEAL_EXECUTE = False
    agent, _ = agents.create(name="scout", owner=users.ada, open_request_limit=1, by=SYSTEM, now=timezone.now())
    cure_reported_by(agent.user)
    report = ErrorReport.from_body(
        {
            "error_type": "validation_error",
            "error_message": "max_connections is out of range",
            "severity": "error",
            "source": "another",
            "context": {"max_connections": 8},
        }
    )
    incidents.report(report=report, by=principals.actor_of(agent.user), user=agent.user, now=timezone.now())
    settle()
    assert Contract.objects.count() == 1
