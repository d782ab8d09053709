"""RFC 6962 Merkle trees and their proofs. Pure: hashes come from a callable, nothing is read here.

A *node* is a perfect subtree: `(level, index)` covers the leaves `[index·2^level, (index+1)·2^level)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

HASH_SIZE = 32
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
EMPTY_ROOT = sha256(b"").digest()

Node = tuple[int, int]
HashAt = Callable[[Node], bytes]


class ProofInvalid(ValueError):
    """A proof does not prove what it was given for."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf: SHA-256(0x00 ‖ data)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over these leaf hashes."""
    frontier = Frontier()
    frontier.extend(hashes)
    return frontier.root()


class Frontier:
    """The right edge of a growing tree: one hash for each 1 bit of its size, largest subtree first."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if size < 0 or size.bit_count() != len(hashes):
            raise ValueError(f"a frontier of size {size} has {size.bit_count()} hashes, not {len(hashes)}")
        self.size = size
        self.hashes = list(hashes)

    @classmethod
    def unpack(cls, size: int, packed: bytes) -> Frontier:
        """The frontier that `pack` wrote."""
        return cls(size, [packed[at : at + HASH_SIZE] for at in range(0, len(packed), HASH_SIZE)])

    def pack(self) -> bytes:
        """The hashes as one byte string."""
        return b"".join(self.hashes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        size, hashes = self.size, self.hashes
        while size & 1:
            leaf = sha256(b"\x01" + hashes.pop() + leaf).digest()
            size >>= 1
        hashes.append(leaf)
        self.size += 1

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add leaf hashes in order."""
        for leaf in leaves:
            self.append(leaf)

    def root(self) -> bytes:
        """The root of the tree this is the edge of."""
        if not self.hashes:
            return EMPTY_ROOT
        hashes = self.hashes
        value = hashes[-1]
        for left in reversed(hashes[:-1]):
            value = node_hash(left, value)
        return value


def tile_root(hashes: bytes, height: int = TILE_HEIGHT) -> bytes:
    """The hash over a full run of 2^height hashes laid end to end."""
    row = [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]
    if len(row) != 1 << height:
        raise ValueError(f"expected {1 << height} hashes, got {len(row)}")
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def cover(start: int, end: int) -> list[Node]:
    """The largest perfect subtrees that together cover the leaves `[start, end)`, left to right."""
    nodes = []
    while start < end:
        level = min((start & -start).bit_length() - 1 if start else end.bit_length(), (end - start).bit_length() - 1)
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def subtree_root(start: int, end: int, hash_at: HashAt) -> bytes:
    """The RFC 6962 hash MTH(D[start:end]) for an aligned range of a tree."""
    if start == end:
        return EMPTY_ROOT
    hashes = [hash_at(node) for node in cover(start, end)]
    value = hashes[-1]
    for left in reversed(hashes[:-1]):
        value = node_hash(left, value)
    return value


def root_at(size: int, hash_at: HashAt) -> bytes:
    """The root the tree had at `size`."""
    return subtree_root(0, size, hash_at)


def _split(size: int) -> int:
    """The largest power of two below `size` (which is at least 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_proof(index: int, size: int, hash_at: HashAt) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` (RFC 6962, 2.1.1). Raises ValueError out of range."""
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(subtree_root(middle, end, hash_at))
            end = middle
        else:
            path.append(subtree_root(start, middle, hash_at))
            start = middle
    return path[::-1]


def consistency_proof(old: int, size: int, hash_at: HashAt) -> list[bytes]:
    """The proof that the tree of `size` extends the tree of `old` (RFC 6962, 2.1.2). Raises ValueError."""
    if not 0 <= old <= size:
        raise ValueError(f"{old} is not a former size of a tree of {size}")
    if old in (0, size):
        return []
    path: list[bytes] = []
    start, end = 0, size
    whole = True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(subtree_root(middle, end, hash_at))
            end = middle
        else:
            path.append(subtree_root(start, middle, hash_at))
            start = middle
            whole = False
    if not whole:
        path.append(subtree_root(start, end, hash_at))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raise ProofInvalid unless `leaf` (a leaf hash) is at `index` of the tree (size, root). RFC 9162, 2.1.3.2."""
    if not 0 <= index < size:
        raise ProofInvalid(f"no leaf {index} in a tree of {size}")
    position, last = index, size - 1
    value = leaf
    for sibling in proof:
        if last == 0:
            raise ProofInvalid("the proof is too long")
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            value = node_hash(value, sibling)
        position >>= 1
        last >>= 1
    if last != 0:
        raise ProofInvalid("the proof is too short")
    if value != root:
        raise ProofInvalid("the proof leads to another root")


def verify_consistency(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Raise ProofInvalid unless the tree (size, root) extends (old, old_root). RFC 9162, 2.1.4.2."""
    if not 0 <= old <= size:
        raise ProofInvalid(f"{old} is not a former size of a tree of {size}")
    if old in (0, size):
        expected = EMPTY_ROOT if old == 0 else root
        if proof or old_root != expected:
            raise ProofInvalid("the roots differ" if not proof else "the proof is too long")
        return
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        raise ProofInvalid("the proof is too short")
    first, second = _replay(old, size, path)
    if first != old_root:
        raise ProofInvalid("the proof leads to another old root")
    if second != root:
        raise ProofInvalid("the proof leads to another root")


def _replay(old: int, size: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    position, last = old - 1, size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofInvalid("the proof is too long")
        if position & 1 or position == last:
            first = node_hash(sibling, first)
            second = node_hash(sibling, second)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            second = node_hash(second, sibling)
        position >>= 1
        last >>= 1
    if last != 0:
        raise ProofInvalid("the proof is too short")
    return first, second
