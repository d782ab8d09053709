"""The key that signs manifests: an Ed25519 key in a file only its owner may read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verification import configuration

DOMAIN = b"grace snapshot manifest 1\n"


def sign(manifest: bytes) -> str:
    """The signature (hex) over a manifest; the key is made when it is needed first."""
    return _key().sign(DOMAIN + manifest).hex()


def is_signed(manifest: bytes, signature: str) -> bool:
    """Whether this installation signed the manifest."""
    try:
        _key().public_key().verify(bytes.fromhex(signature), DOMAIN + manifest)
    except (InvalidSignature, ValueError):
        return False
    return True


def _key() -> Ed25519PrivateKey:
    path = configuration.var_dir() / "keys" / "snapshots.key"
    with suppress(FileNotFoundError):
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip()))
    _make(path)
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip()))


def _make(path: Path) -> None:
    """Write a fresh key; when two processes make one at once, the first to link it wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    own = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(Ed25519PrivateKey.generate().private_bytes_raw().hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(own, path)
    own.unlink()
