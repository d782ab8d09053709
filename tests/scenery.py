"""A small world for the pages to show, made by the verbs themselves: agents, files, requests, and what came of them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from auditlog import jobs
from auditlog.actors import SYSTEM
from governance import agents, approvals, holds, policies, principals, proposals, seeds
from governance.models import Agent, ApprovalRequest
from governance.proposals import Submitted
from governance.shapes import Proposal
from tests.harness.people import People

CHECKOUT = {
    "service": "checkout",
    "database": {"pool_size": 10, "timeout_seconds": 5, "host": "db-1.internal"},
    "features": {"express": True, "gift_cards": False},
    "log_level": "info",
}
LIMITS = "currency: EUR\ndaily_limit: 5000\nsingle_limit: 1500\nreview_above: 1000\n"
COMMANDS = """
[commands.rotate-log]
title = "Rotate a log"
argv = ["{python}", "-c", "print('rotated')"]
arguments = {{ name = {{ type = "string", pattern = "^[a-z]+$" }} }}
reversibility = "reversible"
target = "log:{{name}}"

[commands.purge-exports]
title = "Delete exports"
argv = ["{python}", "-c", "print('purged')", "{{older_than_days}}"]
arguments = {{ older_than_days = {{ type = "integer", minimum = 30 }} }}
reversibility = "irreversible"
target = "exports:nightly"

[commands.drain-node]
title = "Drain a node"
argv = ["{python}", "-c", "print('drained')", "{{node}}"]
undo = ["{python}", "-c", "print('back')", "{{node}}"]
arguments = {{ node = {{ type = "string", pattern = "^[a-z0-9-]+$" }} }}
reversibility = "externally_reversible"
target = "node:{{node}}"
"""


@dataclass
class Scene:
    """Who and what there is."""

    users: People
    sandbox: Path
    deployer: Agent
    requests: dict[str, ApprovalRequest] = field(default_factory=dict)

    def propose(self, by: User, **body: Any) -> Submitted:
        """Somebody proposes an action."""
        return proposals.submit(
            proposal=Proposal.from_body(body),
            by=principals.actor_of(by),
            user=by,
            idempotency_key=None,
            now=timezone.now(),
        )

    def change(self, path: str, merge: dict[str, Any], by: User | None = None, **more: Any) -> Submitted:
        """A change of a configuration file that verifies what it merges."""
        effect = {"success_criteria": [_reads(name, value) for name, value in _flat(merge)]}
        body = {
            "action_type": "config.update",
            "target": f"file:{path}",
            "parameters": {"path": path, "merge": merge},
            "expected_effect": effect,
            **more,
        }
        return self.propose(by or self.deployer.user, **body)

    def ask(self, pool_size: int = 25) -> ApprovalRequest:
        """A pending request one reviewer can decide: more connections for the checkout."""
        submitted = self.change(
            "checkout.json",
            {"database": {"pool_size": pool_size}},
            justification="The pool was exhausted four times since noon; requests waited up to 9 s.",
            confidence=0.86,
        )
        assert submitted.approval is not None
        return submitted.approval

    def decide(self, request: ApprovalRequest, person: User, verdict: str = "approve", reason: str = "") -> None:
        """A person decides on what stands there now."""
        approvals.decide(
            request_id=request.pk,
            by=principals.actor_of(person),
            user=person,
            verdict=verdict,
            digest=request.digest,
            reason=reason,
            now=timezone.now(),
        )


def minimal(sandbox: Path, users: People) -> Scene:
    """The seeded policy, an agent of Ada's, and two files it may want to change."""
    # Made before the seeds, which would make them without a password.
    everybody = [users.ada, *users.reviewers, users.eve, users.administrator]
    assert all(person.has_usable_password() for person in everybody)
    seeds.seed(now=timezone.now())
    (sandbox / "checkout.json").write_text(json.dumps(CHECKOUT, indent=2) + "\n")
    (sandbox / "payments").mkdir(exist_ok=True)
    (sandbox / "payments" / "limits.yaml").write_text(LIMITS)
    commands = sandbox.parent / "commands.toml"
    commands.write_text(COMMANDS.format(python=sys.executable))
    settings.COMMANDS_FILE = commands
    deployer, _ = agents.create(name="deployer", owner=users.ada, by=SYSTEM, now=timezone.now())
    return Scene(users, sandbox, deployer)


def whole(sandbox: Path, users: People) -> Scene:
    """A working day: things that ran, one that was rolled back, one that was rejected, and six that wait."""
    scene = minimal(sandbox, users)
    _stricter_payments()
    janitor, _ = agents.create(
        name="janitor", owner=users.cem, allowed_action_types=["command.run"], by=SYSTEM, now=timezone.now()
    )
    _yesterday(scene, janitor)
    _waiting(scene, janitor)
    return scene


def _stricter_payments() -> None:
    """Payments are governance: a rule more makes them stricter, as rules do."""
    rule = {
        "name": "payments are everybody's business",
        "effect": "tier_3",
        "action_types": ["config.update"],
        "targets": ["file:payments/*"],
        "reason": "Limits protect customers and us.",
    }
    document = {**seeds.POLICY, "rules": [*seeds.POLICY["rules"], rule]}
    policies.publish(document=document, note="Payments need two people.", by=SYSTEM, now=timezone.now())


def _yesterday(scene: Scene, janitor: Agent) -> None:
    for log in ("app", "access", "audit"):
        scene.propose(janitor.user, **_rotation(log))
    for size in (12, 15):
        scene.decide(scene.ask(size), scene.users.bea, reason="Small step, measured.")
        jobs.run_until_idle()
    unkept = scene.change(
        "checkout.json",
        {"log_level": "debug"},
        expected_effect={"success_criteria": [_reads("log_level", "trace")]},
        justification="More detail while we look for the slow query.",
    )
    assert unkept.approval is not None
    scene.decide(unkept.approval, scene.users.cem)
    jobs.run_until_idle()
    rejected = scene.change("checkout.json", {"features": {"gift_cards": True}})
    assert rejected.approval is not None
    scene.decide(rejected.approval, scene.users.dee, "reject", "Not before the audit of the vouchers.")


def _waiting(scene: Scene, janitor: Agent) -> None:
    scene.requests["drifted"] = _drifted(scene)
    scene.requests["pool"] = scene.ask(25)
    wanted = {
        "purge": scene.propose(janitor.user, **_purge()),
        "drain": scene.propose(janitor.user, **_drain()),
        "limits": scene.change(
            "payments/limits.yaml",
            {"daily_limit": 20000, "single_limit": 5000},
            justification="Agreed with finance for the sale on Friday; back to 5000 on Monday.",
            confidence=0.95,
        ),
        "express": scene.change(
            "checkout.json",
            {"features": {"express": False}},
            justification="Express checkout fails at the carrier.",
        ),
    }
    for name, submitted in wanted.items():
        assert submitted.approval is not None
        scene.requests[name] = submitted.approval
    scene.decide(scene.requests["limits"], scene.users.dee, reason="Finance confirmed it to me.")
    hold = holds.engage(
        scope="target",
        pattern="node:web-3",
        reason="The rack is being recabled until 18:00.",
        by=principals.actor_of(scene.users.cem),
        user=scene.users.cem,
        now=timezone.now() - timedelta(minutes=42),
    )
    release = holds.release(
        hold_id=hold.pk,
        reason="The cabling is done.",
        by=principals.actor_of(scene.users.ada),
        user=scene.users.ada,
        now=timezone.now(),
    )
    assert release.approval is not None
    scene.requests["release"] = release.approval
    jobs.run_until_idle()


def _drifted(scene: Scene) -> ApprovalRequest:
    """Approved, and then somebody changed the file by hand: people are asked again, and shown the difference."""
    submitted = scene.change(
        "checkout.json", {"log_level": "warning"}, justification="The log is noisy since the last release."
    )
    assert submitted.approval is not None
    scene.decide(submitted.approval, scene.users.cem)
    by_hand = json.loads((scene.sandbox / "checkout.json").read_text())
    by_hand["features"]["gift_cards"] = True
    (scene.sandbox / "checkout.json").write_text(json.dumps(by_hand, indent=2) + "\n")
    jobs.run_until_idle()
    return ApprovalRequest.objects.get(contract=submitted.contract, state="pending")


def _rotation(name: str) -> dict[str, Any]:
    return {
        "action_type": "command.run",
        "target": f"log:{name}",
        "parameters": {"command": "rotate-log", "arguments": {"name": name}},
        "expected_effect": {"success_criteria": [_EXIT_ZERO]},
    }


def _purge() -> dict[str, Any]:
    return {
        "action_type": "command.run",
        "target": "exports:nightly",
        "parameters": {"command": "purge-exports", "arguments": {"older_than_days": 90}},
        "expected_effect": {"success_criteria": [_EXIT_ZERO]},
        "justification": "The export volume is at 91 %.",
        "confidence": 0.9,
    }


def _drain() -> dict[str, Any]:
    return {
        "action_type": "command.run",
        "target": "node:web-7",
        "parameters": {"command": "drain-node", "arguments": {"node": "web-7"}},
        "expected_effect": {"success_criteria": [_EXIT_ZERO]},
        "justification": "Its disk reports errors.",
    }


_EXIT_ZERO = {"type": "expression", "expression": "result.exit_code == 0", "required": True}


def _reads(path: str, value: Any) -> dict[str, Any]:
    return {"type": "state_match", "path": f"content.{path}", "equals": value, "required": True}


def _flat(merge: dict[str, Any], at: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in merge.items():
        found += _flat(value, f"{at}{name}.") if isinstance(value, dict) else [(f"{at}{name}", value)]
    return found
