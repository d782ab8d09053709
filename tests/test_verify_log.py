"""Every way of tampering is detected and named, on both databases; honest work is not."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from auditlog import (
    canonical,
    findings,
    integrity,
    log,
    merkle,
    mesh,
    notes,
    outside,
    sequencer,
    signer,
    tree,
    triggers,
)
from auditlog.actors import SYSTEM, Actor
from auditlog.facts import SystemFact
from auditlog.models import (
    Checkpoint,
    Disclosure,
    Entry,
    Finding,
    IntegrityRun,
    Leaf,
    Payload,
    Pending,
    Subscription,
    Tile,
    Tree,
)
from auditlog.subjects import Subject
from auditlog.testing import flushable

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ADA = Actor("person", "user:1", "Ada", 1)

pytestmark = pytest.mark.django_db


def write(count: int = 1, *, now: datetime = NOW, name: str = "x") -> None:
    with log.recording():
        for number in range(count):
            log.append(
                SystemFact.HEARTBEAT,
                actor=ADA,
                subject=Subject("subsystem", str(number)),
                data={"name": name},
                now=now,
            )
    sequencer.run(now)


def kinds(*, full: bool = True) -> set[str]:
    return {each.kind for each in integrity.check(NOW, full=full).found}


def details() -> str:
    return "\n".join(each.detail for each in integrity.check(NOW, full=True).found)


@pytest.fixture
def signed() -> Checkpoint:
    """A log of 700 entries, one of them with its data beside it, two checkpoints and one more entry."""
    write(300)
    signer.sign(NOW)
    write(397)
    write(name="x" * 70_000)
    checkpoint = signer.sign(NOW)
    write(1)
    return checkpoint


# --- honest ----------------------------------------------------------------------------------------------------


def test_an_empty_log_is_sound() -> None:
    assert kinds() == set()
    assert signer.sign_if_due(NOW) is None


def test_an_honest_log_is_sound(signed: Checkpoint) -> None:
    report = integrity.check(NOW, full=True)
    assert report.found == []
    assert (report.size, report.checkpoints, report.checkpoint_size) == (tree.head().size, 2, signed.size)
    assert report.frontier.root() == bytes(tree.head().root)


def test_a_log_that_waits_for_its_sequencer_is_sound(signed: Checkpoint) -> None:
    with log.recording():
        log.append(SystemFact.HEARTBEAT, actor=ADA, subject=Subject("x", "1"), data={"name": "x"}, now=NOW)
    assert kinds() == set()


def test_clock_steps_and_long_transactions_are_sound() -> None:
    for minutes in (0, -10, 3, -50, 5, 180, 6, -300, 7):
        write(2, now=NOW + timedelta(minutes=minutes))
        signer.sign(NOW + timedelta(minutes=minutes))
    assert kinds() == set()


# --- tampered --------------------------------------------------------------------------------------------------


def entry_at(index: int) -> UUID:
    return Leaf.objects.get(index=index).entry_id


def edited(index: int, **changes: Any) -> tuple[UUID, bytes]:
    """An entry's id and its bytes with other content."""
    entry = Leaf.objects.select_related("entry").get(index=index).entry
    return entry.pk, canonical.dumps(entry.document() | changes)


def edit_content() -> None:
    pk, raw = edited(5, data={"name": "y"})
    Entry.objects.filter(pk=pk).update(bytes=raw)


def edit_content_and_hash() -> None:
    pk, raw = edited(5, data={"name": "y"})
    Entry.objects.filter(pk=pk).update(bytes=raw)
    Leaf.objects.filter(index=5).update(hash=merkle.leaf_hash(raw))


def edit_content_and_hash_in_the_last_tile() -> None:
    pk, raw = edited(600, data={"name": "y"})
    Entry.objects.filter(pk=pk).update(bytes=raw)
    Leaf.objects.filter(index=600).update(hash=merkle.leaf_hash(raw))


def edit_projection() -> None:
    Entry.objects.filter(pk=entry_at(5)).update(actor_id="user:2", mission_id=uuid4())


def delete_leaf() -> None:
    Leaf.objects.filter(index=5)._raw_delete("default")


def forge_a_leaf_past_the_end() -> None:
    forged = Entry.objects.get(pk=entry_at(5))
    forged.pk = uuid4()
    forged.save(force_insert=True)
    end = tree.head().size
    Leaf.objects.create(index=end, entry_id=forged.pk, hash=merkle.leaf_hash(b"x"), sequenced_at=NOW)


def delete_the_tree() -> None:
    Tree.objects.all()._raw_delete("default")


def set_a_cursor_past_the_end() -> None:
    mesh.register_all(NOW)
    Subscription.objects.filter(name="governance-mail").update(cursor=100_000)


def delete_entry() -> None:
    Entry.objects.filter(pk=entry_at(5))._raw_delete("default")


def truncate() -> None:
    """The tail goes, and the tree's row is made to fit."""
    last = Leaf.objects.filter(index__gte=600)
    Entry.objects.filter(pk__in=list(last.values_list("entry_id", flat=True)))._raw_delete("default")
    last._raw_delete("default")
    Checkpoint.objects.filter(size__gt=600)._raw_delete("default")
    rebuild()


def restore_a_backup(size: int = 600) -> None:
    """The database as it was when the log was shorter."""
    last = Leaf.objects.filter(index__gte=size)
    newer = [*last.values_list("entry_id", flat=True), *Pending.objects.values_list("entry_id", flat=True)]
    Disclosure.objects.filter(entry_id__in=newer).delete()
    Entry.objects.filter(pk__in=newer)._raw_delete("default")
    last._raw_delete("default")
    Pending.objects.all().delete()
    Checkpoint.objects.filter(size__gte=size)._raw_delete("default")
    rebuild()


def truncate_without_the_tree() -> None:
    last = Leaf.objects.filter(index__gte=600)
    Entry.objects.filter(pk__in=list(last.values_list("entry_id", flat=True)))._raw_delete("default")
    last._raw_delete("default")


def rewrite_and_sign_again() -> None:
    """Everything is made consistent with the new content, and signed with the real key."""
    edit_content()
    rebuild()
    for row in Checkpoint.objects.all():
        root = merkle.root_at(row.size, tree.Nodes())
        note = signer.key().sign(notes.Head(signer.key().name, row.size, root).text())
        Checkpoint.objects.filter(pk=row.pk).update(root=root, note=note)


def rebuild() -> None:
    frontier, hashes = merkle.Frontier(), []
    for leaf in Leaf.objects.select_related("entry").order_by("index"):
        hashes.append(merkle.leaf_hash(bytes(leaf.entry.bytes)))
        Leaf.objects.filter(pk=leaf.pk).update(hash=hashes[-1])
    frontier.extend(hashes)
    for tile in Tile.objects.filter(level=0):
        packed = b"".join(hashes[tile.number * 256 : tile.number * 256 + 256])
        if len(packed) < 8192:
            Tile.objects.filter(pk=tile.pk)._raw_delete("default")
        else:
            Tile.objects.filter(pk=tile.pk).update(hashes=packed, root=merkle.tile_root(packed))
    Tree.objects.update(size=frontier.size, root=frontier.root(), frontier=frontier.pack())


def drop_pending() -> None:
    with log.recording():
        log.append(SystemFact.HEARTBEAT, actor=ADA, subject=Subject("x", "1"), data={"name": "x"}, now=NOW)
    if connection.vendor == "sqlite":  # where nothing ever waits
        last = Leaf.objects.order_by("-index")[0]
        Leaf.objects.filter(pk=last.pk)._raw_delete("default")
        rebuild()
    Pending.objects.all().delete()


def delete_pending_entry() -> None:
    Pending.objects.create(entry_id=uuid4(), leaf_hash=bytes(32), recorded_at=NOW)


def queue_twice() -> None:
    Pending.objects.create(entry_id=entry_at(5), leaf_hash=bytes(32), recorded_at=NOW)


def queue_another_instead() -> None:
    drop_pending()
    queue_twice()


def edit_tree() -> None:
    Tree.objects.update(root=bytes(32))


def edit_tile() -> None:
    Tile.objects.filter(number=1).update(root=bytes(32))


def delete_tile() -> None:
    Tile.objects.filter(number=1)._raw_delete("default")


def forge_a_tile() -> None:
    tile = Tile.objects.get(level=0, number=0)
    Tile.objects.create(level=0, number=2, hashes=tile.hashes, root=tile.root)


def forge_a_tile_above() -> None:
    tile = Tile.objects.get(level=0, number=0)
    Tile.objects.create(level=1, number=0, hashes=tile.hashes, root=tile.root)


def forge_checkpoint() -> None:
    forged = notes.Signer(signer.key().name, bytes(32)).sign(notes.Head(signer.key().name, 1, bytes(32)).text())
    Checkpoint.objects.filter(size=300).update(note=forged)


def edit_checkpoint() -> None:
    Checkpoint.objects.filter(size=300).update(root=bytes(32))


def forget() -> None:
    (outside.directory() / "signer.json").unlink()


def lose_the_key() -> None:
    signer._key_path().unlink()


def garble_the_memory() -> None:
    (outside.directory() / "signer.json").write_bytes(b"\xff garbage")


def empty_the_memory() -> None:
    (outside.directory() / "signer.json").write_text("")


def garble_the_key() -> None:
    signer._key_path().write_text("garbage\n")


def garble_an_anchor() -> None:
    first, rest = anchor_file().read_bytes().split(b"\n", 1)
    anchor_file().write_bytes(b"\xff" * len(first) + b"\n" + rest)


def garble_the_last_anchor() -> None:
    anchor_file().write_bytes(anchor_file().read_bytes()[:-20])


def forge_an_anchor() -> None:
    with anchor_file().open("ab") as file:
        file.write(b'{"size": 1}\n')


def replace_the_anchors_by_a_directory() -> None:
    anchor_file().unlink()
    anchor_file().mkdir()


def garble_what_was_accepted() -> None:
    (outside.directory() / "accepted.jsonl").write_bytes(b'\xff\n{"digest": 1, "begins": null}\n')


def edit_anchors() -> None:
    path = anchor_file()
    path.write_text(path.read_text().replace('"size": 300', '"size": 301'))


def delete_a_checkpoint() -> None:
    Checkpoint.objects.filter(size=300)._raw_delete("default")


def delete_all_checkpoints() -> None:
    Checkpoint.objects.all()._raw_delete("default")


def anchor_file() -> Path:
    return outside.directory() / "anchors.log"


def delete_the_anchors() -> None:
    anchor_file().unlink()


def cut_the_first_anchor() -> None:
    anchor_file().write_text("".join(anchor_file().read_text().splitlines(keepends=True)[1:]))


def cut_the_last_anchor() -> None:
    anchor_file().write_text("".join(anchor_file().read_text().splitlines(keepends=True)[:-1]))


def set_the_memory_back() -> None:
    outside.remember(outside.Memory(300, merkle.root_at(300, tree.Nodes()), canonical.stamp(NOW)))


def delete_disclosures() -> None:
    Disclosure.objects.all().delete()


def edit_disclosure() -> None:
    Disclosure.objects.filter(entry_id=entry_at(5)).update(value="Mallory")


def edit_payload() -> None:
    Payload.objects.create(sha256="0" * 64, size=1, bytes=b"x")


def delete_a_payload() -> None:
    Payload.objects.all().delete()


def reverse_time() -> None:
    Leaf.objects.filter(index=5).update(sequenced_at=NOW - timedelta(days=1))


TAMPERINGS: list[tuple[Callable[[], None], set[str], str]] = [
    (edit_content, {"entry_edited"}, "leaf 5"),
    (edit_content_and_hash, {"leaf_edited"}, "leaf 5"),
    (edit_content_and_hash_in_the_last_tile, {"root_mismatch", "rewritten"}, "leaves 512 to 639"),
    (edit_projection, {"projection_edited"}, "actor_id, mission_id"),
    (delete_leaf, {"leaf_missing", "entry_unplaced"}, "Leaf 5 is missing"),
    (set_a_cursor_past_the_end, {"subscriber_ahead"}, "The subscriber governance-mail is said to have heard 100000"),
    (delete_entry, {"entry_missing"}, "leaf 5"),
    (forge_a_leaf_past_the_end, {"leaf_forged"}, "stands outside of the tree"),
    (delete_the_tree, {"tree_missing"}, "The tree's row is gone"),
    (truncate, {"truncated"}, "the signer's memory"),
    (truncate_without_the_tree, {"leaf_missing"}, "Leaf 600"),
    (rewrite_and_sign_again, {"rewritten"}, "the signer's memory"),
    (drop_pending, {"entry_unplaced"}, "system.heartbeat"),
    (delete_pending_entry, {"entry_missing"}, "pending"),
    (queue_twice, {"entry_queued_twice"}, "has its place already"),
    (queue_another_instead, {"entry_queued_twice", "entry_unplaced"}, "system.heartbeat"),
    (edit_tree, {"tree_edited"}, "tree"),
    (edit_tile, {"tile_edited"}, "tile 0/1"),
    (delete_tile, {"tile_missing"}, "tile 0/1"),
    (forge_a_tile, {"tile_forged"}, "The tree has no tile 0/2"),
    (forge_a_tile_above, {"tile_forged"}, "The tree has no tile 1/0"),
    (forge_checkpoint, {"checkpoint_signature"}, "300"),
    (edit_checkpoint, {"checkpoint_edited"}, "checkpoint"),
    (forget, {"memory_missing"}, "memory"),
    (lose_the_key, {"key_missing"}, "key"),
    (garble_the_memory, {"memory_unreadable"}, "memory cannot be read"),
    (empty_the_memory, {"memory_unreadable"}, "memory cannot be read"),
    (garble_the_key, {"key_unreadable"}, "key cannot be read"),
    (garble_an_anchor, {"anchor_missing"}, "told the head of size 300, and does not hold it"),
    (garble_the_last_anchor, {"anchor_missing"}, "and does not hold it"),
    (forge_an_anchor, {"anchor_invalid"}, "carries no good signature"),
    (replace_the_anchors_by_a_directory, {"anchor_invalid"}, "anchor file cannot be read"),
    (garble_what_was_accepted, {"acceptance_unreadable"}, "2 lines of accepted.jsonl"),
    (edit_anchors, {"anchor_invalid"}, "anchor line 1"),
    (delete_a_checkpoint, {"checkpoint_missing"}, "of size 300 was signed, and is gone"),
    (delete_all_checkpoints, {"checkpoint_missing"}, "of size 300 was signed, and is gone"),
    (delete_the_anchors, {"anchor_missing"}, "told the head of size 300"),
    (cut_the_first_anchor, {"anchor_missing"}, "told the head of size 300"),
    (cut_the_last_anchor, {"anchor_missing"}, "and does not hold it"),
    (set_the_memory_back, {"memory_behind"}, "was signed, which is more than the signer remembers"),
    (delete_disclosures, {"disclosure_missing"}, "personal values of person:user:1 are gone"),
    (edit_disclosure, {"disclosure_edited"}, "/actor/label"),
    (edit_payload, {"payload_edited"}, "0000"),
    (delete_a_payload, {"payload_missing"}, "is gone"),
    (reverse_time, {"time_reversed"}, "leaf 5"),
]


@pytest.mark.parametrize(("tamper", "expected", "words"), TAMPERINGS, ids=lambda each: getattr(each, "__name__", ""))
def test_tampering_is_detected_and_named(
    signed: Checkpoint, tamper: Callable[[], None], expected: set[str], words: str
) -> None:
    with flushable():
        tamper()
    assert expected <= kinds(), details()
    assert words.lower() in details().lower()


@pytest.mark.parametrize("tamper", [queue_twice, queue_another_instead])
def test_what_stops_the_sequencer_does_not_stop_the_check(signed: Checkpoint, tamper: Callable[[], None]) -> None:
    with flushable():
        tamper()
    run = integrity.check_incrementally(NOW)
    assert "entry_queued_twice" in run.findings


@pytest.mark.parametrize("name", ["auditlog_entry", "auditlog_leaf", "auditlog_tile", "auditlog_checkpoint"])
@pytest.mark.parametrize("act", ["drop", "disable", "alter"])
def test_a_trigger_that_does_not_guard_is_detected_and_named(signed: Checkpoint, name: str, act: str) -> None:
    sqlite = connection.vendor == "sqlite"
    trigger = f"{name}_no_update" if sqlite else f"{name}_append_only"
    with connection.cursor() as cursor:
        if act == "disable" and not sqlite:
            cursor.execute(f"ALTER TABLE {name} DISABLE TRIGGER {trigger}")
        else:
            cursor.execute(f"DROP TRIGGER {trigger}" + ("" if sqlite else f" ON {name}"))
        if act == "alter" and sqlite:
            cursor.execute(f"CREATE TRIGGER {trigger} BEFORE UPDATE ON {name} BEGIN SELECT 1; END")
        elif act == "alter":
            cursor.execute(
                f"CREATE TRIGGER {trigger} BEFORE UPDATE ON {name} EXECUTE FUNCTION auditlog_refuse_change()"
            )
    assert kinds() == {"trigger_missing"}
    assert trigger in details()


REFUSE = "EXECUTE FUNCTION auditlog_refuse_change()"


@pytest.mark.postgres
@pytest.mark.parametrize(
    "when",
    [
        "BEFORE DELETE OR UPDATE OR TRUNCATE ON auditlog_entry FOR EACH STATEMENT WHEN (false)",
        "BEFORE DELETE OR UPDATE OF recorded_at OR TRUNCATE ON auditlog_entry FOR EACH STATEMENT",
        "AFTER DELETE OR UPDATE OR TRUNCATE ON auditlog_entry FOR EACH STATEMENT",
        "BEFORE DELETE OR UPDATE ON auditlog_entry FOR EACH ROW",
    ],
)
def test_a_trigger_of_postgresql_that_guards_less_is_detected(signed: Checkpoint, when: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER auditlog_entry_append_only ON auditlog_entry")
        cursor.execute(f"CREATE TRIGGER auditlog_entry_append_only {when} {REFUSE}")
    assert kinds() == {"trigger_missing"}


@pytest.mark.sqlite
def test_a_trigger_of_sqlite_that_never_fires_is_detected(signed: Checkpoint) -> None:
    sql = triggers.sqlite_triggers()["auditlog_entry_no_update"]
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER auditlog_entry_no_update")
        cursor.execute(sql.replace(" BEGIN ", " WHEN 0 BEGIN "))
    assert kinds() == {"trigger_missing"}


SWALLOW = "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
MISLEAD = "UPDATE auditlog_integrityrun SET passed = 1 WHERE id = NEW.id"


def test_a_trigger_that_is_none_of_ours_is_detected_on_any_table(signed: Checkpoint) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"CREATE TRIGGER z AFTER INSERT ON auditlog_integrityrun BEGIN {MISLEAD}; END")
        else:
            cursor.execute(SWALLOW)
            cursor.execute("CREATE TRIGGER z BEFORE INSERT ON auditlog_integrityrun EXECUTE FUNCTION swallow()")
    assert kinds() == {"trigger_added"}
    assert "The trigger z on auditlog_integrityrun" in details()


@pytest.mark.postgres
def test_a_rule_on_any_table_is_detected(signed: Checkpoint) -> None:
    connection.cursor().execute("CREATE RULE z AS ON INSERT TO auditlog_finding DO INSTEAD NOTHING")
    assert kinds() == {"trigger_added"}
    assert "The rule z on auditlog_finding" in details()


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SET LOCAL session_replication_role = replica", "is replica"),
        ("ALTER DATABASE {database} SET session_replication_role = replica", "every role in the database {database}"),
        ("ALTER ROLE {role} SET session_replication_role = replica", "the role {role} in every database"),
    ],
)
def test_triggers_that_are_switched_off_altogether_are_detected(signed: Checkpoint, statement: str, words: str) -> None:
    names = {"database": connection.settings_dict["NAME"], "role": connection.settings_dict["USER"]}
    with connection.cursor() as cursor:
        cursor.execute(statement.format(**names))
    assert kinds() == {"triggers_off"}
    assert words.format(**names) in details()


@pytest.mark.postgres
@pytest.mark.parametrize("function", triggers.POSTGRES_FUNCTIONS)
def test_a_hollowed_trigger_function_is_detected(signed: Checkpoint, function: str) -> None:
    hollow = "LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    connection.cursor().execute(f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger {hollow}")
    assert kinds() == {"trigger_missing"}


@pytest.mark.postgres
def test_entries_that_no_trigger_queued_are_detected_and_named(signed: Checkpoint) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE auditlog_entry DISABLE TRIGGER auditlog_entry_queue")
    write(1)
    assert kinds() == {"trigger_missing", "entry_unplaced"}
    assert "auditlog_entry_queue" in details()


@pytest.mark.postgres
def test_an_entry_is_queued_by_its_hash_whoever_writes_it(signed: Checkpoint) -> None:
    """RFC 6962 2.1: the hash of a leaf, here computed by the database, there by us."""
    write(3)
    for waiting in Pending.objects.all():
        entry = Entry.objects.get(pk=waiting.entry_id)
        assert bytes(waiting.leaf_hash) == merkle.leaf_hash(bytes(entry.bytes))
        assert waiting.recorded_at == entry.recorded_at


def test_an_old_backup_restored_is_detected_and_named(signed: Checkpoint) -> None:
    write(10)
    signer.sign(NOW)
    assert kinds() == set()
    with flushable():
        restore_a_backup(signed.size + 2)
    assert kinds() == {"truncated"}
    write(30)
    assert kinds() == {"rewritten"}


# --- signing ---------------------------------------------------------------------------------------------------


def test_it_signs_when_the_log_has_grown_and_when_the_last_is_old() -> None:
    write()
    first = signer.sign_if_due(NOW)
    assert first is not None
    head = notes.open_checkpoint(first.note, signer.key().verifier)
    assert (head.size, head.root) == (1, merkle.root_at(1, tree.Nodes()))
    later = NOW + timedelta(seconds=10)
    for _ in range(3):
        sequencer.run(later)
        assert signer.sign_if_due(later) is None, "a signed checkpoint is not growth"
    write()
    second = signer.sign_if_due(later)
    assert second is not None
    assert second.size == 3
    sequencer.run(later)
    assert signer.sign_if_due(later + timedelta(minutes=9)) is None
    assert signer.sign_if_due(later + timedelta(minutes=10)) is not None
    assert kinds() == set()


def test_the_key_and_the_memory_are_for_their_owner_only(signed: Checkpoint, var_dir: Path) -> None:
    for path in (var_dir / "keys" / "log.key", var_dir / "log" / "signer.json"):
        assert path.stat().st_mode & 0o077 == 0
    assert notes.Verifier.parse((var_dir / "keys" / "log.vkey").read_text()) == signer.key().verifier


def test_every_checkpoint_is_told_to_the_anchor_file(signed: Checkpoint, var_dir: Path) -> None:
    lines = (var_dir / "log" / "anchors.log").read_text().splitlines()
    assert [json.loads(line)["size"] for line in lines] == [300, signed.size]


def test_an_anchor_that_fails_holds_up_nobody(settings: Any) -> None:
    settings.LOG_ANCHORS = ["no such place", "file"]
    write()
    assert signer.sign(NOW).size == 1


def test_a_power_cut_while_an_anchor_is_written_stops_nobody(signed: Checkpoint) -> None:
    """The memory is written, half a line of the anchor file, and no checkpoint."""
    head = tree.head()
    outside.remember(outside.Memory(head.size, bytes(head.root), canonical.stamp(NOW)))
    with anchor_file().open("ab") as file:
        file.write(b'{"signed_at": "2026')
    assert kinds() == set()
    for minutes in (1, 20, 40):
        at = NOW + timedelta(minutes=minutes)
        assert integrity.check_incrementally(at).passed
        assert signer.sign_if_due(at + timedelta(minutes=1)) is not None
    assert kinds() == set()


@pytest.mark.parametrize("tamper", [truncate, rewrite_and_sign_again, forget, set_the_memory_back, lose_the_key])
def test_it_refuses_to_sign_what_does_not_extend_what_it_remembers(
    signed: Checkpoint, tamper: Callable[[], None]
) -> None:
    with flushable():
        tamper()
    with pytest.raises(signer.SigningRefused):
        signer.sign(NOW)
    assert signer.sign_if_due(NOW + timedelta(hours=1)) is None
    assert Checkpoint.objects.count() <= 2


# --- the periodic check ----------------------------------------------------------------------------------------


def test_it_goes_on_from_the_last_good_run() -> None:
    write(300)
    first = integrity.check_incrementally(NOW)
    write(20)
    second = integrity.check_incrementally(NOW)
    assert first.passed
    assert second.passed
    assert (first.from_index, first.size, second.from_index) == (0, 300, 300)
    facts = Entry.objects.filter(fact="auditlog.integrity_verified").order_by("pk")
    assert [entry.data["size"] for entry in facts] == [300, second.size]


def test_a_failed_run_names_what_it_found_and_stops_signing(signed: Checkpoint) -> None:
    with flushable():
        edit_content()
    run = integrity.check_incrementally(NOW)
    assert not run.passed
    assert run.findings == ["entry_edited"]
    entry = Entry.objects.get(fact="auditlog.integrity_failed")
    assert entry.data["findings"] == ["entry_edited"]
    assert entry.outcome == "failure"
    write()
    assert signer.sign_if_due(NOW) is None
    with pytest.raises(signer.SigningRefused):
        signer.sign(NOW)
    again = integrity.check_incrementally(NOW)
    assert not again.passed
    assert Finding.objects.count() == 1
    findings.acknowledge(finding_id=Finding.objects.get().pk, by=ADA, reason="known", now=NOW)
    assert integrity.check_incrementally(NOW).passed
    assert signer.sign_if_due(NOW) is not None


def test_every_old_entry_is_looked_at_within_96_runs() -> None:
    write(1500)
    integrity.check_incrementally(NOW)
    with flushable():
        pk, raw = edited(700, data={"name": "y"})
        Entry.objects.filter(pk=pk).update(bytes=raw)
    found: list[str] = []
    for _ in range(integrity.SLICES):
        found += integrity.check_incrementally(NOW).findings
    assert "entry_edited" in found
    assert Finding.objects.get().subject == "leaf 700"


def test_a_forged_last_run_is_no_place_to_start_from() -> None:
    write(10)
    integrity.check_incrementally(NOW)
    IntegrityRun.objects.update(root=bytes(32))
    assert integrity.check_incrementally(NOW).from_index == 0


def test_after_a_night_switched_off_it_catches_up_and_finds_nothing(signed: Checkpoint) -> None:
    with log.recording():
        log.append(SystemFact.HEARTBEAT, actor=SYSTEM, subject=Subject("x", "1"), data={"name": "x"}, now=NOW)
    assert integrity.check_incrementally(NOW + timedelta(hours=9)).passed


@pytest.mark.postgres
def test_an_entry_that_waits_too_long_is_late_and_does_not_stop_signing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrity.sequencer, "run", lambda now: 0)
    with log.recording():
        log.append(SystemFact.HEARTBEAT, actor=SYSTEM, subject=Subject("x", "1"), data={"name": "x"}, now=NOW)
    run = integrity.check_incrementally(NOW + timedelta(hours=2))
    assert run.findings == ["sequencer_stalled"]
    assert not findings.stop_signing()


def test_a_signer_that_does_not_sign_is_late(signed: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as stuck:
        stuck.setattr(signer, "sign_if_due", lambda now: None)
        assert integrity.check_incrementally(NOW + timedelta(hours=2)).findings == ["checkpoint_stale"]
    assert signer.sign_if_due(NOW + timedelta(hours=2)) is not None


# --- the command -----------------------------------------------------------------------------------------------


def test_the_command_says_what_it_checked(signed: Checkpoint) -> None:
    out = io.StringIO()
    call_command("verify_log", stdout=out)
    assert out.getvalue().endswith("ok\n")
    out = io.StringIO()
    call_command("verify_log", "--full", "--json", stdout=out)
    report = json.loads(out.getvalue())
    assert report["ok"] is True
    assert (report["size"], report["checkpoint_size"], report["findings"]) == (tree.head().size, signed.size, [])


def test_the_command_fails_and_names_what_it_found(signed: Checkpoint) -> None:
    with flushable():
        edit_content()
    out = io.StringIO()
    with pytest.raises(CommandError) as failed:
        call_command("verify_log", "--json", stdout=out)
    assert failed.value.returncode == 1
    assert [each["kind"] for each in json.loads(out.getvalue())["findings"]] == ["entry_edited"]
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("verify_log", stdout=out)
    assert "FOUND entry_edited: The content of entry" in out.getvalue()


def test_a_very_large_log_is_checked_from_the_last_good_run_unless_told(
    signed: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    integrity.check_incrementally(NOW)
    monkeypatch.setattr(integrity, "WHOLE_WHEN_UNDER", 10)
    with flushable():
        edit_content()
    assert integrity.check(NOW).from_index > 10
    assert kinds(full=False) == set()
    assert kinds(full=True) == {"entry_edited"}


def test_the_facts_command_lists_who_says_and_who_hears() -> None:
    out = io.StringIO()
    call_command("facts", stdout=out)
    assert "system.heartbeat" in out.getvalue()
    out = io.StringIO()
    call_command("facts", "--json", stdout=out)
    listed = {each["fact"]: each for each in json.loads(out.getvalue())}
    assert listed["auditlog.checkpoint_signed"]["emitter"] == "auditlog"
    assert listed["auditlog.checkpoint_signed"]["shape"]["required"] == ["size", "root", "anchors"]
