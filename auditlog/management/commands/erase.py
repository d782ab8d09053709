"""Erase what the log keeps of a person."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from auditlog import erasure
from auditlog.management import acting
from auditlog.refusals import Refused


class Command(BaseCommand):
    """`manage.py erase SUBJECT --reason WHY`."""

    help = (
        "Delete the personal values behind the log's commitments to a subject, such as person:12 (the number of the "
        "account), and its names beside what it did. The entries stay, and every proof and bundle made before still "
        "verifies. Deactivate a person's account first: then its names and address go too. Cannot be undone."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("subject", metavar="SUBJECT", help="As in the log: kind:id.")
        parser.add_argument("--reason", required=True, help="Goes into the log; name nobody in it.")
        acting.add_argument(parser)

    def handle(self, *args: Any, subject: str, reason: str, name: str | None, **options: Any) -> None:
        try:
            count = erasure.erase(subject=subject, by=acting.actor(name), reason=reason, now=timezone.now())
        except Refused as refused:
            raise CommandError(refused.detail, returncode=1) from refused
        self.stdout.write(f"{count} values erased.")
