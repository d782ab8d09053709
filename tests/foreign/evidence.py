"""What a third party holds of a log, all of it files: checkpoints, receipts, proofs, copies of its tiles, bundles."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from django.core.management import call_command
from django.test import Client

from auditlog import log, merkle, notes, sequencer, signer, tree
from auditlog.actors import SYSTEM, Actor
from auditlog.facts import SystemFact
from auditlog.subjects import Subject
from tests.harness.people import People

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ADA = Actor("person", "user:1", "Ada Lovelace", 1)
MISSION = UUID(int=7)

SIZES = (1, 2, 255, 256, 257, 512, 513, 700)
"""At each of these the log is signed: where a tile begins, is full, and is overstepped."""
INDEXES = (0, 1, 254, 255, 256, 511, 512, 699)


@dataclass(frozen=True)
class Evidence:
    """Files below `home`. The log's key is here too, as whoever forges would have it."""

    home: Path
    key: notes.Signer

    @property
    def vkey(self) -> Path:
        """The log's public key."""
        return self.home / "log.vkey"

    @property
    def bundle(self) -> Path:
        """Everything, exported."""
        return self.home / "bundle"

    @property
    def subset(self) -> Path:
        """A mission, exported."""
        return self.home / "subset"

    def checkpoint(self, size: int) -> Path:
        """What was signed at this size."""
        return self.served(size) / "checkpoint"

    def served(self, size: int) -> Path:
        """A copy of the log as it was served when it had this size."""
        return self.home / "served" / str(size)

    def entry(self, index: int) -> Path:
        """An entry's bytes."""
        return self.home / f"{index}.entry"

    def receipt(self, index: int) -> Path:
        """The receipt of an entry."""
        return self.home / f"{index}.tlog-proof"

    def inclusion(self, index: int, size: int) -> Path:
        """The API's proof that an entry is in the log of a size."""
        return self.home / f"{index}-in-{size}.json"

    def consistency(self, old: int, size: int) -> Path:
        """The API's proof that the log of a size grew from another."""
        return self.home / f"{old}-to-{size}.json"

    def leaves(self) -> list[bytes]:
        """The hashes of all entries in the bundle."""
        return [merkle.leaf_hash(line) for line in (self.bundle / "entries.jsonl").read_bytes().splitlines()]


def write(home: Path) -> Evidence:
    """Grow a log, sign it at every size of SIZES, and collect what others are given of it."""
    found = Evidence(home, signer.key())
    found.vkey.write_text(found.key.verifier.vkey + "\n")
    eve = Client()
    eve.force_login(People().eve)
    for size in SIZES:
        grow(size)
        signer.sign(NOW)
        copy(eve, found.served(size), size)
    sequencer.run(NOW)
    for index in INDEXES:
        found.receipt(index).write_bytes(fetched(eve, f"/api/auditlog/entries/{index}/receipt"))
        for size in SIZES:
            if index < size:
                query = f"index={index}&size={size}"
                found.inclusion(index, size).write_bytes(fetched(eve, f"/api/auditlog/proofs/inclusion?{query}"))
    for old in SIZES:
        for size in SIZES:
            if old <= size:
                query = f"old={old}&size={size}"
                found.consistency(old, size).write_bytes(fetched(eve, f"/api/auditlog/proofs/consistency?{query}"))
    export(found.bundle)
    export(found.subset, "--mission", str(MISSION))
    entries = (found.bundle / "entries.jsonl").read_bytes().splitlines()
    for index in INDEXES:
        found.entry(index).write_bytes(entries[index])
    return found


def grow(size: int) -> None:
    """Append until the log holds `size`; entries of Ada have a personal value, every tenth belongs to a mission."""
    sequencer.run(NOW)
    with log.recording():
        for number in range(tree.head().size, size):
            log.append(
                SystemFact.HEARTBEAT,
                actor=ADA if number % 3 else SYSTEM,
                subject=Subject("subsystem", str(number)),
                data={"name": "x"},
                mission_id=None if number % 10 else MISSION,
                now=NOW,
            )
    sequencer.run(NOW)
    assert tree.head().size == size


def export(directory: Path, *arguments: str) -> None:
    """What `manage.py export_log` writes."""
    call_command("export_log", "--out", str(directory), *arguments, stdout=io.StringIO())


def copy(client: Client, directory: Path, size: int, *, entries: bool = True) -> None:
    """Save the log as it is served at `/tlog/`."""
    for name in ("checkpoint", *tiles(size, entries=entries)):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(fetched(client, f"/tlog/{name}"))


def tiles(size: int, *, entries: bool) -> list[str]:
    """The names of all tiles of a log below 256,000 entries, with or without those of the entries themselves."""
    names, level, count = [], 0, size
    while count:
        full, rest = divmod(count, merkle.TILE_WIDTH)
        numbers = [f"{number:03}" for number in range(full)] + ([f"{full:03}.p/{rest}"] if rest else [])
        kinds = [level, "entries"] if entries and level == 0 else [level]
        names += [f"tile/{kind}/{number}" for kind in kinds for number in numbers]
        level, count = level + 1, full
    return names


def fetched(client: Client, address: str) -> bytes:
    """What an address answers."""
    response = client.get(address)
    assert response.status_code == 200, (address, response.content)
    return bytes(response.content)


# --- for those who forge -----------------------------------------------------------------------------------------


def taken(path: Path, tmp_path: Path) -> Path:
    """A copy of a file or directory, to be tampered with."""
    there = tmp_path / path.name
    return Path(shutil.copytree(path, there) if path.is_dir() else shutil.copy(path, there))


def edit(path: Path, old: str, new: str) -> Path:
    """Replace what stands in a file once."""
    raw = path.read_bytes()
    assert old.encode() in raw
    path.write_bytes(raw.replace(old.encode(), new.encode(), 1))
    return path


def flip(path: Path, at: int = 40) -> Path:
    """Change one bit of a file."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    return path


def without_last_hash(path: Path) -> Path:
    """Shorten the proof in an answer of the API."""
    answer = json.loads(path.read_text())
    answer["data"]["hashes"].pop()
    path.write_text(json.dumps(answer))
    return path


def sign(path: Path, key: notes.Signer, size: int, root: bytes) -> Path:
    """Write a checkpoint with a good signature over a root."""
    path.write_text(key.sign(notes.Head(key.name, size, root).text()))
    return path


def hash_at(leaves: Sequence[bytes]) -> merkle.HashAt:
    """Hashes of a tree over these leaves."""
    return lambda node: merkle.root_of(leaves[node[1] << node[0] : (node[1] + 1) << node[0]])
