"""What tests of missions share: a policy that knows the ledger, and steps that append to it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.utils import timezone

from auditlog import jobs, mesh, sequencer
from auditlog.actors import SYSTEM
from governance import policies, principals, proposals, seeds
from governance.proposals import Proposal
from missions import missions
from verification.models import Contract

TIERS = {"ledger:calm*": "tier_1", "ledger:code*": "tier_2", "ledger:grave*": "tier_3"}


def lay_down_the_law(now: datetime) -> None:
    """People, groups, and a policy: `ledger:calm…` is tier_1, `ledger:code…` tier_2, `ledger:grave…`
    tier_3."""
    seeds.seed(now=now)
    rules = [
        {"name": target, "effect": tier, "action_types": ["ledger.append"], "targets": [target]}
        for target, tier in TIERS.items()
    ]
    document = {**seeds.POLICY, "rules": [*seeds.POLICY["rules"], *rules]}
    policies.publish(document=document, note="the ledger", by=SYSTEM, now=now)


def body(target: str = "ledger:calm", *, count: int = 1, line: str = "one", **parameters: Any) -> dict[str, Any]:
    """A proposal that appends a line, and promises that there will be `count` of them."""
    return {
        "action_type": "ledger.append",
        "target": target,
        "parameters": {"line": line, **parameters},
        "expected_effect": {"target_state": {"count": count}},
    }


def step(title: str, target: str = "ledger:calm", *, delay_seconds: int = 0, **more: Any) -> dict[str, Any]:
    """The same as a step of a playbook."""
    return {"title": title, "delay_seconds": delay_seconds, **body(target, **more)}


def propose(user: User | None, *, mission_id: UUID | None = None, **more: Any) -> Contract:
    """Propose through the one door, as a person or (None) as Grace."""
    proposal = Proposal.from_body({**body(**more), **({"mission_id": str(mission_id)} if mission_id else {})})
    by = principals.actor_of(user) if user else SYSTEM
    submitted = proposals.submit(proposal=proposal, by=by, user=user, idempotency_key=None, now=timezone.now())
    assert submitted.contract is not None
    return submitted.contract


def settle(seconds: float = 0.0) -> None:
    """Do everything that is due `seconds` from now."""
    jobs.run_until_idle(timezone.now() + timedelta(seconds=seconds) if seconds else None)


def hear() -> None:
    """Deliver what reactions wait for, and run no job."""
    while sequencer.run(None) + mesh.deliver_all():
        pass


def told(mission_id: UUID) -> list[str]:
    """The facts of a mission's timeline, in log order."""
    return [entry.fact for entry in missions.timeline(mission_id=mission_id)]
