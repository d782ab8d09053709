"""JSON Schemas and patterns that cannot be turned against us: nothing is fetched, patterns are linear.

A `$ref` to another host is refused instead of fetched, and patterns run on an engine without backtracking, so
that neither a schema nor a text can make a check hang. Validators are compiled once and kept by their user.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import jsonschema_rs

from auditlog.refusals import FieldError

MAX_PATTERN_CHARS = 512
MAX_ERRORS = 20

_CODES = {
    "required": "missing",
    "additionalProperties": "unknown_member",
    "unevaluatedProperties": "unknown_member",
    "type": "wrong_type",
    "enum": "not_allowed",
    "constant": "not_allowed",
    "pattern": "no_match",
    "minimum": "out_of_range",
    "maximum": "out_of_range",
    "exclusiveMinimum": "out_of_range",
    "exclusiveMaximum": "out_of_range",
    "minLength": "too_short",
    "maxLength": "too_long",
    "minItems": "too_short",
    "maxItems": "too_long",
    "maxProperties": "too_long",
}


class InvalidSchema(ValueError):
    """The schema or the pattern itself cannot be used; the text says why."""


class Schema:
    """A compiled JSON Schema (draft 2020-12); raises InvalidSchema when it does not compile."""

    def __init__(self, document: Mapping[str, Any] | bool) -> None:
        """Compile it once."""
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                document if isinstance(document, bool) else dict(document),
                retriever=_deny,
                pattern_options=jsonschema_rs.RegexOptions(),
                validate_formats=True,
            )
        except (ValueError, TypeError) as exc:
            raise InvalidSchema(_first_line(exc)) from exc

    def accepts(self, instance: Any) -> bool:
        """Whether the instance is valid."""
        return bool(self._validator.is_valid(instance))

    def errors(self, instance: Any, at: str = "") -> list[FieldError]:
        """What is wrong with the instance, at most 20 errors; `at` is the pointer of the instance itself."""
        found: list[FieldError] = []
        for error in self._validator.iter_errors(instance):
            found.extend(_field_errors(error, at))
            if len(found) >= MAX_ERRORS:
                break
        return found[:MAX_ERRORS]


def pattern(text: str) -> Callable[[str], bool]:
    """A predicate "this text contains a match", linear in the text; raises InvalidSchema."""
    if len(text) > MAX_PATTERN_CHARS:
        raise InvalidSchema(f"a pattern has at most {MAX_PATTERN_CHARS} characters")
    try:
        validator = jsonschema_rs.Draft202012Validator(
            {"type": "string", "pattern": text},
            retriever=_deny,
            pattern_options=jsonschema_rs.RegexOptions(),
        )
    except ValueError as exc:
        raise InvalidSchema("not a regular expression (look-around and back-references are not known)") from exc
    return lambda value: bool(validator.is_valid(value))


def pointer(parts: Iterable[str | int]) -> str:
    """An RFC 6901 JSON pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _deny(uri: str) -> NoReturn:
    raise ValueError(f"a schema may not refer to {uri[:200]}")


def _field_errors(error: jsonschema_rs.ValidationError, at: str) -> list[FieldError]:
    here = at + pointer(error.instance_path)
    kind = error.kind
    code = _CODES.get(kind.name, "invalid")
    if code == "unknown_member":
        return [
            FieldError(here + pointer([name]), code, f"{name[:80]!r} is not known here.")
            for name in kind.as_dict().get("unexpected", [])
        ]
    if code == "missing":
        name = kind.as_dict().get("property", "")
        return [FieldError(here + pointer([name]), code, f"{name!r} is required.")]
    if kind.name == "falseSchema":
        return [FieldError(here, "unknown_member", "Nothing is known here.")]
    return [FieldError(here, code, _shorten(error.message) + ".")]


def _shorten(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _first_line(exc: Exception) -> str:
    return _shorten(re.split(r"\n", str(exc), maxsplit=1)[0])
