"""What turns an empty VAR_DIR into an installation: one step after another, each harmless when it is repeated."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.auth.models import User
from django.core import checks
from django.core.management import call_command
from django.db.models import QuerySet
from django.utils import timezone

from auditlog import integrity, jobs, mesh, signer
from auditlog.actors import SYSTEM
from governance import agents, proposals
from governance import seeds as governance_seeds
from governance.models import Agent, Policy
from missions import missions, sandbox
from missions import seeds as mission_seeds
from verification import benchmarking, snapshotting
from verification.executors.command_run import templates
from verification.models import BenchmarkRun, Contract, Snapshot, State

from . import configuration_snapshot
from .supervision import preparing

AGENT = "sandbox-agent"
SUITE = "smoke"
FIRST_CONTRACT = "bootstrap-first-contract"
PATIENCE_SECONDS = 60.0

Row = TypeVar("Row")


class StepFailed(Exception):
    """A step did not come to its end; the text says what is wrong and what would help."""


@dataclass
class Told:
    """What a run has to say: logins and the agent's key (made in this run only), and each step."""

    url: str
    users: list[dict[str, Any]] = field(default_factory=list)
    agent: dict[str, str] = field(default_factory=dict)
    steps: list[dict[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """`{"url", "users": [{username, password, groups}], "agent": {name, key}, "steps": […]}`."""
        return {"url": self.url, "users": self.users, "agent": self.agent, "steps": self.steps}


@dataclass(frozen=True)
class Step:
    """A name for people, and what is done; it answers a few words about what it found or made."""

    name: str
    run: Callable[[Told], str]


def run(told: Told) -> Iterator[tuple[Step, str]]:
    """Take every step in order, yielding each with its words; raises StepFailed at the first that fails."""
    for step in STEPS:
        words = step.run(told)
        told.steps.append({"name": step.name, "detail": words})
        yield step, words


def database(told: Told) -> str:
    """Make VAR_DIR, and bring the tables up to date."""
    try:
        preparing.folders(settings.VAR_DIR)
    except preparing.CannotStart as reason:
        raise StepFailed(str(reason)) from None
    call_command("migrate", interactive=False, verbosity=0)
    # From here on every subscriber hears everything: one that is first seen later begins at the end of the log.
    mesh.register_all()
    return str(settings.DATABASES["default"]["ENGINE"]).rpartition(".")[2]


def people(told: Told) -> str:
    """Groups and people; who is new gets a password, told once."""
    passwords = {person.username: secrets.token_urlsafe(9) for person in governance_seeds.PEOPLE}
    made = governance_seeds.seed(now=timezone.now(), passwords=passwords)
    known = {person.username: person for person in governance_seeds.PEOPLE}
    told.users = [
        {
            "username": name,
            "password": passwords[name],
            "groups": list(known[name].groups),
            "superuser": known[name].is_superuser,
        }
        for name in made
    ]
    return f"made {', '.join(made)}" if made else "all here"


def policy(told: Told) -> str:
    """The seeding of people publishes the first policy; here it is looked at."""
    row = Policy.objects.get(is_active=True)
    return f"version {row.version}, {len(row.rules)} rules"


def agent(told: Told) -> str:
    """An agent whose owner is Ada; its key is told once."""
    if Agent.objects.filter(name=AGENT).exists():
        return f"{AGENT} is here"
    owner = User.objects.get(username="ada")
    _, key = agents.create(name=AGENT, owner=owner, by=SYSTEM, now=timezone.now())
    told.agent = {"name": AGENT, "key": key}
    return f"made {AGENT}, owned by ada"


def playbooks(told: Told) -> str:
    """The seeded playbooks, and the sandbox they are about."""
    sandbox.write()
    published = mission_seeds.seed(now=timezone.now())
    return f"published {', '.join(published)}" if published else "up to date"


def golden_snapshot(told: Told) -> str:
    """Grace's configuration as it is now, kept as the golden one."""
    scope = configuration_snapshot.SCOPE
    if Snapshot.objects.filter(scope=scope, is_golden=True).exists():
        return "here"
    now = timezone.now()
    taken = snapshotting.take_of(scope=scope, kind=Snapshot.Kind.GOLDEN, by=SYSTEM, now=now)
    snapshotting.mark_golden(snapshot_id=taken.pk, by=SYSTEM, now=now)
    return f"{taken.item_count} documents, SHA-256 {taken.manifest_sha256[:12]}"


def benchmark(told: Told) -> str:
    """A smoke run, marked golden when every check passed."""
    if BenchmarkRun.objects.filter(suite=SUITE, is_golden=True).exists():
        return "here"
    started = benchmarking.start(suite=SUITE, by=SYSTEM, now=timezone.now())
    row = _finished(lambda: BenchmarkRun.objects.get(pk=started.pk), lambda r: r.state == r.State.COMPLETED)
    if not row.passed:
        failed = ", ".join(check["name"] for check in row.checks if not check["passed"])
        raise StepFailed(f"The smoke benchmark failed: {failed}. See VAR_DIR for space and permissions.")
    benchmarking.mark_golden(run_id=row.pk, by=SYSTEM, now=timezone.now())
    return f"{len(row.checks)} checks passed"


def first_contract(told: Told) -> str:
    """One tier_1 contract in the sandbox, carried to verified inside a mission that completes."""
    if _first_contracts().filter(state=State.VERIFIED).exists():
        return "here"
    if not missions.tracked():
        return "not tried: missions are not tracked (MISSION_TRACKING_ENABLED)"
    if sandbox.RELEASE_COMMAND not in templates.names():
        return f"not tried: COMMANDS_FILE is your own and does not list {sandbox.RELEASE_COMMAND}"
    contract = _first_contract(timezone.now())
    contract = _finished(lambda: Contract.objects.get(pk=contract.pk), lambda row: row.settled_at is not None)
    if contract.state != State.VERIFIED or contract.mission_id is None:
        raise StepFailed(f"The first contract is {contract.state}; see /contracts/{contract.pk}.")
    jobs.run_until_idle()
    missions.complete(mission_id=contract.mission_id, by=SYSTEM, now=timezone.now())
    return f"{contract.action_type} verified, confidence {contract.confidence}"


def _first_contracts() -> QuerySet[Contract]:
    """What was tried so far: each has a key that begins alike."""
    return Contract.objects.filter(requested_by=None, idempotency_key__startswith=FIRST_CONTRACT)


def _first_contract(now: datetime) -> Contract:
    """Proposed under its key, so that a run that was cut off goes on with the same contract."""
    earlier = list(_first_contracts().order_by("-created_at"))
    if earlier and earlier[0].settled_at is None:
        return earlier[0]
    mission = missions.start(goal="See that Grace works here", by=SYSTEM, user=None, now=now)
    submitted = proposals.submit(
        proposal=proposals.Proposal(
            action_type="command.run",
            target=sandbox.LOCK_TARGET,
            parameters={"command": sandbox.RELEASE_COMMAND},
            expected_effect={"target_state": {"locked": False}},
            mission_id=mission.pk,
            justification="The first contract of a new installation.",
        ),
        by=SYSTEM,
        user=None,
        idempotency_key=f"{FIRST_CONTRACT}-{len(earlier) + 1}" if earlier else FIRST_CONTRACT,
        now=now,
    )
    assert submitted.contract is not None, "this is no dry run"
    return submitted.contract


def check_config(told: Told) -> str:
    """The system checks; errors stop here, warnings are counted."""
    found = [message for message in checks.run_checks() if not message.is_silenced()]
    errors = [message for message in found if message.is_serious()]
    if errors:
        raise StepFailed("; ".join(f"{each.id}: {each.msg} {each.hint or ''}".strip() for each in errors))
    return f"{len(found)} warnings" if found else "no findings"


def verify_log(told: Told) -> str:
    """Everything that happened so far is in the log, and the log holds."""
    now = timezone.now()
    jobs.run_until_idle()
    if signer.latest() is None:
        signer.sign_if_due(now)
    report = integrity.check(now)
    if report.found:
        raise StepFailed("; ".join(f"{each.kind}: {each.detail}" for each in report.found))
    return f"{report.size} entries hold"


def _finished(load: Callable[[], Row], done: Callable[[Row], bool]) -> Row:
    """Do here what workers would do until it is done, or let them; raises StepFailed when it never is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        jobs.run_until_idle()
        if done(row := load()):
            return row
        time.sleep(0.2)
    raise StepFailed(f"Not done after {PATIENCE_SECONDS:.0f} s; `manage.py up` shows what the worker says.")


STEPS = (
    Step("database", database),
    Step("people and roles", people),
    Step("policy", policy),
    Step("agent", agent),
    Step("playbooks and sandbox", playbooks),
    Step("golden snapshot", golden_snapshot),
    Step("smoke benchmark", benchmark),
    Step("first contract", first_contract),
    Step("check_config", check_config),
    Step("verify_log", verify_log),
)
