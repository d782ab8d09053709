"""Checking a receipt: a C2SP tlog-proof with the entry's own bytes. https://c2sp.org/tlog-proof

`proofs.receipt` makes them. Pure: a receipt and the log's key are all there is to it.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from . import merkle, notes
from .notes import Head, Verifier

HEADER = "c2sp.org/tlog-proof@v1"


class ReceiptInvalid(ValueError):
    """It is no receipt, or it does not prove what it says."""


@dataclass(frozen=True)
class Proven:
    """What a receipt proves: these bytes are the entry at `index` of the log whose head was signed."""

    index: int
    entry: bytes
    head: Head

    @property
    def document(self) -> dict[str, Any]:
        """What the entry says."""
        found: dict[str, Any] = json.loads(self.entry)
        return found


def check(receipt: str, verifier: Verifier) -> Proven:
    """What a receipt proves to somebody who trusts this key. Raises ReceiptInvalid."""
    try:
        text, _, checkpoint = receipt.partition("\n\n")
        header, extra, index_line, *hashes = text.split("\n")
        if header != HEADER or not extra.startswith("extra ") or not index_line.startswith("index "):
            raise ReceiptInvalid("This is not a receipt of a log.")
        index, entry = int(index_line.removeprefix("index ")), _unb64(extra.removeprefix("extra "))
        head = notes.open_checkpoint(checkpoint, verifier)
        path = [_unb64(each) for each in hashes]
        merkle.verify_inclusion(merkle.leaf_hash(entry), index, head.size, path, head.root)
    except (notes.NoteInvalid, merkle.ProofInvalid, binascii.Error) as wrong:
        raise ReceiptInvalid(str(wrong)) from None
    except ReceiptInvalid:
        raise
    except ValueError:
        raise ReceiptInvalid("This is not a receipt of a log.") from None
    return Proven(index, entry, head)


def _unb64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
