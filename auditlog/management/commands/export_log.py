"""Write a bundle of the log that proves itself."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from auditlog import exports
from auditlog.management import acting
from auditlog.refusals import Refused


class Command(BaseCommand):
    """`manage.py export_log --out DIR`."""

    help = (
        "Sign the log and write it into an empty directory: entries.jsonl (line i is the exact bytes of leaf i), "
        "checkpoints, key, personal values, and verify.py, which checks all of it with Python's standard library. "
        "With a filter the bundle holds a subset, says so, and proves each entry, but not that none is missing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="An empty or new directory.")
        parser.add_argument("--fact", metavar="NAME", help="Only this fact, or those with a prefix (approval.*).")
        parser.add_argument("--mission", type=UUID, metavar="ID", help="Only entries of this mission.")
        parser.add_argument("--contract", type=UUID, metavar="ID", help="Only entries of this contract.")
        parser.add_argument("--since", type=int, metavar="INDEX", help="Only entries after this leaf index.")
        parser.add_argument("--until", type=int, metavar="INDEX", help="Only entries before this leaf index.")
        parser.add_argument(
            "--without-disclosures", action="store_true", help="Leave out personal values and large payloads."
        )
        acting.add_argument(parser)

    def handle(self, *args: Any, out: Path, without_disclosures: bool, name: str | None, **options: Any) -> None:
        try:
            done = _exported(
                directory=out,
                by=acting.actor(name),
                now=timezone.now(),
                wanted=_wanted(options),
                disclose=not without_disclosures,
            )
        except ValueError as problem:
            raise CommandError(str(problem), returncode=2) from None
        except Refused as refused:
            raise CommandError(refused.detail, returncode=1) from refused
        kind = f"a subset of {done.entries}" if done.subset else f"all {done.entries}"
        self.stdout.write(f"{done.directory}: {kind} entries of a log of {done.size}")
        self.stdout.write(f"Check it with: python3 {done.directory / 'verify.py'}")


def _exported(**arguments: Any) -> exports.Export:
    if not sys.stderr.isatty():
        return exports.export(**arguments)
    with Progress(TextColumn("exporting"), BarColumn(), MofNCompleteColumn(), transient=True) as bar:
        task = bar.add_task("export", total=None)
        return exports.export(**arguments, progress=lambda done, total: bar.update(task, completed=done, total=total))


def _wanted(options: dict[str, Any]) -> dict[str, Any]:
    asked = {"mission_id": options["mission"], "contract_id": options["contract"]}
    return asked | {name: options[name] for name in ("fact", "since", "until")}
