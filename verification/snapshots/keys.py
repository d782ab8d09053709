"""The signature over manifests: Ed25519, with a key of its own."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature

from verification.keys import private_key

DOMAIN = b"grace snapshot manifest 1\n"
KEY = "snapshots"


def sign(manifest: bytes) -> str:
    """The signature (hex) over a manifest; the key is made when it is needed first."""
    return private_key(KEY).sign(DOMAIN + manifest).hex()


def is_signed(manifest: bytes, signature: str) -> bool:
    """Whether this installation signed the manifest."""
    try:
        private_key(KEY).public_key().verify(bytes.fromhex(signature), DOMAIN + manifest)
    except (InvalidSignature, ValueError):
        return False
    return True
