"""What docs/decisions/0008 promises: the log can be partitioned and archived later, without changing a key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.db import connection

from auditlog import ids, integrity, log, proofs, sequencer, signer, triggers
from auditlog.actors import SYSTEM
from auditlog.facts import SystemFact
from auditlog.models import Entry
from auditlog.subjects import Subject
from tests.test_log_tlog import verify

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def write(count: int, now: datetime = NOW) -> None:
    with log.recording():
        for number in range(count):
            subject = Subject("subsystem", str(number))
            log.append(SystemFact.HEARTBEAT, actor=SYSTEM, subject=subject, data={"name": "x"}, now=now)
    sequencer.run(now)


def test_no_foreign_key_in_the_database_points_at_the_log() -> None:
    with connection.cursor() as cursor:
        pointing = [
            (table, column, to)
            for table in connection.introspection.table_names(cursor)
            for column, (_, to) in connection.introspection.get_relations(cursor, table).items()
            if to in triggers.TABLES
        ]
    assert pointing == []


def test_relations_of_the_orm_to_the_log_leave_no_constraint_and_never_cascade() -> None:
    pointing = [
        field
        for model in apps.get_models()
        for field in model._meta.get_fields()
        if getattr(field, "db_constraint", None) is not None
        and field.related_model is not None
        and field.related_model._meta.db_table in triggers.TABLES
    ]
    assert [str(field) for field in pointing] == ["auditlog.Leaf.entry"]
    assert not pointing[0].db_constraint


def test_an_entry_has_no_unique_key_but_its_id_which_sorts_by_time() -> None:
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, "auditlog_entry")
    assert [each["columns"] for each in found.values() if each["unique"] or each["primary_key"]] == [["id"]]
    made = [ids.new_id() for _ in range(1000)]
    assert made == sorted(made)


def first_id(when: datetime) -> UUID:
    """The smallest UUIDv7 (RFC 9562) of a moment: where a partition begins."""
    return UUID(int=(int(when.timestamp() * 1000) << 80) | 0x7 << 76 | 0x2 << 62)


@pytest.mark.postgres
def test_entries_can_be_partitioned_later_and_the_log_stays_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    write(300)
    signer.sign(NOW)
    receipt = proofs.receipt(5)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        end = first_id(datetime.now(UTC) + timedelta(milliseconds=1))
        while ids.new_id() < end:
            pass
        _partition(cursor, end)
        for name in ("auditlog_entry_1", "auditlog_entry_2"):
            monkeypatch.setitem(triggers.TABLES, name, ("id",))
        triggers.install(connection)
        _restored(cursor)
    assert triggers.missing(connection) == []
    write(300, NOW + timedelta(minutes=1))
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text, count(*) FROM auditlog_entry GROUP BY 1 ORDER BY 1")
        assert [name for name, _ in cursor.fetchall()] == ["auditlog_entry_1", "auditlog_entry_2"]
    later = NOW + timedelta(minutes=2)
    assert integrity.check(later, full=True).found == []
    assert signer.sign(later).size > 600
    assert verify(receipt, signer.key().verifier)
    assert Entry.objects.get(pk=Entry.objects.earliest("id").pk).leaf.index == 0


def _partition(cursor: Any, end: UUID) -> None:
    """The owner's statements, as the decision lists them."""
    for statement in (
        "ALTER TABLE auditlog_entry RENAME TO auditlog_entry_1",
        "CREATE TABLE auditlog_entry (LIKE auditlog_entry_1 INCLUDING ALL) PARTITION BY RANGE (id)",
        f"ALTER TABLE auditlog_entry_1 ADD CONSTRAINT early CHECK (id < '{end}') NOT VALID",
        "ALTER TABLE auditlog_entry_1 VALIDATE CONSTRAINT early",
        f"ALTER TABLE auditlog_entry ATTACH PARTITION auditlog_entry_1 FOR VALUES FROM (MINVALUE) TO ('{end}')",
        f"CREATE TABLE auditlog_entry_2 PARTITION OF auditlog_entry FOR VALUES FROM ('{end}') TO (MAXVALUE)",
    ):
        cursor.execute(statement)


def _restored(cursor: Any) -> None:
    """As after a dump and restore: the triggers that came along with the old table are the youngest."""
    for name, (table, *_) in triggers.postgres_triggers().items():
        if table == "auditlog_entry":
            cursor.execute(
                "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = %s AND tgrelid = %s::regclass",
                [name, "auditlog_entry_1"],
            )
            (sql,) = cursor.fetchone()
            cursor.execute(f"DROP TRIGGER {name} ON auditlog_entry_1")
            cursor.execute(sql)
