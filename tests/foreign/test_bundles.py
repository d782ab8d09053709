"""What `export_log` writes, and what is still proved after somebody was erased.

Go recomputes the tree of a whole bundle, compares it with every checkpoint in it, and checks the proofs of a subset.
sigstore checks each entry of a subset; of a whole bundle it could check nothing, since that carries no proofs.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from auditlog import erasure, notes, sequencer, signer
from auditlog.actors import SYSTEM
from auditlog.models import Disclosure
from tests.foreign.conftest import Verifier
from tests.foreign.evidence import (
    ADA,
    MISSION,
    NOW,
    SIZES,
    Evidence,
    edit,
    export,
    fetched,
    grow,
    taken,
)
from tests.harness.people import People

pytestmark = [pytest.mark.foreign, pytest.mark.django_db]


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_whole_bundle_holds(go: Verifier, held: Evidence) -> None:
    count = len(lines(held.bundle / "entries.jsonl"))
    assert go(held.vkey, "bundle", held.bundle) == f"all {count} entries of the log, and {len(SIZES) + 1} checkpoints"


def test_a_subset_holds_and_says_that_it_is_one(verifier: Verifier, held: Evidence) -> None:
    count = len(lines(held.subset / "entries.jsonl"))
    size = json.loads((held.subset / "manifest.json").read_text())["size"]
    assert 0 < count < size / 5
    assert verifier(held.vkey, "bundle", held.subset) == f"a SUBSET: {count} entries proved in a log of {size}"


def test_the_key_in_the_bundle_is_the_log_s(held: Evidence) -> None:
    assert (held.bundle / "vkey.txt").read_text() == held.vkey.read_text() == (held.subset / "vkey.txt").read_text()


# --- what is refused ---------------------------------------------------------------------------------------------


def change(name: str, how: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path, Evidence], None]:
    def forge(bundle: Path, held: Evidence) -> None:
        path = bundle / name
        path.write_bytes(b"".join(how(lines(path))))

    return forge


def edit_last_checkpoint(bundle: Path, held: Evidence) -> None:
    *others, last = lines(bundle / "checkpoints.jsonl")
    size = json.loads((bundle / "manifest.json").read_text())["size"]
    forged = last.replace(f"\\n{size}\\n".encode(), f"\\n{size - 1}\\n".encode())
    (bundle / "checkpoints.jsonl").write_bytes(b"".join([*others, forged]))


def sign_last_with(key: Callable[[Evidence], notes.Signer], root: bytes | None = None) -> Callable[..., None]:
    def forge(bundle: Path, held: Evidence) -> None:
        *others, last = lines(bundle / "checkpoints.jsonl")
        _, size, seen = json.loads(last).split("\n")[:3]
        text = notes.Head(held.key.name, int(size), root or base64.b64decode(seen)).text()
        forged = json.dumps(key(held).sign(text)).encode() + b"\n"
        (bundle / "checkpoints.jsonl").write_bytes(b"".join([*others, forged]))

    return forge


FORGERIES: dict[str, Callable[[Path, Evidence], object]] = {
    "an entry edited": lambda bundle, _: edit(bundle / "entries.jsonl", '"outcome":"success"', '"outcome":"failure"'),
    "entries exchanged": change("entries.jsonl", lambda all_: [all_[1], all_[0], *all_[2:]]),
    "an entry left out": change("entries.jsonl", lambda all_: [*all_[:5], *all_[6:]]),
    "the tail cut off": change("entries.jsonl", lambda all_: all_[:-1]),
    "an entry added": change("entries.jsonl", lambda all_: [*all_, all_[-1]]),
    "the checkpoint edited": edit_last_checkpoint,
    "signed with another key": sign_last_with(lambda held: notes.Signer(held.key.name, bytes(32))),
    "another root signed": sign_last_with(lambda held: held.key, root=bytes(32)),
    "no checkpoint": change("checkpoints.jsonl", lambda _: []),
}
OF_A_SUBSET: dict[str, Callable[[Path, Evidence], object]] = {
    "proofs exchanged": change("proofs.jsonl", lambda all_: [all_[1], all_[0], *all_[2:]]),
    "a proof of another": change("proofs.jsonl", lambda all_: [all_[1], *all_[1:]]),
    "a proof shorter": lambda bundle, _: edit(bundle / "proofs.jsonl", '"hashes": ["', '"hashes": ["", "'),
    "another index": lambda bundle, _: edit(bundle / "proofs.jsonl", '{"index": ', '{"index": 1'),
}


def forged(
    bundle: Path, held: Evidence, how: dict[str, Callable[[Path, Evidence], object]], tmp_path: Path
) -> list[Path]:
    """A copy of a bundle for each way of forging it."""
    copies = []
    for name, forge in how.items():
        there = taken(bundle, tmp_path).rename(tmp_path / name.replace(" ", "-"))
        forge(there, held)
        copies.append(there)
    return copies


def test_forged_whole_bundles_are_refused(go: Verifier, held: Evidence, tmp_path: Path) -> None:
    go.refuses_each(held.vkey, "bundle", forged(held.bundle, held, FORGERIES, tmp_path), genuine=held.bundle)


def test_forged_subsets_are_refused(verifier: Verifier, held: Evidence, tmp_path: Path) -> None:
    copies = forged(held.subset, held, FORGERIES | OF_A_SUBSET, tmp_path)
    verifier.refuses_each(held.vkey, "bundle", copies, genuine=held.subset)


def test_an_earlier_checkpoint_which_the_log_did_not_grow_from_is_refused(
    go: Verifier, held: Evidence, tmp_path: Path
) -> None:
    bundle = taken(held.bundle, tmp_path)
    forged = held.key.sign(notes.Head(held.key.name, 256, bytes(32)).text())
    checkpoints = lines(bundle / "checkpoints.jsonl")
    (bundle / "checkpoints.jsonl").write_bytes(json.dumps(forged).encode() + b"\n" + b"".join(checkpoints))
    assert "did not grow from the log of 256" in go.refuses(held.vkey, "bundle", bundle)


def test_a_part_cannot_pass_for_the_whole(go: Verifier, held: Evidence, tmp_path: Path) -> None:
    subset = taken(held.subset, tmp_path)
    (subset / "proofs.jsonl").unlink()
    go.refuses(held.vkey, "bundle", subset)


# --- after erasure -----------------------------------------------------------------------------------------------


def test_bundles_and_receipts_made_before_an_erasure_hold_after_it(
    go: Verifier, sigstore: Verifier, client: Client, users: People, tmp_path: Path
) -> None:
    grow(300)
    signer.sign(NOW)
    sequencer.run(NOW)
    before, part, receipt = tmp_path / "before", tmp_path / "part", tmp_path / "receipt"
    client.force_login(users.eve)
    index = 10
    receipt.write_bytes(fetched(client, f"/api/auditlog/entries/{index}/receipt"))
    export(before)
    export(part, "--mission", str(MISSION))
    vkey = before / "vkey.txt"
    assert ADA.label in (before / "disclosures.jsonl").read_text()

    assert erasure.erase(subject=f"person:{ADA.id}", by=SYSTEM, reason="She asked.", now=timezone.now())
    sequencer.run(NOW)
    assert not Disclosure.objects.filter(value=ADA.label).exists()

    for verifier in (go, sigstore):
        assert verifier(vkey, "receipt", receipt).startswith("entry 10, in a log of ")
        assert verifier(vkey, "bundle", part).startswith("a SUBSET: ")
    assert go(vkey, "bundle", before).startswith("all ")

    # What is exported now has the same entries, and what they committed to in none of its files.
    after, rest = tmp_path / "after", tmp_path / "rest"
    export(after)
    export(rest, "--mission", str(MISSION))
    assert go(vkey, "bundle", after).startswith("all ")
    for verifier in (go, sigstore):
        assert verifier(vkey, "bundle", rest).startswith("a SUBSET: ")
    assert lines(after / "entries.jsonl")[:300] == lines(before / "entries.jsonl")[:300]
    assert ADA.label.encode() not in b"".join(path.read_bytes() for path in after.rglob("*") if path.is_file())
