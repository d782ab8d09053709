"""Pages by key, not by number: stable while rows are added, and as quick at the end as at the beginning."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model, Q, QuerySet

from auditlog.refusals import FieldError, Kind, Refused

M = TypeVar("M", bound=Model)

LIMIT = 50
MAX_LIMIT = 1000


class BadCursor(Refused):
    """The cursor did not come from a page of this list."""

    code = "bad_cursor"
    kind = Kind.MALFORMED


@dataclass(frozen=True)
class Page(Generic[M]):
    """Some rows in order, and the cursors of the pages around them."""

    items: list[M]
    next: str | None
    previous: str | None


def cut(rows: QuerySet[M], *, order: Sequence[str], limit: int, cursor: str | None = None) -> Page[M]:
    """The page after (or before) a cursor: one query. Raises BadCursor.

    `order` names columns that are never null, "-" first for descending; together they are unique.
    """
    backwards, at = _read(cursor, len(order)) if cursor else (False, None)
    direction = [_turned(name) for name in order] if backwards else list(order)
    selected = rows.order_by(*direction)
    if at is not None:
        selected = _beyond(selected, direction, at)
    found = list(selected[: limit + 1])
    more, items = len(found) > limit, found[:limit]
    if backwards:
        items.reverse()
    # Where we came from there is at least one row, which the cursor was made of.
    after, before = (at is not None, more) if backwards else (more, at is not None)
    return Page(
        items,
        next=_write(items[-1], order, backwards=False) if items and after else None,
        previous=_write(items[0], order, backwards=True) if items and before else None,
    )


def _turned(name: str) -> str:
    return name.removeprefix("-") if name.startswith("-") else f"-{name}"


def _beyond(rows: QuerySet[M], order: Sequence[str], at: Sequence[Any]) -> QuerySet[M]:
    condition, equal = Q(), Q()
    first = order[0].removeprefix("-")
    # Says nothing new, but this much an index over the first column can begin at; an alternative it cannot.
    bound = Q(**{f"{first}__{'lte' if order[0].startswith('-') else 'gte'}": at[0]})
    for name, value in zip(order, at, strict=True):
        column = name.removeprefix("-")
        condition |= equal & Q(**{f"{column}__{'lt' if name.startswith('-') else 'gt'}": value})
        equal &= Q(**{column: value})
    try:
        return rows.filter(bound, condition)
    except (ValidationError, ValueError, TypeError, FieldDoesNotExist):
        raise _bad() from None


def _write(row: Model, order: Sequence[str], *, backwards: bool) -> str:
    at = [_value(row, name.removeprefix("-")) for name in order]
    text = json.dumps([backwards, *at], cls=_Exact, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _value(row: Any, path: str) -> Any:
    for name in path.split("__"):
        row = getattr(row, name)
    return row


def _read(cursor: str, length: int) -> tuple[bool, list[Any]]:
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        raise _bad() from None
    if not isinstance(parts, list) or len(parts) != length + 1 or not isinstance(parts[0], bool):
        raise _bad()
    if not all(_is_key(part) for part in parts[1:]):
        raise _bad()
    return parts[0], parts[1:]


def _is_key(part: object) -> bool:
    """Whether a forged cursor cannot make the database stumble over this."""
    if isinstance(part, int):
        return abs(part) < 2**63
    return isinstance(part, str) and len(part) < 100 and "\x00" not in part


def _bad() -> BadCursor:
    detail = "The cursor is not one of this list; begin again without it."
    return BadCursor(detail, errors=[FieldError("/cursor", BadCursor.code, detail)])


class _Exact(DjangoJSONEncoder):
    """Times with all their microseconds; Django's own encoder cuts them to milliseconds."""

    def default(self, value: Any) -> Any:
        """A time in full, everything else as Django does it."""
        return value.isoformat() if hasattr(value, "isoformat") else super().default(value)
