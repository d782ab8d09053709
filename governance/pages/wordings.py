"""One action in several wordings, side by side: what was proposed, what was approved, and what ran. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ABSENT = object()
"""What stands where a wording lacks a member."""


@dataclass(frozen=True)
class Column:
    """One wording: what it is called, which revision it is and whose, and its members."""

    title: str
    about: str
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One member that is not the same everywhere, by its JSON pointer; `values` are in the order of the columns."""

    pointer: str
    values: list[Any]


def leaves(value: Any, at: str = "") -> dict[str, Any]:
    """Every member of a JSON document that holds no further members, by its pointer; lists are taken whole."""
    if not isinstance(value, Mapping) or not value:
        return {at or "/": value}
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= leaves(inner, f"{at}/{str(name).replace('~', '~0').replace('/', '~1')}")
    return found


def compared(documents: Sequence[Any]) -> list[Row]:
    """The members in which documents differ from one another."""
    flat = [leaves(each) for each in documents]
    rows = [Row(pointer, [each.get(pointer, ABSENT) for each in flat]) for pointer in sorted(set().union(*flat))]
    return [row for row in rows if any(value != row.values[0] for value in row.values[1:])]


def distinct(documents: Sequence[Any]) -> list[dict[str, Any]]:
    """Of each document the members that not all of them share, by pointer."""
    rows = compared(documents)
    return [
        {row.pointer: row.values[index] for row in rows if row.values[index] is not ABSENT}
        for index in range(len(documents))
    ]
