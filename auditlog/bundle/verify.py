"""Check an export bundle of a Grace log: standard library only, no network, no Grace.

What it proves: the lines of entries.jsonl are the entries of the log whose key is given, all of them or (in a subset)
each at its place, and the bundle is as it was made: its manifest is signed. A subset proves what is in it and not what
is missing. Whose key that is, it cannot know: compare vkey.txt with a copy from elsewhere, or pass that with --vkey. A
root you noted, passed with --root, proves that nothing was rewritten since. Exits with 1 when something does not hold.
"""

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from functools import cache, partial, reduce
from heapq import merge
from itertools import accumulate, islice
from pathlib import Path

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
BASE = bytes.fromhex("58" + "66" * 31)
Point = tuple[int, int, int, int]
Head = tuple[int, bytes]  # how large the log was, and its root
Wrong = ValueError  # something does not hold
text_of = partial(open, encoding="utf-8")


def point_add(a: Point, b: Point) -> Point:
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    x, y, z, t = f - e, h - g, h + g, f + e
    return (x * y % P, t * z % P, y * z % P, x * t % P)


def decompress(raw: bytes) -> Point:
    sign, y = divmod(int.from_bytes(raw, "little"), 1 << 255)
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    x = x if (x * x - x2) % P == 0 else x * SQRT_M1 % P
    if y >= P or (x * x - x2) % P or (x == 0 and sign):
        raise Wrong("not a point of the curve")
    x = P - x if x & 1 != sign else x
    return (x, y, 1, x * y % P)


@cache
def multiples(raw: bytes) -> list[list[Point]]:
    """0 to 15 times a point, in the next row 16 times as much: made once, they check signatures ten times as fast."""
    rows, point = [], decompress(raw)
    for _ in range(64):
        rows.append([*accumulate([point] * 15, point_add, initial=(0, 1, 1, 0))])
        point = point_add(rows[-1][-1], point)
    return rows


def signature_holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Ed25519, RFC 8032 5.1.7: whether its first half is its second times BASE less the challenge times the key."""
    scalar = int.from_bytes(signature[32:], "little")
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % Q
    factors = ((scalar, BASE), (8 * Q - challenge, public))
    summands = (row[by >> 4 * at & 15] for by, point in factors for at, row in enumerate(multiples(point)))
    x, y, z, _ = reduce(point_add, summands)
    x, y = x * pow(z, -1, P) % P, y * pow(z, -1, P) % P
    return len(signature) == 64 and scalar < Q and (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]


def signed_text(note: str, vkey: str) -> tuple[str, list[str]]:
    """The name of the key, and the lines of a note that it signed."""
    name, key_hash, key = vkey.strip().split("+", 2)
    public = base64.b64decode(key)[1:]
    if hashlib.sha256(name.encode() + b"\n\x01" + public).hexdigest()[:8] != key_hash:
        raise Wrong("the key does not have its own hash")
    text, _, signatures = note.rpartition("\n\n")
    mine = [base64.b64decode(line.split(" ")[2]) for line in signatures.splitlines() if line.split(" ")[1] == name]
    mine = [raw[4:] for raw in mine if raw[:4].hex() == key_hash]
    if not mine or not all(signature_holds(public, raw, text.encode() + b"\n") for raw in mine):
        raise Wrong(f"no good signature of the key under {text!r}")
    return name, text.split("\n")


def signed(directory: Path, vkey: str) -> Iterator[Head]:
    """Every checkpoint, oldest first."""
    with text_of(directory / "checkpoints.jsonl") as notes:
        for note in notes:
            name, (origin, size, root, *_) = signed_text(json.loads(note), vkey)
            if origin != name:
                raise Wrong(f"a checkpoint of {origin}, not of {name}")
            yield int(size), base64.b64decode(root)


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
    with (directory / "entries.jsonl").open("rb", 1 << 18) as lines:
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
    with (directory / "entries.jsonl").open("rb") as lines, text_of(directory / "proofs.jsonl") as proofs:
        for count, (line, text) in enumerate(zip(lines, proofs, strict=True), 1):  # noqa: B007 - the count is the answer
            proof = json.loads(text)
            if proof["index"] <= previous:
                raise Wrong("the entries are not in order")
            previous, path = proof["index"], [base64.b64decode(each) for each in proof["hashes"]]
            prove(hashlib.sha256(b"\x00" + line[:-1]).digest(), previous, size, path, root)
    return count


def disclosures(directory: Path) -> int:
    """Personal values are what the entries have committed to."""
    count, at, line = 0, -1, b""
    with (directory / "entries.jsonl").open("rb", 1 << 18) as lines, text_of(directory / "disclosures.jsonl") as values:
        for count, (value, _) in enumerate(map(json.JSONDecoder().raw_decode, values), 1):  # noqa: B007 - the answer
            if value["line"] != at:
                at, line = value["line"], next(islice(lines, value["line"] - at - 1, None))
            # Within a string the quotes would be escaped, and no earlier member of an entry has this name.
            committed = line.partition(b'"commitments":[')[2].partition(b"]")[0]
            digest = hashlib.sha256(bytes.fromhex(value["salt"]) + value["value"].encode()).hexdigest()
            said = f'{{"pointer":"{value["pointer"]}","sha256":"{digest}"}}'
            if said.count('"') != 8 or said.encode() not in committed:
                raise Wrong(f"{value['pointer']} of line {at} is not what was committed to")
    return count


def check(directory: Path, vkey: str, known: list[Head]) -> str:
    """Everything; a sentence about what holds."""
    raw = (directory / "manifest.json").read_bytes()
    name, text = signed_text((directory / "manifest.note").read_text("utf-8"), vkey)
    if text != [f"{name}/bundle", hashlib.sha256(raw).hexdigest()]:
        raise Wrong("the manifest is not the one that was signed when the bundle was made")
    manifest = json.loads(raw)
    for path in {*manifest["files"], *(f"payloads/{each.name}" for each in (directory / "payloads").glob("*"))}:
        with (directory / path).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != manifest["files"].get(path) or path.partition("payloads/")[2] not in ("", f"{found}.json"):
            raise Wrong(f"{path} is not the file the manifest speaks of")
    heads = signed(directory, vkey)
    if manifest["subset"]:
        *_, (size, root) = heads
        if {*known} - {(size, root)}:
            raise Wrong("a part of a log is compared with the root it was proved by only")
        count = subset(directory, size, root)
        held = f"a SUBSET: {count} entries proved in a log of {size}, not that none is missing of {manifest['wanted']}"
    else:
        size, root, seen = whole(directory, merge(heads, sorted(known)))
        count, held = size, f"all {size} entries of the log, and {seen - len(known)} checkpoints with good signatures"
    if (manifest["entries"], manifest["size"], manifest["root"]) != (count, size, root.hex()):
        raise Wrong(f"{count} entries of {size} with root {root.hex()} are not what the manifest speaks of")
    return f"{held}; {disclosures(directory)} personal values; root {root.hex()} at {size}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--vkey", type=Path, help="the log's key, from a source you trust")
    parser.add_argument("--root", action="append", default=[], metavar="SIZE:HEX", help="a root you noted earlier")
    given = parser.parse_args()
    known = [(int(size), bytes.fromhex(root)) for size, _, root in (each.partition(":") for each in given.root)]
    vkey = (given.vkey or given.directory / "vkey.txt").read_text("utf-8")
    try:
        print("holds:", check(given.directory, vkey, known))  # noqa: T201
    except (Wrong, KeyError, IndexError, OSError, StopIteration, TypeError) as wrong:
        sys.exit(f"DOES NOT HOLD: {wrong or type(wrong).__name__}")
    if given.vkey is None:
        print("The key came with the bundle: compare it with a copy you were given by another way:", vkey.strip())  # noqa: T201


if __name__ == "__main__":
    main()
