"""Every layer answers: one real request to each, and a real worker where the answer needs one."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from standardwebhooks import Webhook

from auditlog import integrity, jobs, mesh, sequencer, signer
from auditlog.models import Job
from missions import sandbox, summaries
from missions import seeds as mission_seeds
from missions.models import Incident
from tests.harness import web_server
from tests.harness.clients import Api, config_change
from tests.harness.people import People
from tests.harness.processes import wait_until
from tests.harness.story import Story
from tests.harness.web_server import WebServer
from verification.models import BenchmarkRun, Contract

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("worker")]

V, G, A = "/api/verification", "/api/governance", "/api/auditlog"


@pytest.fixture
def story(var_dir: Path, users: People) -> Story:
    """Without a worker: what is owed stays owed."""
    made = Story(var_dir, users)
    (made.sandbox / "service.json").write_text('{"workers": 2}\n')
    return made


@pytest.fixture
def working(worker: None, story: Story) -> Story:
    """With a real worker."""
    return story


@pytest.fixture
def receiver(settings: Any) -> Iterator[WebServer]:
    with web_server.running() as server:
        settings.HTTP_ALLOWED_URLS = [f"{server.url}/"]
        yield server


def page(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.status_code, answer.content[:500])
    assert answer["Content-Type"].startswith("text/html")
    return str(answer.content.decode())


# --- seen from outside -----------------------------------------------------------------------------------------


def test_alive_and_ready_and_health_say_names_and_states(story: Story) -> None:
    anybody = Api()
    assert anybody.get("/healthz").json() == {"status": "alive"}
    assert anybody.get("/readyz").json()["parts"]["database"] == "ok"
    assert anybody.get(f"{V}/health").status_code in (200, 503)


def test_metrics_are_for_prometheus_to_read(story: Story) -> None:
    story.propose(config_change({"workers": 4}))
    text = Api().get("/metrics").content.decode()
    assert 'grace_contracts_created_total{tier="tier_2"}' in text
    assert 'grace_approvals_pending{tier="tier_2"} 1' in text
    assert "grace_audit_entries_total" in text


def test_the_api_describes_itself() -> None:
    schema = Client().get("/api/schema?format=json").json()
    assert schema["openapi"].startswith("3.1")
    assert f"{V}/contracts" in schema["paths"]
    assert Client().get("/docs").status_code in (301, 302)
    assert b"swagger" in Client().get("/api/docs").content.lower()


def test_nobody_comes_in_without_a_name(story: Story) -> None:
    for path in (f"{V}/contracts", f"{G}/approvals", f"{A}/entries", f"{G}/stream", f"{V}/jobs"):
        assert Api().get(path).status_code == 401, path
    for path in ("/", "/overview", "/audit", "/admin/"):
        assert Client().get(path).status_code == 302, path


# --- pages -----------------------------------------------------------------------------------------------------

PAGES = [
    *("/", "/overview", "/contracts", "/missions", "/incidents", "/snapshots", "/benchmarks", "/jobs"),
    *("/audit", "/holds", "/policies", "/agents", "/webhooks"),
]


@pytest.mark.parametrize("path", PAGES)
def test_the_console_has_a_page_for_it(path: str, story: Story) -> None:
    story.propose(config_change({"workers": 4}))
    text = page(story.person(story.people.administrator).client, path)
    assert "<h1" in text


def test_the_console_shows_what_waits_and_takes_a_decision(story: Story) -> None:
    asked = story.propose(config_change({"workers": 4}))
    bea = story.person(story.people.bea).client
    assert str(asked["approval_id"]) in page(bea, "/")
    detail = page(bea, f"/approvals/{asked['approval_id']}")
    assert "&quot;workers&quot;: 4" in detail or '"workers": 4' in detail
    decided = bea.post(
        f"/approvals/{asked['approval_id']}/decide",
        {"verdict": "approve", "digest": asked["digest"], "reason": "read it"},
    )
    assert decided.status_code in (302, 303), decided.content[:500]
    assert Contract.objects.get(pk=asked["id"]).state == "authorized"
    assert str(asked["id"]) in page(bea, f"/contracts/{asked['id']}")


def test_the_admin_lists_everything_it_knows(story: Story) -> None:
    story.propose(config_change({"workers": 4}))
    administrator = story.person(story.people.administrator).client
    index = page(administrator, "/admin/")
    lists = {part.partition('"')[0] for part in index.split('href="') if part.startswith("/admin/")}
    lists = {path for path in lists if path.count("/") == 4}
    assert any("approvalrequest" in path for path in lists)
    for path in sorted(lists):
        page(administrator, path)


def test_a_person_logs_in_through_the_admins_form(story: Story) -> None:
    story.people.bea.set_password(story.people.password)
    story.people.bea.save()
    client = Client(enforce_csrf_checks=True)
    form = client.get("/admin/login/")
    token = form.cookies["csrftoken"].value
    body = {"username": story.people.bea.username, "password": story.people.password, "next": "/"}
    entered = client.post("/admin/login/", {**body, "csrfmiddlewaretoken": token})
    assert entered.status_code == 302, entered.content[:500]
    assert client.get("/").status_code == 200


# --- with a worker ---------------------------------------------------------------------------------------------


def test_jobs_are_listed_while_owed_and_when_done(working: Story) -> None:
    answer = working.person(working.people.administrator).post(f"{V}/benchmarks", {"suite": "smoke"})
    assert answer.status_code == 202, answer.content
    run = BenchmarkRun.objects.get()
    wait_until(
        lambda: BenchmarkRun.objects.get(pk=run.pk).state == BenchmarkRun.State.COMPLETED,
        seconds=60,
        what="a worker has run the benchmark",
    )
    administrator = working.person(working.people.administrator)
    shown = administrator.data(f"{V}/benchmarks/{run.pk}")
    assert shown["passed"] is True
    assert shown["checks"]
    wait_until(lambda: Job.objects.get(kind="benchmark.run").state == "completed", seconds=10, what="the job is over")
    [job] = [each for each in administrator.data(f"{V}/jobs") if each["kind"] == "benchmark.run"]
    assert job["state"] == "completed"


def test_an_error_is_healed_by_itself(working: Story) -> None:
    world = sandbox.write()
    sandbox.reset(world)
    mission_seeds.seed(now=timezone.now())
    report = {
        "error_type": "OperationalError",
        "error_message": "database is locked: lock file app.lock exists",
        "severity": "high",
        "source": "billing",
    }
    answer = working.agent.post(f"{V}/incidents", report)
    assert answer.status_code in (201, 202), answer.content
    incident = answer.json()["data"]

    def heard() -> bool:
        _let_the_log_be_heard()
        return Incident.objects.get(pk=incident["id"]).state == Incident.State.RESOLVED

    wait_until(heard, seconds=60, what="the incident is resolved")
    assert not world.lock.exists()
    eve = working.person(working.people.eve)
    [shown] = eve.data(f"{V}/incidents")
    assert shown["error_pattern"] == "database_locked"
    mission = eve.data(f"{V}/missions/{shown['mission_id']}")
    assert mission["state"] == "completed"
    facts = [each["fact"] for each in eve.data(f"{V}/missions/{shown['mission_id']}/timeline?limit=100")]
    for fact in ("agentic.action_planned", "agentic.action_executing", "agentic.action_completed"):
        assert fact in facts


def _let_the_log_be_heard() -> None:
    """What the beats do: sequence, and deliver to whoever listens."""
    while sequencer.run(None) + mesh.deliver_all():
        pass


# --- without one -----------------------------------------------------------------------------------------------


def test_a_webhook_is_told_and_can_check_who_tells(story: Story, receiver: WebServer) -> None:
    administrator = story.person(story.people.administrator)
    made = administrator.post(f"{G}/webhooks", {"url": f"{receiver.url}/ok", "facts": ["approval.requested"]})
    assert made.status_code == 201, made.content
    webhook = made.json()["data"]
    _let_the_log_be_heard()
    asked = story.propose(config_change({"workers": 4}), X_Request_ID="from-the-agent")
    jobs.run_until_idle()
    [delivery] = administrator.data(f"{G}/webhooks/{webhook['id']}/deliveries")
    assert (delivery["fact"], delivery["state"]) == ("approval.requested", "delivered")
    [request] = receiver.requests
    event = Webhook(webhook["secret"]).verify(request["body"], request["headers"])
    assert event["correlationid"] == "from-the-agent"
    assert asked["id"] in request["body"].decode()


def test_the_stream_is_only_where_it_can_be_kept_open(story: Story) -> None:
    """One that speaks WSGI says so; the live one is followed in the tests of the stream."""
    answer = story.agent.get(f"{G}/stream")
    assert (answer.status_code, answer.json()["code"]) == (503, "stream_off")


def test_snapshots_are_taken_and_shown(story: Story) -> None:
    administrator = story.person(story.people.administrator)
    taken = administrator.post(f"{V}/snapshots", {"scope": "grace"})
    assert taken.status_code == 201, taken.content
    shown = administrator.data(f"{V}/snapshots/{taken.json()['data']['id']}")
    assert shown["manifest"]
    assert len(administrator.data(f"{V}/snapshots")) == 1


def test_missions_begin_and_end(story: Story) -> None:
    ada = story.person(story.people.ada)
    began = ada.post(f"{V}/missions", {"goal": "See that it answers"})
    assert began.status_code == 201, began.content
    mission = began.json()["data"]["id"]
    assert ada.data(f"{V}/missions/{mission}")["state"] == "active"
    ended = ada.post(f"{V}/missions/{mission}/complete", {})
    assert ended.status_code == 200, ended.content
    sequencer.run()
    facts = [each["fact"] for each in ada.data(f"{V}/missions/{mission}/timeline")]
    assert facts == ["mission.started", "mission.completed"]


def test_events_are_listed_and_filtered(story: Story) -> None:
    story.propose(config_change({"workers": 4}))
    sequencer.run()
    eve = story.person(story.people.eve)
    found = eve.data(f"{V}/events?fact=approval.*")
    assert [each["fact"] for each in found] == ["approval.requested"]


def test_the_log_can_be_read_and_proved(story: Story) -> None:
    story.propose(config_change({"workers": 4}))
    sequencer.run()
    signer.sign_if_due(timezone.now())
    eve = story.person(story.people.eve)
    listed = eve.data(f"{A}/entries?limit=5")
    assert len(listed) == 5
    assert eve.data(f"{A}/entries/0")["fact"]
    assert eve.get(f"{A}/checkpoint").status_code == 200
    assert eve.data(f"{A}/summary?hours=24")
    assert integrity.check(timezone.now()).found == []
    assert eve.data(f"{A}/findings") == []


def test_summaries_and_learning_count_what_happened(story: Story) -> None:
    story.propose(config_change({"workers": 4}))
    now = timezone.now()
    summaries.aggregate(start=now - timedelta(minutes=1), end=now, now=now)
    eve = story.person(story.people.eve)
    assert eve.data(f"{V}/summaries")
    assert isinstance(eve.data(f"{V}/learning/stats"), list | dict)


def test_policy_playbooks_and_what_can_be_proposed_are_told(story: Story) -> None:
    mission_seeds.seed(now=timezone.now())
    types = {each["action_type"] for each in story.agent.data(f"{V}/action-types")}
    assert types >= {"config.update", "command.run", "http.request"}
    bea = story.person(story.people.bea)
    assert bea.data(f"{V}/playbooks")
    assert bea.data(f"{G}/policies/active")["version"] == 1
    assert json.loads(bea.get(f"{G}/me").content)["data"]


def test_a_hold_is_engaged_and_listed(story: Story) -> None:
    ada = story.person(story.people.ada)
    engaged = ada.post(f"{G}/holds", {"scope": "everything", "reason": "a drill"})
    assert engaged.status_code == 201, engaged.content
    assert len(ada.data(f"{G}/holds")) == 1
