"""A permit in writing: a JSON Web Token (RFC 7519), signed by this installation with Ed25519 (RFC 8037).

The system an agent works on can check one with any library for such tokens and `public_key()`: that Grace issued it, to
whom, for what, and until when. There is one header and one algorithm; what says otherwise is refused unread.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature

from verification.keys import private_key

KEY = "permits"
ISSUER = "grace"
MAX_CHARS = 200_000


class Forged(Exception):
    """It was not written by this installation, or was changed since."""


def write(claims: Mapping[str, Any]) -> str:
    """The signed text of these claims."""
    signed = f"{_HEADER}.{_coded(_json({'iss': ISSUER, **claims}))}"
    return f"{signed}.{_coded(private_key(KEY).sign(signed.encode()))}"


def read(text: str) -> dict[str, Any]:
    """The claims of a permit; raises Forged unless this installation signed exactly this text."""
    header, _, rest = text.partition(".")
    payload, _, signature = rest.partition(".")
    if header != _HEADER or len(text) > MAX_CHARS:
        raise Forged("this is no permit of this kind")
    try:
        private_key(KEY).public_key().verify(_decoded(signature), f"{header}.{payload}".encode())
    except (InvalidSignature, ValueError):
        raise Forged("the signature is not this installation's") from None
    claims: dict[str, Any] = json.loads(_decoded(payload))
    return claims


def public_key() -> dict[str, str]:
    """The key that checks permits, as a JSON Web Key (RFC 8037)."""
    raw = private_key(KEY).public_key().public_bytes_raw()
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "x": _coded(raw)}


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    """The bytes of base64url text; raises ValueError unless it is the one way to write them."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if _coded(data) != text:
        raise ValueError("not the one way to write it")
    return data


_HEADER = _coded(_json({"alg": "EdDSA", "typ": "JWT"}))
