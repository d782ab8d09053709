"""Walking along the log: every stored step from the entries' bytes to the tree is compared with what it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from . import canonical, entries, findings, log, merkle, parsing, signer, witnesses
from .facts import AuditlogFact
from .findings import NAMED_AT_MOST, Found
from .models import Disclosure, Entry, Leaf, Payload, Tile

CHUNK = 1024

Progress = Callable[[int, int], None]


class Walk:
    """Recomputes the tree from the entries' bytes, comparing every stored step with what it computes."""

    def __init__(
        self, start: merkle.Frontier, end: int, *, beside: bool = False, seen: witnesses.Witnesses | None = None
    ) -> None:
        """From a frontier to a size; with `beside`, what is kept beside the log is looked at as well.

        Of the heads somebody has `seen`, those that the log has are dropped on the way.
        """
        self.start = start.size
        self.end = end
        self.frontier = merkle.Frontier(start.size, start.hashes)
        self.broken = False
        # Heads that are others now, with the root the log has there, and how many personal values are gone of whom.
        self.differ: dict[witnesses.Head, bytes] = {}
        self.gone: Counter[str] = Counter()
        self._beside = beside
        self._seen = seen
        self._ahead = sorted((each for each in seen.heads if each[0] >= start.size) if seen else (), reverse=True)
        # What the leaves of one chunk say: the heads that were signed by leaf, and whole documents.
        self._said: dict[int, signer.Said] = {}
        self._documents: dict[UUID, dict[str, Any]] = {}
        self._sequenced_at: datetime | None = None

    def run(self, progress: Progress | None = None) -> Iterator[Found]:
        """What differs, in log order."""
        first = self.start
        self._compare()
        while first < self.end:
            # Chunks end where tiles do.
            end = min((first // CHUNK + 1) * CHUNK, self.end)
            yield from self._looked_at(first, end)
            if progress:
                progress(end, self.end)
            first = end

    def _looked_at(self, first: int, end: int) -> list[Found]:
        """What is wrong with some leaves. What cannot be looked at keeps nobody from looking at the rest."""
        found = findings.look(f"the leaves from {first}", lambda: self._chunk(first, end))
        # A root needs all of them.
        self.broken = self.broken or any(each.kind == "check_failed" for each in found)
        self._said.clear()
        self._documents.clear()
        return found

    def _compare(self) -> None:
        """Hold the root against those that somebody has seen at this size."""
        while self._ahead and self._ahead[-1][0] == self.frontier.size:
            head, root = self._ahead.pop(), self.frontier.root()
            if head[1] != root:
                self.differ[head] = root
            elif self._seen is not None:
                del self._seen.heads[head]

    def _chunk(self, first: int, end: int) -> Iterator[Found]:
        rows = _leaves(first, end)
        written = _entries([row[1] for row in rows.values()])
        for index in range(first, end):
            row = rows.get(index)
            if row is None:
                yield Found("leaf_missing", f"leaf {index}", f"Leaf {index} is missing.")
                self.broken = True
                continue
            leaf = yield from self._leaf(index, row, written.get(row[1]))
            if not self.broken:
                self.frontier.append(leaf)
                self._compare()
        yield from _tiles(first, end, rows)
        if self._beside:
            yield from self._disclosures()
            yield from self._payloads()
        if self._seen is not None and self._said:
            witnesses.hear(self._seen, self._said)

    def _leaf(
        self, index: int, row: tuple[int, UUID, bytes, datetime], entry: dict[str, Any] | None
    ) -> Generator[Found, None, bytes]:
        _, entry_id, stored, sequenced_at = row
        yield from self._time(index, sequenced_at)
        if entry is None:
            yield Found("entry_missing", f"leaf {index}", f"Entry {entry_id} of leaf {index} is missing.")
            return stored
        computed = merkle.leaf_hash(bytes(entry["bytes"]))
        if computed != stored:
            yield Found(
                "entry_edited",
                f"leaf {index}",
                f"The content of entry {entry_id} (leaf {index}) is not what its leaf was computed from.",
            )
        document = yield from _projections(index, entry)
        if document is not None and computed == stored:
            yield from self._hear(index, entry_id, document)
        # What was found is named here; the way from the leaf to the root is a question of its own.
        return stored

    def _hear(self, index: int, entry_id: UUID, document: dict[str, Any]) -> Iterator[Found]:
        if self._beside:
            self._documents[entry_id] = document
        if document["fact"] != AuditlogFact.CHECKPOINT_SIGNED.name_:
            return
        said = signer.said(document)
        if said is not None and said.size <= index:
            self._said[index] = said
        else:
            claim = "nothing to be understood" if said is None else f"the size {said.size}"
            detail = f"Leaf {index} says that {claim} was signed, when the log held {index} entries."
            yield Found("checkpoint_claimed", f"leaf {index}", detail)

    def _disclosures(self) -> Iterator[Found]:
        """Values kept are those committed to; those that are not kept are counted."""
        committed = {
            (entry_id, each["pointer"]): each
            for entry_id, document in self._documents.items()
            for each in document["commitments"]
        }
        for row in Disclosure.objects.filter(entry_id__in={entry_id for entry_id, _ in committed}).order_by("pk"):
            mine = {"pointer": row.pointer, "sha256": log.commitment(row.value, bytes(row.salt))}
            if committed.pop((row.entry_id, row.pointer), None) != mine:
                name = f"entry {row.entry_id}"
                yield Found("disclosure_edited", name, f"{row.pointer} of {name} is not what was committed to.")
        self.gone.update(log.owner_of(pointer, self._documents[entry_id]) for entry_id, pointer in committed)

    def _payloads(self) -> Iterator[Found]:
        """Data too large for an entry are kept beside the log."""
        keys = {key: id_ for id_, document in self._documents.items() if (key := entries.payload_key(document["data"]))}
        for key in sorted(keys.keys() - {*Payload.objects.filter(pk__in=keys).values_list("pk", flat=True)}):
            yield Found("payload_missing", f"payload {key}", f"Payload {key} of entry {keys[key]} is gone.")

    def _time(self, index: int, sequenced_at: datetime) -> Iterator[Found]:
        """The sequencer never goes back. When an entry was recorded is what its writer's clock said, which may."""
        if self._sequenced_at is not None and sequenced_at < self._sequenced_at:
            yield Found("time_reversed", f"leaf {index}", f"Leaf {index} was placed before the leaf before it.")
        self._sequenced_at = sequenced_at


def _leaves(first: int, end: int) -> dict[int, tuple[int, UUID, bytes, datetime]]:
    rows = Leaf.objects.filter(index__gte=first, index__lt=end).order_by("index")
    return {
        index: (index, entry_id, bytes(stored), at)
        for index, entry_id, stored, at in rows.values_list("index", "entry_id", "hash", "sequenced_at")
    }


def _entries(ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    return {row["id"]: {**row} for row in Entry.objects.filter(pk__in=ids).values()}


def _projections(index: int, entry: dict[str, Any]) -> Generator[Found, None, dict[str, Any] | None]:
    """Columns are copies of what the bytes say; gives the document in them, or None when there is none."""
    subject = f"leaf {index}"
    try:
        document = parsing.entry(bytes(entry["bytes"]))
    except parsing.Unreadable:
        yield Found("entry_unreadable", subject, f"Entry {entry['id']} (leaf {index}) cannot be parsed.")
        return None
    stored = {
        name: canonical.stamp(value) if name == "recorded_at" else str(value) if isinstance(value, UUID) else value
        for name, value in entry.items()
    }
    if wrong := sorted(name for name, value in _as_columns(document).items() if stored[name] != value):
        yield Found(
            "projection_edited",
            subject,
            f"Columns of entry {entry['id']} (leaf {index}) differ from its content: {', '.join(wrong)}.",
        )
    return document


def _as_columns(document: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": document["id"],
        "recorded_at": document["at"],
        "fact": document["fact"],
        "actor_kind": document["actor"]["kind"],
        "actor_id": document["actor"]["id"],
        "subsystem": document["subsystem"],
        "subject_kind": document["subject"]["kind"],
        "subject_id": document["subject"]["id"],
        "mission_id": document["mission_id"],
        "contract_id": document["contract_id"],
        "correlation_id": document["correlation_id"],
        "caused_by": document["caused_by"],
        "outcome": document["outcome"],
    }


def _tiles(first: int, end: int, rows: dict[int, tuple[int, UUID, bytes, datetime]]) -> Iterator[Found]:
    """Full tiles that end within `(first, end]` hold the hashes of the leaves, and of the tiles below them."""
    width = merkle.TILE_WIDTH
    numbers = range(first // width, end // width)
    stored = {tile.number: tile for tile in Tile.objects.filter(level=0, number__in=numbers)}
    known = _leaves(first // width * width, first) | rows
    for number in numbers:
        within = range(number * width, (number + 1) * width)
        yield from _tile(0, number, stored.get(number), [known[at][2] if at in known else b"" for at in within])
        yield from _upper_tiles(number)


def _upper_tiles(number: int) -> Iterator[Found]:
    """The tiles above that tile `number` of level 0 completes."""
    level, number = 1, number + 1
    while number % merkle.TILE_WIDTH == 0:
        number //= merkle.TILE_WIDTH
        within = ((number - 1) * merkle.TILE_WIDTH, number * merkle.TILE_WIDTH - 1)
        below = Tile.objects.filter(level=level - 1, number__range=within).order_by("number")
        expected = [bytes(root) for root in below.values_list("root", flat=True)]
        yield from _tile(level, number - 1, Tile.objects.filter(level=level, number=number - 1).first(), expected)
        level += 1


def _tile(level: int, number: int, tile: Tile | None, expected: Sequence[bytes]) -> Iterator[Found]:
    name = f"tile {level}/{number}"
    if tile is None:
        yield Found("tile_missing", name, f"Hash {name} is missing.")
        return
    packed = bytes(tile.hashes)
    held = [packed[at : at + merkle.HASH_SIZE] for at in range(0, len(packed), merkle.HASH_SIZE)]
    wrong = [
        number * merkle.TILE_WIDTH + at
        for at in range(merkle.TILE_WIDTH)
        if held[at : at + 1] != list(expected[at : at + 1])
    ]
    if wrong:
        below = "leaf" if level == 0 else f"tile {level - 1}/"
        named = ", ".join(f"{below} {each}" for each in wrong[:NAMED_AT_MOST])
        yield Found("leaf_edited", name, f"Hash {name} disagrees with {named}.")
    elif merkle.tile_root(packed) != bytes(tile.root):
        yield Found("tile_edited", name, f"Hash {name} carries a root that is not its own.")
