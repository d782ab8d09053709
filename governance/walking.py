"""Walking over everything that is due, in batches, so that what is due and cannot be done keeps nothing waiting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet

Row = TypeVar("Row", bound=Model)


def ids_by(rows: QuerySet[Row], column: str, *, at_once: int) -> Iterator[UUID]:
    """The ids of rows in the order of a column that is never null; each query reads at most `at_once` of them.

    Rows that change meanwhile are met at most once.
    """
    after: tuple[Any, UUID] | None = None
    while True:
        left = rows
        if after is not None:
            left = rows.filter(Q(**{f"{column}__gt": after[0]}) | Q(**{column: after[0]}, pk__gt=after[1]))
        batch = list(left.order_by(column, "pk").values_list(column, "pk")[:at_once])
        yield from (pk for _, pk in batch)
        if len(batch) < at_once:
            return
        after = batch[-1]
