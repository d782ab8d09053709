"""What tests of governance share: a small world with a policy, an agent, a configuration file, and short verbs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone

from auditlog import jobs
from auditlog.actors import SYSTEM
from auditlog.models import Entry
from auditlog.refusals import Refused
from governance import agents, approvals, policies, principals, proposals, seeds
from governance.models import Agent, ApprovalRequest, Policy
from governance.proposals import Proposal, Submitted
from tests.harness.people import People
from verification.models import Contract

TARGET = "file:app.json"


class Governed:
    """The seeded policy, an agent of Ada's called `deployer`, and the file `app.json` with a port in it."""

    def __init__(self, sandbox: Path, people: People) -> None:
        self.people = people
        self.file = sandbox / "app.json"
        self.write({"port": 8000})
        seeds.seed(now=timezone.now())
        self.agent, self.key = agents.create(
            name="deployer", owner=people.ada, by=principals.actor_of(people.ada), now=timezone.now()
        )

    @property
    def robot(self) -> User:
        """The service user of the agent."""
        return User.objects.get(pk=self.agent.user_id)

    def write(self, content: Any) -> None:
        """Change the world behind everybody's back."""
        self.file.write_text(json.dumps(content))

    def read(self) -> Any:
        """The file as it is."""
        return json.loads(self.file.read_text())

    def body(self, port: int = 9000, **more: Any) -> dict[str, Any]:
        """A proposal (tier_2 by the seeded policy) that sets the port and promises to have done so."""
        effect = {"success_criteria": [{"type": "state_match", "path": "content.port", "equals": port}]}
        return {
            "action_type": "config.update",
            "target": TARGET,
            "parameters": {"path": "app.json", "merge": {"port": port}},
            "expected_effect": effect,
            **more,
        }

    def submit(
        self, body: dict[str, Any] | None = None, *, user: User | None = None, key: str | None = None, **more: Any
    ) -> Submitted:
        """Propose, as the agent unless told otherwise."""
        who = user or self.robot
        return proposals.submit(
            proposal=Proposal.from_body(body or self.body()),
            by=principals.actor_of(who),
            user=who,
            idempotency_key=key,
            now=timezone.now(),
            **more,
        )

    def ask(self, **more: Any) -> ApprovalRequest:
        """Propose what people have to decide, and give their request."""
        request = self.submit(self.body(**more)).approval
        assert request is not None
        return request

    def decide(self, request: ApprovalRequest, person: User, verdict: str = "approve", **more: Any) -> ApprovalRequest:
        """One person's word on what the request asks now (or on another digest)."""
        more.setdefault("digest", request.digest)
        more.setdefault("reason", "" if verdict == "approve" else "not like this")
        return approvals.decide(
            request_id=request.pk,
            by=principals.actor_of(person),
            user=person,
            verdict=verdict,
            now=more.pop("now", None) or timezone.now(),
            **more,
        )

    def withdraw(self, request: ApprovalRequest, person: User) -> ApprovalRequest:
        """One person takes their word back."""
        return approvals.withdraw(
            request_id=request.pk,
            by=principals.actor_of(person),
            user=person,
            reason="on second thoughts",
            now=timezone.now(),
        )

    def policy(
        self,
        *rules: dict[str, Any],
        tiers: dict[str, Any] | None = None,
        seeded: bool = True,
        now: datetime | None = None,
    ) -> Policy:
        """Put the seeded policy with further rules (and other tiers) in force; without `seeded` these rules alone."""
        document = {
            **seeds.POLICY,
            "rules": [*(seeds.POLICY["rules"] if seeded else ()), *rules],
            "tiers": {**seeds.POLICY["tiers"], **(tiers or {})},
        }
        return policies.publish(document=document, note="a test", by=SYSTEM, now=now or timezone.now())

    def trust(self) -> Policy:
        """Let configuration be changed without asking anybody."""
        rule = {"name": "trusted", "effect": "tier_1", "action_types": ["config.update"]}
        return self.policy(rule, seeded=False)

    def settle(self) -> None:
        """Do everything that is due."""
        jobs.run_until_idle()


def contract_of(request: ApprovalRequest) -> Contract:
    """The contract as it is in the database."""
    return Contract.objects.get(pk=request.contract_id)


def fresh(request: ApprovalRequest) -> ApprovalRequest:
    """The request as it is in the database."""
    return ApprovalRequest.objects.get(pk=request.pk)


def newest(contract: Contract) -> ApprovalRequest:
    """The newest request about a contract."""
    found = ApprovalRequest.objects.filter(contract=contract).order_by("-created_at", "-id").first()
    assert found is not None
    return found


def facts(subject: Any = None) -> list[str]:
    """The facts of the log, or those about one contract, in the order they were appended."""
    found = Entry.objects.all()
    if isinstance(subject, Contract):
        found = found.filter(contract_id=subject.pk)
    return [entry.fact for entry in found.order_by("id")]


def at_once(acts: Sequence[Callable[[], object]]) -> list[str | None]:
    """Every act in a thread of its own, started together; what each answered or was refused, in order."""
    barrier, answers = threading.Barrier(len(acts)), _blank(len(acts))

    def run(index: int, act: Callable[[], object]) -> None:
        try:
            barrier.wait()
            act()
            answers[index] = "ok"
        except Refused as refusal:
            answers[index] = refusal.code
        except Exception as error:  # noqa: BLE001 - compared with what is expected
            answers[index] = repr(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _blank(size: int) -> list[str | None]:
    return [None] * size


__all__ = ["TARGET", "Agent", "Governed", "at_once", "contract_of", "facts", "fresh", "newest"]
