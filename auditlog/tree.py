"""Reading the tree: hashes of nodes from stored tiles and leaves, proofs for any size."""

from __future__ import annotations

from django.db import DEFAULT_DB_ALIAS

from . import merkle
from .models import Leaf, Tile, Tree


def head(using: str = DEFAULT_DB_ALIAS) -> Tree:
    """The tree as it stands (an unsaved empty one before the first entry)."""
    # When it grew last is asked for apart: a time that cannot be read keeps nobody from looking at the rest.
    return Tree.objects.using(using).filter(pk=1).defer("sequenced_at").first() or Tree(
        id=1, size=0, root=merkle.EMPTY_ROOT
    )


class Nodes:
    """Hashes of perfect subtrees, read tile by tile and remembered for the length of one question."""

    def __init__(self, using: str = DEFAULT_DB_ALIAS) -> None:
        self._using = using
        self._rows: dict[tuple[int, int], list[bytes]] = {}

    def __call__(self, node: merkle.Node) -> bytes:
        """The hash of `(level, index)`. Raises LookupError when the tree does not hold all of its leaves."""
        level, index = node
        height = level % merkle.TILE_HEIGHT
        first = index << height
        row = self._row(level // merkle.TILE_HEIGHT, first // merkle.TILE_WIDTH)
        at = first % merkle.TILE_WIDTH
        hashes = row[at : at + (1 << height)]
        if len(hashes) != 1 << height:
            raise LookupError(f"the tree does not hold node {level}/{index}")
        return merkle.tile_root(b"".join(hashes), height)

    def tile(self, level: int, number: int, width: int = merkle.TILE_WIDTH) -> bytes:
        """The first `width` hashes of a tile. Raises LookupError when it holds fewer."""
        row = self._row(level, number)
        if len(row) < width:
            raise LookupError(f"tile {level}/{number} holds {len(row)} hashes")
        return b"".join(row[:width])

    def _row(self, level: int, number: int) -> list[bytes]:
        key = (level, number)
        if key not in self._rows:
            self._rows[key] = self._stored(level, number) or self._partial(level, number)
        return self._rows[key]

    def _stored(self, level: int, number: int) -> list[bytes]:
        tile = Tile.objects.using(self._using).filter(level=level, number=number).first()
        packed = bytes(tile.hashes) if tile else b""
        return [packed[at : at + merkle.HASH_SIZE] for at in range(0, len(packed), merkle.HASH_SIZE)]

    def _partial(self, level: int, number: int) -> list[bytes]:
        within = (number * merkle.TILE_WIDTH, (number + 1) * merkle.TILE_WIDTH - 1)
        if level == 0:
            leaves = Leaf.objects.using(self._using).filter(index__range=within).order_by("index")
            return [bytes(each) for each in leaves.values_list("hash", flat=True)]
        below = Tile.objects.using(self._using).filter(level=level - 1, number__range=within).order_by("number")
        return [bytes(each) for each in below.values_list("root", flat=True)]
