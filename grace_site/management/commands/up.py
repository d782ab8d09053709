"""`manage.py up`: everything, in one terminal."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from grace_site.supervision import lines
from grace_site.supervision.preparing import CannotStart
from grace_site.supervision.supervisor import Plan, Supervisor


class Command(BaseCommand):
    """Start everything and keep it running."""

    help = (
        "Start Grace: a private Valkey unless REDIS_URL is set, the web process, Celery workers and beat. "
        "The database is migrated and bootstrapped first, what dies is started again, Ctrl-C ends all. "
        "HOST, PORT and VAR_DIR say where. Everything is written below VAR_DIR; each part's output is in "
        "VAR_DIR/logs."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """None of its own: the settings decide."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until a signal arrives."""
        try:
            status = Supervisor(plan(), self._say).run()
        except CannotStart as reason:
            if not settings.STRUCTURED_LOGGING:
                raise CommandError(str(reason)) from reason
            self._say(lines.written("up", str(reason), level="error"))
            status = 1
        sys.exit(status)

    def _say(self, line: str) -> None:
        try:
            self.stdout.write(line)
            self.stdout.flush()
        except OSError:
            # The terminal is gone. The logs have it.
            return


def plan() -> Plan:
    """What the settings say `up` should run."""
    return Plan(
        root=settings.BASE_DIR,
        var_dir=settings.VAR_DIR,
        host=settings.HOST,
        port=settings.PORT,
        public_url=settings.PUBLIC_URL,
        private_broker=settings.PRIVATE_BROKER,
        pool_size=0 if settings.USES_SQLITE else settings.DATABASE_POOL_SIZE or 20,
        web_processes=settings.WEB_PROCESSES,
        workers=settings.WORKERS,
        beat=settings.BEAT_ENABLED,
        structured=settings.STRUCTURED_LOGGING,
    )
