"""The log as it is served, read by Go's TileHashReader, which takes no tile that does not lead to the root.

sigstore reads no tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import transaction
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from auditlog import canonical, merkle, notes, sequencer, signer
from auditlog.models import Checkpoint, Entry, Leaf, Tile, Tree
from auditlog.testing import flushable
from tests.foreign.conftest import Verifier
from tests.foreign.evidence import NOW, SIZES, Evidence, copy, edit, flip, grow, sign, taken
from tests.harness.people import People

pytestmark = [pytest.mark.foreign, pytest.mark.django_db]


# --- copies of the log -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_every_tile_and_every_entry_is_the_one_that_was_signed(go: Verifier, held: Evidence, size: int) -> None:
    noted = [held.checkpoint(old) for old in SIZES if old <= size]
    said = go(held.vkey, "-entries", "log", held.served(size), *noted)
    assert said == f"{size} entries, and {len(noted)} checkpoints noted earlier"


@pytest.mark.parametrize(
    "tile", ["tile/0/000", "tile/0/001", "tile/0/002.p/188", "tile/1/000.p/2"], ids=lambda name: name.replace("/", "-")
)
@pytest.mark.parametrize(
    "tamper",
    [
        lambda path: flip(path, 0),
        lambda path: flip(path, -1),
        lambda path: path.write_bytes(path.read_bytes()[:-32]),
        lambda path: path.write_bytes(path.read_bytes()[32:] + path.read_bytes()[:32]),
        lambda path: path.write_bytes(path.read_bytes() + bytes(32)),
        lambda path: path.unlink(),
    ],
    ids=["its first bit", "its last hash", "shorter", "in another order", "longer", "gone"],
)
def test_a_tampered_tile_is_refused(
    go: Verifier, held: Evidence, tmp_path: Path, tile: str, tamper: Callable[[Path], object]
) -> None:
    served = taken(held.served(700), tmp_path)
    tamper(served / tile)
    go.refuses(held.vkey, "log", served)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda tiles: edit(tiles / "000", '"outcome":"success"', '"outcome":"failure"'),
        lambda tiles: flip(tiles / "001", 1),
        lambda tiles: flip(tiles / "002.p/188", -2),
        lambda tiles: (tiles / "000").write_bytes((tiles / "001").read_bytes()),
        lambda tiles: (tiles / "002.p/188").write_bytes((tiles / "002.p/188").read_bytes()[:-1]),
        lambda tiles: (tiles / "002.p/188").write_bytes((tiles / "002.p/188").read_bytes() + b"\0\0"),
    ],
    ids=["an entry", "a length", "the last entry", "another bundle", "shorter", "longer"],
)
def test_tampered_entries_are_refused(
    go: Verifier, held: Evidence, tmp_path: Path, tamper: Callable[[Path], object]
) -> None:
    served = taken(held.served(700), tmp_path)
    tamper(served / "tile" / "entries")
    assert go(held.vkey, "log", served)
    go.refuses(held.vkey, "-entries", "log", served)


def test_a_checkpoint_over_another_tree_is_refused(go: Verifier, held: Evidence, tmp_path: Path) -> None:
    served = taken(held.served(700), tmp_path)
    other = notes.Signer(held.key.name, bytes(32))
    root = merkle.root_of(held.leaves()[:700])
    assert go(held.vkey, "log", sign(served / "checkpoint", held.key, 700, root).parent)
    for key, size, seen in [
        (held.key, 700, bytes(32)),
        (held.key, 699, root),
        (held.key, 701, root),
        (held.key, 0, merkle.EMPTY_ROOT),
        (other, 700, root),
    ]:
        go.refuses(held.vkey, "log", sign(served / "checkpoint", key, size, seen).parent)


def test_a_log_that_did_not_grow_from_what_was_noted_is_refused(go: Verifier, held: Evidence, tmp_path: Path) -> None:
    served = held.served(513)
    assert go(held.vkey, "log", served, held.checkpoint(256))
    go.refuses(held.vkey, "log", served, held.checkpoint(700))
    for size in (256, 513):
        noted = sign(tmp_path / "noted", held.key, size, bytes(32))
        go.refuses(held.vkey, "log", served, held.checkpoint(255), noted)


def test_a_log_with_tiles_of_three_levels_holds(go: Verifier, client: Client, tmp_path: Path) -> None:
    """65,536 leaves fill 256 tiles, whose roots fill a tile, whose root begins another."""
    size = 65_536 + 257
    for first in range(0, size, 8192):
        numbers = range(first, min(first + 8192, size))
        leaves = [(uuid4(), merkle.leaf_hash(b"%d" % number)) for number in numbers]
        sequencer.place(leaves, using="default", now=NOW)
    signer.sign(NOW)
    copy(client, tmp_path / "served", size, entries=False)
    (tmp_path / "log.vkey").write_text(signer.key().verifier.vkey)
    assert (tmp_path / "served/tile/2/000.p/1").stat().st_size == merkle.HASH_SIZE
    assert go(tmp_path / "log.vkey", "log", tmp_path / "served").startswith(f"{size} hashes")
    flip(tmp_path / "served/tile/1/000")
    go.refuses(tmp_path / "log.vkey", "log", tmp_path / "served")


# --- the log itself ----------------------------------------------------------------------------------------------


@pytest.fixture
def noted(transactional_db: None, tmp_path: Path) -> Path:
    """What somebody kept of a log when it had 300 entries; its key is beside it."""
    grow(300)
    (tmp_path / "log.vkey").write_text(signer.key().verifier.vkey)
    path = tmp_path / "noted.checkpoint"
    path.write_text(signer.sign(NOW).note)
    return path


@pytest.mark.django_db(transaction=True)
def test_a_log_is_checked_where_it_is_served(
    go: Verifier, noted: Path, live_server: LiveServer, client: Client, users: People
) -> None:
    address, vkey = f"{live_server.url}/tlog", noted.with_name("log.vkey")
    assert go(vkey, "log", address, noted) == "300 hashes, and 1 checkpoints noted earlier"
    grow(600)
    signer.sign(NOW)
    assert go(vkey, "log", address, noted) == "600 hashes, and 1 checkpoints noted earlier"
    # The hashes are open; the entries are for those who may read them.
    assert "401" in go.refuses(vkey, "-entries", "log", address)
    client.force_login(users.eve)
    cookie = f"Cookie: sessionid={client.cookies['sessionid'].value}"
    assert go(vkey, "-entries", "-header", cookie, "log", address).startswith("600 entries")


def rewrite() -> None:
    """What somebody with the database and the key can do: another entry 5, and everything after it made to fit."""
    leaves = list(Leaf.objects.select_related("entry").order_by("index"))
    with flushable(), transaction.atomic():
        raw = canonical.dumps(leaves[5].entry.document() | {"data": {"name": "never happened"}})
        Entry.objects.filter(pk=leaves[5].entry_id).update(bytes=raw)
        Checkpoint.objects.all().delete()
        Leaf.objects.all().delete()
        Tile.objects.all().delete()
        Tree.objects.all().delete()
        hashes = [merkle.leaf_hash(raw) if leaf.index == 5 else bytes(leaf.hash) for leaf in leaves]
        again = list(zip([leaf.entry_id for leaf in leaves], hashes, strict=True))
        sequencer.place(again, using="default", now=NOW)
    head, key = Tree.objects.get(), signer.key()
    note = key.sign(notes.Head(key.name, head.size, bytes(head.root)).text())
    Checkpoint.objects.create(size=head.size, root=bytes(head.root), note=note, signed_at=NOW)


@pytest.mark.django_db(transaction=True)
def test_a_log_that_was_rewritten_and_signed_again_is_caught_by_a_checkpoint_kept_elsewhere(
    go: Verifier, noted: Path, live_server: LiveServer
) -> None:
    address, vkey = f"{live_server.url}/tlog", noted.with_name("log.vkey")
    rewrite()
    assert go(vkey, "log", address)
    assert "did not grow from the log of 300" in go.refuses(vkey, "log", address, noted)
