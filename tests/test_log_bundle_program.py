"""The program in a bundle, on bundles written without a log: any size, any order, and no more memory for more lines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import pytest

from auditlog import exports, merkle, notes
from auditlog.bundle import verify

SIGNER = notes.Signer("grace.invalid/log/program", b"\1" * 32)
SALT = bytes(16)

Head = tuple[int, bytes]


def entry(number: int, *, personal: bool = False) -> bytes:
    """Bytes of an entry; in its text stands what could be taken for a commitment."""
    label = {"pointer": "/actor/label", "sha256": sha256(SALT + b"Ada").hexdigest()}
    decoy = f'","commitments":[{json.dumps(label)}],"x":"'
    document = {"actor": {"label": decoy}, "commitments": [label] if personal else [], "data": {"number": number}}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def written(directory: Path, lines: Iterable[bytes], seen: Callable[[int], bool], *, personal: bool = False) -> Path:
    """A bundle of these entries, signed at every size which `seen` accepts."""
    directory.mkdir()
    edge = merkle.Frontier()
    signed = [(0, edge.root())] if seen(0) else []
    with (directory / "entries.jsonl").open("wb") as out, (directory / "disclosures.jsonl").open("w") as disclosed:
        for number, raw in enumerate(lines):
            out.write(raw + b"\n")
            edge.append(merkle.leaf_hash(raw))
            if seen(edge.size):
                signed.append((edge.size, edge.root()))
            if personal:
                value = {"line": number, "pointer": "/actor/label", "value": "Ada", "salt": SALT.hex()}
                disclosed.write(json.dumps(value) + "\n")
    (directory / "vkey.txt").write_text(SIGNER.verifier.vkey)
    sign(directory, signed)
    return directory


def sign(directory: Path, heads: list[Head], by: notes.Signer = SIGNER) -> None:
    """Write the checkpoints, and a signed manifest over everything."""
    texts = [by.sign(notes.Head(SIGNER.name, *head).text()) for head in heads]
    checkpoints(directory, texts)


def checkpoints(directory: Path, texts: list[str]) -> None:
    (directory / "checkpoints.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    files = {}
    for path in directory.rglob("*"):
        if path.is_file() and not path.name.startswith("manifest."):
            with path.open("rb") as file:
                files[str(path.relative_to(directory))] = file_digest(file, "sha256").hexdigest()
    edge = merkle.Frontier()
    for line in (directory / "entries.jsonl").read_bytes().splitlines():
        edge.append(merkle.leaf_hash(line))
    claims = {"entries": edge.size, "size": edge.size, "root": edge.root().hex()}
    exports.seal(directory, {**claims, "subset": False, "wanted": {}, "files": files}, SIGNER)


def claim(directory: Path, by: notes.Signer = SIGNER, **claims: Any) -> None:
    """Have a signed manifest say something else."""
    manifest = json.loads((directory / "manifest.json").read_text())
    exports.seal(directory, manifest | claims, by)


def check(directory: Path, *known: Head) -> str:
    return verify.check(directory, SIGNER.verifier.vkey, list(known))


def root_of(count: int) -> bytes:
    return merkle.root_of([merkle.leaf_hash(entry(number)) for number in range(count)])


def bundle(tmp_path: Path, count: int = 5, *, seen: Callable[[int], bool] = lambda size: size in (2, 5)) -> Path:
    return written(tmp_path / "bundle", map(entry, range(count)), seen)


# --- any size --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 7, 8, 9, 255, 256, 257])
def test_a_log_of_any_size_holds(tmp_path: Path, size: int) -> None:
    directory = written(tmp_path / "b", map(entry, range(size)), lambda _: True)
    held = f"holds: all {size} entries of the log, and {size + 1} checkpoints with good signatures; 0 personal values"
    assert f"holds: {check(directory)}".startswith(held)
    assert check(directory, (size, root_of(size)), (0, merkle.EMPTY_ROOT))


def test_every_entry_is_proved_at_its_place_and_at_no_other() -> None:
    leaves = [merkle.leaf_hash(bytes([number])) for number in range(40)]

    def hash_at(node: merkle.Node) -> bytes:
        level, index = node
        return merkle.root_of(leaves[index << level : (index + 1) << level])

    def proves(index: int, size: int, path: list[bytes], leaf: bytes, root: bytes) -> bool:
        try:
            verify.prove(leaf, index, size, path, root)
        except verify.Wrong:
            return False
        return True

    for size in range(1, len(leaves) + 1):
        root = merkle.root_of(leaves[:size])
        for index in range(size):
            path = merkle.inclusion_proof(index, size, hash_at)
            assert proves(index, size, path, leaves[index], root)
            assert [at for at in range(size + 2) if proves(at, size, path, leaves[index], root)] == [index]
            assert not proves(index, size, [*path, bytes(32)], leaves[index], root)
            assert not path or not proves(index, size, path[:-1], leaves[index], root)


# --- what was seen ---------------------------------------------------------------------------------------------


def test_a_root_noted_elsewhere_is_compared_in_its_turn(tmp_path: Path) -> None:
    directory = bundle(tmp_path)
    assert ", and 2 checkpoints" in check(directory, (3, root_of(3)), (1, root_of(1)))
    for size, root in [(3, root_of(4)), (6, root_of(6)), (5, root_of(4)), (0, root_of(1))]:
        with pytest.raises(verify.Wrong, match="root that was seen"):
            check(directory, (size, root))


@pytest.mark.parametrize(
    ("heads", "why"),
    [
        ([(2, root_of(3)), (5, root_of(5))], "do not have the root"),
        ([(5, root_of(5)), (2, root_of(2))], "do not have the root"),
        ([(2, root_of(2)), (4, root_of(4))], "more entries are here"),
        ([(2, root_of(2)), (6, root_of(6))], "do not have the root"),
        ([(2, root_of(2)), (5, root_of(5)), (5, root_of(4))], "do not have the root"),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path, heads: list[Head], why: str) -> None:
    directory = bundle(tmp_path)
    sign(directory, heads)
    with pytest.raises(verify.Wrong, match=why):
        check(directory)


@pytest.mark.parametrize("which", range(6))
def test_every_signature_is_checked(tmp_path: Path, which: int) -> None:
    directory = bundle(tmp_path)
    heads = [notes.Head(SIGNER.name, size, root_of(size)).text() for size in range(6)]
    signed = [SIGNER.sign(text) for text in heads]
    checkpoints(directory, signed)
    assert ", and 6 checkpoints with good signatures" in check(directory)
    # Signed over another text, with the right name and hash.
    signed[which] = f"{heads[which]}\n{SIGNER.sign('x' + heads[which]).partition(chr(10) * 2)[2]}"
    checkpoints(directory, signed)
    with pytest.raises(verify.Wrong, match="no good signature"):
        check(directory)


def test_signatures_are_those_of_the_key_and_over_checkpoints_of_its_log(tmp_path: Path) -> None:
    directory = bundle(tmp_path)
    sign(directory, [(2, root_of(2)), (5, root_of(5))], by=notes.Signer(SIGNER.name, bytes(32)))
    with pytest.raises(verify.Wrong, match="no good signature"):
        check(directory)
    checkpoints(directory, [SIGNER.sign(notes.Head("grace.invalid/log/other", 5, root_of(5)).text())])
    with pytest.raises(verify.Wrong, match="a checkpoint of grace"):
        check(directory)
    for none in ([], ["\n"]):
        checkpoints(directory, none)
        with pytest.raises((verify.Wrong, IndexError)):
            check(directory)


# --- what the manifest says ------------------------------------------------------------------------------------


@pytest.mark.parametrize("false", [{"entries": 6}, {"size": 6}, {"root": "00" * 32}, {"entries": 0, "size": 0}])
def test_a_manifest_that_says_otherwise_is_refused_whoever_signed_it(tmp_path: Path, false: dict[str, Any]) -> None:
    directory = bundle(tmp_path)
    claim(directory, **false)
    with pytest.raises(verify.Wrong, match="not what the manifest speaks of"):
        check(directory)


@pytest.mark.parametrize(
    "false", [{"entries": 6}, {"files": {}}, {"wanted": {"fact": "a"}}, {"more": 1}, {"subset": True}]
)
def test_a_manifest_that_is_not_the_signed_one_is_refused(tmp_path: Path, false: dict[str, Any]) -> None:
    directory = bundle(tmp_path)
    note = (directory / "manifest.note").read_text()
    claim(directory, **false)
    (directory / "manifest.note").write_text(note)
    with pytest.raises(verify.Wrong, match="not the one that was signed"):
        check(directory)
    claim(directory, by=notes.Signer(SIGNER.name, bytes(32)))
    with pytest.raises(verify.Wrong, match="no good signature"):
        check(directory)


def test_a_checkpoint_is_not_a_signature_under_a_manifest_nor_the_other_way_round(tmp_path: Path) -> None:
    directory = bundle(tmp_path)
    note = (directory / "manifest.note").read_text()
    with pytest.raises(notes.NoteInvalid, match="not a checkpoint"):
        notes.open_checkpoint(note, SIGNER.verifier)
    (directory / "manifest.note").write_text(SIGNER.sign(notes.Head(SIGNER.name, 5, root_of(5)).text()))
    with pytest.raises(verify.Wrong, match="not the one that was signed"):
        check(directory)
    checkpoints(directory, [note])
    with pytest.raises(verify.Wrong):
        check(directory)


# --- what goes with the entries --------------------------------------------------------------------------------


def test_a_commitment_is_read_from_its_place_only(tmp_path: Path) -> None:
    committed = written(tmp_path / "a", [entry(1, personal=True)], bool, personal=True)
    assert "; 1 personal values" in check(committed)
    # The same value, which only the text of the entry speaks of.
    with pytest.raises(verify.Wrong, match="is not what was committed to"):
        check(written(tmp_path / "b", [entry(1)], bool, personal=True))
    # Nor is anything passed off by a pointer that holds two commitments.
    label = sha256(SALT + b"Ada").hexdigest()
    forged = {
        "line": 0,
        "pointer": f'/actor/label","sha256":"{label}"}},{{"pointer":"/x',
        "value": "Ada",
        "salt": SALT.hex(),
    }
    (committed / "disclosures.jsonl").write_text(json.dumps(forged) + "\n")
    sign(committed, [(1, merkle.root_of([merkle.leaf_hash(entry(1, personal=True))]))])
    with pytest.raises(verify.Wrong, match="is not what was committed to"):
        check(committed)


def test_a_payload_is_what_its_name_says(tmp_path: Path) -> None:
    directory = bundle(tmp_path)
    (directory / "payloads").mkdir()
    payload = directory / "payloads" / f"{sha256(b'{}').hexdigest()}.json"
    for text, why in [("{}", None), ("[]", "not the file the manifest speaks of")]:
        payload.write_text(text)
        sign(directory, [(5, root_of(5))])
        if why is None:
            assert check(directory)
        else:
            with pytest.raises(verify.Wrong, match=why):
                check(directory)


def test_a_payload_that_was_added_to_a_bundle_is_noticed(tmp_path: Path) -> None:
    directory = bundle(tmp_path)
    (directory / "payloads").mkdir()
    assert check(directory)
    (directory / "payloads" / f"{sha256(b'{}').hexdigest()}.json").write_text("{}")
    with pytest.raises(verify.Wrong, match="not the file the manifest speaks of"):
        check(directory)


def test_it_reads_names_in_any_language_on_any_machine(tmp_path: Path) -> None:
    label = {"pointer": "/actor/label", "sha256": sha256(SALT + "Zoë".encode()).hexdigest()}
    directory = written(tmp_path / "b", [json.dumps({"commitments": [label]}, separators=(",", ":")).encode()], bool)
    value = {"line": 0, "pointer": "/actor/label", "value": "Zoë", "salt": SALT.hex()}
    (directory / "disclosures.jsonl").write_text(json.dumps(value, ensure_ascii=False) + "\n", "utf-8")
    sign(directory, [(1, merkle.root_of([merkle.leaf_hash((directory / "entries.jsonl").read_bytes()[:-1])]))])
    # A machine whose files are in Latin-1, such as others than this one have.
    argv = [sys.executable, "-I", "-X", "utf8=0", "-c", IN_LATIN_1, verify.__file__, str(directory)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.startswith("holds: "), done.stdout + done.stderr


IN_LATIN_1 = """
import _locale, io, runpy, sys
io.text_encoding = lambda encoding, stacklevel=2: encoding or "latin-1"
_open = open
def in_latin_1(file, mode="r", buffering=-1, encoding=None, *rest):
    return _open(file, mode, buffering, encoding or (None if "b" in mode else "latin-1"), *rest)
import builtins
builtins.open = io.open = in_latin_1
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


# --- how much memory it takes ----------------------------------------------------------------------------------

# What a process is forked from counts as its own peak until it starts another program; so this starts one.
WITH_PEAK = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def peak(directory: Path) -> int:
    """Kilobytes the program took at most."""
    argv = [sys.executable, "-I", "-S", "-c", WITH_PEAK, verify.__file__, str(directory)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("holds: ")
    return int(done.stdout.splitlines()[-1])


def test_more_lines_take_no_more_memory(tmp_path: Path) -> None:
    def personal(directory: str, count: int) -> Path:
        lines = (entry(number, personal=True) for number in range(count))
        return written(tmp_path / directory, lines, lambda size: size % 40 == 0, personal=True)

    few, many = peak(personal("few", 1_000)), peak(personal("many", 40_000))
    assert many - few < 1024, f"{few} KB for 1,000 lines, {many} KB for 40,000"
