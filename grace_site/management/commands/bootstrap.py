"""`manage.py bootstrap`: make this installation, or see that it is one."""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from auditlog.refusals import Refused
from grace_site import bootstrapping
from grace_site.bootstrapping import StepFailed, Told


class Command(BaseCommand):
    """Set everything up, step by step."""

    help = (
        "Make a working installation: tables, roles and people, the first policy, an agent, playbooks, a golden "
        "snapshot and benchmark, one contract carried to verified, and checks of the configuration and the log. Each "
        "step prints a line; the first that fails ends it with status 1. Repeating it changes nothing and prints no "
        "secret: passwords and the agent's key are shown by the first run only."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`--json`."""
        parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the steps."""
        told = Told(url=settings.PUBLIC_URL)
        failure = self._run(told, quiet=options["json"])
        if options["json"]:
            said = told.as_dict() | ({"error": failure} if failure else {})
            self.stdout.write(json.dumps(said, indent=2))
        else:
            # Also when a later step failed: nobody can be told again.
            self._tell_secrets(told)
        if failure:
            self.stderr.write(f"failed  {failure}")
            sys.exit(1)

    def _run(self, told: Told, *, quiet: bool) -> str:
        try:
            for step, words in bootstrapping.run(told):
                if not quiet:
                    self.stdout.write(f"ok  {step.name}: {words}")
        except (StepFailed, Refused) as failure:
            name = bootstrapping.STEPS[len(told.steps)].name
            return f"{name}: {failure}"
        return ""

    def _tell_secrets(self, told: Told) -> None:
        for user in told.users:
            groups = ", ".join(user["groups"]) or "everything"
            self.stdout.write(f"login  {user['username']}  {user['password']}  ({groups})")
        if told.agent:
            self.stdout.write(f"agent  {told.agent['name']}  {told.agent['key']}")
