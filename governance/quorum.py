"""Who fills which slot: a maximum matching of distinct people to the places a request has to fill.

Pure. A person counts once in a request, for one slot; "one of SRE and one of Security" needs two people even when
one of them belongs to both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Approval:
    """One person's yes: who, and the groups they may speak for."""

    person: int
    groups: Collection[str]


@dataclass(frozen=True)
class Slot:
    """A place for one person of a group; `person` is None while it is open."""

    group: str
    person: int | None = None


def fill(requirements: Iterable[tuple[str, int]], approvals: Sequence[Approval]) -> list[Slot]:
    """Every slot of `(group, count)` requirements, filled by as many of the people as can be placed at once.

    Augmenting paths in the order the approvals came: who was placed stays placed, and may only move to another
    slot to make room.
    """
    groups = [group for group, count in requirements for _ in range(count)]
    speaks_for = {approval.person: frozenset(approval.groups) for approval in approvals}
    placed: dict[int, int] = {}
    for person in speaks_for:
        _place(person, groups, speaks_for, placed, set())
    return [Slot(group, placed.get(index)) for index, group in enumerate(groups)]


def complete(slots: Iterable[Slot]) -> bool:
    """Whether every slot is filled. No slots at all is complete: nobody was asked."""
    return all(slot.person is not None for slot in slots)


def _place(
    person: int,
    groups: Sequence[str],
    speaks_for: dict[int, frozenset[str]],
    placed: dict[int, int],
    tried: set[int],
) -> bool:
    for index, group in enumerate(groups):
        if index in tried or group not in speaks_for[person]:
            continue
        tried.add(index)
        if index not in placed or _place(placed[index], groups, speaks_for, placed, tried):
            placed[index] = person
            return True
    return False
