"""Erasing a person, and who has fallen silent."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from celery import current_app
from django.core.management import CommandError, call_command
from django.db import connection

from auditlog import entries, erasure, exports, heartbeats, integrity, log, proofs, sequencer, signer
from auditlog.actors import SYSTEM, Actor
from auditlog.facts import SystemFact
from auditlog.models import Disclosure, Entry, IntegrityRun
from auditlog.subjects import Subject
from tests.test_log_export import checked
from tests.test_log_tlog import verify

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ADA = Actor("person", "user:1", "Ada Lovelace", 1)
BEA = Actor("person", "user:2", "Bea Arthur", 2)


def say(actor: Actor, subject: Subject, *, now: datetime = NOW) -> None:
    with log.recording():
        log.append(SystemFact.HEARTBEAT, actor=actor, subject=subject, data={"name": "x"}, now=now)


# --- erasing ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_after_erasing_everything_made_before_verifies_and_the_value_is_nowhere(tmp_path: Path) -> None:
    for actor, subject in (
        (ADA, Subject("x", "1")),
        (BEA, Subject("person", "user:1", ADA.label)),
        (BEA, Subject("x", "2")),
    ):
        say(actor, subject)
    before = exports.export(directory=tmp_path / "before", by=SYSTEM, now=NOW).directory
    receipt = proofs.receipt(0)
    assert "Ada Lovelace" in (before / "disclosures.jsonl").read_text()

    assert erasure.erase(subject="person:user:1", by=BEA, reason="asked for it", now=NOW) == 2

    sequencer.run(NOW)
    assert integrity.check(NOW, full=True).found == []
    assert checked(before).returncode == 0
    assert verify(receipt, signer.key().verifier)
    after = exports.export(directory=tmp_path / "after", by=SYSTEM, now=NOW).directory
    assert checked(after).returncode == 0
    assert b"Ada" not in b"".join(path.read_bytes() for path in after.rglob("*") if path.is_file())
    assert b"Ada" not in dump()
    assert b"Bea Arthur" in dump()
    first = entries.in_order()[0]
    assert "label" not in entries.disclosed([first])[first.pk]["actor"]
    entry = Entry.objects.get(fact="auditlog.erased")
    assert entry.data == {"disclosures": 2, "reason": "asked for it"}
    with pytest.raises(erasure.NothingToErase):
        erasure.erase(subject="person:user:1", by=BEA, reason="again", now=NOW)


def dump() -> bytes:
    """All the database holds: on SQLite the very file, deleted pages included."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(connection.settings_dict["NAME"]).read_bytes()
    out = io.StringIO()
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            with cursor.copy(f"COPY {table} TO STDOUT") as rows:
                out.write("".join(bytes(row).decode(errors="replace") for row in rows))
    return out.getvalue().encode()


@pytest.mark.django_db
def test_whoever_erases_themselves_leaves_no_new_label_behind() -> None:
    say(ADA, Subject("x", "1"))
    erasure.erase(subject="person:user:1", by=ADA, reason="mine", now=NOW)
    assert not Disclosure.objects.exists()


@pytest.mark.django_db
def test_the_command_erases() -> None:
    say(ADA, Subject("x", "1"))
    out = io.StringIO()
    call_command("erase", "person:user:1", "--reason", "asked", stdout=out)
    assert out.getvalue() == "1 values erased.\n"
    with pytest.raises(CommandError, match="Nothing is kept"):
        call_command("erase", "person:user:1", "--reason", "asked")


# --- signs of life ---------------------------------------------------------------------------------------------


def checks(start: datetime, end: datetime, *, every: timedelta = timedelta(minutes=15)) -> None:
    """Checks have run at their interval."""
    while start <= end:
        IntegrityRun.objects.create(
            level="x", started_at=start, finished_at=start, from_index=0, size=0, root=b"", passed=False
        )
        start += every


@pytest.mark.django_db
def test_a_subsystem_that_fell_silent_while_the_house_was_running_is_a_finding() -> None:
    heartbeats.beat(name="worker:log", now=NOW)
    heartbeats.beat(name="worker:default", now=NOW)
    later = NOW + timedelta(hours=7)
    checks(NOW, later)
    heartbeats.beat(name="worker:log", now=later)
    sequencer.run(later)
    assert heartbeats.silent(later) == ["worker:default"]
    run = integrity.check_incrementally(later)
    assert run.findings == ["subsystem_silent"]
    assert signer.sign_if_due(later) is not None, "silence does not stop signing"


@pytest.mark.django_db
def test_after_a_night_switched_off_nobody_was_silent() -> None:
    heartbeats.beat(name="worker:log", now=NOW)
    checks(NOW, NOW + timedelta(hours=1))
    assert heartbeats.silent(NOW + timedelta(hours=12)) == []
    checks(NOW + timedelta(hours=9), NOW + timedelta(hours=12))
    assert heartbeats.silent(NOW + timedelta(hours=12)) == []


@pytest.mark.django_db
def test_a_subsystem_that_was_never_alive_is_not_missed() -> None:
    checks(NOW, NOW + timedelta(hours=7))
    assert heartbeats.silent(NOW + timedelta(hours=7)) == []
    heartbeats.expect("worker:log")


@pytest.mark.django_db
def test_the_task_names_the_queue_it_came_through() -> None:
    current_app.loader.import_default_modules()
    task = current_app.tasks["auditlog.tasks.heartbeat"]
    task.apply(kwargs={"unknown": 1}, routing_key="executions").get()
    names = set(Entry.objects.filter(fact="system.heartbeat").values_list("subject_id", flat=True))
    assert names <= {"worker:executions", "worker:default"}
    assert len(names) == 1
