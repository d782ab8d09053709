"""Receipts and proofs: what holds, and what is refused however it was forged.

Go checks receipts, inclusion and consistency. sigstore checks receipts (its own Merkle inclusion and its own Ed25519
signature on the checkpoint, exactly as it does for entries of Rekor); it has no consistency proofs.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from auditlog import merkle, notes
from tests.foreign.conftest import Verifier
from tests.foreign.evidence import (
    INDEXES,
    SIZES,
    Evidence,
    edit,
    hash_at,
    sign,
    taken,
    without_last_hash,
)

pytestmark = [pytest.mark.foreign, pytest.mark.django_db]


# --- what holds --------------------------------------------------------------------------------------------------


def test_receipts_hold(verifier: Verifier, held: Evidence) -> None:
    receipts = [held.receipt(index) for index in INDEXES]
    said = verifier(held.vkey, "receipt", *receipts).splitlines()
    covering = [min(size for size in SIZES if size > index) for index in INDEXES]
    assert said == [f"entry {index}, in a log of {size}" for index, size in zip(INDEXES, covering, strict=True)]


def test_inclusion_is_proved_at_every_size(go: Verifier, held: Evidence) -> None:
    for size in SIZES:
        for index in (index for index in INDEXES if index < size):
            files = (held.checkpoint(size), held.inclusion(index, size), held.entry(index))
            assert go(held.vkey, "inclusion", *files) == f"entry {index} of {size}"


def test_consistency_is_proved_between_all_sizes(go: Verifier, held: Evidence) -> None:
    for old in SIZES:
        for size in (size for size in SIZES if old <= size):
            files = (held.checkpoint(old), held.checkpoint(size), held.consistency(old, size))
            assert go(held.vkey, "consistency", *files) == f"the log of {size} grew from that of {old}"


# --- what is refused ---------------------------------------------------------------------------------------------


# The receipt from which others are forged: nine hashes lead from entry 511 to the root at 512.
INDEX, SIZE = 511, 512


def line(receipt: Path, number: int, change: Callable[[str], str]) -> None:
    """Change one line of a receipt."""
    lines = receipt.read_text().split("\n")
    lines[number] = change(lines[number])
    receipt.write_text("\n".join(lines))


def edit_entry(receipt: Path, held: Evidence) -> None:
    def changed(extra: str) -> str:
        raw = base64.b64decode(extra.removeprefix("extra ")).replace(b'"outcome":"success"', b'"outcome":"failure"')
        return f"extra {base64.b64encode(raw).decode()}"

    line(receipt, 1, changed)


def other_entry(receipt: Path, held: Evidence) -> None:
    other = base64.b64encode(held.entry(256).read_bytes()).decode()
    line(receipt, 1, lambda _: f"extra {other}")


def other_index(receipt: Path, held: Evidence) -> None:
    line(receipt, 2, lambda _: "index 510")


def no_index_of_this_log(receipt: Path, held: Evidence) -> None:
    line(receipt, 2, lambda _: "index 4096")


def truncate(receipt: Path, held: Evidence) -> None:
    lines = receipt.read_text().split("\n")
    del lines[3]
    receipt.write_text("\n".join(lines))


def lengthen(receipt: Path, held: Evidence) -> None:
    line(receipt, 3, lambda hash_: f"{hash_}\n{hash_}")


def exchange_hashes(receipt: Path, held: Evidence) -> None:
    lines = receipt.read_text().split("\n")
    lines[3], lines[4] = lines[4], lines[3]
    receipt.write_text("\n".join(lines))


def proof_of_another(receipt: Path, held: Evidence) -> None:
    """Index and hashes of entry 256, with the entry of 511."""
    theirs, ours = held.receipt(256).read_text().split("\n"), receipt.read_text().split("\n")
    receipt.write_text("\n".join([*ours[:2], *theirs[2:]]))


def checkpoint_of(receipt: Path, note: str) -> None:
    proof, _, _ = receipt.read_text().partition("\n\n")
    receipt.write_text(f"{proof}\n\n{note}")


def other_root(receipt: Path, held: Evidence) -> None:
    """A root nobody signed, under a signature over another one."""
    root = base64.b64encode(bytes(32)).decode()
    good = held.checkpoint(SIZE).read_text().split("\n")
    checkpoint_of(receipt, "\n".join([*good[:2], root, *good[3:]]))


def other_root_signed(receipt: Path, held: Evidence) -> None:
    """A root of another log, signed with the stolen key."""
    checkpoint_of(receipt, held.key.sign(notes.Head(held.key.name, SIZE, bytes(32)).text()))


def other_size_signed(receipt: Path, held: Evidence) -> None:
    root = merkle.root_of(held.leaves()[:SIZE])
    checkpoint_of(receipt, held.key.sign(notes.Head(held.key.name, 600, root).text()))


def signed_by_somebody_else(receipt: Path, held: Evidence) -> None:
    head = notes.Head(held.key.name, SIZE, merkle.root_of(held.leaves()[:SIZE]))
    checkpoint_of(receipt, notes.Signer(held.key.name, bytes(32)).sign(head.text()))


def signature_of_another_text(receipt: Path, held: Evidence) -> None:
    text, _, _ = held.checkpoint(SIZE).read_text().partition("\n\n")
    _, _, signature = held.checkpoint(513).read_text().partition("\n\n")
    checkpoint_of(receipt, f"{text}\n\n{signature}")


def not_signed(receipt: Path, held: Evidence) -> None:
    text, _, _ = held.checkpoint(SIZE).read_text().partition("\n\n")
    checkpoint_of(receipt, f"{text}\n\n")


def signed_for_another_log(receipt: Path, held: Evidence) -> None:
    """The right key under its own name signs another origin."""
    head = notes.Head("grace.invalid/log/other", SIZE, merkle.root_of(held.leaves()[:SIZE]))
    checkpoint_of(receipt, held.key.sign(head.text()))


FORGERIES = [
    edit_entry,
    other_entry,
    other_index,
    no_index_of_this_log,
    truncate,
    lengthen,
    exchange_hashes,
    proof_of_another,
    other_root,
    other_root_signed,
    other_size_signed,
    signed_by_somebody_else,
    signature_of_another_text,
    not_signed,
    signed_for_another_log,
]


def test_forged_receipts_are_refused(verifier: Verifier, held: Evidence, tmp_path: Path) -> None:
    forged = []
    for forge in FORGERIES:
        receipt = taken(held.receipt(INDEX), tmp_path).rename(tmp_path / forge.__name__)
        forge(receipt, held)
        forged.append(receipt)
    verifier.refuses_each(held.vkey, "receipt", forged, genuine=held.receipt(INDEX))


@pytest.mark.parametrize(
    "key",
    [lambda name: notes.Signer(name, bytes(32)), lambda name: notes.Signer(f"{name}/other", bytes(32))],
    ids=["of the same name", "of another name"],
)
def test_another_key_opens_nothing(
    verifier: Verifier, held: Evidence, tmp_path: Path, key: Callable[[str], notes.Signer]
) -> None:
    other = tmp_path / "other.vkey"
    other.write_text(key(held.key.name).verifier.vkey)
    verifier.refuses(other, "receipt", held.receipt(0))
    # The right bytes under a hash that is not theirs.
    name, _, public = held.vkey.read_text().split("+", 2)
    other.write_text(f"{name}+00000000+{public}")
    verifier.refuses(other, "receipt", held.receipt(0))


def test_forged_inclusion_is_refused(go: Verifier, held: Evidence, tmp_path: Path) -> None:
    checkpoint, proof, entry = held.checkpoint(700), held.inclusion(256, 700), held.entry(256)
    assert go(held.vkey, "inclusion", checkpoint, proof, entry)
    for wrong in (
        (held.checkpoint(513), proof, entry),
        (checkpoint, held.inclusion(255, 700), entry),
        (checkpoint, held.inclusion(256, 513), entry),
        (checkpoint, proof, held.entry(255)),
        (checkpoint, without_last_hash(taken(proof, tmp_path)), entry),
        (checkpoint, edit(taken(proof, tmp_path), '"index":256', '"index":257'), entry),
        (checkpoint, proof, edit(taken(entry, tmp_path), "success", "failure")),
        (sign(tmp_path / "signed", held.key, 700, bytes(32)), proof, entry),
    ):
        go.refuses(held.vkey, "inclusion", *wrong)


def test_forged_consistency_is_refused(go: Verifier, held: Evidence, tmp_path: Path) -> None:
    old, new, proof = held.checkpoint(257), held.checkpoint(700), held.consistency(257, 700)
    assert go(held.vkey, "consistency", old, new, proof)
    for wrong in (
        (new, old, proof),
        (held.checkpoint(256), new, proof),
        (old, held.checkpoint(513), proof),
        (old, new, held.consistency(256, 700)),
        (old, new, held.consistency(257, 513)),
        (old, new, without_last_hash(taken(proof, tmp_path))),
        (sign(tmp_path / "a", held.key, 257, bytes(32)), new, proof),
        (old, sign(tmp_path / "b", held.key, 700, bytes(32)), proof),
    ):
        go.refuses(held.vkey, "consistency", *wrong)


def test_a_log_rewritten_and_signed_again_did_not_grow_from_the_old_one(
    go: Verifier, held: Evidence, tmp_path: Path
) -> None:
    """Whoever has the key makes a new tree, every hash of it right, and the best proof there is."""
    leaves = held.leaves()[:700]
    leaves[5] = merkle.leaf_hash(b"{}")
    rewritten = sign(tmp_path / "rewritten", held.key, 700, merkle.root_of(leaves))
    for old in SIZES[2:-1]:
        hashes = merkle.consistency_proof(old, 700, hash_at(leaves))
        proof = tmp_path / "proof.json"
        proof.write_text(json.dumps({"data": {"hashes": [base64.b64encode(each).decode() for each in hashes]}}))
        go.refuses(held.vkey, "consistency", held.checkpoint(old), rewritten, proof)
        # Against what was rewritten likewise it holds: the checkpoint kept elsewhere is what shows it.
        forged = sign(tmp_path / "old", held.key, old, merkle.root_of(leaves[:old]))
        assert go(held.vkey, "consistency", forged, rewritten, proof)


def test_the_sizes_cross_the_boundary_of_a_tile(held: Evidence) -> None:
    assert [size for size in SIZES if size % merkle.TILE_WIDTH in (255, 0, 1)] == [1, 255, 256, 257, 512, 513]
    assert all(old < new for old, new in pairwise(SIZES))
