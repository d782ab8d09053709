"""JSON and text as people can check them: whole, in a stable form, and with nothing invisible left invisible.

Pure.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

_TOKEN = re.compile(
    r'(?P<key>"(?:\\.|[^"\\])*")(?=\s*:)|(?P<string>"(?:\\.|[^"\\])*")'
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<word>true|false|null)"
)
_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"})


def json_html(value: Any) -> SafeString:
    """A JSON value as indented, coloured HTML."""
    text = visible(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False))
    return format_html_join("", "{}", ((part,) for part in _coloured(text)))


def visible(text: str) -> str:
    """The text with every character that cannot be seen or turns others around as `\\uXXXX`.

    Line breaks and tabs stay. A right-to-left override in a path would otherwise show a reviewer another path.
    """
    return "".join(_escaped(char) if _is_hidden(char) else char for char in text)


def _is_hidden(char: str) -> bool:
    if char in "\n\t ":
        return False
    return unicodedata.category(char) in _HIDDEN or (char.isspace() and char != " ")


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _coloured(text: str) -> Iterator[SafeString | str]:
    at = 0
    for found in _TOKEN.finditer(text):
        yield text[at : found.start()]
        yield format_html('<span class="json__{}">{}</span>', found.lastgroup, found[0])
        at = found.end()
    yield text[at:]
