"""Which acknowledgements of findings count: none that whoever owns the database can make alone."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from auditlog import canonical, findings, integrity, log, merkle, outside, sequencer, signer, tree, triggers
from auditlog.facts import AuditlogFact
from auditlog.findings import Found
from auditlog.models import Checkpoint, Entry, Finding, IntegrityRun, Leaf
from auditlog.subjects import Subject
from auditlog.testing import flushable
from tests.test_verify_log import (
    ADA,
    NOW,
    edit_content,
    edit_content_and_hash_in_the_last_tile,
    forget,
    kinds,
    restore_a_backup,
    rewrite_and_sign_again,
    signed,
    write,
)

__all__ = ["signed"]

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(hours=1)
EDITED = Found("entry_edited", "leaf 5", "The content of leaf 5 is not what it was.")


def tampered(tamper: Callable[[], None]) -> None:
    with flushable():
        tamper()


def as_acknowledged(found: Found, **more: Any) -> Finding:
    """A row as whoever owns the database can write it."""
    return Finding.objects.create(
        kind=found.kind,
        subject=found.subject,
        detail=found.detail,
        found_at=NOW,
        last_seen_at=NOW,
        acknowledged_at=NOW,
        acknowledged_by="Ada",
        reason="looked",
        **more,
    )


def open_kinds() -> set[str]:
    return set(findings.unacknowledged().values_list("kind", flat=True))


def open_ids() -> list[int]:
    return sorted(findings.unacknowledged().values_list("pk", flat=True))


# --- in the database alone ----------------------------------------------------------------------------------------


def test_rows_that_say_they_are_acknowledged_do_not_have_a_rewritten_log_signed(signed: Checkpoint) -> None:
    integrity.check_incrementally(NOW)
    tampered(rewrite_and_sign_again)
    remembered = outside.memory()
    for found in signer.disagreements(tree.head()):
        as_acknowledged(found)
    assert signer.sign_if_due(LATER) is None
    with pytest.raises(signer.SigningRefused):
        signer.sign(LATER)
    assert outside.memory() == remembered
    assert open_kinds() == {"rewritten"}
    assert not integrity.check_incrementally(LATER).passed


def test_an_open_finding_that_is_written_to_be_acknowledged_stays_open(signed: Checkpoint) -> None:
    (row,) = findings.record([EDITED], now=NOW)
    Finding.objects.filter(pk=row.pk).update(acknowledged_at=NOW, acknowledged_by="Ada", reason="looked")
    assert signer.sign_if_due(LATER) is None
    row.refresh_from_db()
    assert (row.acknowledged_at, row.acknowledged_by, row.reason) == (None, "", "")
    assert findings.stop_signing()


def drop_the_triggers() -> None:
    triggers.remove(connection)


def remember_more() -> None:
    """The signer has signed what the log says nothing of."""
    outside.remember(outside.Memory(300, merkle.root_at(300, tree.Nodes()), canonical.stamp(NOW)))


@pytest.mark.parametrize("tamper", [drop_the_triggers, remember_more])
@pytest.mark.parametrize("full_run_at", [NOW, NOW + timedelta(days=3000)])
def test_no_run_that_is_written_along_with_them_makes_acknowledgements_count(
    signed: Checkpoint, tamper: Callable[[], None], full_run_at: datetime
) -> None:
    tamper()
    found = integrity.check(NOW, full=True).found
    run: dict[str, Any] = {"finished_at": NOW, "from_index": 0, "size": 0, "root": merkle.EMPTY_ROOT, "passed": True}
    for level, at in ((findings.FULL, full_run_at), ("incremental", NOW)):
        IntegrityRun.objects.create(level=level, started_at=at, **run)
    for each in found:
        as_acknowledged(each)
    for minutes in (15, 30, 45):
        assert not integrity.check_incrementally(NOW + timedelta(minutes=minutes)).passed
    assert found
    assert open_kinds() >= {each.kind for each in found}
    assert signer.sign_if_due(LATER) is None


def forged(row: Finding, **changes: str) -> Any:
    """An entry of the log that acknowledges a finding, by whoever can append to the log."""
    said = {"finding_id": str(row.pk), "kind": row.kind, "reason": "looked", "digest": findings.digest(row)}
    with log.recording():
        entry_id = log.append(
            AuditlogFact.FINDING_ACKNOWLEDGED,
            actor=ADA,
            subject=Subject("finding", str(row.pk)),
            data={**said, "seal": "0" * 64, **changes},
            now=NOW,
        )
    sequencer.run(NOW)
    return entry_id


def test_an_entry_of_the_log_that_grace_did_not_write_acknowledges_nothing(signed: Checkpoint) -> None:
    row = as_acknowledged(EDITED)
    Finding.objects.filter(pk=row.pk).update(acknowledged_in=forged(row))
    assert signer.sign_if_due(LATER) is None
    assert open_kinds() == {"entry_edited"}


def test_what_was_said_of_one_finding_acknowledges_no_other(signed: Checkpoint) -> None:
    (known,) = findings.record([EDITED], now=NOW)
    said = findings.acknowledge(finding_id=known.pk, by=ADA, reason="known", now=NOW).acknowledged_in
    other = as_acknowledged(Found("entry_edited", "leaf 6", "another"), acknowledged_in=said)
    seal = Entry.objects.get(pk=said).data["seal"]
    third = as_acknowledged(Found("entry_edited", "leaf 7", "a third"))
    Finding.objects.filter(pk=third.pk).update(acknowledged_in=forged(third, seal=seal))
    findings.record([], now=NOW)
    assert open_ids() == [other.pk, third.pk]


def test_an_entry_that_lost_its_place_in_the_tree_acknowledges_nothing(signed: Checkpoint) -> None:
    (row,) = findings.record([EDITED], now=NOW)
    said = findings.acknowledge(finding_id=row.pk, by=ADA, reason="known", now=NOW).acknowledged_in
    sequencer.run(NOW)
    assert findings.record([EDITED], now=NOW) == []
    with flushable():
        Leaf.objects.filter(entry_id=said)._raw_delete("default")
        Leaf.objects.filter(index=5).update(entry_id=said)
    assert [again.pk for again in findings.record([EDITED], now=NOW)] == [row.pk]


def test_acknowledging_by_grace_itself_counts_before_and_after_it_has_its_place(signed: Checkpoint) -> None:
    (row,) = findings.record([EDITED], now=NOW)
    findings.acknowledge(finding_id=row.pk, by=ADA, reason="known", now=NOW)
    assert findings.record([EDITED], now=NOW) == []
    sequencer.run(NOW)
    assert findings.record([EDITED], now=NOW) == []
    assert signer.sign_if_due(LATER) is not None


def test_it_counts_as_long_as_the_secret_it_was_sealed_with_is_known(signed: Checkpoint, settings: Any) -> None:
    (row,) = findings.record([EDITED], now=NOW)
    findings.acknowledge(finding_id=row.pk, by=ADA, reason="known", now=NOW)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "x" * 60
    assert findings.record([EDITED], now=NOW) == []
    settings.SECRET_KEY_FALLBACKS = []
    assert [again.pk for again in findings.record([EDITED], now=NOW)] == [row.pk]


# --- on the host that signs ---------------------------------------------------------------------------------------


WHY = "Restored from the backup of Sunday."


def accept(*finding_ids: int) -> None:
    signer.acknowledge(finding_ids=finding_ids, by=ADA, reason=WHY, now=LATER)


@pytest.mark.parametrize("tamper", [restore_a_backup, rewrite_and_sign_again])
def test_that_the_log_is_another_one_is_accepted_only_on_the_host_that_signs(
    signed: Checkpoint, tamper: Callable[[], None]
) -> None:
    tampered(tamper)
    assert not integrity.check_incrementally(LATER).passed
    for pk in open_ids():
        with pytest.raises(findings.OnTheSigningHost):
            findings.acknowledge(finding_id=pk, by=ADA, reason="It was me.", now=LATER)
    accept(*open_ids())
    assert open_ids() == []
    write(200, now=LATER)
    checkpoint = signer.sign_if_due(LATER)
    assert checkpoint is not None
    remembered = outside.memory()
    assert remembered is not None
    assert (remembered.size, remembered.root) == (checkpoint.size, bytes(checkpoint.root))
    assert kinds() == set()
    assert integrity.check_incrementally(LATER).passed
    entry = Entry.objects.filter(fact="auditlog.finding_acknowledged").earliest("pk")
    assert entry.data["reason"] == WHY


def test_what_is_done_to_the_log_after_that_is_found_as_before(signed: Checkpoint) -> None:
    tampered(restore_a_backup)
    signer.sign_if_due(LATER)
    accept(*open_ids())
    write(40, now=LATER)
    signer.sign(LATER)
    assert kinds() == set()
    tampered(rewrite_and_sign_again)
    assert "rewritten" in kinds()
    assert signer.sign_if_due(LATER + timedelta(hours=1)) is None


def test_after_a_restored_backup_checks_start_from_the_first_entry_once_and_find_nothing_more(
    signed: Checkpoint,
) -> None:
    assert integrity.check_incrementally(NOW).size > 600
    signer.sign(NOW)
    tampered(restore_a_backup)
    failed = integrity.check_incrementally(LATER)
    assert (failed.from_index, failed.passed) == (0, False)
    accept(*open_ids())
    ended = 0
    for number in range(1, 6):
        # Past the size that was seen before.
        write(40, now=LATER)
        run = integrity.check_incrementally(LATER + timedelta(minutes=15 * number))
        assert (run.findings, run.passed, run.from_index) == ([], True, ended)
        signer.sign(LATER + timedelta(minutes=15 * number + 1))
        ended = run.size
    assert ended > 800
    assert kinds() == set()


def test_whoever_accepts_names_every_way_in_which_the_log_is_another(signed: Checkpoint) -> None:
    tampered(restore_a_backup)
    (harmless,) = findings.record([Found("truncated", "anchors", "by a line")], now=NOW)
    with pytest.raises(signer.NotAllNamed, match="differs in more than that"):
        accept(harmless.pk)
    assert len(open_ids()) == 2, "the signer looked again, and found how the log differs now"
    accept(*open_ids())
    assert open_ids() == []


def test_nothing_begins_with_a_tree_that_does_not_hold_in_itself(signed: Checkpoint) -> None:
    tampered(edit_content_and_hash_in_the_last_tile)
    assert signer.sign_if_due(LATER) is None
    with pytest.raises(signer.TreeBroken):
        accept(*open_ids())


def test_a_tree_that_does_not_hold_in_itself_is_not_signed_whatever_was_accepted(signed: Checkpoint) -> None:
    tampered(lambda: Leaf.objects.filter(index=tree.head().size - 1)._raw_delete("default"))
    assert signer.sign_if_due(LATER) is None
    accept(*open_ids())
    assert open_ids() == []
    with pytest.raises(signer.SigningRefused, match="cannot be computed"):
        signer.sign(LATER)


def test_signing_goes_on_from_a_memory_that_was_lost_once_that_is_accepted(signed: Checkpoint) -> None:
    forget()
    assert signer.sign_if_due(LATER) is None
    findings.record([EDITED], now=LATER)
    edited, lost = sorted(findings.unacknowledged(), key=lambda row: row.kind)
    with pytest.raises(signer.NotTheSigningHost):
        accept(edited.pk)
    accept(lost.pk)
    accept(edited.pk)
    assert signer.sign_if_due(LATER) is not None
    assert kinds() == set()


@pytest.mark.parametrize("copied", ["nothing", "keys"])
def test_another_host_is_told_that_it_is_none_and_stops_nothing(
    signed: Checkpoint, settings: Any, tmp_path: Path, copied: str
) -> None:
    (row,) = findings.record([Found("truncated", "signer", "shorter")], now=NOW)
    if copied == "keys":
        shutil.copytree(settings.VAR_DIR / "keys", tmp_path / "elsewhere" / "keys")
    settings.VAR_DIR = tmp_path / "elsewhere"
    with pytest.raises(CommandError, match="acknowledge it on the host that signs") as refused:
        told(str(row.pk), "--reason", WHY)
    assert refused.value.returncode == 1
    assert open_kinds() == {"truncated"}


def test_what_is_accepted_says_who_and_why(signed: Checkpoint) -> None:
    (row,) = findings.record([Found("memory_missing", "signer", "gone")], now=NOW)
    with pytest.raises(findings.ReasonMissing):
        signer.acknowledge(finding_ids=[row.pk], by=ADA, reason=" ", now=NOW)
    with pytest.raises(findings.NoSuchFinding):
        accept(row.pk, row.pk + 1)
    assert not (outside.directory() / "accepted.jsonl").exists()
    accept(row.pk)
    (line,) = (outside.directory() / "accepted.jsonl").read_text().splitlines()
    assert json.loads(line).items() >= {"by": "person:user:1", "reason": WHY, "digest": findings.digest(row)}.items()


@pytest.mark.parametrize("spoiled", [b"\xff\n", b'{"digest": "ab', b"[" * 5000])
def test_that_what_was_accepted_cannot_be_read_is_acknowledged_once(signed: Checkpoint, spoiled: bytes) -> None:
    (outside.directory() / "accepted.jsonl").write_bytes(spoiled)
    assert integrity.check_incrementally(NOW).findings == ["acceptance_unreadable"]
    (pk,) = open_ids()
    assert told(str(pk), "--reason", WHY) == "Acknowledged: acceptance_unreadable signer\n"
    assert (outside.directory() / "accepted.jsonl").read_bytes().startswith(spoiled)
    for minutes in (15, 30):
        assert integrity.check_incrementally(timezone.now() + timedelta(minutes=minutes)).passed
    assert signer.sign_if_due(timezone.now() + timedelta(hours=1)) is not None


def test_the_command_lists_what_is_open_and_acknowledges_anything(signed: Checkpoint) -> None:
    tampered(edit_content)
    assert not integrity.check_incrementally(LATER).passed
    (row,) = findings.unacknowledged()
    assert told() == f"{row.pk}: entry_edited: {row.detail}\n"
    with pytest.raises(CommandError, match="Say why"):
        told(str(row.pk))
    assert told(str(row.pk), "--reason", WHY) == f"Acknowledged: entry_edited {row.subject}\n"
    with pytest.raises(CommandError, match="Acknowledged before, by system"):
        told(str(row.pk), "--reason", WHY)
    assert integrity.check_incrementally(LATER).passed


def told(*arguments: str) -> str:
    out = io.StringIO()
    call_command("acknowledge", *arguments, stdout=out)
    return out.getvalue()
