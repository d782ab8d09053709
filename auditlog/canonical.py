"""The exact bytes of a document: RFC 8785, restricted so that every JSON library agrees about them.

Restricted domain (`dumps`): member names `[a-z0-9_]+`, no floats, integers below 2^53, text that is Unicode.
JSON that comes from outside goes in as one canonical string (`foreign`), since it may hold anything.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import orjson

MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 32
_NAME = re.compile(r"[a-z0-9_]+")

JsonValue = None | bool | int | str | list[Any] | dict[str, Any]


class NotCanonical(ValueError):
    """A value has no canonical form; `pointer` (RFC 6901) names the offending member."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(f"{pointer or '/'}: {detail}")
        self.pointer = pointer
        self.detail = detail


def dumps(value: object) -> bytes:
    """The canonical bytes of `value`. Raises NotCanonical."""
    return encode(plain(value))


def encode(value: JsonValue) -> bytes:
    """The canonical bytes of what `plain` has made. Raises NotCanonical for text with lone surrogates."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        plain(value)
        raise


def stamp(at: datetime) -> str:
    """A time as it is written in the log: UTC, microseconds, `Z`. Raises ValueError for a naive time."""
    if at.tzinfo is None:
        raise ValueError("a time in the log must be aware")
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


def plain(value: object, pointer: str = "", depth: int = 0) -> JsonValue:
    """`value` in plain JSON types of the restricted domain; times, UUIDs and enums become text.

    Raises NotCanonical, whose pointer begins with `pointer`.
    """
    if depth > MAX_DEPTH:
        raise NotCanonical(pointer, f"nested deeper than {MAX_DEPTH}")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return plain(value.value, pointer, depth)
    if isinstance(value, str):
        return _text(value, pointer)
    if isinstance(value, int):
        return _integer(value, pointer)
    if isinstance(value, Mapping):
        return {_name(name, pointer): _below(item, pointer, name, depth) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_below(item, pointer, index, depth) for index, item in enumerate(value)]
    return _text_of_scalar(value, pointer)


def _below(value: Any, pointer: str, name: object, depth: int) -> Any:
    """A member or item. The usual ones need no pointer, and making one takes longer than looking at them."""
    kind = type(value)
    if value is None or kind is bool or (kind is str and value.isascii()):
        return value
    if kind is int and -MAX_INTEGER <= value <= MAX_INTEGER:
        return value
    return plain(value, f"{pointer}/{escape(name)}", depth + 1)


def escape(name: object) -> str:
    """A member name as a token of a JSON pointer."""
    return str(name).replace("~", "~0").replace("/", "~1")


def _text_of_scalar(value: object, pointer: str) -> str:
    if isinstance(value, datetime):
        try:
            return stamp(value)
        except ValueError as error:
            raise NotCanonical(pointer, str(error)) from None
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, float):
        raise NotCanonical(pointer, "a float has no place in the log; write it as text or as an integer")
    raise NotCanonical(pointer, f"{type(value).__name__} has no canonical form")


def _text(value: str, pointer: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotCanonical(pointer, "text holds a lone surrogate") from None
    return str(value)


def _integer(value: int, pointer: str) -> int:
    if abs(value) > MAX_INTEGER:
        raise NotCanonical(pointer, "integer is not below 2^53; write it as text")
    return int(value)


def _name(name: object, pointer: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise NotCanonical(f"{pointer}/{escape(name)}", "member name is not [a-z0-9_]+")
    return str(name)


def foreign(value: object) -> bytes:
    """Canonical bytes of JSON from outside: full RFC 8785, any names, floats allowed.

    Integers of 2^53 and more keep all their digits instead of being rounded to a double: rounding would give two
    different documents the same digest. Raises NotCanonical for NaN, infinities and what is not JSON.
    """
    return "".join(_foreign(value, "", 0)).encode()


def _foreign(value: object, pointer: str, depth: int) -> list[str]:
    if depth > MAX_DEPTH * 4:
        raise NotCanonical(pointer, f"nested deeper than {MAX_DEPTH * 4}")
    if isinstance(value, Enum):
        return _foreign(value.value, pointer, depth)
    if isinstance(value, Mapping):
        return _foreign_object(value, pointer, depth)
    if isinstance(value, list | tuple):
        parts = ["["]
        for index, item in enumerate(value):
            parts += [",", *_foreign(item, f"{pointer}/{index}", depth + 1)][0 if index else 1 :]
        return [*parts, "]"]
    if isinstance(value, float):
        return [_number(value, pointer)]
    if value is None or isinstance(value, bool | int):
        return [json.dumps(value)]
    text = _text(value, pointer) if isinstance(value, str) else _text_of_scalar(value, pointer)
    return [json.dumps(text, ensure_ascii=False)]


def _foreign_object(value: Mapping[Any, object], pointer: str, depth: int) -> list[str]:
    if not all(isinstance(name, str) for name in value):
        raise NotCanonical(pointer, "member names must be text")
    parts = ["{"]
    for position, name in enumerate(sorted(value, key=lambda each: each.encode("utf-16-be", "surrogatepass"))):
        at = f"{pointer}/{escape(name)}"
        key = json.dumps(_text(name, at), ensure_ascii=False)
        parts += [",", key, ":", *_foreign(value[name], at, depth + 1)][0 if position else 1 :]
    return [*parts, "}"]


def _number(value: float, pointer: str) -> str:
    """A double as ECMAScript writes it (RFC 8785, 3.2.2.3)."""
    if not math.isfinite(value):
        raise NotCanonical(pointer, "NaN and infinities are not JSON")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent_text = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent_text or 0) - (len(whole + fraction) - len((whole + fraction).lstrip("0")))
    digits = digits.rstrip("0")
    return sign + _placed(digits, point)


def _placed(digits: str, point: int) -> str:
    """0.`digits` times ten to the power of `point`, in ECMAScript's choice of notation."""
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    exponent = point - 1
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{mantissa}e{'+' if exponent > 0 else '-'}{abs(exponent)}"
