"""C2SP signed notes and checkpoints: the text form of a signed tree head. Pure.

https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519 = b"\x01"
DASH = "\N{EM DASH}"


class NoteInvalid(ValueError):
    """Text is not a note, or carries no good signature of the key asked for."""


@dataclass(frozen=True)
class Verifier:
    """A public key with its name."""

    name: str
    public: bytes

    @property
    def key_hash(self) -> bytes:
        """The four bytes that tell keys of the same name apart."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """The key as a line of text, as Go's `note.NewVerifier` reads it."""
        return f"{self.name}+{self.key_hash.hex()}+{_b64(ED25519 + self.public)}"

    @classmethod
    def parse(cls, vkey: str) -> Verifier:
        """The key of a vkey line. Raises NoteInvalid."""
        try:
            name, key_hash, key = vkey.strip().split("+", 2)
            raw = _unb64(key)
        except ValueError:
            raise NoteInvalid("not a verifier key") from None
        found = cls(name, raw[1:])
        if raw[:1] != ED25519 or len(raw) != 33 or found.key_hash.hex() != key_hash or not _is_name(name):
            raise NoteInvalid("not an Ed25519 verifier key")
        return found


@dataclass(frozen=True)
class Signer:
    """A private key with its name."""

    name: str
    seed: bytes

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, self._private.public_key().public_bytes_raw())

    @property
    def skey(self) -> str:
        """The key as a line of text, as Go's `note.NewSigner` reads it. A secret."""
        return f"PRIVATE+KEY+{self.name}+{self.verifier.key_hash.hex()}+{_b64(ED25519 + self.seed)}"

    @classmethod
    def parse(cls, skey: str) -> Signer:
        """The key of an skey line. Raises NoteInvalid."""
        try:
            private, key, name, key_hash, raw_text = skey.strip().split("+", 4)
            raw = _unb64(raw_text)
            found = cls(name, raw[1:])
            good = (private, key) == ("PRIVATE", "KEY") and raw[:1] == ED25519 and len(raw) == 33
            good = good and found.verifier.key_hash.hex() == key_hash
        except ValueError:
            good = False
        if not good:
            raise NoteInvalid("not an Ed25519 signer key")
        return found

    def sign(self, text: str) -> str:
        """The signed note over `text`, which ends in a newline."""
        return add_signature(text, self.name, self.verifier.key_hash, self._private.sign(text.encode()))

    @property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def add_signature(text: str, name: str, key_hash: bytes, signature: bytes) -> str:
    """A note of `text` with one signature line. Raises NoteInvalid for a text or name that cannot be signed."""
    if not text.endswith("\n") or any(ord(char) < 0x20 and char != "\n" for char in text):
        raise NoteInvalid("a note's text ends in a newline and holds no control characters")
    if not _is_name(name):
        raise NoteInvalid("a key's name holds no space and no plus")
    return f"{text}\n{DASH} {name} {_b64(key_hash + signature)}\n"


def split(note: str) -> tuple[str, list[str]]:
    """A note's text and its signature lines. Raises NoteInvalid."""
    text, blank, rest = note.rpartition("\n\n")
    lines = rest.split("\n")
    if not blank or not text or lines.pop() != "" or not lines:
        raise NoteInvalid("not a signed note")
    if not all(line.startswith(f"{DASH} ") for line in lines):
        raise NoteInvalid("not a signed note")
    return text + "\n", lines


def verify(note: str, verifier: Verifier) -> str:
    """The text of `note`, once `verifier`'s signature on it is good; other signatures are left alone.

    Raises NoteInvalid when there is none, or when one with this key's name and hash is bad.
    """
    text, lines = split(note)
    good = False
    for line in lines:
        try:
            name, raw = line.removeprefix(f"{DASH} ").split(" ")
            decoded = _unb64(raw)
        except ValueError:
            raise NoteInvalid("not a signed note") from None
        if name == verifier.name and decoded[:4] == verifier.key_hash:
            _check(verifier, decoded[4:], text)
            good = True
    if not good:
        raise NoteInvalid(f"no signature by {verifier.name}")
    return text


def _check(verifier: Verifier, signature: bytes, text: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(verifier.public).verify(signature, text.encode())
    except InvalidSignature:
        raise NoteInvalid(f"bad signature by {verifier.name}") from None


@dataclass(frozen=True)
class Head:
    """What a checkpoint says: whose log, how large, and its root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{_b64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Head:
        """The checkpoint in a note's text; extension lines are allowed. Raises NoteInvalid."""
        lines = text.split("\n")
        try:
            origin, size_text, root_text = lines[:3]
            size, root = int(size_text), _unb64(root_text)
        except ValueError:
            raise NoteInvalid("not a checkpoint") from None
        if not origin or str(size) != size_text or size < 0 or len(root) != 32:
            raise NoteInvalid("not a checkpoint")
        return cls(origin, size, root)


def open_checkpoint(note: str, verifier: Verifier) -> Head:
    """The head in a note signed by `verifier`, whose name is the origin. Raises NoteInvalid."""
    head = Head.parse(verify(note, verifier))
    if head.origin != verifier.name:
        raise NoteInvalid(f"a checkpoint of {head.origin}, not of {verifier.name}")
    return head


def _is_name(name: str) -> bool:
    return bool(name) and not any(char.isspace() or char == "+" for char in name)


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _unb64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
