"""Bad input, and what it gets: a problem that names the field; nothing executed, nothing lost."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from auditlog import jobs
from auditlog.actors import SYSTEM
from auditlog.models import Entry, Job
from governance import agents, approvals
from governance.models import ApprovalRequest, Decision
from missions import sandbox
from tests.harness.clients import Api, agent_of, config_change
from tests.harness.people import People
from tests.harness.story import APPROVALS, CONTRACTS, Story
from verification.models import Contract, Execution

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE = '{"workers": 2}\n'


@pytest.fixture
def story(var_dir: Path, users: People, settings: Any) -> Story:
    made = Story(var_dir, users)
    sandbox.write()
    (made.sandbox / "service.json").write_text(BEFORE)
    (var_dir / "secret.json").write_text("{}")
    (made.sandbox / "way-out").symlink_to(var_dir)
    (made.sandbox / "way-out.json").symlink_to(var_dir / "secret.json")
    settings.HTTP_ALLOWED_URLS = ["https://api.example.org/v1/", "http://internal.example.org/"]
    return made


def problem(response: Any, status: int, code: str, *pointers: str) -> dict[str, Any]:
    """The problem, of this status and code, naming at least these fields."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "instance", "code", "correlation_id"} <= set(document)
    assert document["status"] == status
    assert document["code"] == code, document
    named = [error["pointer"] for error in document.get("errors", [])]
    for pointer in pointers:
        assert pointer in named, document
    assert "Traceback" not in response.content.decode()
    return document


def nothing_happened(story: Story) -> None:
    """No contract, no work owed, the file as it was."""
    jobs.run_until_idle()
    assert not Contract.objects.exists()
    assert not Job.objects.filter(kind="execution.run").exists()
    assert (story.sandbox / "service.json").read_text() == BEFORE


def command(**parameters: Any) -> dict[str, Any]:
    return {"action_type": "command.run", "target": "lock:app.lock", "parameters": parameters}


def request(url: str, **more: Any) -> dict[str, Any]:
    return {"action_type": "http.request", "target": url, "parameters": {"method": "GET", "url": url, **more}}


def criterion(**of: Any) -> dict[str, Any]:
    return {"expected_effect": {"success_criteria": [of]}}


def path(name: str) -> dict[str, Any]:
    return {"target": f"file:{name}", "parameters": {"path": name, "merge": {}}}


FIRST = "/expected_effect/success_criteria/0"
PROPOSALS: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "unknown action type": ({"action_type": "no.such"}, 422, "unknown_action_type", "/action_type"),
    "parameters of another type": ({"parameters": {"path": 7}}, 422, "invalid_proposal", "/parameters/path"),
    "a parameter nobody knows": (
        {"parameters": {"path": "service.json", "merge": {}, "mode": 1}},
        422,
        "invalid_proposal",
        "/parameters/mode",
    ),
    "verifies nothing": ({"expected_effect": {}}, 422, "verifies_nothing", "/expected_effect"),
    "path out by dots": (path("../secret.json"), 422, "invalid_proposal", "/parameters/path"),
    "path out by a detour": (path("a/../../secret.json"), 422, "invalid_proposal", "/parameters/path"),
    "an absolute path": (path("/etc/passwd"), 422, "invalid_proposal", "/parameters/path"),
    "path out by a symlinked folder": (path("way-out/secret.json"), 422, "invalid_proposal", "/parameters/path"),
    "path out by a symlink": (path("way-out.json"), 422, "invalid_proposal", "/parameters/path"),
    "a command not listed": (command(command="rm"), 422, "invalid_proposal", "/parameters/command"),
    "a command line": (
        command(command="sandbox.release_lock; id"),
        422,
        "invalid_proposal",
        "/parameters/command",
    ),
    "a URL not listed": (
        request("https://elsewhere.example.org/"),
        422,
        "invalid_proposal",
        "/parameters/url",
    ),
    "a URL that begins like a listed one": (
        request("https://api.example.org.evil.example/v1/"),
        422,
        "invalid_proposal",
        "/parameters/url",
    ),
    "a URL of the machine itself": (
        request("http://127.0.0.1:8000/admin/"),
        422,
        "invalid_proposal",
        "/parameters/url",
    ),
    "a URL of the cloud's metadata": (
        request("http://169.254.169.254/latest/meta-data/"),
        422,
        "invalid_proposal",
        "/parameters/url",
    ),
    "a criterion whose path does not parse": (
        criterion(type="state_match", path="a b c", equals=1),
        422,
        "invalid_expected_effect",
        f"{FIRST}/path",
    ),
    "a criterion whose expression does not parse": (
        criterion(type="expression", expression="observed.count >"),
        422,
        "invalid_expected_effect",
        f"{FIRST}/expression",
    ),
    "a criterion of no known type": (criterion(type="hope"), 422, "invalid_expected_effect", f"{FIRST}/type"),
    "a health check not listed": (
        criterion(type="health_check", url="http://127.0.0.1:6379/"),
        422,
        "",
        f"{FIRST}/url",
    ),
    "a callback where none are allowed": (
        {"callback_url": "https://example.com/"},
        422,
        "invalid_proposal",
        "/callback_url",
    ),
}


@pytest.mark.parametrize("name", PROPOSALS)
def test_a_proposal_that_cannot_be_names_the_field(name: str, story: Story) -> None:
    change, status, code, pointer = PROPOSALS[name]
    answer = story.agent.post(CONTRACTS, {**config_change({"workers": 4}), **change})
    problem(answer, status, code or answer.json()["code"], pointer)
    nothing_happened(story)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("path out by dots", "path_not_allowed"),
        ("path out by a symlink", "path_not_allowed"),
        ("a command not listed", "command_not_allowed"),
        ("a URL not listed", "url_not_allowed"),
    ],
)
def test_reaching_for_what_one_may_not_have_is_in_the_log(name: str, code: str, story: Story) -> None:
    change, *_ = PROPOSALS[name]
    answer = story.agent.post(CONTRACTS, {**config_change({"workers": 4}), **change}, X_Request_ID="reaching")
    entry = Entry.objects.get(fact="proposal.refused")
    said = entry.document()
    assert (entry.outcome, entry.actor_id) == ("refused", str(story.agent_id))
    assert entry.correlation_id == answer.json()["correlation_id"] == "reaching"
    assert said["data"]["code"] in {error["code"] for error in answer.json()["errors"]}


def test_a_body_that_is_too_large_is_refused_unread(story: Story) -> None:
    large = {**config_change({"workers": 4}), "justification": "x" * 1_100_000}
    problem(story.agent.post(CONTRACTS, large), 413, "too_large")
    nothing_happened(story)


@pytest.mark.parametrize("body", ["{", '{"a": 1} trailing', "\xff\xfe", "NaN"])
def test_a_body_that_is_no_json_is_refused(body: str, story: Story) -> None:
    answer = story.agent.client.generic(
        "POST",
        CONTRACTS,
        body.encode("latin-1"),
        content_type="application/json",
        headers={"Authorization": f"Bearer {story.key}"},
    )
    assert answer.status_code == 400, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    nothing_happened(story)


def test_several_mistakes_are_named_at_once(story: Story) -> None:
    body = {**config_change({"workers": 4}), **path("../x"), **criterion(type="hope")}
    problem(story.agent.post(CONTRACTS, body), 422, "invalid_proposal", "/parameters/path", f"{FIRST}/type")


# --- keys ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "wrong", "grace_" + "0" * 64])
def test_a_wrong_key_gets_nothing(key: str, story: Story) -> None:
    stranger = Api()
    stranger.headers = {"Authorization": f"Bearer {key}"}
    problem(stranger.post(CONTRACTS, config_change({"workers": 4})), 401, "authentication_failed")
    nothing_happened(story)


def test_a_revoked_key_gets_nothing(story: Story) -> None:
    agents.revoke(agent_id=story.agent_id, by=SYSTEM, now=timezone.now())
    problem(story.agent.post(CONTRACTS, config_change({"workers": 4})), 401, "authentication_failed")
    nothing_happened(story)
    assert Entry.objects.filter(fact="agent.revoked").exists()


# --- decisions -------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(story: Story) -> dict[str, Any]:
    return story.propose(config_change({"workers": 4}))


def still_waits(story: Story, asked: dict[str, Any]) -> None:
    """Nothing was decided, nothing ran, and the right decision is still taken."""
    jobs.run_until_idle()
    assert not Decision.objects.exists()
    assert not Execution.objects.exists()
    assert ApprovalRequest.objects.get(pk=asked["approval_id"]).state == "pending"
    assert story.decide(asked, story.people.bea).status_code == 200
    jobs.run_until_idle()
    assert Contract.objects.get(pk=asked["id"]).state == "verified"


def refusals(asked: dict[str, Any]) -> list[tuple[str, str]]:
    """Who was refused a decision, by the log, and why."""
    entries = Entry.objects.filter(fact="approval.refused", contract_id=asked["id"]).order_by("id")
    return [(each.actor_id, json.loads(bytes(each.bytes))["data"]["code"]) for each in entries]


@pytest.mark.parametrize("is_reviewer", [False, True])
def test_the_agents_owner_cannot_approve(is_reviewer: bool, story: Story, asked: dict[str, Any]) -> None:
    if is_reviewer:
        story.people.ada.groups.add(Group.objects.get(name="reviewers"))
    problem(story.decide(asked, story.people.ada), 403, "separation_of_duties")
    assert refusals(asked) == [(str(story.people.ada.pk), "separation_of_duties")]
    still_waits(story, asked)


def test_the_agent_cannot_approve(story: Story, asked: dict[str, Any]) -> None:
    body = {"verdict": "approve", "digest": asked["digest"], "reason": "I am sure"}
    answer = story.agent.post(f"{APPROVALS}/{asked['approval_id']}/decision", body)
    problem(answer, 403, "separation_of_duties")
    assert refusals(asked) == [(str(story.agent_id), "separation_of_duties")]
    still_waits(story, asked)


def test_another_agent_does_not_even_see_the_request(story: Story, asked: dict[str, Any]) -> None:
    other = Api(key=agent_of(story.people.bea, timezone.now(), name="nosy")[1])
    body = {"verdict": "approve", "digest": asked["digest"], "reason": "I am sure"}
    problem(other.post(f"{APPROVALS}/{asked['approval_id']}/decision", body), 404, "not_found")
    still_waits(story, asked)


def test_an_auditor_who_decides_is_refused_and_named(story: Story, asked: dict[str, Any]) -> None:
    problem(story.decide(asked, story.people.eve), 403, "not_permitted")
    assert refusals(asked) == [(str(story.people.eve.pk), "not_permitted")]
    still_waits(story, asked)


def test_a_stale_digest_decides_nothing(story: Story, asked: dict[str, Any]) -> None:
    problem(story.decide(asked, story.people.bea, digest="0" * 64), 409, "stale_digest")
    still_waits(story, asked)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [({"verdict": "maybe"}, "/verdict"), ({"verdict": "reject", "reason": ""}, "/reason"), ({"digest": 7}, "/digest")],
)
def test_a_decision_that_makes_no_sense_names_the_field(
    change: dict[str, Any], pointer: str, story: Story, asked: dict[str, Any]
) -> None:
    answer = story.decide(asked, story.people.bea, **change)
    assert answer.status_code in (400, 422)
    problem(answer, answer.status_code, answer.json()["code"], pointer)
    still_waits(story, asked)


@pytest.mark.parametrize("swept", [False, True])
def test_an_expired_request_is_never_approved(swept: bool, story: Story, clock: Any, users: People) -> None:
    asked = story.propose(config_change({"workers": 4}))
    clock.shift(24 * 3600 + 1)
    if swept:
        approvals.expire_due(now=timezone.now())
    reviewer = Api(user=users.bea)
    body = {"verdict": "approve", "digest": asked["digest"], "reason": "late"}
    answer = reviewer.post(f"{APPROVALS}/{asked['approval_id']}/decision", body)
    problem(answer, 409, "request_expired")
    approvals.expire_due(now=timezone.now())
    jobs.run_until_idle()
    assert Contract.objects.get(pk=asked["id"]).state == "expired"
    assert Entry.objects.filter(fact="approval.expired", contract_id=asked["id"]).count() == 1
    assert json.loads((story.sandbox / "service.json").read_text()) == {"workers": 2}
