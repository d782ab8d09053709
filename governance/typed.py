"""What people type into forms, as what verbs take; everything that cannot be read is named at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.http import QueryDict

from auditlog.refusals import FieldError, Refused

Read = TypeVar("Read")


class NotReadable(Refused):
    """A field does not hold what it asks for; `errors` names each."""

    code = "not_readable"
    kind = Refused.Kind.INVALID


class Unclear(ValueError):
    """What was typed can be read, but not in one way only; says why."""


class Form:
    """The fields of a form that was sent. What cannot be read is None until `finish` raises."""

    def __init__(self, sent: QueryDict | Mapping[str, str]) -> None:
        """Of `request.POST`, or of its single values."""
        self._sent = sent
        self._errors: list[FieldError] = []

    def text(self, name: str) -> str:
        """A text without the blanks around it."""
        return self._sent.get(name, "").strip()

    def choices(self, name: str) -> list[str]:
        """The boxes that were ticked."""
        return self._sent.getlist(name) if isinstance(self._sent, QueryDict) else self.words(name)

    def words(self, name: str) -> list[str]:
        """Words separated by blanks, commas or new lines."""
        return self.text(name).replace(",", " ").split()

    def whole(self, name: str, *, otherwise: int | None = None) -> Any:
        """A whole number; `otherwise` when nothing was typed, which is wrong without it."""
        return self._read(name, int, "A whole number is expected.", otherwise)

    def hours(self, name: str) -> Any:
        """Hours, perhaps with a fraction, in seconds."""
        return self._read(name, lambda text: round(float(text) * 3600), "A number of hours is expected.", None)

    def span(self, name: str, *, otherwise: timedelta) -> Any:
        """A length of time, typed in hours; `otherwise` when nothing was."""
        return self._read(name, lambda text: timedelta(hours=float(text)), "A number of hours is expected.", otherwise)

    def time(self, name: str, *, required: bool = True) -> Any:
        """A time in UTC, as browsers send one."""
        if not required and not self.text(name):
            return None
        return self._read(name, _utc, "A time in UTC is expected, such as 2026-11-27T18:00.", None)

    def id(self, name: str) -> Any:
        """The id of a row."""
        return self._read(name, UUID, "An id is expected, as the page of the thing shows it.", None)

    def object(self, name: str) -> Any:
        """A JSON object; an empty one when nothing was typed."""
        return self._read(name, _object, "A JSON object is expected.", {})

    def finish(self) -> None:
        """Raise NotReadable when a field could not be read."""
        if self._errors:
            raise NotReadable(self._errors[0].detail, errors=self._errors)

    def _read(self, name: str, convert: Callable[[str], Read], wrong: str, otherwise: Read | None) -> Read | None:
        text = self.text(name)
        if not text and otherwise is not None:
            return otherwise
        try:
            return convert(text)
        except (ValueError, OverflowError, RecursionError) as error:
            where = f" ({_where(error)})" if isinstance(error, json.JSONDecodeError | Unclear | RecursionError) else ""
            self._errors.append(FieldError(f"/{name}", NotReadable.code, f"{wrong.rstrip('.')}{where}."))
            return None


def _utc(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _where(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno}: {error.msg}"
    return "nested too deep" if isinstance(error, RecursionError) else str(error)


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text, object_pairs_hook=_members, parse_constant=_no_constant)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _members(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, refused when a name stands in it twice: a reader would see one of them, and the other count."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise Unclear(f"the name {name[:80]!r} stands twice in the same object")
        found[name] = value
    return found


def _no_constant(name: str) -> None:
    raise Unclear(f"{name} is not JSON")


def for_input(at: datetime) -> str:
    """A time as a field for times takes it: in UTC, to the minute."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M")
