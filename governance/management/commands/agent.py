"""`manage.py agent create|rotate|suspend|resume|revoke`."""

from __future__ import annotations

import json as json_
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from auditlog.actors import Actor
from governance import access, agents
from governance.management.acting import acting_as, add_as, refusals_end_it


class Command(BaseCommand):
    """Make agents, give them new keys, stop them for a while, end them."""

    help = (
        "Make an agent (a program that may propose actions) and print its key, which is shown this once; "
        "give it another key while the old one lives on for a while; or end it and all its keys at once. "
        "Example: manage.py agent create deployer --owner ada --allow config.update --allow http.request"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One sub-command for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="Make an agent and its first key.")
        create.add_argument("--owner", required=True, help="The user who answers for it and never approves for it.")
        create.add_argument(
            "--allow",
            action="append",
            default=[],
            metavar="ACTION_TYPE",
            help="An action type it may propose, or a glob (repeat; default: all, the policy decides).",
        )
        create.add_argument("--limit", type=int, default=None, help="Most open requests.")
        rotate = verbs.add_parser("rotate", help="Make another key.")
        rotate.add_argument(
            "--overlap-hours", type=float, default=24.0, help="How long the earlier keys stay good (default 24)."
        )
        suspend = verbs.add_parser("suspend", help="Let the agent do nothing until it is resumed.")
        resume = verbs.add_parser("resume", help="Let a suspended agent go on.")
        revoke = verbs.add_parser("revoke", help="End the agent and its keys, for good.")
        for verb in (suspend, resume, revoke):
            verb.add_argument("--reason", default="", help="Why.")
        for verb in (create, rotate):
            verb.add_argument("--days", type=int, default=agents.KEY_DAYS, help="How long the key is good.")
        for verb in (create, rotate, suspend, resume, revoke):
            verb.add_argument("name", help="Small letters, digits and hyphens.")
            verb.add_argument("--json", action="store_true", help="Print one JSON object.")
            add_as(verb)

    def handle(self, *args: Any, verb: str, name: str, username: str | None, json: bool, **options: Any) -> None:
        """Do it, and say what was done."""
        by, user = acting_as(username)
        with refusals_end_it():
            if user is not None:
                access.require(user, "agents.manage")
            said = getattr(self, f"_{verb}")(name, by=by, **options)
        if json:
            self.stdout.write(json_.dumps(said))
            return
        for label, value in said.items():
            self.stdout.write(f"{label}: {value}")
        if "key" in said:
            self.stdout.write("Keep the key now; it is not shown again.")

    def _create(
        self, name: str, *, by: Actor, owner: str, allow: list[str], limit: int | None, days: int, **_: Any
    ) -> dict[str, str]:
        found = User.objects.filter(username=owner).first()
        if found is None:
            raise CommandError(f"There is nobody called {owner!r}.", returncode=2)
        agent, key = agents.create(
            name=name,
            owner=found,
            allowed_action_types=allow,
            open_request_limit=limit,
            key_days=days,
            by=by,
            now=timezone.now(),
        )
        return {"agent": agent.name, "id": str(agent.pk), "owner": owner, "key": key}

    def _rotate(self, name: str, *, by: Actor, overlap_hours: float, days: int, **_: Any) -> dict[str, str]:
        agent = agents.named(name)
        key = agents.rotate(
            agent_id=agent.pk,
            overlap=timedelta(hours=overlap_hours),
            key_days=days,
            by=by,
            now=timezone.now(),
        )
        return {"agent": agent.name, "id": str(agent.pk), "key": key}

    def _suspend(self, name: str, *, by: Actor, reason: str, **_: Any) -> dict[str, str]:
        agent = agents.suspend(agent_id=agents.named(name).pk, by=by, user=None, reason=reason, now=timezone.now())
        return {"agent": agent.name, "id": str(agent.pk), "state": agent.state}

    def _resume(self, name: str, *, by: Actor, reason: str, **_: Any) -> dict[str, str]:
        agent = agents.resume(agent_id=agents.named(name).pk, by=by, user=None, reason=reason, now=timezone.now())
        return {"agent": agent.name, "id": str(agent.pk), "state": agent.state}

    def _revoke(self, name: str, *, by: Actor, reason: str, **_: Any) -> dict[str, str]:
        agent = agents.revoke(agent_id=agents.named(name).pk, by=by, reason=reason, now=timezone.now())
        return {"agent": agent.name, "id": str(agent.pk), "state": agent.state}
