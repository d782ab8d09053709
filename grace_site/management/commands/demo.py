"""`manage.py demo`: the whole story, for real."""

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from grace_site import demonstration
from grace_site.demonstration import DemoFailed, Story
from grace_site.supervision import preparing


class Command(BaseCommand):
    """Play the main job against a sandbox service."""

    help = (
        "Play the main job for real against a small service below VAR_DIR/sandbox: an error comes in and tier 1 "
        "repairs it by itself; a tier 2 change waits for a reviewer, runs and is verified; a bad change breaks the "
        "service and is rolled back. Bootstraps and starts whatever is not running. With --yes the demo approves in "
        "Bea's name, otherwise it waits for you at the console. Ends with verify_log; status 0 when all of it went "
        "as promised."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`--yes`."""
        parser.add_argument("--yes", action="store_true", help="approve in Bea's name instead of waiting for somebody")

    def handle(self, *args: Any, **options: Any) -> None:
        """Tell it."""
        if not settings.VAR_DIR.is_dir():
            # Begin again with a VAR_DIR: the secret key that every process of an installation shares is kept in it.
            preparing.folders(settings.VAR_DIR)
            os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - this very command
        call_command("bootstrap")
        try:
            with (
                demonstration.everything_running(self._say) as url,
                demonstration.sandbox_service(self._say) as world,
            ):
                Story(url, world, self._say, options["yes"]).tell()
        except DemoFailed as failure:
            self.stderr.write(f"\n{failure}")
            sys.exit(1)
        self._say("\nAnd the log of all this:")
        call_command("verify_log")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
