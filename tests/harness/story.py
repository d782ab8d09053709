"""What integration tests share: an agent and people over HTTP, and the log of a contract as it was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.core.cache import cache
from django.utils import timezone

from auditlog import jobs
from auditlog.models import Entry
from governance import seeds
from tests.harness.clients import Api, agent_of
from tests.harness.people import People
from tests.harness.processes import wait_until
from verification.models import Contract

CONTRACTS = "/api/verification/contracts"
APPROVALS = "/api/governance/approvals"
PATIENCE = 60
OVER = {"verified", "rolled_back", "failed", "held", "partial", "cancelled", "expired", "denied", "rejected"}


class Story:
    """Ada's agent proposes to change files in the sandbox; people decide; everything over HTTP."""

    def __init__(self, var_dir: Path, people: People) -> None:
        cache.clear()
        self.people = people
        self.sandbox = var_dir / "sandbox"
        self.sandbox.mkdir(exist_ok=True)
        seeds.seed(now=timezone.now())
        made, self.key = agent_of(people.ada, timezone.now())
        self.agent_id: UUID = made.pk
        self.agent = Api(key=self.key)

    def person(self, user: User) -> Api:
        """Somebody with a session."""
        return Api(user=user)

    def propose(self, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        """What the agent's proposal was answered; it must have been taken."""
        answer = self.agent.post(CONTRACTS, body, **headers)
        assert answer.status_code == 201, answer.content
        data: dict[str, Any] = answer.json()["data"]
        return data

    def decide(self, asked: dict[str, Any], user: User, verdict: str = "approve", **more: Any) -> Any:
        """The response to one person's decision on the digest they were shown."""
        reviewer = self.person(user)
        shown = reviewer.data(f"{APPROVALS}/{asked['approval_id']}")
        body = {"verdict": verdict, "digest": shown["digest"], "reason": "read it", **more}
        return reviewer.post(f"{APPROVALS}/{asked['approval_id']}/decision", body, X_Request_ID="decision")

    def contract(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The contract as its agent sees it."""
        data: dict[str, Any] = self.agent.data(f"{CONTRACTS}/{asked['id']}")
        return data

    def wait(self, asked: dict[str, Any], *, seconds: float = 30) -> dict[str, Any]:
        """The contract, once it has settled or waits for a person."""
        settled = Contract.objects.filter(pk=asked["id"], state__in=OVER)
        wait_until(settled.exists, seconds=seconds, what=f"the contract {asked['id']} is settled")
        return self.contract(asked)


def settled(asked: dict[str, Any], *, meanwhile: Callable[[], object] = lambda: None) -> Contract:
    """The contract once it is over, with the sweep at work as the scheduler would have it."""

    def over() -> bool:
        jobs.sweep(timezone.now())
        meanwhile()
        return Contract.objects.filter(pk=asked["id"], state__in=OVER, settled_at__isnull=False).exists()

    wait_until(over, seconds=PATIENCE, what="the contract is settled")
    return Contract.objects.get(pk=asked["id"])


@dataclass(frozen=True)
class Told:
    """An entry of the log in short: the fact, who, under which correlation id, and the fact that led to it."""

    fact: str
    who: str
    correlation_id: str | None
    because_of: str | None


def told(contract_id: str) -> list[Told]:
    """Everything the log says about a contract, in the order in which it was appended."""
    rows = list(Entry.objects.filter(contract_id=contract_id).order_by("id"))
    facts = {row.pk: row.fact for row in Entry.objects.all()}
    return [
        Told(
            row.fact,
            f"{row.actor_kind} {row.actor_id}" if row.actor_kind != "system" else "system",
            row.correlation_id,
            facts[row.caused_by] if row.caused_by else None,
        )
        for row in rows
    ]
