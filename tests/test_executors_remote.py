"""remote: work of an external agent, which holds a key and a permit and nothing else of Grace's."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db import connection
from django.utils import timezone

from auditlog import jobs
from auditlog.models import Entry, Job, JobState
from governance import holds, principals
from tests.harness import targets, web_server
from tests.harness.clients import Api, agent_of
from tests.harness.people import People
from tests.harness.processes import ROOT
from tests.harness.story import APPROVALS, CONTRACTS, Story, told
from tests.harness.web_server import WebServer
from verification import executors, permit_notes
from verification.executors.base import Call, Reversibility
from verification.models import Contract, Execution, Permit

PERMITS = "/api/verification/permits"
AGENT = ROOT / "docs" / "example-agent" / "agent.py"
BEFORE = "os.kill(os.getpid(), signal.SIGKILL)"
AFTER = "own(permit, stop); os.kill(os.getpid(), signal.SIGKILL)"
KILLED = """
import os, runpy, signal
agent = runpy.run_path({path!r})
own = agent["work"]
def work(permit, stop):
    {then}
agent["main"].__globals__["work"] = work
agent["main"]()
"""


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server.running() as server:
        yield server


@pytest.fixture
def listed(settings: Any, var_dir: Path, web: WebServer) -> Any:
    """Write the file of targets anew, with members of the one kind of work changed."""
    settings.HTTP_ALLOWED_URLS = [f"{web.url}/document"]

    def write(**members: Any) -> None:
        sound = {"agents": ["indexer", "other"], "observe": f"{web.url}/document", "timeout_seconds": 60}
        given = {name: value for name, value in {**sound, **members}.items() if value is not None}
        settings.TARGETS_FILE = targets.write(var_dir / "targets.toml", remotes={"reindex": given})

    write()
    return write


@pytest.fixture
def story(listed: Any, var_dir: Path, users: People) -> Story:
    return Story(var_dir, users)


@pytest.fixture
def indexer(story: Story) -> Api:
    """The agent that may do the work, in this process."""
    return Api(key=agent_of(story.people.cem, timezone.now(), name="indexer")[1])


def body(web: WebServer, *, built: str = "today", **parameters: Any) -> dict[str, Any]:
    """A proposal that promises an index of today, whatever the agent is told to build."""
    undo = {"method": "PUT", "url": f"{web.url}/document", "json": {"enabled": False}}
    return {
        "action_type": "remote",
        "target": "remote:reindex",
        "parameters": {"remote": "reindex", "arguments": {"built": built}, "compensate": undo, **parameters},
        "expected_effect": {
            "success_criteria": [{"type": "state_match", "path": "json.built", "equals": "today", "required": True}]
        },
    }


def offered(story: Story, web: WebServer, **more: Any) -> dict[str, Any]:
    """A contract that one reviewer approved and whose permit waits for its agent."""
    asked = story.propose(body(web, **more))
    assert asked["state"] == "awaiting_approval"
    assert story.decide(asked, story.people.bea).status_code == 200
    later(0)
    assert state_of(asked) == "executing"
    return asked


def later(seconds: float) -> None:
    """Do what is due then."""
    jobs.run_until_idle(timezone.now() + timedelta(seconds=seconds))


def state_of(asked: dict[str, Any]) -> str:
    return Contract.objects.get(pk=asked["id"]).state


def claim(api: Api, **more: Any) -> Any:
    answer = api.post(f"{PERMITS}/claim", more)
    assert answer.status_code == 200, answer.content
    return answer.json()["data"]["permit"]


def report(api: Api, permit: dict[str, Any], **more: Any) -> Any:
    result = {"permit": permit["permit"], "status": "success", **more}
    return api.post(f"{PERMITS}/{permit['id']}/report", result)


def refused(answer: Any, code: str, status: int = 409) -> bool:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
    return True


def puts(web: WebServer) -> int:
    return sum(1 for each in web.requests if each["method"] == "PUT")


def facts(asked: dict[str, Any]) -> list[str]:
    return [each.fact for each in told(asked["id"])]


# --- what is refused before anything is touched ---


def call(**parameters: Any) -> Call:
    return Call("remote", "remote:reindex", {"remote": "reindex", **parameters})


def codes(asked: Call) -> list[tuple[str, str]]:
    return [(error.pointer, error.code) for error in executors.get("remote").check(asked)]


@pytest.mark.parametrize(
    ("parameters", "wrong"),
    [
        ({"remote": "others"}, ("/parameters/remote", "remote_not_allowed")),
        ({"remote": "../reindex"}, ("/parameters/remote", "no_match")),
        ({"arguments": []}, ("/parameters/arguments", "wrong_type")),
        ({"arguments": {"x": "y" * 40_000}}, ("/parameters/arguments", "too_long")),
        ({"observe": {"url": "http://127.0.0.1:1/"}}, ("/parameters/observe", "unknown_member")),
        (
            {"compensate": {"method": "PUT", "url": "http://169.254.169.254/"}},
            ("/parameters/compensate/url", "url_not_allowed"),
        ),
        ({"agents": ["me"]}, ("/parameters/agents", "unknown_member")),
    ],
)
def test_it_refuses_what_is_not_listed(listed: Any, parameters: dict[str, Any], wrong: tuple[str, str]) -> None:
    assert codes(call(**parameters)) == [wrong]


def test_it_is_observed_as_the_operator_says_or_as_declared(listed: Any, web: WebServer) -> None:
    assert codes(call()) == []
    listed(observe=None)
    assert codes(call()) == [("/parameters/observe", "missing")]
    assert codes(call(observe={"url": f"{web.url}/document"})) == []
    assert codes(call(observe={"url": f"{web.url}/secret"})) == [("/parameters/observe/url", "url_not_allowed")]


def test_the_operator_says_what_an_agent_may_be_told(listed: Any) -> None:
    listed(arguments={"built": {"type": "string"}})
    assert codes(call(arguments={"built": "today"})) == []
    assert codes(call(arguments={"built": 1})) == [("/parameters/arguments/built", "wrong_type")]
    assert codes(call()) == [("/parameters/arguments/built", "missing")]
    assert codes(call(arguments={"built": "x", "more": 1})) == [("/parameters/arguments/more", "unknown_member")]


@pytest.mark.parametrize(
    "members",
    [{"agents": []}, {"agents": None}, {"observe": "ftp://x/"}, {"arguments": {"a": {"type": "nonsense"}}}, {"x": 1}],
)
def test_a_definition_that_is_wrong_allows_nothing(listed: Any, members: dict[str, Any]) -> None:
    listed(**members)
    assert codes(call()) == [("/parameters/remote", "remote_unusable")]


def test_without_a_way_back_it_is_irreversible(listed: Any, web: WebServer) -> None:
    remote = executors.get("remote")
    assert remote.reversibility(call()) == Reversibility.IRREVERSIBLE
    undo = {"method": "PUT", "url": f"{web.url}/document"}
    assert remote.reversibility(call(compensate=undo)) == Reversibility.EXTERNALLY_REVERSIBLE


# --- the whole life of it, with an agent in a process of its own ---


@pytest.fixture
def outside(story: Story, web: WebServer, live_server: Any) -> Any:
    """Run an agent that has a key, two addresses and nothing else to its end; gives how it ended, and its words."""
    key = agent_of(story.people.cem, timezone.now(), name="indexer")[1]
    env = {
        "GRACE_URL": live_server.url,
        "GRACE_KEY": key,
        "INDEX_URL": f"{web.url}/document",
        "PATH": os.environ["PATH"],
    }

    def run(killed: str = "") -> tuple[int, str]:
        code = KILLED.format(path=str(AGENT), then=killed)
        argv = [sys.executable, "-I", *(["-c", code] if killed else [str(AGENT)])]
        ended = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert killed or ended.returncode == 0, ended.stderr
        return ended.returncode, ended.stdout.strip()

    return run


@pytest.mark.django_db(transaction=True)
def test_an_agent_with_a_key_and_a_permit_does_the_work_and_grace_looks(
    outside: Any, story: Story, web: WebServer
) -> None:
    asked = offered(story, web)
    assert outside() == (0, "reported")
    assert web.document == {"built": "today"}
    later(0)
    assert state_of(asked) == "verified"
    assert facts(asked).count("permit.claimed") == facts(asked).count("permit.reported") == 1
    assert outside() == (0, "nothing to do")
    sent = next(each for each in web.requests if each["method"] == "PUT")
    assert sent["headers"]["x-grace-token"] == str(Permit.objects.get().token)


@pytest.mark.django_db(transaction=True)
def test_what_the_agent_says_is_not_believed_and_the_work_is_taken_back(
    outside: Any, story: Story, web: WebServer
) -> None:
    asked = offered(story, web, built="yesterday")
    assert outside() == (0, "reported")
    assert web.document == {"built": "yesterday"}
    later(0)
    assert state_of(asked) == "rolled_back"
    assert web.document == {"enabled": False}


@pytest.mark.django_db(transaction=True)
def test_p_an_agent_killed_before_its_effect_is_found_out_and_another_permit_is_offered(
    outside: Any, story: Story, web: WebServer
) -> None:
    asked = offered(story, web)
    assert outside(BEFORE)[0] == -signal.SIGKILL
    later(35)
    assert state_of(asked) == "in_doubt"
    later(450)
    assert state_of(asked) == "failed"
    assert puts(web) == 0
    later(480)
    assert outside() == (0, "reported")
    later(480)
    assert state_of(asked) == "verified"
    assert (puts(web), Permit.objects.count()) == (1, 2)


@pytest.mark.django_db(transaction=True)
def test_p_an_agent_killed_after_its_effect_is_found_out_and_nothing_is_done_twice(
    outside: Any, story: Story, web: WebServer
) -> None:
    asked = offered(story, web)
    assert outside(AFTER)[0] == -signal.SIGKILL
    later(35)
    assert state_of(asked) == "verified"
    assert Execution.objects.get().recovered
    assert "contract.in_doubt" in facts(asked)
    assert puts(web) == 1


# --- offered ---


@pytest.mark.django_db
def test_no_worker_waits_for_an_agent(story: Story, web: WebServer) -> None:
    asked = offered(story, web)
    assert Execution.objects.get().state == Execution.State.HANDED_OVER
    assert Job.objects.get(contract_id=asked["id"]).state == JobState.QUEUED


@pytest.mark.django_db
def test_what_nobody_claims_did_nothing_is_tried_again_and_becomes_a_dead_letter(story: Story, web: WebServer) -> None:
    asked = offered(story, web)
    for step in range(1, 8):
        later(400 * step)
    contract = Contract.objects.get(pk=asked["id"])
    assert (contract.state, contract.dead_lettered_at is not None) == ("failed", True)
    assert set(Permit.objects.values_list("state", "claimed_at")) == {("lapsed", None)}
    assert facts(asked).count("permit.expired") == contract.executions.count() == 3
    assert puts(web) == 0


@pytest.mark.django_db
def test_what_nobody_claimed_is_not_verified_when_somebody_else_did_it(story: Story, web: WebServer) -> None:
    asked = offered(story, web)
    web.document = {"built": "today"}
    later(400)
    assert state_of(asked) == "failed"
    assert web.document == {"built": "today"}


@pytest.mark.django_db
def test_cancelled_before_it_is_claimed_it_is_not_given_out(story: Story, web: WebServer, indexer: Api) -> None:
    asked = offered(story, web)
    assert story.agent.post(f"{CONTRACTS}/{asked['id']}/cancel", {"reason": "not needed"}).status_code == 200
    assert claim(indexer) is None
    later(15)
    assert state_of(asked) == "cancelled"


@pytest.mark.django_db
def test_a_withdrawn_approval_has_no_permit(story: Story, web: WebServer, indexer: Api) -> None:
    asked = story.propose(body(web))
    assert story.decide(asked, story.people.bea).status_code == 200
    bea = story.person(story.people.bea)
    assert bea.post(f"{APPROVALS}/{asked['approval_id']}/withdraw", {"reason": "read it again"}).status_code == 200
    later(0)
    assert claim(indexer) is None
    assert not Permit.objects.exists()


@pytest.mark.django_db
def test_what_is_held_is_not_given_out(story: Story, web: WebServer, indexer: Api) -> None:
    offered(story, web)
    cem = story.people.cem
    by = {"by": principals.actor_of(cem), "user": cem, "now": timezone.now()}
    holds.engage(scope="target", pattern="remote:*", reason="the index moves", **by)
    assert claim(indexer) is None


@pytest.mark.django_db
def test_only_listed_agents_are_given_work_and_only_as_it_was_approved(
    story: Story, web: WebServer, indexer: Api, listed: Any, settings: Any
) -> None:
    offered(story, web)
    assert claim(story.agent) is None
    assert claim(indexer, remotes=["others"]) is None
    listed(title="another definition")
    assert claim(indexer) is None
    settings.TARGETS_FILE = None
    assert claim(indexer) is None
    listed()
    settings.VERIFICATION_ENABLED = False
    assert refused(indexer.post(f"{PERMITS}/claim", {}), "verification_disabled", 503)
    settings.VERIFICATION_ENABLED = True
    assert claim(indexer, remotes=["reindex"])["arguments"] == {"built": "today"}


@pytest.mark.django_db(transaction=True)
def test_n_of_two_agents_that_claim_at_once_one_gets_it(story: Story, web: WebServer, indexer: Api) -> None:
    offered(story, web)
    keys = [indexer, Api(key=agent_of(story.people.dee, timezone.now(), name="other")[1])] * 2
    barrier, got = threading.Barrier(len(keys)), []

    def ask(api: Api) -> None:
        barrier.wait(10)
        try:
            got.append(claim(api))
        finally:
            connection.close()

    threads = [threading.Thread(target=ask, args=(api,)) for api in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [each is None for each in got].count(False) == 1
    assert len(got) == len(keys)
    assert Entry.objects.filter(fact="permit.claimed").count() == 1


# --- claimed ---


@pytest.mark.django_db
def test_a_permit_says_in_writing_what_it_is_for_and_anybody_can_check_it(
    story: Story, web: WebServer, indexer: Api
) -> None:
    asked = offered(story, web)
    answer = indexer.post(f"{PERMITS}/claim", {}).json()["data"]
    signed, _, signature = answer["permit"]["permit"].rpartition(".")
    Ed25519PublicKey.from_public_bytes(decoded(answer["key"]["x"])).verify(decoded(signature), signed.encode())
    claims = json.loads(decoded(signed.partition(".")[2]))
    contract = Contract.objects.get(pk=asked["id"])
    assert (claims["contract"], claims["digest"]) == (asked["id"], contract.authorized_digest)
    assert (claims["remote"], claims["arguments"], claims["target"]) == (
        "reindex",
        {"built": "today"},
        "remote:reindex",
    )
    deadline = Execution.objects.get().deadline_at
    assert deadline is not None
    assert claims["exp"] == int(deadline.timestamp())


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


@pytest.mark.django_db
def test_q_nothing_but_the_permit_as_it_was_given_counts(story: Story, web: WebServer, indexer: Api) -> None:
    asked = offered(story, web)
    permit = claim(indexer)
    header, payload, signature = permit["permit"].split(".")
    claims = json.loads(decoded(payload))
    other = Api(key=agent_of(story.people.dee, timezone.now(), name="other")[1])
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    tampered = base64.urlsafe_b64encode(json.dumps({**claims, "token": 99}).encode()).rstrip(b"=").decode()
    for text in (
        "x",
        f"{none}.{payload}.",
        f"{none}.{payload}.{signature}",
        f"{header}.{tampered}.{signature}",
        f"{header}.{payload}.{signature[:-4]}AAAA",
        f"{header}.{payload}.{signature}=",
        f"{header}.{payload}.{signature}.x",
        permit_notes.write({**claims, "digest": "0" * 64}),
        permit_notes.write({**claims, "token": claims["token"] + 1}),
        permit_notes.write({**claims, "sub": str(uuid4())}),
    ):
        assert refused(report(indexer, {**permit, "permit": text}), "permit_not_valid")
        assert refused(indexer.post(f"{PERMITS}/{permit['id']}/heartbeat", {"permit": text}), "permit_not_valid")
    assert refused(report(other, permit), "permit_not_valid")
    assert refused(report(indexer, {**permit, "id": uuid4()}), "permit_not_found", 404)
    assert Permit.objects.get().result is None
    assert "permit.reported" not in facts(asked)
    assert report(indexer, permit).status_code == 200


@pytest.mark.django_db
def test_q_a_report_is_taken_once(story: Story, web: WebServer, indexer: Api) -> None:
    asked = offered(story, web)
    permit = claim(indexer)
    web.document = {"built": "today"}
    assert report(indexer, permit, result={"documents": 3}).json()["data"]["state"] == "reported"
    assert refused(report(indexer, permit, status="failed"), "permit_spent")
    later(0)
    assert refused(report(indexer, permit), "permit_spent")
    assert state_of(asked) == "verified"
    assert Execution.objects.get().result["result"] == {"documents": 3}
    assert facts(asked).count("permit.reported") == 1


@pytest.mark.django_db
def test_q_a_late_report_records_nothing(story: Story, web: WebServer, indexer: Api) -> None:
    """Also one that comes when its attempt was given up and another one has begun."""
    asked = offered(story, web)
    first = claim(indexer)
    later(35)
    assert state_of(asked) == "in_doubt"
    assert refused(report(indexer, first), "permit_expired")
    assert refused(indexer.post(f"{PERMITS}/{first['id']}/heartbeat", {"permit": first["permit"]}), "permit_expired")
    later(450)
    later(480)
    second = claim(indexer)
    assert second["token"] > first["token"]
    assert refused(report(indexer, first), "permit_expired")
    assert refused(report(indexer, {**second, "permit": first["permit"]}), "permit_not_valid")
    assert set(Execution.objects.values_list("result", flat=True)) == {None}
    assert "permit.reported" not in facts(asked)


@pytest.mark.django_db
def test_a_heartbeat_extends_up_to_the_deadline_and_says_when_to_stop(
    story: Story, web: WebServer, indexer: Api, listed: Any
) -> None:
    listed(heartbeat_seconds=300, timeout_seconds=60, claim_seconds=10)
    asked = offered(story, web)
    permit = claim(indexer)
    assert permit["good_until"] == permit["deadline_at"]
    row = Permit.objects.get()
    row.heartbeat_seconds = 20
    row.save()
    alive = indexer.post(f"{PERMITS}/{permit['id']}/heartbeat", {"permit": permit["permit"]}).json()["data"]
    assert (alive["stop"], alive["good_until"] < permit["deadline_at"]) == (False, True)
    assert story.agent.post(f"{CONTRACTS}/{asked['id']}/cancel", {"reason": "not needed"}).status_code == 200
    assert indexer.post(f"{PERMITS}/{permit['id']}/heartbeat", {"permit": permit["permit"]}).json()["data"]["stop"]
    assert report(indexer, permit, status="failed", error="stopped").status_code == 200
    later(0)
    assert state_of(asked) == "cancelled"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("result", "status"),
    [
        ({"status": "pending"}, 400),
        ({"status": "rolled_back"}, 400),
        ({"status": "success", "ok": False}, 422),
        ({"status": "success", "result": {"text": "x" * 70_000}}, 422),
        ({"status": "success", "surprise": 1}, 400),
    ],
)
def test_a_report_that_is_no_result_is_refused_and_may_be_corrected(
    story: Story, web: WebServer, indexer: Api, result: dict[str, Any], status: int
) -> None:
    offered(story, web)
    permit = claim(indexer)
    assert report(indexer, permit, **result).status_code == status
    assert Permit.objects.get().state == "claimed"
    assert report(indexer, permit, result={"nul": "\x00", "number": 1e300}).status_code == 200


@pytest.mark.django_db
def test_a_person_cannot_claim(story: Story, web: WebServer) -> None:
    offered(story, web)
    assert story.person(story.people.bea).post(f"{PERMITS}/claim", {}).status_code == 403
