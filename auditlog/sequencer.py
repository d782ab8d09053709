"""Gives committed entries their place in the tree. One at a time, under the lock of the tree's row.

Everything one batch does is one transaction, so there is nothing to recover after a kill.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.utils import timezone

from . import inserting, merkle
from .models import Leaf, Pending, Tile, Tree
from .publishing import Nudge

BATCH = 1000

# The id of an entry and the hash of its leaf.
Waiting = tuple[UUID, bytes]

_TAKE = (
    "DELETE FROM auditlog_pending WHERE id IN (SELECT id FROM auditlog_pending ORDER BY id LIMIT %s)"
    " RETURNING id, entry_id, leaf_hash"
)

sequence_soon = Nudge("auditlog.tasks.sequence", queue="log", seconds=0.1)
deliver_soon = Nudge("auditlog.tasks.deliver_all", queue="default", seconds=0.1)


def place_soon(written: Sequence[tuple[UUID, bytes]], *, using: str) -> None:
    """See to it that new entries, given as ids and bytes, get their places in the tree.

    A trigger of PostgreSQL has queued them; the sequencer runs once the transaction around is committed. On SQLite,
    which has one writer at a time anyway, the writer gives them their places itself.
    """
    if connections[using].vendor == "postgresql":
        transaction.on_commit(sequence_soon, using=using)
    else:
        place([(entry_id, merkle.leaf_hash(each)) for entry_id, each in written], using=using, now=timezone.now())
        transaction.on_commit(deliver_soon, using=using)


def run(now: datetime | None = None, *, using: str = DEFAULT_DB_ALIAS, batch: int = BATCH) -> int:
    """Sequence everything that is pending; returns how many entries were placed."""
    placed = 0
    while count := run_once(now, using=using, batch=batch):
        placed += count
    if placed:
        transaction.on_commit(deliver_soon, using=using)
    return placed


def run_once(now: datetime | None = None, *, using: str = DEFAULT_DB_ALIAS, batch: int = BATCH) -> int:
    """Sequence one batch; returns how many entries were placed."""
    pending = Pending.objects.using(using)
    if not pending.exists():
        return 0
    with transaction.atomic(using=using):
        tree = locked_tree(using)
        # What a statement deletes comes back in any order.
        taken = sorted(pending.raw(_TAKE, [batch]), key=attrgetter("pk"))
        if taken:
            queue = [(each.entry_id, bytes(each.leaf_hash)) for each in taken]
            _place(tree, queue, using=using, now=now or timezone.now())
    return len(taken)


def locked_tree(using: str = DEFAULT_DB_ALIAS) -> Tree:
    """The tree's row, locked until the transaction around ends. The first call makes it."""
    trees = Tree.objects.using(using).select_for_update()
    found = trees.filter(pk=1).first()
    if found is None:
        Tree.objects.using(using).bulk_create([Tree(id=1, root=merkle.EMPTY_ROOT)], ignore_conflicts=True)
        found = trees.get(pk=1)
    return found


_left: dict[str, Tree] = {}
"""The tree as this process left it, by database: the next writer is often the same, and need not read it."""


def place(queue: Sequence[Waiting], *, using: str, now: datetime) -> None:
    """Give entries their places at once, in the transaction around."""
    known = _left.get(using)
    grown = _place(known, queue, using=using, now=now) if known is not None else None
    grown = grown or _place(locked_tree(using), queue, using=using, now=now)
    assert grown is not None, "nobody else moves a locked tree"
    _left[using] = grown


def _place(tree: Tree, queue: Sequence[Waiting], *, using: str, now: datetime) -> Tree | None:
    """Move the tree, append leaves and full tiles; None when it is another tree by now.

    `now` never runs backwards in the log.
    """
    at = max(now, tree.sequenced_at) if tree.sequenced_at else now
    first = tree.size
    frontier = merkle.Frontier.unpack(tree.size, bytes(tree.frontier))
    leaves = [(index, entry_id, leaf_hash, at) for index, (entry_id, leaf_hash) in enumerate(queue, first)]
    frontier.extend([leaf_hash for _, leaf_hash in queue])
    grown = Tree(id=1, size=frontier.size, root=frontier.root(), frontier=frontier.pack(), sequenced_at=at)
    same = Tree.objects.using(using).filter(pk=1, size=tree.size, root=tree.root)
    if not same.update(size=grown.size, root=grown.root, frontier=grown.frontier, sequenced_at=at):
        return None
    inserting.insert(Leaf, leaves, using=using)
    _complete_tiles(first, frontier.size, using=using)
    return grown


def _complete_tiles(old: int, new: int, *, using: str) -> None:
    """Store every tile that became full while the tree grew from `old` to `new` leaves."""
    level, before, after = 0, old // merkle.TILE_WIDTH, new // merkle.TILE_WIDTH
    while after > before:
        rows = [_tile(level, number, using) for number in range(before, after)]
        Tile.objects.using(using).bulk_create(rows)
        level, before, after = level + 1, before // merkle.TILE_WIDTH, after // merkle.TILE_WIDTH


def _tile(level: int, number: int, using: str) -> Tile:
    start = number * merkle.TILE_WIDTH
    within = (start, start + merkle.TILE_WIDTH - 1)
    found: Iterable[bytes | memoryview]
    if level == 0:
        leaves = Leaf.objects.using(using).filter(index__range=within).order_by("index")
        found = leaves.values_list("hash", flat=True)
    else:
        below = Tile.objects.using(using).filter(level=level - 1, number__range=within).order_by("number")
        found = below.values_list("root", flat=True)
    hashes = b"".join(bytes(each) for each in found)
    return Tile(level=level, number=number, hashes=hashes, root=merkle.tile_root(hashes))
