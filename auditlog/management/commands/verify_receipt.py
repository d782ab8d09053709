"""Check a receipt somebody kept."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from auditlog import receipts, signer
from auditlog.notes import NoteInvalid, Verifier


class Command(BaseCommand):
    """`manage.py verify_receipt FILE [--vkey FILE] [--json]`."""

    help = (
        "Check a receipt (.tlog-proof) against the log's key: that the entry in it was in the log when its checkpoint "
        "was signed. Neither database nor network is asked, so it holds whatever became of the log since. Give a copy "
        "of the key you keep yourself with --vkey; without it the key of this installation is used. Exits with 1 when "
        "the receipt does not hold."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="The receipt; - reads standard input.")
        parser.add_argument("--vkey", type=Path, metavar="FILE", help="The log's key as a C2SP verifier key.")
        parser.add_argument("--json", action="store_true", help="Print what it proves as JSON.")

    def handle(self, *args: Any, file: Path, vkey: Path | None, json: bool, **options: Any) -> None:
        try:
            text = sys.stdin.read() if str(file) == "-" else file.read_text()
            proven = receipts.check(text, _key(vkey))
        except (OSError, UnicodeDecodeError, NoteInvalid) as problem:
            raise CommandError(str(problem), returncode=2) from None
        except receipts.ReceiptInvalid as invalid:
            raise CommandError(f"DOES NOT HOLD: {invalid}", returncode=1) from None
        self.stdout.write(_as_json(proven) if json else _as_text(proven))


def _key(path: Path | None) -> Verifier:
    if path is not None:
        return Verifier.parse(path.read_text().strip())
    try:
        verifier = signer.verifier()
    except signer.KeyUnreadable as problem:
        raise CommandError(problem.detail, returncode=2) from None
    if verifier is None:
        raise CommandError("This installation has no key yet; give one with --vkey.", returncode=2)
    return verifier


def _as_text(proven: receipts.Proven) -> str:
    said = proven.document
    return (
        f"holds: entry {proven.index} of {proven.head.origin}, signed when it had {proven.head.size} entries\n"
        f"{said['at']} {said['fact']} by {said['actor']['kind']} {said['actor']['id']}, "
        f"about {said['subject']['kind']} {said['subject']['id']}"
    )


def _as_json(proven: receipts.Proven) -> str:
    about = {"holds": True, "index": proven.index, "size": proven.head.size, "origin": proven.head.origin}
    return json.dumps({**about, "entry": proven.document}, indent=2, ensure_ascii=False)
