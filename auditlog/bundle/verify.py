"""Check an export bundle of a Grace log: standard library only, no network, no Grace.

What it proves: the lines of entries.jsonl are the entries of the log whose key is given, all of them or (when the
bundle says that it is a subset) each at its place. Whose key that is, it cannot know: compare vkey.txt with a copy you
were given by another way, or pass that copy with --vkey. A root you noted earlier, passed with --root, proves that
the log has not been rewritten since. Exits with 0 when everything holds, 1 when something does not.
"""

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from functools import reduce
from heapq import merge
from itertools import islice
from pathlib import Path

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
BASE = bytes.fromhex("58" + "66" * 31)
Point = tuple[int, int, int, int]
Head = tuple[int, bytes]  # how large the log was, and its root


class Wrong(Exception):
    """Something does not hold."""


def point_add(a: Point, b: Point) -> Point:
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    x, y, z, t = f - e, h - g, h + g, f + e
    return (x * y % P, t * z % P, y * z % P, x * t % P)


def point_multiply(scalar: int, point: Point) -> Point:
    total = (0, 1, 1, 0)
    for bit in f"{scalar:b}":
        total = point_add(total, total)
        total = point_add(total, point) if bit == "1" else total
    return total


def decompress(raw: bytes) -> Point:
    sign, y = divmod(int.from_bytes(raw, "little"), 1 << 255)
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    x = x if (x * x - x2) % P == 0 else x * SQRT_M1 % P
    if y >= P or (x * x - x2) % P or (x == 0 and sign):
        raise Wrong("not a point of the curve")
    x = P - x if x & 1 != sign else x
    return (x, y, 1, x * y % P)


def signature_holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Ed25519, RFC 8032 5.1.7."""
    scalar = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or scalar >= Q:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % Q
    left = point_multiply(scalar, decompress(BASE))
    right = point_add(decompress(signature[:32]), point_multiply(challenge, decompress(public)))
    return not ((left[0] * right[2] - right[0] * left[2]) % P or (left[1] * right[2] - right[1] * left[2]) % P)


def open_note(note: str, vkey: str, check: bool = True) -> Head:
    """The size and root in a signed checkpoint."""
    name, key_hash, key = vkey.strip().split("+", 2)
    public = base64.b64decode(key)[1:]
    if hashlib.sha256(name.encode() + b"\n\x01" + public).hexdigest()[:8] != key_hash:
        raise Wrong("the key does not have its own hash")
    text, _, signatures = note.rpartition("\n\n")
    mine = [base64.b64decode(line.split(" ")[2]) for line in signatures.splitlines() if line.split(" ")[1] == name]
    mine = [raw[4:] for raw in mine if raw[:4].hex() == key_hash]
    if not mine or (check and not all(signature_holds(public, raw, text.encode() + b"\n") for raw in mine)):
        raise Wrong("a checkpoint carries no good signature of the key")
    origin, size, root = text.split("\n")[:3]
    if origin != name:
        raise Wrong(f"a checkpoint of {origin}, not of {name}")
    return int(size), base64.b64decode(root)


def signed(directory: Path, vkey: str, every: bool) -> Iterator[Head]:
    """What was signed, oldest first. The signature of the last is always checked, or that of every one."""
    with (directory / "checkpoints.jsonl").open() as notes:
        note = next(notes, "")
        for later in notes:
            yield open_note(json.loads(note), vkey, check=every)
            note = later
        yield open_note(json.loads(note), vkey)


def node(right: bytes, left: bytes) -> bytes:  # in the order in which a tree is folded from its right edge
    return hashlib.sha256(b"\x01" + left + right).digest()


def prove(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> None:
    """Inclusion, RFC 9162 2.1.3. Once the leaf's way joins that of the last one, siblings stand on the left only."""
    joined = (index ^ (size - 1)).bit_length()
    for height, sibling in enumerate(path):
        leaf = node(leaf, sibling) if height >= joined or index >> height & 1 else node(sibling, leaf)
    if index >= size or len(path) != joined + (index >> joined).bit_count() or leaf != root:
        raise Wrong(f"entry {index} is not proved")


def whole(directory: Path, seen: Iterable[Head]) -> tuple[int, bytes, int]:
    """Recompute the tree of all entries, comparing each root seen on the way; size, root, and how many were seen."""
    sha256, size, root, count, frontier = hashlib.sha256, 0, b"", 0, list[bytes]()
    with (directory / "entries.jsonl").open("rb") as lines:
        for count, (end, root) in enumerate(seen, 1):  # noqa: B007 - the count is returned
            for line in islice(lines, max(end - size, 0)):
                value, bits = sha256(b"\x00" + line[:-1]).digest(), size
                while bits & 1:
                    value = sha256(b"\x01" + frontier.pop() + value).digest()
                    bits >>= 1
                frontier.append(value)
                size += 1
            if size != end or reduce(node, reversed(frontier or [sha256().digest()])) != root:
                raise Wrong(f"the first {size} entries do not have the root that was seen of {end}")
        if next(lines, None) is not None:
            raise Wrong(f"more entries are here than the {size} that were signed")
    return size, root, count


def subset(directory: Path, size: int, root: bytes) -> int:
    """Prove each entry at its place."""
    count, previous = 0, -1
    with (directory / "entries.jsonl").open("rb") as lines, (directory / "proofs.jsonl").open() as proofs:
        for count, (line, text) in enumerate(zip(lines, proofs, strict=True), 1):  # noqa: B007 - the count is the answer
            proof = json.loads(text)
            if proof["index"] <= previous:
                raise Wrong("the entries are not in order")
            previous = proof["index"]
            path = [base64.b64decode(each) for each in proof["hashes"]]
            prove(hashlib.sha256(b"\x00" + line[:-1]).digest(), previous, size, path, root)
    return count


def disclosures(directory: Path) -> int:
    """Personal values are what the entries have committed to."""
    count, at, line, read = 0, -1, b"", json.JSONDecoder().raw_decode
    with (directory / "entries.jsonl").open("rb") as lines, (directory / "disclosures.jsonl").open() as values:
        for count, text in enumerate(values, 1):  # noqa: B007 - the count is the answer
            value = read(text)[0]
            while at < value["line"]:
                at, line = at + 1, next(lines)
            # Within a string the quotes would be escaped, and no earlier member of an entry has this name.
            committed = read(line.partition(b'"commitments":')[2].decode())[0]
            digest = hashlib.sha256(bytes.fromhex(value["salt"]) + value["value"].encode()).hexdigest()
            if {"pointer": value["pointer"], "sha256": digest} not in committed:
                raise Wrong(f"{value['pointer']} of line {at} is not what was committed to")
    return count


def check(directory: Path, vkey: str, known: list[Head], all_signatures: bool) -> str:
    """Everything; a sentence about what holds."""
    manifest = json.loads((directory / "manifest.json").read_text())
    for name, digest in manifest["files"].items():
        with (directory / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise Wrong(f"{name} is not the file the manifest speaks of")
    for path in (directory / "payloads").glob("*"):
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.stem:
            raise Wrong(f"{path.name} does not hold what the entry that names it speaks of")
    notes = signed(directory, vkey, all_signatures)
    if manifest["subset"]:
        *_, (size, root) = notes
        if {*known} - {(size, root)}:
            raise Wrong("a part of a log is compared with the root it was proved by only")
        held = f"a SUBSET: {subset(directory, size, root)} entries proved in a log of {size}"
    else:
        size, root, count = whole(directory, merge(notes, sorted(known)))
        held = f"all {size} entries of the log, and {count - len(known)} checkpoints"
    return f"{held}; {disclosures(directory)} personal values; root {root.hex()} at {size}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--vkey", type=Path, help="the log's key, from a source you trust")
    parser.add_argument("--root", action="append", default=[], metavar="SIZE:HEX", help="a root you noted earlier")
    parser.add_argument("--all-signatures", action="store_true", help="check every signature, not only the last")
    given = parser.parse_args()
    known = [(int(size), bytes.fromhex(root)) for size, _, root in (each.partition(":") for each in given.root)]
    vkey = (given.vkey or given.directory / "vkey.txt").read_text()
    try:
        print("holds:", check(given.directory, vkey, known, given.all_signatures))  # noqa: T201
    except (Wrong, ValueError, KeyError, IndexError, OSError, StopIteration, TypeError) as wrong:
        sys.exit(f"DOES NOT HOLD: {wrong or type(wrong).__name__}")
    if given.vkey is None:
        print("The key came with the bundle: compare it with a copy you were given by another way:", vkey.strip())  # noqa: T201


if __name__ == "__main__":
    main()
