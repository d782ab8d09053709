"""`manage.py check_config`: is this installation set up as it should be?"""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Report what is wrong with the settings."""

    help = (
        "Check the settings and everything they name. Each finding has an id and says what to do about it. "
        "The exit status is 1 when there is an error; warnings alone leave it at 0. In production, or with "
        "--deploy, what a deployment needs is checked as well."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`--json` and `--deploy`."""
        parser.add_argument("--json", action="store_true", help="print one JSON document")
        parser.add_argument("--deploy", action="store_true", help="check what a deployment needs as well")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the checks and report."""
        deploy = options["deploy"] or settings.PRODUCTION
        found = checks.run_checks(include_deployment_checks=deploy, databases=["default"] if deploy else None)
        found = [message for message in found if not message.is_silenced()]
        failed = any(message.is_serious() for message in found)
        if options["json"]:
            self.stdout.write(json.dumps({"ok": not failed, "findings": [_described(one) for one in found]}, indent=2))
        else:
            self._report(found)
        if failed:
            sys.exit(1)

    def _report(self, found: list[checks.CheckMessage]) -> None:
        for message in found:
            self.stdout.write(f"{_level(message)} {message.id}: {message.msg}")
            if message.hint:
                self.stdout.write(f"    {message.hint}")
        self.stdout.write("The configuration is fine." if not found else f"{len(found)} findings.")


def _described(message: checks.CheckMessage) -> dict[str, str]:
    return {
        "id": message.id or "",
        "level": _level(message),
        "message": str(message.msg),
        "hint": str(message.hint or ""),
    }


def _level(message: checks.CheckMessage) -> str:
    return "error" if message.is_serious() else "warning" if message.level >= checks.WARNING else "info"
