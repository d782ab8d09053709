"""`manage.py hold SCOPE --reason ...`: the big switch, from a terminal."""

from __future__ import annotations

import json as json_
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from governance import holds
from governance.management.acting import acting_as, add_as, refusals_end_it
from governance.models import Hold


class Command(BaseCommand):
    """Stop things from starting."""

    help = (
        "Stop everything in a scope from starting, from the next claim on: `hold everything --reason ...`, "
        "`hold agent:deployer ...`, `hold action_type:config.* ...`, `hold target:file:app.json ...`, "
        "`hold mission:ID ...` (globs allowed). What runs goes on; rollbacks go on. Taking a hold off is a "
        "tier_3 action that people approve in the console. Without a database: create the file HOLD in VAR_DIR. "
        "`hold list` shows what is engaged."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Scope, reason, and who."""
        parser.add_argument("scope", help="everything, SCOPE:PATTERN, or list.")
        parser.add_argument("--reason", default="", help="Why; everybody reads it.")
        parser.add_argument("--json", action="store_true", help="Print JSON.")
        add_as(parser)

    def handle(self, *args: Any, scope: str, reason: str, username: str | None, json: bool, **options: Any) -> None:
        """Engage, or list."""
        if scope == "list":
            found = list(Hold.objects.filter(released_at=None))
        else:
            by, user = acting_as(username)
            kind, _, pattern = scope.partition(":")
            with refusals_end_it():
                found = [
                    holds.engage(
                        scope=kind,
                        pattern=pattern,
                        reason=reason,
                        by=by,
                        user=user,
                        now=timezone.now(),
                        source="command",
                    )
                ]
        if json:
            self.stdout.write(json_.dumps([_shape(hold) for hold in found]))
            return
        for hold in found:
            self.stdout.write(f"held: {hold} since {hold.engaged_at:%Y-%m-%d %H:%M:%S} UTC ({hold.reason}) {hold.pk}")
        if not found:
            self.stdout.write("nothing is held")


def _shape(hold: Hold) -> dict[str, str]:
    return {
        "id": str(hold.pk),
        "scope": hold.scope,
        "pattern": hold.pattern,
        "reason": hold.reason,
        "engaged_at": hold.engaged_at.isoformat(),
        "engaged_by": hold.engaged_by_label,
    }
