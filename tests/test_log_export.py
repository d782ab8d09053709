"""Bundles: checked by a program that knows nothing of Grace, whole and in part, and tampered with in every file."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from auditlog import exports, findings, log, sequencer, signer
from auditlog.actors import SYSTEM, Actor
from auditlog.bundle import verify
from auditlog.facts import SystemFact
from auditlog.findings import Found
from auditlog.models import Entry, Finding
from auditlog.subjects import Subject
from tests.harness.people import People

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ADA = Actor("person", "user:1", "Ada Lovelace", 1)
MISSION = UUID(int=7)


def write(count: int, *, mission: UUID | None = None) -> None:
    with log.recording():
        for number in range(count):
            log.append(
                SystemFact.HEARTBEAT,
                actor=ADA if number % 2 else SYSTEM,
                subject=Subject("subsystem", str(number)),
                data={"name": "x" * (70_000 if number == 3 else 1)},
                mission_id=mission,
                now=NOW,
            )
    sequencer.run(NOW)


@pytest.fixture
def written(db: None) -> None:
    """A log with two checkpoints."""
    write(300)
    signer.sign(NOW)
    write(20, mission=MISSION)


@pytest.fixture
def bundle(written: None, tmp_path: Path) -> Path:
    """All of it."""
    return exports.export(directory=tmp_path / "bundle", by=SYSTEM, now=NOW).directory


@pytest.fixture
def subset(written: None, tmp_path: Path) -> Path:
    """What belongs to a mission."""
    done = exports.export(directory=tmp_path / "subset", by=SYSTEM, now=NOW, wanted={"mission_id": MISSION})
    return done.directory


def checked(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the bundle's own program, alone: no site packages, no environment, nothing of ours to import."""
    argv = [sys.executable, "-I", "-S", str(directory / "verify.py"), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env={}, cwd="/")


def test_a_whole_bundle_holds(bundle: Path) -> None:
    done = checked(bundle)
    assert done.returncode == 0, done.stderr
    held = "holds: all 321 entries of the log, and 2 checkpoints with good signatures; 160 personal values"
    assert done.stdout.startswith(held)
    assert signer.key().verifier.vkey in done.stdout
    lines = (bundle / "entries.jsonl").read_bytes().splitlines()
    assert lines == [bytes(entry.bytes) for entry in Entry.objects.filter(leaf__index__lt=321).order_by("leaf__index")]


def test_a_worker_on_another_host_exports_what_is_signed_and_misses_no_memory(
    written: None, settings: Any, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(settings.VAR_DIR / "keys", elsewhere / "keys")
    settings.VAR_DIR = elsewhere
    done = exports.export(directory=tmp_path / "bundle", by=SYSTEM, now=NOW)
    assert done.size == 300
    assert checked(done.directory).returncode == 0
    assert not Finding.objects.exists()


@pytest.mark.parametrize("host", ["the one that signs", "another"])
def test_while_signing_is_stopped_no_bundle_is_signed_on_any_host(
    written: None, settings: Any, tmp_path: Path, host: str
) -> None:
    if host == "another":
        shutil.copytree(settings.VAR_DIR / "keys", tmp_path / "elsewhere" / "keys")
        settings.VAR_DIR = tmp_path / "elsewhere"
    findings.record([Found("entry_edited", "leaf 5", "The content of leaf 5 is not what it was.")], now=NOW)
    with pytest.raises(signer.SigningRefused, match="has not been acknowledged"):
        exports.export(directory=tmp_path / "bundle", by=SYSTEM, now=NOW)
    assert not list((tmp_path / "bundle").iterdir())


def test_a_subset_holds_and_says_that_it_is_one(subset: Path) -> None:
    done = checked(subset)
    assert done.returncode == 0, done.stderr
    held = f"a SUBSET: 20 entries proved in a log of 321, not that none is missing of {{'mission_id': '{MISSION}'}}"
    assert done.stdout.startswith(f"holds: {held}; 10 personal values")
    manifest = json.loads((subset / "manifest.json").read_text())
    assert (manifest["subset"], manifest["entries"], manifest["size"]) == (True, 20, 321)


def test_a_key_and_roots_noted_elsewhere_are_compared(bundle: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.vkey"
    kept.write_text(signer.key().verifier.vkey)
    root = json.loads((bundle / "manifest.json").read_text())["root"]
    done = checked(bundle, "--vkey", str(kept), "--root", f"321:{root}")
    assert done.returncode == 0
    assert "came with the bundle" not in done.stdout
    assert "does not hold" in checked(bundle, "--root", f"300:{root}").stderr.lower()
    assert "does not hold" in checked(bundle, "--root", f"9999:{root}").stderr.lower()
    kept.write_text(signer.notes.Signer(signer.key().name, bytes(32)).verifier.vkey)
    assert "does not hold" in checked(bundle, "--vkey", str(kept)).stderr.lower()


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def tamper(directory: Path) -> None:
        path = directory / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return tamper


def lines(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def tamper(directory: Path) -> None:
        path = directory / name
        path.write_text("".join(change(path.read_text().splitlines(keepends=True))))

    return tamper


TAMPERINGS: dict[str, Callable[[Path], None]] = {
    "an entry edited": edit("entries.jsonl", '"outcome":"success"', '"outcome":"failure"'),
    "an entry left out": lines("entries.jsonl", lambda all_: [*all_[:5], *all_[6:]]),
    "entries exchanged": lines("entries.jsonl", lambda all_: [all_[1], all_[0], *all_[2:]]),
    "the tail cut off": lines("entries.jsonl", lambda all_: all_[:-1]),
    "an entry added": lines("entries.jsonl", lambda all_: [*all_, all_[-1]]),
    "a personal value edited": edit("disclosures.jsonl", "Ada Lovelace", "Mallory"),
    "a checkpoint edited": edit("checkpoints.jsonl", "\\n321\\n", "\\n320\\n"),
    "another key": lambda directory: (
        (directory / "vkey.txt").write_text(signer.notes.Signer(signer.key().name, bytes(32)).verifier.vkey) and None
    ),
}


@pytest.mark.parametrize("tamper", TAMPERINGS.values(), ids=TAMPERINGS.keys())
@pytest.mark.parametrize("kind", ["bundle", "subset"])
def test_a_bundle_that_was_tampered_with_does_not_hold(
    request: pytest.FixtureRequest, kind: str, tamper: Callable[[Path], None]
) -> None:
    directory = request.getfixturevalue(kind)
    tamper(directory)
    assert checked(directory).returncode == 1
    note = (directory / "manifest.note").read_text()
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"] = {name: exports._digest(directory / name) for name in manifest["files"]}
    # Whoever has the key of the log can sign another manifest, and nobody else.
    exports.seal(directory, manifest, signer.key())
    done = checked(directory)
    assert done.returncode == 1
    assert done.stderr.startswith("DOES NOT HOLD: ")
    (directory / "manifest.note").write_text(note)
    assert checked(directory).returncode == 1


def drop(count: int) -> Callable[[Path], None]:
    """Take entries away, with their proofs and what belongs to them."""

    def tamper(directory: Path) -> None:
        for name in ("entries.jsonl", "proofs.jsonl"):
            lines(name, lambda all_: all_[: len(all_) - count])(directory)
        (directory / "disclosures.jsonl").write_text("")

    return tamper


def say(**claims: object) -> Callable[[Path], None]:
    """Have the manifest say something else."""

    def tamper(directory: Path) -> None:
        path = directory / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | claims))

    return tamper


@pytest.mark.parametrize(
    "tamper",
    [drop(1), drop(20), say(wanted={"mission_id": str(UUID(int=8))}), say(wanted={}), say(entries=19), say(files={})],
)
def test_nobody_takes_from_a_subset_or_says_that_something_else_was_asked_for(
    subset: Path, tamper: Callable[[Path], None]
) -> None:
    tamper(subset)
    manifest = json.loads((subset / "manifest.json").read_text())
    say(files={name: exports._digest(subset / name) for name in manifest["files"]})(subset)
    done = checked(subset)
    assert done.returncode == 1
    assert "the manifest is not the one that was signed" in done.stderr


@pytest.mark.parametrize("count", [1, 20])
def test_not_even_whoever_signs_takes_from_a_subset_and_keeps_its_count(subset: Path, count: int) -> None:
    drop(count)(subset)
    manifest = json.loads((subset / "manifest.json").read_text())
    manifest["files"] = {name: exports._digest(subset / name) for name in manifest["files"]}
    exports.seal(subset, manifest, signer.key())
    assert f"{20 - count} entries of 321" in checked(subset).stderr


def test_a_whole_bundle_cannot_pass_a_part_off_as_the_whole(bundle: Path) -> None:
    edit("manifest.json", '"subset": false', '"subset": true')(bundle)
    assert checked(bundle).returncode == 1
    exports.seal(bundle, json.loads((bundle / "manifest.json").read_text()), signer.key())
    assert checked(bundle).returncode == 1


def test_a_part_cannot_pass_for_the_whole(subset: Path) -> None:
    edit("manifest.json", '"subset": true', '"subset": false')(subset)
    exports.seal(subset, json.loads((subset / "manifest.json").read_text()), signer.key())
    assert "DOES NOT HOLD" in checked(subset).stderr


def test_without_disclosures_nothing_personal_leaves(written: None, tmp_path: Path) -> None:
    out = io.StringIO()
    call_command("export_log", "--out", str(tmp_path / "b"), "--without-disclosures", stdout=out)
    assert "all 321 entries" in out.getvalue()
    assert b"Ada" not in b"".join(path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file())
    assert not (tmp_path / "b" / "payloads").exists()
    assert checked(tmp_path / "b").returncode == 0


def test_large_payloads_come_along(bundle: Path) -> None:
    (payload,) = (bundle / "payloads").iterdir()
    assert json.loads(payload.read_text()) == {"name": "x" * 70_000}


def test_the_command_exports_a_subset_and_says_who_did(written: None, users: People, tmp_path: Path) -> None:
    who = users.administrator.username
    arguments = ["--mission", str(MISSION), "--fact", "system.*", "--since", "305", "--as", who]
    call_command("export_log", "--out", str(tmp_path / "b"), *arguments, stdout=io.StringIO())
    assert checked(tmp_path / "b").returncode == 0
    entry = Entry.objects.get(fact="auditlog.exported")
    assert entry.actor_kind == "person"
    assert entry.data["subset"] is True
    with pytest.raises(CommandError, match="not empty"):
        call_command("export_log", "--out", str(tmp_path / "b"))
    with pytest.raises(CommandError, match="no administrator"):
        call_command("export_log", "--out", str(tmp_path / "c"), "--as", "nobody")
    with pytest.raises(CommandError, match="not a fact"):
        call_command("export_log", "--out", str(tmp_path / "d"), "--fact", "a*b")


def test_the_program_is_short_and_stands_alone() -> None:
    source = Path(verify.__file__).read_text()
    assert len(source.splitlines()) < 200
    imports = {
        line.split()[1].partition(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))
    }
    assert imports <= set(sys.stdlib_module_names)


@tried(max_examples=25, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100))
def test_its_signature_check_agrees_with_cryptography(seed: bytes, message: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), key.sign(message)
    assert verify.signature_holds(public, signature, message)
    assert not verify.signature_holds(public, signature, message + b"x")
    assert not verify.signature_holds(public, signature[:32] + bytes(32), message)
    late = signature[:32] + (int.from_bytes(signature[32:], "little") + verify.Q).to_bytes(32, "little")
    assert not verify.signature_holds(public, late, message)
    assert not verify.signature_holds(public, signature[:40], message)
