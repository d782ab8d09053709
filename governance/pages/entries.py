"""One entry of the log: its exact bytes, what they say, and the proof that they are in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render

from auditlog import entries, merkle, proofs, tree
from auditlog.models import Checkpoint, Disclosure, Entry, Leaf

from . import base, timelines
from .base import PageRequest


@dataclass(frozen=True)
class Committed:
    """A personal value of an entry: what the log holds instead, and the value and its salt while they are kept."""

    pointer: str
    sha256: str
    value: str | None
    salt: str


@dataclass(frozen=True)
class Proof:
    """How an entry's bytes lead to what was signed. `holds`: both ways were computed just now, and they meet."""

    leaf_hash: str
    hashes: list[str]
    checkpoint: Checkpoint
    holds: bool


@base.page("auditlog.read")
def entry(request: PageRequest, leaf_index: int) -> HttpResponse:
    """One entry."""
    leaf = base.find(request, Leaf.objects.select_related("entry"), index=leaf_index)
    row: Any = leaf.entry
    row.leaf_index = leaf.index
    raw = bytes(row.bytes)
    (moment,) = timelines.moments([row])
    return render(
        request,
        "console/entry.html",
        {
            "leaf": leaf,
            "entry": row,
            "moment": moment,
            "raw": raw.decode(errors="backslashreplace"),
            "length": len(raw),
            "committed": _committed(row, with_salts="auditlog.export" in request.permissions),
            "payload": _payload(moment.document),
            "proof": _proof(leaf),
            "size": tree.head().size,
            "cause": _cause(row),
        },
    )


def _committed(row: Entry, *, with_salts: bool) -> list[Committed]:
    """Values for whoever reads the log; salts, with which a value can be proved to others, for who may export."""
    kept = {each.pointer: each for each in Disclosure.objects.filter(entry_id=row.pk)}
    found = []
    for commitment in row.document().get("commitments", []):
        disclosure = kept.get(commitment["pointer"])
        salt = bytes(disclosure.salt).hex() if disclosure and with_salts else ""
        value = disclosure.value if disclosure else None
        found.append(Committed(commitment["pointer"], commitment["sha256"], value, salt))
    return found


def _payload(document: Any) -> dict[str, Any] | None:
    """Data too large for the entry, as far as it is kept beside it."""
    data = document.get("data") or {}
    if not entries.payload_key(data):
        return None
    return {**data, "content": entries.kept(data)}


def _proof(leaf: Leaf) -> Proof | None:
    checkpoint = proofs.covered_by(leaf.index)
    if checkpoint is None:
        return None
    computed = merkle.leaf_hash(bytes(leaf.entry.bytes))
    try:
        hashes = merkle.inclusion_proof(leaf.index, checkpoint.size, tree.Nodes())
        merkle.verify_inclusion(computed, leaf.index, checkpoint.size, hashes, bytes(checkpoint.root))
        holds = True
    except LookupError:
        hashes, holds = [], False
    except merkle.ProofInvalid:
        holds = False
    return Proof(computed.hex(), [each.hex() for each in hashes], checkpoint, holds)


def _cause(row: Entry) -> Entry | None:
    """The entry that led to this one, with its place."""
    if row.caused_by is None:
        return None
    return entries.in_order(Entry.objects.filter(pk=row.caused_by)).first()
