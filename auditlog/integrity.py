"""Is the log what it was? Bytes -> leaf -> tile -> root -> signed note -> what was kept outside.

Everything read here may have been tampered with, so a check compares two things that one hand cannot easily change
together, and names what differs in words that stay the same while the log grows. While it does, the order of reading
matters: first what was signed and kept outside, then the tree, so that nothing honest looks newer than the tree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from time import monotonic

import structlog
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, Min, OuterRef

from . import (
    findings,
    heartbeats,
    log,
    merkle,
    mesh,
    roles,
    sequencer,
    signer,
    tree,
    triggers,
    witnesses,
)
from .actors import SYSTEM
from .facts import AuditlogFact
from .findings import NAMED_AT_MOST, Found
from .models import Disclosure, Entry, Finding, IntegrityRun, Leaf, Payload, Pending, Tree
from .subjects import Subject
from .walking import Progress, Walk

logger = structlog.get_logger(__name__)

SLICES = 96
WHOLE_WHEN_UNDER = 100_000
# Asked for every hour: a pass that was missed is an hour late.
DAILY = timedelta(hours=23)


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
        report.found += _side_tables()
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

    def go_on(done: int, total: int) -> None:
        at = now + timedelta(seconds=monotonic() - began)
        _place(at)
        _sign(at)

    report = _run(findings.FULL, now, merkle.Frontier(), go_on, every=True)
    report.slice_number = _last_slice()
    report.found += _side_tables() + _house(now)
    report.duration_ms = int((monotonic() - began) * 1000)
    return _keep(report, now)


def _last_slice() -> int:
    return IntegrityRun.objects.values_list("slice_number", flat=True).order_by("-pk").first() or 0


def _catch_up(now: datetime) -> None:
    """After a night switched off, everything is late and nothing is wrong: only what cannot catch up is a finding."""
    _place(now)
    if findings.look("the signer", lambda: _late(now)):
        _sign(now)


# What the log does not take (its queue, leaves or tree were tampered with) must not keep that from being looked for:
# what does not go on is late, and that is found.


def _place(now: datetime) -> None:
    try:
        sequencer.run(now)
    except Exception:
        logger.exception("not_placed")


def _sign(now: datetime) -> None:
    try:
        signer.sign_if_due(now)
    except Exception:
        logger.exception("not_signed")


def _house(now: datetime) -> list[Found]:
    """What only a running house can be asked."""
    return [
        *findings.look("the signer", lambda: _late(now)),
        *findings.look("signs of life", lambda: _silent(now)),
        *findings.look("subscribers", lambda: _failing(now)),
        *findings.look("the database role", _role),
    ]


def _run(level: str, now: datetime, start: merkle.Frontier, progress: Progress | None, *, every: bool) -> Report:
    began = monotonic()
    report = Report(level, from_index=start.size, frontier=start)
    seen = witnesses.ask(since=None if every else start.size)
    report.checkpoints = seen.checkpoint_count
    head = tree.head()
    report.size, report.root = head.size, bytes(head.root)
    report.found += seen.found
    report.found += findings.look("the numbers of rows", lambda: _counts(report))
    report.found += findings.look("the sequencer", lambda: _stalled(now))
    report.checkpoint_size = max((size for size, _ in seen.heads), default=None)
    walk = Walk(start, head.size, beside=every, seen=seen)
    report.found += findings.look("the leaves", lambda: _walk(walk, head, progress))
    report.found += findings.look("who has seen a root", lambda: _contradicted(walk, head, seen))
    report.found += findings.look("what was signed", lambda: witnesses.gone(seen))
    report.found += findings.look("what was erased", lambda: _erased(walk))
    report.frontier = walk.frontier
    report.found += _state(head)
    report.found = _unique(report.found)
    report.duration_ms = int((monotonic() - began) * 1000)
    return report


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
            Found("entry_count", "log", f"{leaves + pending - entries} more are leaves or pending than are entries.")
        ]
    if leaves != size or end != size:
        found += signer.misplaced() or [
            Found("leaf_count", "log", f"{size - leaves} leaves of the tree are not there.")
        ]
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
    """Something waits for long, and nothing was placed meanwhile: when the clock steps, all that waits looks old."""
    limit = timedelta(minutes=settings.LOG_STALE_MINUTES)
    oldest = Pending.objects.aggregate(oldest=Min("recorded_at"))["oldest"]
    placed = Tree.objects.values_list("sequenced_at", flat=True).first()
    if oldest is None or now - oldest <= limit or (placed is not None and now - placed <= limit):
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
    return [
        *findings.look("triggers", _triggers),
        *findings.look("the tree", lambda: signer.contradiction(head)),
        *findings.look("tiles", _extra_tiles),
        *findings.look("cursors", _ahead),
    ]


def _triggers() -> list[Found]:
    missing = "The trigger {} is missing, disabled or altered."
    return [
        *[Found("trigger_missing", name, missing.format(name)) for name in triggers.missing(connection)],
        *[Found("trigger_added", name, detail) for name, detail in triggers.added(connection)],
        *[Found("triggers_off", "database", detail) for detail in triggers.switched_off(connection)],
    ]


def _ahead() -> list[Found]:
    return [Found("subscriber_ahead", name, AHEAD.format(name, cursor)) for name, cursor in mesh.ahead().items()]


AHEAD = "The subscriber {} is said to have heard {} entries, more than there are: it hears nothing of what comes."


def _extra_tiles() -> list[Found]:
    """Tiles that a tree of this size does not have. One statement, so one snapshot. (The walk misses those it has.)"""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT level, number FROM auditlog_tile, auditlog_tree WHERE level < 0 OR number < 0 OR level > %s"
            " OR number >= size >> ((level + 1) * %s) ORDER BY level, number LIMIT %s",
            [64 // merkle.TILE_HEIGHT - 2, merkle.TILE_HEIGHT, NAMED_AT_MOST],
        )
        names = [f"tile {level}/{number}" for level, number in cursor.fetchall()]
    return [Found("tile_forged", name, f"The tree has no {name}, but there is one.") for name in names]


def _walk(walk: Walk, head: Tree, progress: Progress | None) -> Iterator[Found]:
    """Everything from the starting point to the end, leaf by leaf."""
    yield from walk.run(progress)
    if walk.broken:
        yield Found("tree_incomplete", "tree", "Leaves are missing: no root after them can be computed.")
    elif walk.frontier.root() != bytes(head.root):
        yield _where(walk.frontier, head)


def _contradicted(walk: Walk, head: Tree, seen: witnesses.Witnesses) -> list[Found]:
    """Whom the log contradicts: of each the first root that is another one now, and the last that is gone."""
    named: dict[tuple[str, str], Found] = {}
    for seen_head in sorted(seen.heads):
        for each in _seen(walk, head, seen_head, witnesses.named(seen.heads[seen_head])):
            if each.kind == "truncated" or (each.kind, each.subject) not in named:
                named[each.kind, each.subject] = each
    return list(named.values())


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


def _seen(walk: Walk, head: Tree, seen: witnesses.Head, who: tuple[str, str]) -> list[Found]:
    """Whether the log still has the root somebody has seen at a size."""
    (size, root), (subject, words) = seen, who
    if size > head.size:
        return [signer.truncated(size, subject, words)]
    if size < walk.start:
        return signer.disagreement(head, size, root, subject, words)
    actual = walk.differ.get(seen)
    return [signer.rewritten(size, root, actual, subject, words)] if actual is not None else []


def _slice(number: int, end: int) -> list[Found]:
    """One of 96 slices of what earlier runs have verified, looked at again from the bytes up."""
    width = merkle.TILE_WIDTH
    tiles = -(-end // width)
    first, last = number * tiles // SLICES * width, min((number + 1) * tiles // SLICES * width, end)
    if first >= last:
        return []
    walk = Walk(merkle.Frontier(), last)
    walk.start, walk.broken = first, True
    return list(walk.run())


def _erased(walk: Walk) -> list[Found]:
    """Personal values that are gone were erased, which the log says of each."""
    if not walk.gone:
        return []
    erased: Counter[str] = Counter()
    for row in Entry.objects.filter(fact=AuditlogFact.ERASED.name_).iterator():
        # What cannot be read is found elsewhere.
        with suppress(ValueError, KeyError, TypeError):
            erased[f"{row.subject_kind}:{row.subject_id}"] += int(row.data["disclosures"])
    return [
        Found("disclosure_missing", owner, f"{count - erased[owner]} personal values of {owner} are gone, not erased.")
        for owner, count in sorted(walk.gone.items())
        if count > erased[owner]
    ]


def _side_tables() -> list[Found]:
    """What stands beside the log belongs to it."""
    return findings.look("personal values", _strays) + findings.look("payloads", _payloads)


def _strays() -> list[Found]:
    strays = Disclosure.objects.filter(~Exists(Entry.objects.filter(pk=OuterRef("entry_id")))).order_by("pk")
    return [
        Found("disclosure_edited", f"entry {row.entry_id}", f"{row.pointer} is kept of {row.entry_id}, which is gone.")
        for row in strays[:NAMED_AT_MOST]
    ]


def _payloads() -> Iterator[Found]:
    for payload in Payload.objects.iterator(chunk_size=100):
        if sha256(bytes(payload.bytes)).hexdigest() != payload.pk:
            yield Found("payload_edited", f"payload {payload.pk}", f"Payload {payload.pk} does not have its hash.")


def _unique(found: Sequence[Found]) -> list[Found]:
    return list(dict.fromkeys(found))


def _verified(head: Tree) -> merkle.Frontier:
    """Where the last good run ended. A row that contradicts itself or the tree is no place to start from."""
    last = IntegrityRun.objects.filter(passed=True).order_by("-pk").only("size", "root", "frontier").first()
    if last is None or last.size > head.size:
        return merkle.Frontier()
    try:
        frontier = merkle.Frontier.unpack(last.size, bytes(last.frontier))
        held = merkle.root_at(last.size, tree.Nodes())
    except (ValueError, LookupError):
        return merkle.Frontier()
    return frontier if frontier.root() == bytes(last.root) == held else merkle.Frontier()


def _keep(report: Report, now: datetime) -> IntegrityRun:
    """The findings and the run as rows, and a fact of how it ended.

    Findings come first and stay: a log that was tampered with may take no entry.
    """
    finished_at = now + timedelta(milliseconds=report.duration_ms)
    with transaction.atomic():
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
    try:
        _say(run, rows, now)
    except (IntegrityError, ValueError) as error:
        logger.error("integrity_unsaid", findings=run.findings, error=f"{type(error).__name__}: {error}")
    return run


def _say(run: IntegrityRun, rows: Sequence[Finding], now: datetime) -> None:
    with log.recording():
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
