"""Check a log of Grace with sigstore's own verification of entries in a transparency log.

    python with_sigstore.py --vkey FILE receipt FILE...
    python with_sigstore.py --vkey FILE bundle DIRECTORY...

It needs nothing but the package `sigstore` (pip install sigstore). What is read is parsed here and put into the shapes
sigstore knows: the key as the one log of a TrustedRoot, each entry as a TransparencyLogEntry. Then sigstore decides,
as it does for entries of Rekor: the Merkle inclusion proof, the Ed25519 signature on the checkpoint, and that both
speak of one root. `_verify` is not part of what sigstore promises to keep; the version is pinned for that reason.

What sigstore does not offer: consistency proofs, tiles, and whole bundles (which carry entries and no proofs, so only
subsets are taken here); and it finds a signature by the key's hash alone, so the origin is compared here. Exits with 0
when everything holds, 1 when something does not.
"""

import argparse
import base64
import json
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from sigstore._internal.rekor.checkpoint import SignedCheckpoint
from sigstore._internal.trust import KeyringPurpose
from sigstore.errors import Error
from sigstore.models import TransparencyLogEntry, TrustedRoot
from sigstore_models.rekor.v1 import TransparencyLogEntry as Entry
from sigstore_models.trustroot.v1 import TrustedRoot as Root

# An Ed25519 public key as X.509 writes it, up to the key itself: RFC 8410, 10.1.
ED25519 = bytes.fromhex("302a300506032b6570032100")


REFUSED = (Error, ValueError, OSError, LookupError)


class Log:
    """A log with its key, as sigstore trusts one."""

    def __init__(self, vkey: str) -> None:
        self.name, key_hash, key = vkey.strip().split("+", 2)
        raw = base64.b64decode(key)
        # https://c2sp.org/signed-note: the first four bytes stand in front of each signature.
        self.key_id = sha256(self.name.encode() + b"\n" + raw).digest()
        if self.key_id[:4].hex() != key_hash or raw[:1] != b"\x01":
            raise ValueError("not an Ed25519 verifier key")
        log = {
            "baseUrl": self.name,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": b64(ED25519 + raw[1:]),
                "keyDetails": "PKIX_ED25519",
                "validFor": {"start": "2000-01-01T00:00:00Z"},
            },
            "logId": {"keyId": b64(self.key_id)},
        }
        trusted = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log],
            "certificateAuthorities": [],
            "ctlogs": [],
        }
        root = TrustedRoot(Root.from_json(json.dumps(trusted)))
        self.keyring = root.rekor_keyring(KeyringPurpose.VERIFY)

    def verify(self, entry: bytes, index: int, hashes: list[str], note: str) -> int:
        """The size of the log in which sigstore finds the entry proved. Raises sigstore's errors."""
        checkpoint = SignedCheckpoint.from_text(note).checkpoint
        if checkpoint.origin != self.name:
            raise ValueError(f"a checkpoint of {checkpoint.origin}, not of {self.name}")
        found = {
            "logIndex": str(index),
            "logId": {"keyId": b64(self.key_id)},
            "kindVersion": {"kind": "grace", "version": "1"},
            "canonicalizedBody": b64(entry),
            "inclusionProof": {
                "logIndex": str(index),
                "treeSize": str(checkpoint.log_size),
                "rootHash": b64(bytes.fromhex(checkpoint.log_hash)),
                "hashes": hashes,
                "checkpoint": {"envelope": note},
            },
        }
        TransparencyLogEntry(Entry.from_json(json.dumps(found)))._verify(self.keyring)
        return checkpoint.log_size


def receipt(log: Log, path: Path) -> str:
    """A file as https://c2sp.org/tlog-proof describes it; its extra data are the entry."""
    head, _, note = path.read_text().partition("\n\n")
    header, extra, line, *hashes = head.split("\n")
    if header != "c2sp.org/tlog-proof@v1":
        raise ValueError("not a receipt")
    entry = base64.b64decode(extra.removeprefix("extra "), validate=True)
    index = int(line.removeprefix("index "))
    return f"entry {index}, in a log of {log.verify(entry, index, hashes, note)}"


def bundle(log: Log, directory: Path) -> str:
    """An export that is a subset: each line of entries.jsonl by its line of proofs.jsonl."""
    note = json.loads((directory / "checkpoints.jsonl").read_text().splitlines()[-1])
    entries = (directory / "entries.jsonl").read_bytes().splitlines()
    proofs = [json.loads(line) for line in (directory / "proofs.jsonl").read_text().splitlines()]
    size = 0
    for entry, proof in zip(entries, proofs, strict=True):
        size = log.verify(entry, proof["index"], proof["hashes"], note)
    return f"a SUBSET: {len(entries)} entries proved in a log of {size}"


def each(log: Log, paths: list[Path], check: Callable[[Log, Path], str]) -> str:
    """Check all of these; raises ValueError that names every one that does not hold."""
    held, wrong = [], []
    for path in paths:
        try:
            held.append(check(log, path))
        except REFUSED as why:
            wrong.append(f"{path}: {why}")
    if wrong:
        raise ValueError("\n".join(wrong))
    return "\n".join(held)


def b64(raw: bytes) -> str:
    """Bytes as JSON carries them."""
    return base64.b64encode(raw).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vkey", type=Path, required=True, help="the log's key, from a source you trust")
    parser.add_argument("what", choices=["receipt", "bundle"])
    parser.add_argument("paths", nargs="+", type=Path)
    given = parser.parse_args()
    try:
        log = Log(given.vkey.read_text())
        held = each(log, given.paths, receipt if given.what == "receipt" else bundle)
    except REFUSED as wrong:
        sys.exit(f"DOES NOT HOLD: {wrong or type(wrong).__name__}")
    print("holds:", held)  # noqa: T201


if __name__ == "__main__":
    main()
