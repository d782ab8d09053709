"""Whatever somebody writes into the log or beside it: it is looked at, said, and never signed without that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test import Client

from auditlog import findings, integrity, merkle, outside, sequencer, signer
from auditlog.models import Checkpoint, Entry, Leaf, Payload, Pending, Tree
from auditlog.testing import flushable
from tests.harness.people import People
from tests.test_verify_log import ADA, NOW, anchor_file, kinds, signed

__all__ = ["signed"]

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(minutes=15)


def insert(raw: bytes, *, fact: str = "system.heartbeat", recorded_at: datetime = NOW) -> int:
    """Append an entry as whoever can INSERT one does; returns its place."""
    entry = Entry.objects.order_by("-pk")[0]
    entry.pk, entry.bytes, entry.fact, entry.recorded_at = uuid4(), raw, fact, recorded_at
    entry.save(force_insert=True)
    if connection.vendor == "sqlite":
        with transaction.atomic():
            sequencer.place([(entry.pk, merkle.leaf_hash(raw))], using="default", now=NOW)
    sequencer.run(NOW)
    return Leaf.objects.get(entry_id=entry.pk).index


def like_an_entry(**changes: Any) -> bytes:
    """The bytes of an entry with other members, as any JSON library writes them."""
    return json.dumps(Entry.objects.order_by("-pk")[0].document() | {"commitments": []} | changes).encode()


def signing(**data: Any) -> bytes:
    """The bytes of an entry that says that a head was signed."""
    said = {"size": 1, "root": "00" * 32, "anchors": ["file"]}
    return like_an_entry(fact="auditlog.checkpoint_signed", data=said | data)


DEEP = b"[" * 5000
HUGE = 10**25

UNREADABLE = {
    "deep": lambda: DEEP,
    "deep enough for a page": lambda: like_an_entry(data={"a": json.loads("[" * 200 + "]" * 200)}),
    "no unicode": lambda: b"\xff",
    "no object": lambda: b"[]",
    "empty": lambda: b"{}",
    "half a character": lambda: like_an_entry(data={"name": "\ud800"}),
    "another pointer": lambda: like_an_entry(commitments=[{"pointer": [1], "sha256": "x"}]),
    "no commitments": lambda: like_an_entry(commitments=7),
    "no actor": lambda: like_an_entry(actor="Ada"),
    "no data": lambda: like_an_entry(data=None),
    "infinity": lambda: signing(size=float("inf")),
}


@pytest.mark.parametrize("how", UNREADABLE)
def test_an_entry_that_cannot_be_read_is_named_by_every_check(signed: Checkpoint, how: str) -> None:
    index = insert(UNREADABLE[how]())
    report = integrity.check(NOW, full=True)
    assert [(each.kind, each.subject) for each in report.found] == [("entry_unreadable", f"leaf {index}")]
    assert integrity.check_incrementally(LATER).findings == ["entry_unreadable"]
    daily = integrity.check_daily(LATER)
    assert daily is not None
    assert daily.findings == ["entry_unreadable"]
    assert signer.sign_if_due(LATER + timedelta(minutes=15)) is None
    for row in findings.unacknowledged():
        findings.acknowledge(finding_id=row.pk, by=ADA, reason="known", now=LATER)
    assert signer.sign_if_due(LATER + timedelta(minutes=20)) is not None


CLAIMS = {
    "a huge size": lambda: signing(size=HUGE),
    "a size that is none": lambda: signing(size="1"),
    "a truth for a size": lambda: signing(size=True),
    "anchors that are none": lambda: signing(anchors=[{}]),
    "no root": lambda: signing(root="xyz"),
    "nothing": lambda: like_an_entry(fact="auditlog.checkpoint_signed", data={}),
}


@pytest.mark.parametrize("what", CLAIMS)
def test_an_entry_that_claims_nonsense_was_signed_keeps_nobody_from_looking_or_signing(
    signed: Checkpoint, what: str
) -> None:
    insert(CLAIMS[what](), fact="auditlog.checkpoint_signed")
    assert kinds() == {"checkpoint_claimed", "projection_edited"}
    integrity.check_incrementally(LATER)
    integrity.check_daily(LATER)
    for row in findings.unacknowledged():
        findings.acknowledge(finding_id=row.pk, by=ADA, reason="known", now=LATER)
    assert signer.sign_if_due(LATER + timedelta(minutes=15)) is not None


def test_a_head_larger_than_the_log_was_is_acknowledged_once_and_signing_goes_on(signed: Checkpoint) -> None:
    for year in (2026, 9000):
        insert(signing(size=10**9), fact="auditlog.checkpoint_signed", recorded_at=NOW.replace(year=year))
    known = signer.last_said()
    assert known is not None
    assert known.size == signed.size
    assert integrity.check_daily(LATER) is not None
    assert signer.sign_if_due(LATER) is None
    assert {row.kind for row in findings.unacknowledged()} == {"checkpoint_claimed", "projection_edited"}
    for row in findings.unacknowledged():
        findings.acknowledge(finding_id=row.pk, by=ADA, reason="known", now=LATER)
    for minutes in (30, 50, 70):
        assert signer.sign_if_due(NOW + timedelta(minutes=minutes)) is not None
        assert integrity.check_incrementally(NOW + timedelta(minutes=minutes)).passed
    assert findings.unacknowledged().count() == 0


def test_a_memory_that_is_behind_is_accepted_once_however_large_it_is(signed: Checkpoint) -> None:
    Checkpoint.objects.create(size=10**9, root=bytes(32), note="", signed_at=NOW)
    for minutes, kinds_found in (
        (20, {"checkpoint_signature", "memory_behind"}),
        (40, {"checkpoint_order"}),
        (60, set()),
    ):
        at = NOW + timedelta(minutes=minutes)
        integrity.check_incrementally(at)
        found = findings.unacknowledged()
        assert {row.kind for row in found} == kinds_found
        signer.acknowledge(finding_ids=[row.pk for row in found], by=ADA, reason="known", now=at)
        assert signer.sign_if_due(at) is not None


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("signer.json", b'{"size": Infinity, "root": "00", "signed_at": ""}', "memory_unreadable"),
        ("signer.json", DEEP, "memory_unreadable"),
        ("accepted.jsonl", b'{"digest": "a", "begins": {"size": "x", "checkpoint": 0, "anchors": 0}}\n', None),
        ("accepted.jsonl", b'{"digest": "a", "begins": {"size": 1, "checkpoint": 1e999, "anchors": 0}}\n', None),
        ("accepted.jsonl", DEEP + b"\n", None),
    ],
)
def test_a_file_that_cannot_be_read_is_named(signed: Checkpoint, name: str, content: bytes, kind: str | None) -> None:
    (outside.directory() / name).write_bytes(content)
    assert kinds() == {kind or "acceptance_unreadable"}
    assert not integrity.check_incrementally(LATER).passed


def test_a_line_of_anchors_nested_as_deep_as_can_be_keeps_nobody_from_looking(signed: Checkpoint) -> None:
    with anchor_file().open("ab") as file:
        file.write(DEEP + b"\n")
    assert "check_failed" not in kinds()


def test_a_name_that_postgresql_takes_in_no_text_is_kept_all_the_same(signed: Checkpoint) -> None:
    insert(
        like_an_entry(actor={"kind": "person", "id": "\x00"}, commitments=[{"pointer": "/actor/label", "sha256": ""}])
    )
    daily = integrity.check_daily(LATER)
    assert daily is not None
    assert "disclosure_missing" in daily.findings


# --- what dies is found -------------------------------------------------------------------------------------------


@contextmanager
def unchecked(table: str, constraint: str) -> Iterator[None]:
    """The database without a constraint: its owner can drop them."""
    with flushable(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        else:
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")
        yield
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = OFF")


def set_no_time(table: str, column: str, where: str) -> None:
    garbage = "garbage" if connection.vendor == "sqlite" else "infinity"
    connection.cursor().execute(f"UPDATE {table} SET {column} = '{garbage}' WHERE {where}")  # noqa: S608 - our own


UNREADABLE_TIMES = [
    ("auditlog_leaf", "leaf_time", "sequenced_at", '"index" = 5'),
    ("auditlog_entry", "entry_time", "recorded_at", '"id" IN (SELECT entry_id FROM auditlog_leaf WHERE "index" = 5)'),
    ("auditlog_checkpoint", "checkpoint_time", "signed_at", "size = 300"),
    # Django's SQLite takes such a time for none, and the next entry puts the tree right.
    pytest.param("auditlog_tree", "tree_time", "sequenced_at", "id = 1", marks=pytest.mark.postgres),
]


@pytest.mark.parametrize(("table", "constraint", "column", "where"), UNREADABLE_TIMES)
def test_a_time_that_cannot_be_read_is_a_finding_and_the_rest_is_looked_at(
    signed: Checkpoint, table: str, constraint: str, column: str, where: str
) -> None:
    with unchecked(table, constraint):
        set_no_time(table, column, where)
    Payload.objects.create(sha256="0" * 64, size=1, bytes=b"x")
    found = integrity.check(NOW, full=True).found
    assert {each.kind for each in found} >= {"check_failed", "payload_edited"}
    assert integrity.check(NOW, full=True).found == found, "its words stay the same"
    assert not getattr(integrity.check_daily(LATER), "passed", True)
    assert findings.stop_signing()
    assert findings.stops("check_failed")


@pytest.mark.parametrize(("table", "constraint", "column", "where"), UNREADABLE_TIMES)
def test_the_database_takes_no_time_that_cannot_be_read(
    signed: Checkpoint, table: str, constraint: str, column: str, where: str
) -> None:
    with flushable(), pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        set_no_time(table, column, where)


def test_a_tree_of_no_size_is_refused_by_the_database_and_found_where_it_is_not(signed: Checkpoint) -> None:
    with pytest.raises(IntegrityError, match="tree_size"), transaction.atomic():
        Tree.objects.update(size=-1)
    with unchecked("auditlog_tree", "tree_size"):
        Tree.objects.update(size=-1, frontier=bytes(32), root=bytes(32))
    Pending.objects.create(entry_id=uuid4(), leaf_hash=bytes(32), recorded_at=NOW)
    run = integrity.check_incrementally(LATER)
    assert "tree_edited" in run.findings
    assert signer.sign_if_due(LATER + timedelta(minutes=15)) is None


# --- pages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", UNREADABLE)
def test_pages_show_that_an_entry_cannot_be_read(signed: Checkpoint, users: People, client: Client, how: str) -> None:
    index = insert(UNREADABLE[how]())
    client.force_login(users.administrator)
    entry_id = Leaf.objects.get(index=index).entry_id
    for address in (
        "/audit",
        f"/audit/entries/{index}",
        f"/api/auditlog/entries?since={index - 1}",
        f"/api/auditlog/entries/{index}",
        f"/admin/auditlog/entry/{entry_id}/change/",
    ):
        response = client.get(address)
        assert response.status_code == 200, address
        assert "cannot be read" in response.content.decode(), address


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_that_the_database_is_busy_is_no_finding(signed: Checkpoint) -> None:
    other = connection.copy()
    try:
        with transaction.atomic(), connection.cursor() as ours, other.cursor() as theirs:
            other.set_autocommit(False)
            theirs.execute("LOCK TABLE auditlog_leaf")
            ours.execute("SET LOCAL lock_timeout = '50ms'")
            with pytest.raises(OperationalError, match="lock timeout"):
                findings.look("the leaves", lambda: [Leaf.objects.get(index=0) and NOTHING])
    finally:
        other.close()
    assert not findings.unacknowledged().exists()
    assert integrity.check_incrementally(LATER).passed


NOTHING = findings.Found("nothing", "", "")
