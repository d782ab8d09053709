"""Appending: in the transaction of the change, in one go, and gone with what is rolled back."""

# ruff: noqa: PT012 - what must fail here is a whole transaction

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, NotRequired
from uuid import uuid4

import psycopg
import pytest
from django.db import DatabaseError, DataError, connection, connections, transaction
from typing_extensions import TypedDict

from auditlog import canonical, context, entries, facts, findings, log, merkle, redaction, sequencer, tree
from auditlog.actors import SYSTEM, Actor
from auditlog.models import Checkpoint, Disclosure, Entry, Leaf, Payload, Pending, Tile, Tree
from auditlog.subjects import Subject
from auditlog.testing import flushable

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ADA = Actor("person", "user:1", "Ada Lovelace", 1)
BOT = Actor("agent", "agent:1", "bot")
THING = Subject("thing", "1", "the thing")


class Inner(TypedDict):
    """Something nested."""

    count: int


class SomethingData(TypedDict):
    """Data of a fact that only these tests know."""

    name: str
    inner: NotRequired[Inner]
    email: NotRequired[Annotated[str, facts.PERSONAL]]
    password: NotRequired[str]
    note: NotRequired[str]


class LogTestFact(facts.Facts):
    """Facts of these tests."""

    SOMETHING = facts.fact("logtest.something", SomethingData)
    NOTHING = facts.fact("logtest.nothing")


def append(name: str = "a", **changes: Any) -> Any:
    arguments: dict[str, Any] = {"actor": BOT, "subject": THING, "data": {"name": name}, "now": NOW} | changes
    return log.append(LogTestFact.SOMETHING, **arguments)


def names() -> list[str]:
    sequencer.run(NOW)
    return [entry.data["name"] for entry in entries.in_order(Entry.objects.filter(fact="logtest.something"))]


# --- in the transaction ----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_appending_outside_recording_is_an_error() -> None:
    with pytest.raises(log.NotRecording):
        append()
    with transaction.atomic(), pytest.raises(log.NotRecording):
        append()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements that write, from here on: those of Django, and the copying it knows nothing of."""
    found: list[str] = []
    copy = psycopg.Cursor.copy
    monkeypatch.setattr(
        psycopg.Cursor, "copy", lambda self, sql, *rest, **more: found.append(sql) or copy(self, sql, *rest, **more)
    )

    def watch(execute: Any, sql: str, *rest: Any) -> Any:
        found.extend([sql] if sql.startswith(("INSERT", "UPDATE", "WITH")) else [])
        return execute(sql, *rest)

    with connection.execute_wrapper(watch):
        yield found


@pytest.mark.django_db
def test_the_entries_of_a_verb_go_in_with_one_statement(written: list[str]) -> None:
    with log.recording():
        append("before")
    sequencer.run(NOW)
    written.clear()
    with log.recording():
        for number in range(50):
            append(str(number))
    assert len([sql for sql in written if "auditlog_entry" in sql]) == 1
    # On PostgreSQL that is all; on SQLite the leaves and the tree follow.
    assert len(written) == (1 if connection.vendor == "postgresql" else 3)
    assert names() == ["before", *map(str, range(50))]


@pytest.mark.django_db
def test_nothing_is_written_before_the_outermost_exit() -> None:
    with log.recording():
        with log.recording():
            append("inner")
        assert not Entry.objects.exists()
        append("outer")
    assert names() == ["inner", "outer"]


@pytest.mark.django_db
def test_entries_of_a_rolled_back_savepoint_fall_with_it() -> None:
    with log.recording():
        append("kept")
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            append("lost in a plain savepoint")
            _ = 1 / 0
        with pytest.raises(ZeroDivisionError), log.recording():
            append("lost in an inner recording")
            _ = 1 / 0
        with transaction.atomic():
            append("kept in a savepoint")
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                with transaction.atomic():
                    append("lost two deep")
                _ = 1 / 0
    assert names() == ["kept", "kept in a savepoint"]
    assert Entry.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_entries_fall_with_their_transaction() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        with log.recording():
            append("lost")
        assert Entry.objects.count() == 1
        _ = 1 / 0
    with log.recording():
        append("kept")
    assert names() == ["kept"]
    assert tree.head().size == 1


@pytest.mark.django_db
def test_a_recording_that_failed_leaves_nothing_behind_for_the_next() -> None:
    with pytest.raises(ZeroDivisionError), log.recording():
        append("lost")
        _ = 1 / 0
    with pytest.raises(log.NotRecording):
        append("late")
    with log.recording():
        append("kept")
    with log.recording():
        append("next")
    assert names() == ["kept", "next"]


# --- what an entry says ----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_entry_is_canonical_bytes_and_columns_that_copy_them() -> None:
    mission, contract, cause = uuid4(), uuid4(), uuid4()
    with context.ObservabilityContext(correlation_id="c-1", mission_id=mission), log.recording():
        entry_id = append("a", contract_id=contract, caused_by=cause, outcome="failure")
    entry = Entry.objects.get(pk=entry_id)
    assert entry.document() == {
        "version": 1,
        "id": str(entry_id),
        "at": "2026-11-23T12:00:00.000000Z",
        "fact": "logtest.something",
        "actor": {"kind": "agent", "id": "agent:1", "label": "bot"},
        "subsystem": "tests",
        "subject": {"kind": "thing", "id": "1", "label": "the thing"},
        "mission_id": str(mission),
        "contract_id": str(contract),
        "correlation_id": "c-1",
        "caused_by": str(cause),
        "outcome": "failure",
        "data": {"name": "a"},
        "commitments": [],
    }
    assert bytes(entry.bytes) == canonical.dumps(entry.document())
    assert (entry.mission_id, entry.contract_id, entry.caused_by) == (mission, contract, cause)
    assert (entry.recorded_at, entry.correlation_id, entry.outcome) == (NOW, "c-1", "failure")


@pytest.mark.django_db
def test_the_context_around_gives_ids_and_what_is_given_wins() -> None:
    around, given = uuid4(), uuid4()
    with context.ObservabilityContext(contract_id=around), context.caused_by(around), log.recording():
        first, second = append(), append(contract_id=given, caused_by=given)
    assert Entry.objects.get(pk=first).contract_id == Entry.objects.get(pk=first).caused_by == around
    assert Entry.objects.get(pk=second).contract_id == Entry.objects.get(pk=second).caused_by == given
    assert context.current() == context.Context()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "name"),
        ({"name": 1}, "name"),
        ({"name": "a", "unknown": 1}, "unknown"),
        ({"name": "a", "inner": {"count": "1"}}, "inner"),
        ({"name": "a", "inner": {"count": 1, "more": 2}}, "more"),
    ],
)
def test_data_of_the_wrong_shape_is_an_error(data: dict[str, Any], words: str) -> None:
    with pytest.raises(facts.WrongShape, match=words), log.recording():
        append(data=data)
    assert not Entry.objects.exists()


@pytest.mark.django_db
def test_a_float_is_an_error_that_names_it() -> None:
    with pytest.raises(canonical.NotCanonical, match="/data/inner/count"), log.recording():
        append(data={"name": "a", "inner": {"count": 0.5}})


@pytest.mark.django_db
def test_what_was_said_is_what_it_was_when_it_was_said() -> None:
    data: dict[str, Any] = {"name": "before", "inner": {"count": 1}}
    with log.recording():
        with context.ObservabilityContext(correlation_id="then"):
            entry_id = append(data=data)
        data["name"] = "after"
        data["inner"]["count"] = 2
    entry = Entry.objects.get(pk=entry_id)
    assert entry.data == {"name": "before", "inner": {"count": 1}}
    assert entry.correlation_id == "then"


@pytest.mark.django_db
@pytest.mark.parametrize("data", [{"inner": {"count": 2**53}}, {"note": "\ud800"}])
def test_what_has_no_bytes_is_an_error_at_the_latest_when_the_recording_ends(data: dict[str, Any]) -> None:
    with pytest.raises(canonical.NotCanonical), log.recording():
        append(data={"name": "a", **data})
    assert not Entry.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["\x00", "\u00e4\u2028\U0001f600", '"\\/\x1f\x7f', "\t\r\n"])
def test_any_text_comes_back_as_it_was(text: str) -> None:
    with log.recording():
        entry_id = append(data={"name": text})
    assert Entry.objects.get(pk=entry_id).data == {"name": text}


@pytest.mark.django_db
@pytest.mark.postgres
def test_a_value_the_database_refuses_is_its_error_and_nothing_is_kept() -> None:
    with pytest.raises(DataError), transaction.atomic(), log.recording():
        append(subject=Subject("thing", "x" * 201))
    assert not Entry.objects.exists()


def test_a_fact_is_registered_once() -> None:
    with pytest.raises(facts.FactAlreadyRegistered):

        class Twice(facts.Facts):
            AGAIN = facts.fact("logtest.something")

    assert facts.named("logtest.something") is LogTestFact.SOMETHING
    assert facts.schema(LogTestFact.SOMETHING)["required"] == ["name"]


def test_numbers_and_foreign_json_have_a_way_in() -> None:
    assert log.decimal(Decimal("0.9500")) == "0.9500"
    assert log.decimal(0.123456, places=2) == "0.12"
    assert log.decimal(Decimal("1E+3")) == "1000"
    assert log.foreign({"B": 0.5, "a": [None], "password": "hunter2"}) == '{"B":0.5,"a":[null],"password":"[redacted]"}'


# --- secrets, personal data, large payloads --------------------------------------------------------------------


@pytest.mark.django_db
def test_a_persons_label_enters_as_a_commitment_that_can_be_erased() -> None:
    with log.recording():
        entry_id = append(actor=ADA, subject=Subject("person", "user:2", "Bea"))
    entry = Entry.objects.get(pk=entry_id)
    assert b"Ada" not in bytes(entry.bytes)
    assert b"Bea" not in bytes(entry.bytes)
    rows = {row.pointer: row for row in Disclosure.objects.filter(entry_id=entry_id)}
    for committed in entry.document()["commitments"]:
        row = rows[committed["pointer"]]
        assert committed["sha256"] == sha256(bytes(row.salt) + row.value.encode()).hexdigest()
        assert len(row.salt) == 16
    assert {row.subject for row in rows.values()} == {"person:user:1", "person:user:2"}
    assert entries.disclosed([entry])[entry_id]["actor"]["label"] == "Ada Lovelace"
    Disclosure.objects.all().delete()
    assert "label" not in entries.disclosed([entry])[entry_id]["actor"]


@pytest.mark.django_db
def test_the_same_label_is_never_committed_to_the_same_way() -> None:
    with log.recording():
        append(actor=ADA)
        append(actor=ADA)
    committed = [entry.document()["commitments"][0]["sha256"] for entry in Entry.objects.all()]
    assert len(set(committed)) == 2


@pytest.mark.django_db
def test_a_personal_member_of_the_data_enters_as_a_commitment() -> None:
    with log.recording():
        entry_id = append(data={"name": "a", "email": "ada@example.org"}, subject=Subject("person", "user:1"))
    entry = Entry.objects.get(pk=entry_id)
    assert entry.data == {"name": "a"}
    assert entries.disclosed([entry])[entry_id]["data"]["email"] == "ada@example.org"


@pytest.mark.django_db
def test_secrets_never_enter() -> None:
    with log.recording():
        entry_id = append(data={"name": "postgres://grace:hunter2@db/x", "password": "hunter2"})
    entry = Entry.objects.get(pk=entry_id)
    assert b"hunter2" not in bytes(entry.bytes)
    assert entry.data == {"name": "postgres://grace:[redacted]@db/x", "password": redaction.REDACTED}


@pytest.mark.django_db
def test_secrets_enter_neither_by_a_label_nor_by_a_column() -> None:
    place, bot = "postgres://u:hunter2@h/db", Actor("agent", "agent:ghp_hunter2hunter2", "bot with password=hunter2")
    # Were it cut before it is looked at, half of the password would stay.
    label = "x" * (log.LABEL_CHARS - len("postgres://u:hunt")) + place
    with log.recording(), context.ObservabilityContext(correlation_id="Bearer hunter2hunter2"):
        cut = append(subject=Subject("database", place, label))
        append(actor=bot, subject=Subject("database", place, place), data={"name": place})
    for entry in Entry.objects.all():
        columns = [str(getattr(entry, field.attname)) for field in Entry._meta.concrete_fields if field.name != "bytes"]
        assert "hunt" not in " ".join([bytes(entry.bytes).decode(), *columns])
        assert entry.subject_id == entry.document()["subject"]["id"] == "postgres://u:[redacted]@h/db"
        assert entry.correlation_id == entry.document()["correlation_id"] == "Bearer [redacted]"
    kept = Entry.objects.get(pk=cut).document()["subject"]["label"]
    assert kept == label.replace("hunter2", "[redacted]")[: log.LABEL_CHARS]


@pytest.mark.django_db
def test_a_large_payload_is_kept_beside_the_log() -> None:
    large = {"name": "a", "note": "x" * 70_000}
    with log.recording():
        first, second = append(data=large), append(data=large)
    entry = Entry.objects.get(pk=first)
    raw = canonical.dumps(large)
    assert entry.data == {"sha256": sha256(raw).hexdigest(), "bytes": len(raw)}
    assert len(entry.bytes) <= log.MAX_BYTES
    assert entries.data(entry) == large == entries.data(Entry.objects.get(pk=second))
    assert Payload.objects.count() == 1
    Payload.objects.all().delete()
    assert entries.data(entry) == entry.data


@pytest.mark.django_db
def test_an_entry_too_large_by_itself_is_an_error() -> None:
    with pytest.raises(log.EntryTooLarge), log.recording():
        append(subject=Subject("thing", "1" * 70_000))


# --- places in the tree ----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_entries_get_dense_places_tiles_and_a_root_that_can_be_recomputed() -> None:
    for size in (3, 300, 500):
        with log.recording():
            for number in range(size):
                append(str(number))
        sequencer.run(NOW)
    leaves = list(Leaf.objects.order_by("index"))
    hashes = [
        merkle.leaf_hash(bytes(leaf.entry.bytes)) for leaf in Leaf.objects.select_related("entry").order_by("index")
    ]
    assert [leaf.index for leaf in leaves] == list(range(803))
    assert [bytes(leaf.hash) for leaf in leaves] == hashes
    head = tree.head()
    assert (head.size, bytes(head.root)) == (803, merkle.root_of(hashes))
    tiles = Tile.objects.order_by("number")
    assert [(tile.level, tile.number) for tile in tiles] == [(0, 0), (0, 1), (0, 2)]
    assert b"".join(bytes(tile.hashes) for tile in tiles) == b"".join(hashes[:768])
    nodes = tree.Nodes()
    for size in (0, 1, 255, 256, 257, 512, 700, 803):
        assert merkle.root_at(size, nodes) == merkle.root_of(hashes[:size])
    for index in (0, 255, 256, 511, 512, 802):
        proof = merkle.inclusion_proof(index, 803, nodes)
        merkle.verify_inclusion(hashes[index], index, 803, proof, bytes(head.root))
    with pytest.raises(LookupError):
        nodes((0, 803))


@pytest.mark.django_db
def test_tiles_of_the_second_level_are_made() -> None:
    queue = [(uuid4(), merkle.leaf_hash(bytes([n % 256]))) for n in range(66_000)]
    with transaction.atomic():
        sequencer.place(queue, using="default", now=NOW)
    second = Tile.objects.get(level=1)
    assert Tile.objects.filter(level=0).count() == 257
    assert bytes(second.root) == merkle.root_of([leaf_hash for _, leaf_hash in queue[:65_536]])
    assert merkle.root_at(66_000, tree.Nodes()) == bytes(tree.head().root)


@pytest.mark.django_db
def test_the_time_of_placing_never_runs_backwards() -> None:
    earlier = datetime(2020, 1, 1, tzinfo=UTC)
    for _ in range(2):
        with log.recording():
            append()
        sequencer.run(NOW)
    if connection.vendor == "postgresql":
        with log.recording():
            append()
        sequencer.run(earlier)
    times = list(Leaf.objects.order_by("index").values_list("sequenced_at", flat=True))
    assert times == sorted(times)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_on_postgresql_entries_wait_for_the_sequencer() -> None:
    with log.recording():
        append()
    assert (Pending.objects.count(), Leaf.objects.count()) == (1, 0)
    assert sequencer.run(NOW) == 1
    assert (Pending.objects.count(), Leaf.objects.count()) == (0, 1)
    assert sequencer.run(NOW) == 0


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_writers_and_sequencers_at_once_leave_no_gap_and_no_double() -> None:
    done = threading.Event()
    errors: list[BaseException] = []

    def in_thread(work: Any) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - shown by the test
                errors.append(error)
            finally:
                connections.close_all()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def write() -> None:
        for number in range(40):
            with transaction.atomic():
                with log.recording():
                    append("kept")
                    append("kept")
                if number % 4 == 0:
                    transaction.set_rollback(True)

    def sequence() -> None:
        while not done.is_set():
            sequencer.run(batch=7)

    sequencers = [in_thread(sequence) for _ in range(3)]
    for writer in [in_thread(write) for _ in range(4)]:
        writer.join()
    done.set()
    for thread in sequencers:
        thread.join()
    sequencer.run()
    assert not errors
    leaves = list(Leaf.objects.order_by("index").values_list("index", "entry_id"))
    assert [index for index, _ in leaves] == list(range(4 * 30 * 2))
    assert {entry_id for _, entry_id in leaves} == set(Entry.objects.values_list("pk", flat=True))
    assert merkle.root_at(len(leaves), tree.Nodes()) == bytes(tree.head().root)


# --- what the database refuses ---------------------------------------------------------------------------------


def _one_of_each() -> None:
    with log.recording():
        for _ in range(256):
            append()
    sequencer.run(NOW)
    Checkpoint.objects.create(size=1, root=bytes(32), note="", signed_at=NOW)


@pytest.mark.django_db
@pytest.mark.parametrize("model", [Entry, Leaf, Tile, Checkpoint])
@pytest.mark.parametrize("act", ["update", "delete", "raw delete", "replace"])
def test_what_was_appended_cannot_be_changed(model: Any, act: str) -> None:
    _one_of_each()
    table = model._meta.db_table
    before = list(model.objects.order_by("pk").values())

    def do() -> None:
        if act == "update":
            model.objects.update(**{model._meta.fields[1].name: model.objects.values(model._meta.fields[1].name)[:1]})
        elif act == "delete":
            model.objects.all()._raw_delete("default")
        elif act == "raw delete":
            connection.cursor().execute(f"DELETE FROM {table}")  # noqa: S608
        elif connection.vendor == "sqlite":
            connection.cursor().execute(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")  # noqa: S608
        else:
            connection.cursor().execute(f"TRUNCATE {table}")

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        do()
    assert list(model.objects.order_by("pk").values()) == before


@pytest.mark.django_db
def test_no_foreign_key_of_the_database_points_at_the_log() -> None:
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            found = connection.introspection.get_constraints(cursor, table)
            targets = {each["foreign_key"][0] for each in found.values() if each["foreign_key"]}
            assert not targets & {model._meta.db_table for model in (Entry, Leaf, Tile, Checkpoint)}, table


@pytest.mark.django_db
def test_flushable_lifts_the_triggers_and_puts_them_back() -> None:
    _one_of_each()
    with flushable():
        Entry.objects.all()._raw_delete("default")
    with pytest.raises(DatabaseError), transaction.atomic():
        Leaf.objects.all()._raw_delete("default")


@pytest.mark.django_db
def test_the_tree_is_one_row() -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        Tree.objects.create(id=2, root=b"")


# --- asking ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_timeline_is_in_log_order_and_ends_with_what_waits() -> None:
    contract = uuid4()
    with log.recording():
        append("1", contract_id=contract)
        append("other")
        append("2", contract_id=contract)
    sequencer.run(NOW)
    with log.recording():
        append("3", contract_id=contract)
    found = list(entries.timeline(contract_id=contract))
    assert [entry.data["name"] for entry in found] == ["1", "2", "3"]
    assert [getattr(entry, "leaf_index") for entry in found] == [0, 2, None if connection.vendor == "postgresql" else 3]  # noqa: B009
    with pytest.raises(ValueError, match="about"):
        entries.timeline()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("glob", "count"),
    [("*", 2), ("logtest.*", 2), ("logtest.nothing", 1), ("logtest.n*,logtest.something", 2), ("logtest", 0)],
)
def test_facts_are_chosen_by_globs(glob: str, count: int) -> None:
    with log.recording():
        append()
        log.append(LogTestFact.NOTHING, actor=SYSTEM, subject=THING, now=NOW)
    found = Entry.objects.filter(entries.matching(glob))
    assert found.count() == count == sum(entries.matches(glob, entry.fact) for entry in Entry.objects.all())


@pytest.mark.parametrize("glob", ["", "a.*.b", "*a", "a,"])
def test_a_glob_that_cannot_be_looked_for_is_an_error(glob: str) -> None:
    with pytest.raises(ValueError, match="fact"):
        entries.matching(glob)


@pytest.mark.django_db
def test_a_finding_is_kept_once_until_it_is_acknowledged() -> None:
    found = findings.Found("entry_edited", "leaf 5", "it is another")
    first, again = findings.record([found], now=NOW), findings.record([found], now=NOW)
    assert [row.pk for row in first] == [row.pk for row in again]
    assert findings.stop_signing()
    row = findings.acknowledge(finding_id=first[0].pk, by=ADA, reason="restored from a backup", now=NOW)
    assert not findings.stop_signing()
    assert findings.record([found], now=NOW) == []
    assert row.acknowledged_by == "Ada Lovelace"
    entry = Entry.objects.get(fact="auditlog.finding_acknowledged")
    said = {"finding_id": str(row.pk), "kind": "entry_edited", "reason": "restored from a backup"}
    assert {name: entry.data[name] for name in said} == said
    assert entry.data["digest"] == findings.digest(row)
    with pytest.raises(findings.AlreadyAcknowledged):
        findings.acknowledge(finding_id=row.pk, by=ADA, reason="again", now=NOW)
    with pytest.raises(findings.NoSuchFinding):
        findings.acknowledge(finding_id=0, by=ADA, reason="of nothing", now=NOW)


def test_documents_are_json_that_anybody_can_read() -> None:
    assert json.loads(canonical.dumps({"b": 1, "a": "ü"})) == {"a": "ü", "b": 1}
