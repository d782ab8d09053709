"""Is the log what it was? Bytes -> leaf -> tile -> root -> signed note -> what was kept outside.

Everything read here may have been tampered with, so a check compares two things that one hand cannot easily change
together, and names what differs. The order of reading matters while the log grows: first what was signed and kept
outside, then the tree, so that nothing honest looks newer than the tree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from time import monotonic
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection
from django.db.models import Exists, Min, OuterRef, QuerySet

from . import (
    anchors,
    canonical,
    findings,
    heartbeats,
    log,
    merkle,
    mesh,
    notes,
    outside,
    roles,
    sequencer,
    signer,
    tree,
    triggers,
)
from .actors import SYSTEM
from .facts import AuditlogFact
from .findings import Found
from .models import Checkpoint, Disclosure, Entry, IntegrityRun, Leaf, Payload, Pending, Tile, Tree
from .subjects import Subject

CHUNK = 1024
SLICES = 96
WHOLE_WHEN_UNDER = 100_000
NAMED_AT_MOST = 50
# Asked for every hour: a pass that was missed is an hour late.
DAILY = timedelta(hours=23)

Progress = Callable[[int, int], None]


@dataclass
class Report:
    """What a check covered and what it found."""

    level: str
    size: int = 0
    root: bytes = merkle.EMPTY_ROOT
    from_index: int = 0
    pending: int = 0
    checkpoints: int = 0
    checkpoint_size: int | None = None
    frontier: merkle.Frontier = field(default_factory=merkle.Frontier)
    slice_number: int = 0
    duration_ms: int = 0
    found: list[Found] = field(default_factory=list)


def check(now: datetime, *, full: bool = False, progress: Progress | None = None) -> Report:
    """Check the log and change nothing. Without `full`, a very large log is checked from the last good run on."""
    head = tree.head()
    whole = full or head.size <= WHOLE_WHEN_UNDER
    start = merkle.Frontier() if whole else _verified(head)
    report = _run(findings.FULL if whole else "incremental", now, start, progress, every=whole)
    if whole:
        report.found += _side_tables(lambda: None)
    return report


def check_incrementally(now: datetime) -> IntegrityRun:
    """The periodic check: state, what is new since the last good run, and a rolling slice of the rest.

    Keeps the run and its findings as rows, and says in the log how it ended.
    """
    _catch_up(now)
    report = _run("incremental", now, _verified(tree.head()), None, every=False)
    report.slice_number = (_last_slice() + 1) % SLICES
    began = monotonic()
    report.found += _slice(report.slice_number, report.from_index) + _house(now)
    report.duration_ms += int((monotonic() - began) * 1000)
    return _keep(report, now)


def check_daily(now: datetime) -> IntegrityRun | None:
    """Everything `verify_log --full` looks at, kept like any other run; None when the last such pass is not a day old.

    The log is sequenced and signed in the same queue, so that goes on between two steps of the pass.
    """
    last = IntegrityRun.objects.filter(level=findings.FULL).order_by("-pk").first()
    if last is not None and timedelta(0) <= now - last.started_at < DAILY:
        return None
    _catch_up(now)
    began = monotonic()

    def go_on() -> None:
        at = now + timedelta(seconds=monotonic() - began)
        _place(at)
        signer.sign_if_due(at)

    report = _run(findings.FULL, now, merkle.Frontier(), lambda done, total: go_on(), every=True)
    report.slice_number = _last_slice()
    report.found += _side_tables(go_on) + _house(now)
    report.duration_ms = int((monotonic() - began) * 1000)
    return _keep(report, now)


def _last_slice() -> int:
    return IntegrityRun.objects.values_list("slice_number", flat=True).order_by("-pk").first() or 0


def _catch_up(now: datetime) -> None:
    """After a night switched off, everything is late and nothing is wrong: only what cannot catch up is a finding."""
    _place(now)
    if _late(now):
        signer.sign_if_due(now)


def _place(now: datetime) -> None:
    # What cannot be placed (a queue or a tree that was tampered with) must not keep it from being looked for.
    with suppress(IntegrityError, ValueError):
        sequencer.run(now)


def _house(now: datetime) -> list[Found]:
    """What only a running house can be asked."""
    return _late(now) + _silent(now) + _failing(now) + _role()


def _run(level: str, now: datetime, start: merkle.Frontier, progress: Progress | None, *, every: bool) -> Report:
    began = monotonic()
    report = Report(level, from_index=start.size, frontier=start)
    verifier = signer.verifier()
    # What was seen before somebody accepted another log is not held against it.
    begun = outside.beginning()
    signed = Checkpoint.objects.filter(pk__gt=begun.checkpoint).order_by("pk")
    witnesses = _Witnesses(begun)
    witnesses.gather(signed if every else signed.filter(size__gte=start.size), verifier, every=every)
    report.checkpoints = witnesses.checkpoint_count
    remembered = outside.memory()
    head = tree.head()
    report.size, report.root = head.size, bytes(head.root)
    report.found += witnesses.found
    report.found += _counts(report)
    report.found += _stalled(now)
    report.checkpoint_size = max((size for size, _ in witnesses.heads), default=None)
    if remembered is not None:
        witnesses.heads[remembered.size, remembered.root] = ("signer", "the signer's memory")
    elif Checkpoint.objects.exists():
        report.found += signer.disagreements(head)
    report.found += _walk(report, head, witnesses, progress)
    report.found += _state(head)
    report.found = _unique(report.found)
    report.duration_ms = int((monotonic() - began) * 1000)
    return report


@dataclass
class _Witnesses:
    """Everybody who has seen a root: checkpoints, the anchor file, the signer's memory."""

    begun: outside.Beginning
    checkpoint_count: int = 0
    # The size and root that were seen, by whom, and that in words.
    heads: dict[tuple[int, bytes], tuple[str, str]] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)

    def gather(self, checkpoints: QuerySet[Checkpoint], verifier: notes.Verifier | None, *, every: bool) -> None:
        """Ask them; of the anchors only the last without `every`."""
        previous: Checkpoint | None = None
        for row in checkpoints.iterator():
            self.checkpoint_count += 1
            self._add(row, verifier, previous)
            previous = row
        if self.checkpoint_count and verifier is None:
            self.found.append(Found("key_missing", "signer", "Checkpoints were signed, but the key is gone."))
        if verifier is not None:
            self._add_anchors(verifier, every=every)

    def _add(self, row: Checkpoint, verifier: notes.Verifier | None, previous: Checkpoint | None) -> None:
        name = f"checkpoint {row.pk}"
        if verifier is not None:
            try:
                head = notes.open_checkpoint(row.note, verifier)
            except notes.NoteInvalid as error:
                self.found.append(Found("checkpoint_signature", name, f"{name} of size {row.size}: {error}."))
                return
            if (head.size, head.root) != (row.size, bytes(row.root)):
                self.found.append(Found("checkpoint_edited", name, f"{name} is not what its signed note says."))
            self.heads.setdefault((head.size, head.root), (name, name))
        if previous is not None and (row.signed_at < previous.signed_at or row.size < previous.size):
            self.found.append(Found("checkpoint_order", name, f"{name} is older or smaller than the one before it."))

    def _add_anchors(self, verifier: notes.Verifier, *, every: bool) -> None:
        told = anchors.read(verifier, self.begun.anchors)
        last = None if every else anchors.last(verifier, self.begun.anchors)
        for number, head in told if every else [last] if last else []:
            name = f"anchor line {number}" if number else "the last anchor line"
            if head is None:
                self.found.append(Found("anchor_invalid", name, f"{name} carries no good signature of this log."))
            else:
                self.heads[head.size, head.root] = ("anchors", name)


def _counts(report: Report) -> list[Found]:
    """Every entry is a leaf or pending, and leaves are dense. One statement, so one snapshot."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM auditlog_entry), (SELECT count(*) FROM auditlog_leaf),"
            ' (SELECT count(*) FROM auditlog_pending), (SELECT coalesce(max("index") + 1, 0) FROM auditlog_leaf),'
            " (SELECT coalesce(max(size), 0) FROM auditlog_tree),"
            # No index keeps the queue from holding an entry twice, or one that has its place: neither may make up
            # in number for one that was dropped.
            " (SELECT count(DISTINCT p.entry_id) FROM auditlog_pending p JOIN auditlog_entry e ON e.id = p.entry_id"
            " WHERE NOT EXISTS (SELECT 1 FROM auditlog_leaf l WHERE l.entry_id = p.entry_id))"
        )
        entries, leaves, pending, end, size, waiting = cursor.fetchone()
    report.pending = pending
    found = []
    if entries != leaves + pending or waiting != pending:
        found += _unplaced() or [
            Found("entry_count", "log", f"{entries} entries, but {leaves} leaves and {pending} pending.")
        ]
    if leaves != size or end != size:
        found.append(
            Found(
                "leaf_count",
                "log",
                f"The tree is {size - leaves} larger than its leaves are many; they end {size - end} before its end.",
            )
        )
    return found


def _unplaced() -> list[Found]:
    """Entries that are neither in the tree nor waiting for it, and pending rows of no entry."""
    here = OuterRef("pk")
    lost = Entry.objects.filter(~Exists(Leaf.objects.filter(entry_id=here)))
    lost = lost.filter(~Exists(Pending.objects.filter(entry_id=here)))
    found = [
        Found("entry_unplaced", f"entry {row.pk}", f"Entry {row.pk} ({row.fact}) is neither a leaf nor pending.")
        for row in lost.order_by("pk")[:NAMED_AT_MOST]
    ]
    ghosts = Pending.objects.filter(~Exists(Entry.objects.filter(pk=OuterRef("entry_id"))))
    found += [
        Found("entry_missing", f"entry {row.entry_id}", f"Entry {row.entry_id} is pending, but it is gone.")
        for row in ghosts.order_by("pk")[:NAMED_AT_MOST]
    ]
    earlier = Pending.objects.filter(entry_id=OuterRef("entry_id"), pk__lt=OuterRef("pk"))
    again = Pending.objects.filter(Exists(earlier) | Exists(Leaf.objects.filter(entry_id=OuterRef("entry_id"))))
    found += [
        Found(
            "entry_queued_twice",
            f"entry {row.entry_id}",
            f"Entry {row.entry_id} is pending, but it has its place already, or is pending before.",
        )
        for row in again.order_by("pk")[:NAMED_AT_MOST]
    ]
    return found


def _stalled(now: datetime) -> list[Found]:
    oldest = Pending.objects.aggregate(oldest=Min("recorded_at"))["oldest"]
    limit = timedelta(minutes=settings.LOG_STALE_MINUTES)
    if oldest is None or now - oldest <= limit:
        return []
    return [Found("sequencer_stalled", "sequencer", f"An entry waits for its place since {oldest.isoformat()}.")]


def _silent(now: datetime) -> list[Found]:
    return [
        Found("subsystem_silent", name, f"{name} has given no sign of life for hours, while the house was running.")
        for name in heartbeats.silent(now)
    ]


def _failing(now: datetime) -> list[Found]:
    """Who has been hearing nothing for too long: a webhook that is told of heads, mail, a reaction of ours."""
    return [
        Found("subscriber_failing", name, f"The subscriber {name} has failed at every try since {at.isoformat()}.")
        for name, at in mesh.failing(now - timedelta(minutes=settings.LOG_STALE_MINUTES)).items()
    ]


def _late(now: datetime) -> list[Found]:
    """What only a running house can be late with: signing."""
    last = signer.latest()
    if last is None or now - last.signed_at <= timedelta(minutes=settings.LOG_STALE_MINUTES) or findings.stop_signing():
        return []
    return [Found("checkpoint_stale", "signer", f"The last checkpoint was signed at {last.signed_at.isoformat()}.")]


def _role() -> list[Found]:
    """In production, what runs by the clock is the app, which should be able to append and nothing else.

    (`verify_log` does not ask: the owner may run it.)
    """
    if not settings.PRODUCTION:
        return []
    return [Found("role_may_change_log", "database role", detail) for detail in roles.excess(connection)]


def _state(head: Tree) -> list[Found]:
    """The tree's row agrees with itself, and the database refuses changes."""
    missing = "The append-only trigger {} is missing, disabled or altered."
    return [
        *[Found("trigger_missing", name, missing.format(name)) for name in triggers.missing(connection)],
        *[Found("trigger_added", name, detail) for name, detail in triggers.added(connection)],
        *[Found("triggers_off", "database", detail) for detail in triggers.switched_off(connection)],
        *signer.contradiction(head),
    ]


def _walk(report: Report, head: Tree, witnesses: _Witnesses, progress: Progress | None) -> list[Found]:
    """Everything from the starting point to the end, leaf by leaf, and every root somebody has seen on the way."""
    walk = _Walk(report.frontier, head.size)
    walk.wanted |= {size for size, _ in witnesses.heads}
    found = list(walk.run(progress))
    if walk.broken:
        found.append(Found("tree_incomplete", "tree", "Leaves are missing: no root after them can be computed."))
    elif walk.frontier.root() != bytes(head.root):
        found.append(_where(walk.frontier, head))
    for seen, who in witnesses.heads.items():
        found += _seen(walk, head, seen, who)
    report.frontier = walk.frontier
    return found


def _where(computed: merkle.Frontier, head: Tree) -> Found:
    """The narrowest stretch of leaves that can be named as not being what the tree's row says."""
    start, stretches = 0, []
    packed = bytes(head.frontier)
    for number, node in enumerate(merkle.cover(0, computed.size)):
        end = start + (1 << node[0])
        if packed[number * 32 : number * 32 + 32] != computed.hashes[number]:
            stretches.append(f"{start} to {end - 1}")
        start = end
    where = f"leaves {', '.join(stretches)}" if stretches else "the whole"
    return Found("root_mismatch", "tree", f"The entries do not have the tree's root: {where} were changed.")


def _seen(walk: _Walk, head: Tree, seen: tuple[int, bytes], who: tuple[str, str]) -> list[Found]:
    """Whether the log still has the root somebody has seen at a size."""
    (size, root), (subject, words) = seen, who
    if size > head.size:
        return [signer.truncated(size, subject, words)]
    actual = walk.roots.get(size)
    if actual is None and size <= walk.start:
        return signer.disagreement(head, size, root, subject, words)
    if actual is None or actual == root:
        return []
    return [signer.rewritten(size, root, actual, subject, words)]


class _Walk:
    """Recomputes the tree from the entries' bytes, comparing every stored step with what it computes."""

    def __init__(self, start: merkle.Frontier, end: int) -> None:
        self.start = start.size
        self.end = end
        self.frontier = merkle.Frontier(start.size, start.hashes)
        self.wanted: set[int] = set()
        self.roots: dict[int, bytes] = {start.size: start.root()}
        self.broken = False
        self._sequenced_at: datetime | None = None
        self._recorded_at: datetime | None = None
        self._tolerance = timedelta(minutes=settings.LOG_CLOCK_TOLERANCE_MINUTES)

    def run(self, progress: Progress | None = None) -> Iterator[Found]:
        """What differs, in log order."""
        first = self.start
        while first < self.end:
            # Chunks end where tiles do.
            end = min((first // CHUNK + 1) * CHUNK, self.end)
            yield from self._chunk(first, end)
            if progress:
                progress(end, self.end)
            first = end

    def _chunk(self, first: int, end: int) -> Iterator[Found]:
        rows = _leaves(first, end)
        entries = _entries([row[1] for row in rows.values()])
        for index in range(first, end):
            row = rows.get(index)
            if row is None:
                yield Found("leaf_missing", f"leaf {index}", f"Leaf {index} is missing.")
                self.broken = True
                continue
            leaf = yield from self._leaf(index, row, entries.get(row[1]))
            if not self.broken:
                self.frontier.append(leaf)
                if self.frontier.size in self.wanted:
                    self.roots[self.frontier.size] = self.frontier.root()
        yield from _tiles(first, end, rows)

    def _leaf(
        self, index: int, row: tuple[int, UUID, bytes, datetime], entry: dict[str, Any] | None
    ) -> Generator[Found, None, bytes]:
        _, entry_id, stored, sequenced_at = row
        yield from self._times(index, sequenced_at, entry)
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
        yield from _projections(index, entry)
        # What was found is named here; the way from the leaf to the root is a question of its own.
        return stored

    def _times(self, index: int, sequenced_at: datetime, entry: dict[str, Any] | None) -> Iterator[Found]:
        if self._sequenced_at is not None and sequenced_at < self._sequenced_at:
            yield Found("time_reversed", f"leaf {index}", f"Leaf {index} was placed before the leaf before it.")
        self._sequenced_at = sequenced_at
        if entry is None:
            return
        recorded_at = entry["recorded_at"]
        previous, self._recorded_at = self._recorded_at, recorded_at
        if previous is not None and recorded_at < previous - self._tolerance:
            yield Found(
                "time_reversed",
                f"leaf {index}",
                f"Leaf {index} was recorded at {recorded_at.isoformat()}, long before the leaf before it.",
            )


def _leaves(first: int, end: int) -> dict[int, tuple[int, UUID, bytes, datetime]]:
    rows = Leaf.objects.filter(index__gte=first, index__lt=end).order_by("index")
    return {
        index: (index, entry_id, bytes(stored), at)
        for index, entry_id, stored, at in rows.values_list("index", "entry_id", "hash", "sequenced_at")
    }


def _entries(ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    return {row["id"]: {**row} for row in Entry.objects.filter(pk__in=ids).values()}


def _projections(index: int, entry: dict[str, Any]) -> Iterator[Found]:
    """Columns are copies of what the bytes say."""
    subject = f"leaf {index}"
    try:
        said = _as_columns(json.loads(bytes(entry["bytes"])))
    except (ValueError, KeyError, TypeError):
        yield Found("entry_unreadable", subject, f"Entry {entry['id']} (leaf {index}) cannot be parsed.")
        return
    stored = {
        name: canonical.stamp(value) if name == "recorded_at" else str(value) if isinstance(value, UUID) else value
        for name, value in entry.items()
    }
    if wrong := sorted(name for name, value in said.items() if stored[name] != value):
        yield Found(
            "projection_edited",
            subject,
            f"Columns of entry {entry['id']} (leaf {index}) differ from its content: {', '.join(wrong)}.",
        )


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


def _slice(number: int, end: int) -> list[Found]:
    """One of 96 slices of what earlier runs have verified, looked at again from the bytes up."""
    width = merkle.TILE_WIDTH
    tiles = -(-end // width)
    first, last = number * tiles // SLICES * width, min((number + 1) * tiles // SLICES * width, end)
    if first >= last:
        return []
    walk = _Walk(merkle.Frontier(), last)
    walk.start, walk.broken = first, True
    return list(walk.run())


def _side_tables(go_on: Callable[[], None]) -> list[Found]:
    """What stands beside the log is what the log committed to. `go_on` is called now and then."""
    found = []
    for rows in _chunks(Disclosure.objects.order_by("pk")):
        go_on()
        documents = {
            pk: json.loads(bytes(raw))
            for pk, raw in Entry.objects.filter(pk__in={row.entry_id for row in rows}).values_list("pk", "bytes")
        }
        for row in rows:
            committed = documents.get(row.entry_id, {}).get("commitments", [])
            mine = {"pointer": row.pointer, "sha256": log.commitment(row.value, bytes(row.salt))}
            if mine not in committed:
                name = f"entry {row.entry_id}"
                found.append(Found("disclosure_edited", name, f"{row.pointer} of {name} is not what was committed to."))
    for payload in Payload.objects.iterator(chunk_size=100):
        if sha256(bytes(payload.bytes)).hexdigest() != payload.pk:
            found.append(
                Found("payload_edited", f"payload {payload.pk}", f"Payload {payload.pk} does not have its hash.")
            )
    return found


def _chunks(rows: QuerySet[Disclosure]) -> Iterator[list[Disclosure]]:
    last = 0
    while chunk := list(rows.filter(pk__gt=last)[:CHUNK]):
        yield chunk
        last = chunk[-1].pk


def _unique(found: Sequence[Found]) -> list[Found]:
    return list(dict.fromkeys(found))


def _verified(head: Tree) -> merkle.Frontier:
    """Where the last good run ended. A row that contradicts itself or the tree is no place to start from."""
    last = IntegrityRun.objects.filter(passed=True).order_by("-pk").first()
    if last is None or last.size > head.size:
        return merkle.Frontier()
    try:
        frontier = merkle.Frontier.unpack(last.size, bytes(last.frontier))
        held = merkle.root_at(last.size, tree.Nodes())
    except (ValueError, LookupError):
        return merkle.Frontier()
    return frontier if frontier.root() == bytes(last.root) == held else merkle.Frontier()


def _keep(report: Report, now: datetime) -> IntegrityRun:
    """The run and its findings as rows, and a fact of how it ended."""
    finished_at = now + timedelta(milliseconds=report.duration_ms)
    with log.recording():
        rows = findings.still_open(findings.record(report.found, now=now))
        run = IntegrityRun.objects.create(
            level=report.level,
            started_at=now,
            finished_at=finished_at,
            from_index=report.from_index,
            size=report.frontier.size,
            root=report.frontier.root(),
            frontier=report.frontier.pack(),
            slice_number=report.slice_number,
            duration_ms=report.duration_ms,
            findings=sorted({row.kind for row in rows}),
            passed=not rows,
        )
        entry_id = log.append(
            AuditlogFact.INTEGRITY_VERIFIED if run.passed else AuditlogFact.INTEGRITY_FAILED,
            actor=SYSTEM,
            subject=Subject("log", "log"),
            data={
                "level": run.level,
                "from_index": run.from_index,
                "size": run.size,
                "findings": run.findings,
                "duration_ms": run.duration_ms,
            },
            outcome="success" if run.passed else "failure",
            now=now,
        )
        findings.tell(rows, entry_id)
    return run
