"""The admin: everything can be looked at, nothing is edited, and verbs ask before they act."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from auditlog import jobs
from auditlog.models import Job
from auditlog.read_only import ReadOnlyAdmin
from governance.models import Agent, Hold
from missions import seeds
from missions.models import Mission, Playbook
from tests import scenery
from tests.harness.people import People
from tests.scenery import Scene
from verification.models import BenchmarkRun, Contract, Execution, Snapshot, State

pytestmark = pytest.mark.django_db

OURS = ("auditlog", "verification", "governance", "missions")


@pytest.fixture
def scene(users: People, var_dir: Path) -> Scene:
    return scenery.minimal(var_dir / "sandbox", users)


@pytest.fixture
def bea(client: Client, users: People) -> Client:
    client.force_login(users.bea)
    return client


def text(response: Any) -> str:
    return str(response.content.decode())


def address(row: Any, verb: str = "") -> str:
    stem = f"/admin/{row._meta.app_label}/{row._meta.model_name}"
    if verb:
        return f"{stem}/{row.pk}/verb/{verb}/"
    return f"{stem}/{row.pk}/change/"


def ours() -> list[type[Any]]:
    return [model for model in admin.site._registry if model._meta.app_label in OURS]


def test_every_model_of_ours_that_is_shown_is_read_only() -> None:
    assert len(ours()) >= 20
    for model in ours():
        assert isinstance(admin.site._registry[model], ReadOnlyAdmin), model


def test_people_stay_djangos(client: Client, users: People) -> None:
    client.force_login(users.administrator)
    assert client.get("/admin/auth/user/").status_code == 200
    assert {User, Group} <= set(admin.site._registry)


def test_bea_can_look_at_every_list_and_every_row(bea: Client, users: People, var_dir: Path) -> None:
    scenery.whole(var_dir / "sandbox", users)
    for model in ours():
        stem = f"/admin/{model._meta.app_label}/{model._meta.model_name}"
        assert bea.get(f"{stem}/").status_code == 200, model
        row = model._default_manager.first()
        if row is not None:
            page = bea.get(address(row))
            assert page.status_code == 200, model
            assert 'name="_save"' not in text(page)
        assert bea.get(f"{stem}/add/").status_code == 403


def test_a_row_cannot_be_written_or_deleted_by_hand(client: Client, users: People, scene: Scene) -> None:
    client.force_login(users.administrator)
    contract = scene.ask().contract
    assert client.post(address(contract), {"state": "verified"}).status_code == 403
    assert client.post(f"/admin/verification/contract/{contract.pk}/delete/", {"post": "yes"}).status_code == 403
    contract.refresh_from_db()
    assert contract.state == State.AWAITING_APPROVAL


def test_cleo_is_not_let_in(client: Client, users: People, scene: Scene) -> None:
    client.force_login(users.cleo)
    assert client.get("/admin/governance/approvalrequest/").status_code == 302


def test_before_approving_everything_is_shown(bea: Client, scene: Scene) -> None:
    request = scene.ask()
    shown = text(bea.get(address(request, "approve")))
    for needed in (request.digest, "pool_size", "diff__line--added", "content.database.pool_size", "Requirements"):
        assert needed in shown, needed
    request.refresh_from_db()
    assert request.state == "pending"


@pytest.mark.parametrize(
    ("verb", "form", "state"),
    [
        ("approve", {}, "approved"),
        ("reject", {"reason": "Not now."}, "rejected"),
        ("request-changes", {"reason": "Smaller steps."}, "changes_requested"),
    ],
)
def test_a_decision_is_one_form_away(bea: Client, scene: Scene, verb: str, form: dict[str, str], state: str) -> None:
    request = scene.ask()
    response = bea.post(address(request, verb), {"digest": request.digest, **form})
    assert response.status_code == 302
    request.refresh_from_db()
    assert request.state == state


def test_a_decision_on_another_digest_is_refused_with_everything_still_there(bea: Client, scene: Scene) -> None:
    request = scene.ask()
    response = bea.post(address(request, "approve"), {"digest": "0" * 64, "reason": "I read it all."})
    assert response.status_code == 409
    assert "I read it all." in text(response)
    request.refresh_from_db()
    assert request.state == "pending"


def test_who_answers_for_the_agent_is_told_why_not(client: Client, users: People, scene: Scene) -> None:
    users.ada.groups.add(Group.objects.get(name="reviewers"))
    request = scene.ask()
    client.force_login(users.ada)
    shown = text(client.get(address(request)))
    assert "Approve&hellip;" not in shown
    assert "Nobody decides on what they or an agent of theirs asked for, or on what is their own." in shown
    assert client.post(address(request, "approve"), {"digest": request.digest}).status_code == 403


def test_eve_may_look_and_not_press(client: Client, users: People, scene: Scene) -> None:
    request = scene.ask()
    client.force_login(users.eve)
    assert "Approve&hellip;" not in text(client.get(address(request)))
    assert client.get(address(request, "approve")).status_code == 403
    assert client.post(address(request, "approve"), {"digest": request.digest}).status_code == 403


def test_a_form_from_elsewhere_is_refused(users: People, scene: Scene) -> None:
    request = scene.ask()
    client = Client(enforce_csrf_checks=True)
    client.force_login(users.bea)
    assert client.post(address(request, "approve"), {"digest": request.digest}).status_code == 403


def test_a_decision_can_be_withdrawn(bea: Client, users: People, scene: Scene) -> None:
    request = scene.ask()
    scene.decide(request, users.bea)
    assert bea.post(address(request, "withdraw")).status_code == 302
    request.refresh_from_db()
    assert request.state == "pending"


def test_a_contract_is_cancelled_and_its_question_with_it(client: Client, users: People, scene: Scene) -> None:
    request = scene.ask()
    client.force_login(users.ada)
    client.post(address(request.contract, "cancel"), {"reason": "Not needed."})
    request.refresh_from_db()
    assert (request.state, request.contract.state) == ("cancelled", "cancelled")


def test_a_person_settles_a_contract_by_hand(bea: Client, scene: Scene) -> None:
    contract = scene.ask().contract
    Contract.objects.filter(pk=contract.pk).update(state=State.HELD)
    assert "It was taken back by hand" in text(bea.get(address(contract, "resolve")))
    bea.post(address(contract, "resolve"), {"verdict": "rolled_back", "reason": "I put it back."})
    contract.refresh_from_db()
    assert contract.state == State.ROLLED_BACK


def test_a_verb_that_comes_too_late_is_a_conflict(bea: Client, scene: Scene) -> None:
    contract = scene.ask().contract
    response = bea.post(address(contract, "retry"))
    assert response.status_code == 409


def test_a_hold_is_engaged_from_the_list(client: Client, users: People, scene: Scene) -> None:
    client.force_login(users.ada)
    assert "Engage a hold&hellip;" in text(client.get("/admin/governance/hold/"))
    form = {"scope": "action_type", "pattern": "config.*", "reason": "Three bad changes in a row."}
    assert client.post("/admin/governance/hold/verb/engage/", form).status_code == 302
    assert Hold.objects.get().pattern == "config.*"
    refused = client.post("/admin/governance/hold/verb/engage/", {**form, "reason": " "})
    assert refused.status_code == 422


def test_an_agent_is_revoked_by_who_manages_agents(client: Client, users: People, scene: Scene) -> None:
    client.force_login(users.bea)
    assert client.post(address(scene.deployer, "revoke")).status_code == 403
    client.force_login(users.administrator)
    client.post(address(scene.deployer, "revoke"), {"reason": "It is retired."})
    assert Agent.objects.get(pk=scene.deployer.pk).state == "revoked"


def test_a_snapshot_is_marked_golden(bea: Client, users: People, scene: Scene) -> None:
    scene.decide(scene.ask(), users.bea)
    jobs.run_until_idle()
    snapshot = Snapshot.objects.get(contract_id=Execution.objects.get().contract_id)
    assert bea.post(address(snapshot, "mark-golden")).status_code == 302
    snapshot.refresh_from_db()
    assert snapshot.is_golden


def test_an_unknown_verb_or_row_is_not_there(bea: Client, scene: Scene) -> None:
    request = scene.ask()
    assert bea.get(address(request, "delete")).status_code == 403
    nothing = "00000000-0000-0000-0000-000000000000"
    assert bea.get(f"/admin/governance/approvalrequest/{nothing}/verb/approve/").status_code == 404


def test_the_admin_wears_the_colours_of_the_console(client: Client) -> None:
    shown = text(client.get("/admin/login/"))
    assert "grace/tokens.css" in shown
    assert 'name="username"' in shown
    assert 'name="password"' in shown
    assert "style=" not in shown


def test_the_log_benchmarks_and_playbooks_have_their_verbs_too(client: Client, users: People, scene: Scene) -> None:
    seeds.seed(now=timezone.now())
    client.force_login(users.eve)
    assert "Export a bundle" in text(client.get("/admin/auditlog/entry/"))
    assert client.post("/admin/auditlog/entry/verb/export/", {"fact": "*.x"}).status_code == 422
    assert client.post("/admin/auditlog/entry/verb/export/", {"mission_id": "x"}).status_code == 422
    client.post("/admin/auditlog/entry/verb/export/", {"fact": "policy.*", "disclose": "no"})
    job = Job.objects.get(kind="auditlog.export")
    assert (job.arguments["wanted"], job.arguments["disclose"]) == ({"fact": "policy.*"}, False)
    run = "/admin/verification/benchmarkrun/verb/run/"
    playbook = Playbook.objects.get(name="restore-sound-configuration")
    assert client.post(run, {"suite": "smoke"}).status_code == 403
    assert client.post(address(playbook, "run"), {}).status_code == 403
    client.force_login(users.ada)
    assert client.post("/admin/auditlog/entry/verb/export/", {}).status_code == 403
    assert client.post(run, {"suite": "nothing"}).status_code == 422
    client.post(run, {"suite": "smoke"})
    assert BenchmarkRun.objects.get().requested_by_label == "Ada"
    assert client.post(address(playbook, "run"), {"variables": "[1]"}).status_code == 422
    client.post(address(playbook, "run"), {"variables": '{"max_connections": 7}'})
    assert Mission.objects.get().playbook == playbook.name
