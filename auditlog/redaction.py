"""Secrets never enter: what is withheld from the log and from log lines, by class of field."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

REDACTED = "[redacted]"

# Longer names are not remembered, so that what comes from outside cannot fill the memory.
LONG_NAME = 100

_names: dict[str, re.Pattern[str]] = {}
_values: dict[tuple[str, str], re.Pattern[str]] = {}


def register_names(field_class: str, pattern: str) -> None:
    """Members whose whole name (lower case, `-` read as `_`) matches `pattern` are withheld."""
    _names[field_class] = re.compile(pattern)
    _known.cache_clear()


def register_values(field_class: str, pattern: str, *, signs: tuple[str, ...] = ("",)) -> None:
    """Text matching `pattern` is withheld wherever it stands; a group called `keep` survives.

    Text that holds none of the `signs` is not looked at: finding a sign is far quicker than finding a pattern.
    """
    _values.update({(field_class, sign): re.compile(pattern) for sign in signs})


@functools.lru_cache(maxsize=2048)
def _known(name: str) -> bool:
    return _matches(name)


def _matches(name: str) -> bool:
    spelled = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")
    return any(pattern.fullmatch(spelled) for pattern in _names.values())


register_names(
    "secret",
    r"(.*_)?(password|passwd|passphrase|secret|secret_key|private_key|api_?key|access_?key|credentials?)"
    r"|(.*_)?(access|refresh|bearer|auth|session|csrf|csrfmiddleware|api|id)?_?token"
    r"|(proxy_)?authorization|(set_)?cookie|sessionid|x_api_key|dsn|database_url|redis_url|celery_broker_url",
)
register_values("bearer", r"(?P<keep>\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{8,}", signs=("Bearer", "Basic"))
register_values("url_credentials", r"(?P<keep>\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+(?=@)", signs=("://",))
register_values(
    "private_key",
    r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    signs=("PRIVATE KEY-----",),
)


def scrub(value: Any, *, name: str | None = None) -> Any:
    """`value` without its secrets, as a new structure. Numbers under a secret name (a fencing token) stay."""
    if isinstance(value, str):
        return REDACTED if value and name is not None and is_secret(name) else _scrubbed(value)
    if isinstance(value, dict | Mapping):
        if name is not None and is_secret(name):
            return REDACTED
        return {key: scrub(item, name=str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(item, name=name) for item in value]
    if isinstance(value, bytes) and name is not None and is_secret(name):
        return REDACTED
    return value


def is_secret(name: str) -> bool:
    """Whether a member of this name is withheld."""
    return _known(name) if len(name) <= LONG_NAME else _matches(name)


def _scrubbed(text: str) -> str:
    for (_, sign), pattern in _values.items():
        if sign in text:
            text = pattern.sub(_kept, text)
    return text


def _kept(match: re.Match[str]) -> str:
    return (match.groupdict().get("keep") or "") + REDACTED


def structlog_processor(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The same redaction for log lines; put it last before rendering."""
    for key, value in list(event.items()):
        event[key] = scrub(value, name=None if key in ("event", "exc_info") else key)
    return event


Processor = Callable[[object, str, MutableMapping[str, Any]], MutableMapping[str, Any]]
