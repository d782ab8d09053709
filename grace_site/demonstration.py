"""The main job, played for real against the sandbox service, through the same API everybody else uses."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import requests
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.utils import timezone

from auditlog import entries
from auditlog.actors import SYSTEM
from governance import agents
from governance.models import Agent
from missions import sandbox
from missions.models import Incident
from verification.models import Contract

from . import supervision

AGENT = "demo-agent"
REVIEWER = "bea"
READY_SECONDS = 60.0
STORY_SECONDS = 90.0
PERSON_SECONDS = 900.0
POLL_SECONDS = 0.2

Found = TypeVar("Found")
Say = Callable[[str], None]


class DemoFailed(Exception):
    """The story did not go as it should; the text says where and what to look at."""


# --- what has to be there ---


@contextmanager
def everything_running(say: Say) -> Iterator[str]:
    """The URL of a running installation; one that is not running is started, and ended afterwards."""
    if (found := supervision.running(settings.VAR_DIR)) is not None:
        yield found.url
        return
    say("Nothing is running here: starting web, worker and scheduler for the length of this demo.")
    output = (settings.VAR_DIR / "logs" / "demo-up.log").open("w")
    process = subprocess.Popen(
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "up"],
        cwd=settings.BASE_DIR,
        stdout=output,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield _ready(process, Path(output.name))
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)
        process.kill()
        output.close()


def _ready(process: subprocess.Popen[bytes], output: Path) -> str:
    def answers() -> str | None:
        if process.poll() is not None:
            raise DemoFailed(f"manage.py up ended:\n{output.read_text()[-2000:]}")
        found = supervision.running(settings.VAR_DIR)
        return found.url if found and found.url and _is_ready(found.url) else None

    return _until(answers, READY_SECONDS, "web, worker and scheduler to be ready")


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=2).ok
    except requests.RequestException:
        return False


@contextmanager
def sandbox_service(say: Say) -> Iterator[sandbox.Sandbox]:
    """The sandbox as it is in a new installation, with its service answering."""
    world = sandbox.write()
    sandbox.reset(world)
    process = subprocess.Popen(world.service_argv(settings.SANDBOX_PORT), stdin=subprocess.DEVNULL)
    try:
        _until(lambda: _health(process) is not None, 10, f"the sandbox service on port {settings.SANDBOX_PORT}")
        say(f"A small billing service runs at {health_url()}; it is as well as {world.config} says.")
        yield world
    finally:
        process.terminate()
        process.wait(timeout=10)


def health_url() -> str:
    """Where the sandbox service says how it is."""
    return f"http://127.0.0.1:{settings.SANDBOX_PORT}/health"


def _health(process: subprocess.Popen[bytes]) -> int | None:
    if process.poll() is not None:
        raise DemoFailed(f"The sandbox service could not start; is port {settings.SANDBOX_PORT} taken?")
    try:
        return requests.get(health_url(), timeout=2).status_code
    except requests.RequestException:
        return None


# --- who takes part ---


@dataclass
class Client:
    """Somebody who talks to the API at `url`."""

    url: str
    http: requests.Session = field(default_factory=requests.Session)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST and answer `data`; raises DemoFailed with the problem's own words."""
        answer = self.http.post(f"{self.url}{path}", json=body, timeout=30)
        if not answer.ok:
            raise DemoFailed(f"POST {path} answered {answer.status_code}: {answer.text[:500]}")
        data: dict[str, Any] = answer.json()["data"]
        return data

    def get(self, path: str) -> dict[str, Any]:
        """GET and answer `data`."""
        answer = self.http.get(f"{self.url}{path}", timeout=30)
        answer.raise_for_status()
        data: dict[str, Any] = answer.json()["data"]
        return data


def agent(url: str) -> Client:
    """The demo's agent, owned by Ada, with a key made for this run."""
    now = timezone.now()
    found = Agent.objects.filter(name=AGENT).first()
    if found is None:
        owner = User.objects.get(username="ada")
        _, key = agents.create(name=AGENT, owner=owner, by=SYSTEM, now=now)
    else:
        key = agents.rotate(agent_id=found.pk, overlap=timedelta(0), by=SYSTEM, now=now)
    client = Client(url)
    client.http.headers["Authorization"] = f"Bearer {key}"
    return client


def reviewer(url: str) -> Client:
    """Bea, logged in: `--yes` means that the demo decides in her name."""
    user = User.objects.get(username=REVIEWER)
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[-1]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.set_expiry(600)
    session.create()
    client = Client(url)
    client.http.cookies.set(settings.SESSION_COOKIE_NAME, session.session_key)
    client.get("/api/governance/me")
    token = client.http.cookies.get(settings.CSRF_COOKIE_NAME) or ""
    client.http.headers.update({"X-CSRFToken": token, "Referer": f"{url}/"})
    return client


# --- the story ---


@dataclass
class Story:
    """Three chapters, told as they happen."""

    url: str
    world: sandbox.Sandbox
    say: Say
    yes: bool

    def tell(self) -> None:
        """Play all chapters; raises DemoFailed at the first thing that is not as promised."""
        proposer = agent(self.url)
        self.chapter("1. An error comes in, and tier 1 repairs it by itself")
        self.error_heals(proposer)
        self.chapter("2. A configuration change waits for a reviewer, runs and is verified")
        self.change_is_approved(proposer)
        self.chapter("3. A bad change is noticed by what it does, and taken back")
        self.bad_change_is_undone(proposer)

    def chapter(self, title: str) -> None:
        """A heading."""
        self.say(f"\n{title}\n{'-' * len(title)}")

    def error_heals(self, proposer: Client) -> None:
        """An incident is planned, its playbook runs, the lock is gone."""
        reported = proposer.post(
            "/api/verification/incidents",
            {
                "error_type": "OperationalError",
                "error_message": "database is locked: lock file app.lock exists",
                "severity": "high",
                "source": "billing",
            },
        )
        incident = _until(
            lambda: Incident.objects.filter(pk=reported["id"]).exclude(mission=None).first(),
            STORY_SECONDS,
            "the incident to be planned",
        )
        assert incident.mission_id is not None, "excluded above"
        follow = self.follow(mission_id=incident.mission_id)

        def over() -> bool:
            follow()
            incident.refresh_from_db()
            return incident.state in {Incident.State.RESOLVED, Incident.State.ESCALATED}

        _until(over, STORY_SECONDS, "the incident to be resolved")
        follow()
        self.expect(incident.state == Incident.State.RESOLVED, f"the incident is {incident.state}")
        self.expect(not self.world.lock.exists(), "the stale lock is still there")
        self.say("The stale lock is gone: nobody had to be woken, and the log says why it was allowed.")

    def change_is_approved(self, proposer: Client) -> None:
        """A tier_2 change is approved, runs, and the service stays healthy."""
        contract = self.propose(proposer, connections=50, why="The pool is larger than the database allows.")
        self.expect(contract["tier"] == "tier_2", f"the change was given {contract['tier']}")
        self.decide(contract)
        row = self.watch(contract)
        self.expect(row.state == "verified", f"the change ended {row.state}")
        self.say(f"Verified with confidence {row.confidence}: the file says so, and so does {health_url()}.")

    def bad_change_is_undone(self, proposer: Client) -> None:
        """A change that breaks the service is rolled back, byte for byte."""
        before = self.world.config.read_bytes()
        contract = self.propose(proposer, connections=100_000, why="More is better.")
        self.decide(contract)
        row = self.watch(contract)
        self.expect(row.state == "rolled_back", f"the bad change ended {row.state}")
        after = self.world.config.read_bytes()
        self.expect(after == before, "the file is not as it was before")
        self.say(f"The file is as it was, byte for byte (SHA-256 {hashlib.sha256(after).hexdigest()[:16]}…).")

    def propose(self, proposer: Client, *, connections: int, why: str) -> dict[str, Any]:
        """Ask for another size of the connection pool, and promise what will be true then."""
        contract = proposer.post(
            "/api/verification/contracts",
            {
                "action_type": "config.update",
                "target": sandbox.CONFIG_TARGET,
                "parameters": {"path": "app.json", "merge": {"max_connections": connections}},
                "expected_effect": {
                    "success_criteria": [
                        {
                            "type": "state_match",
                            "path": "content.max_connections",
                            "equals": connections,
                            "required": True,
                        },
                        {"type": "health_check", "url": health_url(), "required": True},
                    ]
                },
                "justification": why,
            },
        )
        self.say(f"The agent proposes max_connections = {connections}: {contract['tier']}, {contract['state']}.")
        return contract

    def decide(self, contract: dict[str, Any]) -> None:
        """Approve as Bea, or wait for somebody at the console."""
        approval = str(contract["approval_id"])
        self.say(f"It waits at {self.url}/approvals/{approval}")
        if self.yes:
            bea = reviewer(self.url)
            shown = bea.get(f"/api/governance/approvals/{approval}")
            for line in shown["preview"]["body"].splitlines():
                self.say(f"    {line}")
            bea.post(
                f"/api/governance/approvals/{approval}/decision",
                {"verdict": "approve", "digest": shown["digest"], "reason": "Looks right (demo --yes)."},
            )
            return
        self.say("Log in there as bea, cem or dee and decide. Waiting …")
        _until(
            lambda: Contract.objects.exclude(state="awaiting_approval").filter(pk=contract["id"]).exists(),
            PERSON_SECONDS,
            "a decision",
        )

    def watch(self, contract: dict[str, Any]) -> Contract:
        """Follow a contract until it is settled, or waits for a person."""
        follow = self.follow(contract_id=UUID(str(contract["id"])))

        def over() -> Contract | None:
            follow()
            row = Contract.objects.get(pk=contract["id"])
            return row if row.settled_at or row.state in {"held", "partial"} else None

        row = _until(over, STORY_SECONDS, "the contract to be settled")
        follow()
        return row

    def follow(self, **ids: UUID) -> Callable[[], None]:
        """Something that prints what the log has gained each time it is called."""
        told: set[UUID] = set()

        def more() -> None:
            for entry in entries.timeline(**ids):
                if entry.pk not in told:
                    told.add(entry.pk)
                    self.say(f"  {entry.recorded_at:%H:%M:%S.%f}"[:-3] + f"  {entry.fact}")

        return more

    def expect(self, holds: bool, otherwise: str) -> None:
        """Go on only if it holds."""
        if not holds:
            raise DemoFailed(f"That is not how it should go: {otherwise}.")


def _until(look: Callable[[], Found | None], seconds: float, what: str) -> Found:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(POLL_SECONDS)
    raise DemoFailed(f"Waited {seconds:.0f} s for {what}; see {settings.VAR_DIR / 'logs'}.")
