"""Approvals, policies, holds, agents and webhooks through the API."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache

from auditlog import jobs
from auditlog.actors import SYSTEM
from governance import proposals, seeds
from governance.models import Agent, ApprovalRequest, Decision, Hold
from governance.proposals import Proposal
from tests.harness.clients import Api, agent_of, config_change
from tests.harness.people import People
from tests.test_api_contracts import CONTRACTS, pointers, refused

APPROVALS = "/api/governance/approvals"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _installed(var_dir: Path) -> None:
    cache.clear()
    seeds.seed(now=datetime.now(UTC))
    (var_dir / "sandbox" / "service.json").write_text('{"workers": 2}\n')


@pytest.fixture
def agent(users: People) -> Api:
    """Ada's agent."""
    return Api(key=agent_of(users.ada, datetime.now(UTC))[1])


@pytest.fixture
def bea(users: People) -> Api:
    return Api(user=users.bea)


@pytest.fixture
def asked(agent: Api) -> dict[str, Any]:
    """What became of a proposal that waits for one reviewer."""
    answer = agent.post(CONTRACTS, config_change({"workers": 4}))
    assert answer.status_code == 201, answer.content
    data: dict[str, Any] = answer.json()["data"]
    return data


def decide(client: Api, asked: dict[str, Any], verdict: str = "approve", **more: Any) -> Any:
    body = {"verdict": verdict, "digest": asked["digest"], "reason": "a test", **more}
    return client.post(f"{APPROVALS}/{asked['approval_id']}/decision", body)


def test_a_reviewer_sees_everything_a_decision_needs(asked: dict[str, Any], bea: Api) -> None:
    [listed] = bea.data(f"{APPROVALS}?state=pending&sort=risk")
    assert listed["id"] == asked["approval_id"]
    assert listed["requested_by"] == {"kind": "agent", "label": "deployer"}
    shown = bea.data(f"{APPROVALS}/{asked['approval_id']}")
    assert shown["digest"] == asked["digest"]
    assert shown["parameters"] == {"path": "service.json", "merge": {"workers": 4}}
    assert "+" in shown["preview"]["body"]
    empty = {"group": "reviewers", "filled": False, "person": None, "on_behalf_of": None, "decided_at": None}
    assert shown["slots"] == [empty]
    assert shown["document"]["parameters"] == shown["parameters"]
    assert shown["decisions"] == []


def test_it_says_on_whose_behalf_grace_asks(bea: Api, asked: dict[str, Any], users: People) -> None:
    assert bea.data(f"{APPROVALS}/{asked['approval_id']}")["on_behalf_of"] is None
    submitted = proposals.submit(
        proposal=replace(Proposal.from_body(config_change({"workers": 8})), on_behalf_of_id=users.cem.pk),
        by=SYSTEM,
        user=None,
        idempotency_key=None,
        now=datetime.now(UTC),
    )
    assert submitted.approval is not None
    assert submitted.contract is not None
    cem = {"kind": "person", "label": "Cem"}
    assert bea.data(f"{APPROVALS}/{submitted.approval.pk}")["on_behalf_of"] == cem
    assert bea.data(f"{CONTRACTS}/{submitted.contract.pk}")["on_behalf_of"] == cem


def test_an_approved_contract_runs_and_is_verified(asked: dict[str, Any], bea: Api, agent: Api, var_dir: Path) -> None:
    answer = decide(bea, asked)
    assert answer.status_code == 200, answer.content
    decided = answer.json()["data"]
    assert decided["state"] == "approved"
    assert decided["slots"][0]["person"] == "Bea"
    assert decided["decisions"][0]["entry_id"]
    jobs.run_until_idle()
    detail = agent.data(f"{CONTRACTS}/{asked['id']}")
    assert detail["state"] == "verified"
    assert detail["verification"]["confidence"] == 1.0
    assert all(each["passed"] for each in detail["verification"]["criteria"])
    assert detail["executions"][0]["result"]["ok"] is True
    assert detail["snapshot_id"]
    assert detail["approval"]["state"] == "spent"
    assert '"workers": 4' in (var_dir / "sandbox" / "service.json").read_text()
    undo = Api(user=None)
    refused(undo.post(f"{CONTRACTS}/{asked['id']}/rollback", {}), 401, "not_authenticated")


def test_a_verified_contract_can_be_undone_and_its_snapshot_looked_into(
    asked: dict[str, Any], bea: Api, users: People, var_dir: Path
) -> None:
    decide(bea, asked)
    jobs.run_until_idle()
    snapshot_id = bea.data(f"{CONTRACTS}/{asked['id']}")["snapshot_id"]
    snapshot = bea.data(f"/api/verification/snapshots/{snapshot_id}")
    assert snapshot["contract_id"] == asked["id"]
    assert snapshot["manifest"]
    rehearsal = bea.post(f"/api/verification/snapshots/{snapshot_id}/restore", {"dry_run": True})
    assert rehearsal.status_code == 200, rehearsal.content
    assert "workers" in rehearsal.json()["data"]["preview"]["body"]
    undone = bea.post(f"{CONTRACTS}/{asked['id']}/rollback", {"reason": "It was a test."})
    assert undone.status_code == 201, undone.content
    undo = undone.json()["data"]
    cem, dee = Api(user=users.cem), Api(user=users.dee)
    assert decide(cem, undo).status_code == 200
    assert decide(dee, undo).status_code == 200
    jobs.run_until_idle()
    assert bea.data(f"{CONTRACTS}/{undo['id']}")["state"] == "verified"
    assert (var_dir / "sandbox" / "service.json").read_text() == '{"workers": 2}\n'


def test_who_asked_and_who_owns_the_agent_cannot_decide(asked: dict[str, Any], agent: Api, users: People) -> None:
    refused(decide(agent, asked), 403, "separation_of_duties")
    users.ada.groups.add(*users.bea.groups.all())
    refused(decide(Api(user=users.ada), asked), 403, "separation_of_duties")
    users.ada.is_superuser = True
    users.ada.save()
    refused(decide(Api(user=users.ada), asked), 403, "separation_of_duties")


def test_another_digest_is_refused(asked: dict[str, Any], bea: Api) -> None:
    refused(decide(bea, {**asked, "digest": "0" * 64}), 409, "stale_digest")
    document = refused(decide(bea, {**asked, "digest": "short"}), 400, "invalid_input")
    assert pointers(document) == {"/digest"}
    assert Decision.objects.count() == 0


def test_an_unknown_member_of_a_decision_is_refused(asked: dict[str, Any], bea: Api) -> None:
    document = refused(decide(bea, asked, edits={"target": "file:other"}, force=True), 400, "invalid_input")
    assert pointers(document) == {"/force"}
    document = refused(decide(bea, asked, edits={"target": "file:other"}), 400, "invalid_input")
    assert pointers(document) == {"/edits/target"}


def test_a_rejection_ends_it_and_says_why(asked: dict[str, Any], bea: Api, agent: Api) -> None:
    assert decide(bea, asked, "reject", reason="Not on a Friday.").status_code == 200
    assert agent.data(f"{CONTRACTS}/{asked['id']}")["state"] == "rejected"
    refused(decide(bea, asked), 409, "request_not_pending")


def test_changes_are_requested_and_answered_with_a_revision(asked: dict[str, Any], bea: Api, agent: Api) -> None:
    decide(bea, asked, "request_changes", reason="Three are enough.")
    revisions = f"{CONTRACTS}/{asked['id']}/revisions"
    document = refused(agent.post(revisions, {"surprise": 1}), 400, "malformed")
    assert "/surprise" in pointers(document)
    effect = config_change({"workers": 3})["expected_effect"]
    parameters = {"path": "service.json", "merge": {"workers": 3}}
    answer = agent.post(revisions, {"parameters": parameters, "expected_effect": effect})
    assert answer.status_code == 201, answer.content
    revised = answer.json()["data"]
    assert revised["state"] == "awaiting_approval"
    assert [each["parameters"]["merge"]["workers"] for each in revised["revisions"]] == [4, 3]
    assert revised["approval"]["id"] != asked["approval_id"]


def test_an_approval_with_edits_makes_a_revision(asked: dict[str, Any], bea: Api) -> None:
    effect = config_change({"workers": 3})["expected_effect"]
    edits = {"parameters": {"path": "service.json", "merge": {"workers": 3}}, "expected_effect": effect}
    answer = decide(bea, asked, edits=edits)
    assert answer.status_code == 200, answer.content
    assert answer.json()["data"]["revision"] == 2
    assert answer.json()["data"]["digest"] != asked["digest"]


def test_an_approval_is_taken_back(asked: dict[str, Any], bea: Api) -> None:
    decide(bea, asked)
    answer = bea.post(f"{APPROVALS}/{asked['approval_id']}/withdraw", {"reason": "I misread it."})
    assert answer.status_code == 200, answer.content
    assert answer.json()["data"]["state"] == "pending"
    refused(bea.post(f"{APPROVALS}/{asked['approval_id']}/withdraw", {}), 409, "nothing_to_withdraw")


def test_a_batch_decides_each_by_itself(agent: Api, bea: Api) -> None:
    two = [agent.post(CONTRACTS, config_change({"workers": number})).json()["data"] for number in (4, 5)]
    items = [
        {"approval_id": two[0]["approval_id"], "verdict": "approve", "digest": two[0]["digest"]},
        {"approval_id": two[1]["approval_id"], "verdict": "approve", "digest": "0" * 64},
    ]
    answer = bea.post(f"{APPROVALS}/decisions", {"decisions": items})
    assert answer.status_code == 200, answer.content
    first, second = answer.json()["data"]
    assert (first["ok"], first["state"]) == (True, "approved")
    assert (second["ok"], second["code"]) == (False, "stale_digest")
    refused(bea.post(f"{APPROVALS}/decisions", {"decisions": []}), 400, "invalid_input")


def test_decisions_are_limited_and_a_batch_counts_once(
    asked: dict[str, Any], bea: Api, users: People, settings: Any
) -> None:
    settings.APPROVAL_DECISION_RATE_PER_MIN = 2
    item = {"approval_id": asked["approval_id"], "verdict": "approve", "digest": "0" * 64}
    assert bea.post(f"{APPROVALS}/decisions", {"decisions": [item] * 5}).status_code == 200
    refused(decide(bea, {**asked, "digest": "0" * 64}), 409, "stale_digest")
    answer = decide(bea, asked)
    refused(answer, 429, "too_many_decisions")
    assert int(answer["Retry-After"]) > 0
    assert decide(Api(user=users.cem), asked).status_code == 200


def test_an_agent_sees_only_its_own_requests(asked: dict[str, Any], agent: Api, users: People) -> None:
    Api(user=users.ada).post(CONTRACTS, config_change({"workers": 9}))
    assert [each["id"] for each in agent.data(APPROVALS)] == [asked["approval_id"]]
    other = ApprovalRequest.objects.exclude(pk=asked["approval_id"]).get()
    refused(agent.get(f"{APPROVALS}/{other.pk}"), 404, "not_found")


# --- policies, holds, agents, webhooks -------------------------------------------------------------------------


def test_policy_says_what_it_would_do(bea: Api, agent: Api) -> None:
    active = bea.data("/api/governance/policies/active")
    assert active["version"] == 1
    assert [each["version"] for each in bea.data("/api/governance/policies")] == [1]
    body = {"action_type": "config.update", "target": "file:a.json", "parameters": {"path": "a.json", "merge": {}}}
    said = agent.post("/api/governance/policies/evaluate", body).json()["data"]
    assert (said["effect"], said["tier"]) == ("tier_2", "tier_2")
    assert said["rules"][0]["why"]
    said = bea.post("/api/governance/policies/evaluate", {"action_type": "no.such", "target": "x"}).json()["data"]
    assert said["tier"] == "tier_3"


def test_a_hold_is_engaged_at_once_and_released_by_a_contract(bea: Api, asked: dict[str, Any]) -> None:
    body = {"scope": "action_type", "pattern": "config.update", "reason": "Three bad changes."}
    answer = bea.post("/api/governance/holds", body)
    assert answer.status_code == 201, answer.content
    hold = answer.json()["data"]
    assert [each["id"] for each in bea.data("/api/governance/holds?engaged=true")] == [hold["id"]]
    assert bea.data("/api/governance/holds?engaged=false") == []
    answer = bea.post(f"/api/governance/holds/{hold['id']}/release", {"reason": "Found it."})
    assert answer.status_code == 202, answer.content
    assert answer.json()["data"]["tier"] == "tier_3"
    assert answer.json()["data"]["state"] == "awaiting_approval"
    assert Hold.objects.get().released_at is None
    refused(bea.post("/api/governance/holds", {"scope": "everything"}), 400, "invalid_input")


def test_an_agent_is_made_rotated_and_revoked(users: People) -> None:
    boss = Api(user=users.administrator)
    users.ada  # noqa: B018
    answer = boss.post("/api/governance/agents", {"name": "robot", "owner": "ada"})
    assert answer.status_code == 201, answer.content
    made = answer.json()["data"]
    assert Api(key=made["key"]).get("/api/governance/me").status_code == 200
    rotated = boss.post(f"/api/governance/agents/{made['id']}/rotate", {"overlap_minutes": 0}).json()["data"]
    assert Api(key=made["key"]).get("/api/governance/me").status_code == 401
    assert Api(key=rotated["key"]).get("/api/governance/me").status_code == 200
    shown = boss.data(f"/api/governance/agents/{made['id']}")
    assert len(shown["keys"]) == 2
    assert rotated["key"] not in str(shown)
    assert boss.post(f"/api/governance/agents/{made['id']}/revoke", {}).json()["data"]["state"] == "revoked"
    assert Api(key=rotated["key"]).get("/api/governance/me").status_code == 401
    document = refused(boss.post("/api/governance/agents", {"name": "r2", "owner": "nobody"}), 422, "owner_not_found")
    assert pointers(document) == {"/owner"}
    refused(boss.post("/api/governance/agents", {"name": "robot"}), 409, "agent_name_taken")
    assert Agent.objects.count() == 1


def test_a_webhook_shows_its_secret_once(users: People, settings: Any) -> None:
    boss = Api(user=users.administrator)
    settings.HTTP_ALLOWED_URLS = ["http://127.0.0.1:9/hook"]
    body = {"url": "http://127.0.0.1:9/hook", "facts": ["contract.*"]}
    answer = boss.post("/api/governance/webhooks", body)
    assert answer.status_code == 201, answer.content
    made = answer.json()["data"]
    assert made["secret"].startswith("whsec_")
    assert "secret" not in boss.data(f"/api/governance/webhooks/{made['id']}")
    assert boss.data(f"/api/governance/webhooks/{made['id']}/deliveries") == []
    assert boss.delete(f"/api/governance/webhooks/{made['id']}").status_code == 204
    assert boss.data("/api/governance/webhooks?is_active=true") == []
    other = boss.post("/api/governance/webhooks", {**body, "url": "http://10.0.0.1/"})
    assert pointers(refused(other, 422, "url_refused")) == {"/url"}
