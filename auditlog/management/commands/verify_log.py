"""Check the log from its bytes up to the signed checkpoints and what is kept outside the database."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from auditlog import integrity


class Command(BaseCommand):
    """`manage.py verify_log [--full] [--json]`."""

    help = (
        "Check the log: entries' bytes against their leaves, tiles, root, signed checkpoints, the signer's memory "
        "and the anchor file; columns against bytes; that nothing is missing and the database refuses changes. "
        "Changes nothing. Exits with 1 and names what was found when something is wrong."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--full",
            action="store_true",
            help=f"Check everything from the first entry (the default up to {integrity.WHOLE_WHEN_UNDER:,} entries).",
        )
        parser.add_argument("--json", action="store_true", help="Print the report as JSON.")

    def handle(self, *args: Any, full: bool, json: bool, **options: Any) -> None:
        quiet = json or not sys.stderr.isatty()
        report = integrity.check(timezone.now(), full=full) if quiet else _with_bar(full)
        self.stdout.write(_as_json(report) if json else _as_text(report))
        if report.found:
            raise CommandError(f"{len(report.found)} finding(s): the log is not what it was.", returncode=1)


def _with_bar(full: bool) -> integrity.Report:
    columns = TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("verify", total=None)
        return integrity.check(
            timezone.now(),
            full=full,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _as_text(report: integrity.Report) -> str:
    signed = f"signed up to {report.checkpoint_size}" if report.checkpoint_size is not None else "nothing signed yet"
    lines = [
        f"{report.size} entries, root {report.root.hex()}",
        f"{signed}, {report.checkpoints} checkpoints checked, {report.pending} pending",
        f"checked from entry {report.from_index} on in {report.duration_ms} ms",
    ]
    lines += [f"FOUND {each.kind}: {each.detail}" for each in report.found]
    return "\n".join([*lines, "ok" if not report.found else "NOT ok"])


def _as_json(report: integrity.Report) -> str:
    return json.dumps(
        {
            "ok": not report.found,
            "level": report.level,
            "size": report.size,
            "root": report.root.hex(),
            "from_index": report.from_index,
            "pending": report.pending,
            "checkpoints": report.checkpoints,
            "checkpoint_size": report.checkpoint_size,
            "duration_ms": report.duration_ms,
            "findings": [asdict(each) for each in report.found],
        },
        indent=2,
    )
