"""Take note of what integrity checks found, on the host that signs."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from auditlog import findings, signer
from auditlog.management import acting
from auditlog.refusals import Refused


class Command(BaseCommand):
    """`manage.py acknowledge [FINDING ...] --reason WHY`."""

    help = (
        "Acknowledge findings on the host that signs: it is kept in VAR_DIR/log beside the signer's memory, where "
        "nobody who owns only the database can write. A log that was rewritten or truncated is accepted in no other "
        "way; history then begins anew with the log as it stands, so name every finding that says so. Look first "
        "(manage.py verify_log --full). Without a finding: lists those that are open."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("finding", nargs="*", type=int, metavar="FINDING", help="The number of an open finding.")
        parser.add_argument("--reason", default="", help="Why signing may go on. Goes into the log; name nobody in it.")
        acting.add_argument(parser)

    def handle(self, *args: Any, finding: list[int], reason: str, name: str | None, **options: Any) -> None:
        if not finding:
            still = findings.unacknowledged().order_by("pk")
            self.stdout.write("\n".join(f"{row.pk}: {row.kind}: {row.detail}" for row in still))
            return
        try:
            done = signer.acknowledge(finding_ids=finding, by=acting.actor(name), reason=reason, now=timezone.now())
        except Refused as refused:
            raise CommandError(refused.detail, returncode=1) from refused
        self.stdout.write("\n".join(f"Acknowledged: {row}" for row in done))
