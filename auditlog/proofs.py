"""Proofs for any size the log has had."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from . import merkle, tree
from .models import Checkpoint, Leaf
from .refusals import FieldError, Refused


class OutOfRange(Refused):
    """The log has no such leaf or has never had such a size."""

    code = "out_of_range"
    kind = Refused.Kind.NOT_FOUND


class NotYetSigned(Refused):
    """No checkpoint covers the entry yet; the next one will."""

    code = "not_yet_signed"
    kind = Refused.Kind.CONFLICT


@dataclass(frozen=True)
class Inclusion:
    """A leaf, and the way from it to the root."""

    index: int
    size: int
    leaf_hash: bytes
    root: bytes
    hashes: list[bytes]


@dataclass(frozen=True)
class Consistency:
    """Two roots, and what shows that one tree is the beginning of the other."""

    old: int
    old_root: bytes
    size: int
    root: bytes
    hashes: list[bytes]


def inclusion(index: int, size: int | None = None) -> Inclusion:
    """Prove that leaf `index` is in the log of `size` (by default as it stands). Raises OutOfRange."""
    end = _size(size)
    leaf = Leaf.objects.filter(index=index).first() if index < end else None
    if leaf is None:
        raise _out("/index", f"There is no entry {index} in a log of {end}.")
    nodes = tree.Nodes()
    return Inclusion(
        index, end, bytes(leaf.hash), merkle.root_at(end, nodes), merkle.inclusion_proof(index, end, nodes)
    )


def consistency(old: int, size: int | None = None) -> Consistency:
    """Prove that the log of `old` is the beginning of the log of `size`. Raises OutOfRange."""
    end = _size(size)
    if old > end:
        raise _out("/old", f"The log of {old} is not the beginning of one of {end}.")
    nodes = tree.Nodes()
    return Consistency(
        old,
        merkle.root_at(old, nodes),
        end,
        merkle.root_at(end, nodes),
        merkle.consistency_proof(old, end, nodes),
    )


def covered_by(index: int) -> Checkpoint | None:
    """The first checkpoint signed over leaf `index`; None while there is none.

    The first, so that a receipt stays the same however often it is asked for.
    """
    return Checkpoint.objects.filter(size__gt=index).order_by("pk").first()


def receipt(index: int) -> str:
    """A C2SP tlog-proof of one entry, which holds everything but the log's key: https://c2sp.org/tlog-proof

    Its extra data are the entry's exact bytes, of which the leaf's hash is computed. Raises OutOfRange, NotYetSigned.
    """
    leaf = Leaf.objects.select_related("entry").filter(index=index).first()
    if leaf is None:
        raise _out("/index", f"There is no entry {index}.")
    covering = covered_by(index)
    if covering is None:
        raise NotYetSigned("The entry has not been signed yet; it will be in some seconds.", retry_after=10)
    hashes = merkle.inclusion_proof(index, covering.size, tree.Nodes())
    lines = [
        "c2sp.org/tlog-proof@v1",
        f"extra {_b64(bytes(leaf.entry.bytes))}",
        f"index {index}",
        *(_b64(each) for each in hashes),
        "",
        covering.note,
    ]
    return "\n".join(lines)


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _size(size: int | None) -> int:
    head = tree.head().size
    if size is not None and size > head:
        raise _out("/size", f"The log holds {head} entries.")
    return head if size is None else size


def _out(pointer: str, detail: str) -> OutOfRange:
    return OutOfRange(detail, errors=[FieldError(pointer, OutOfRange.code, detail)])
