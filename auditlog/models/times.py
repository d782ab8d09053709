"""Times that can be read: PostgreSQL also knows infinity and the year 294276, which Python does not."""

from datetime import UTC, datetime

from django.db import models
from django.db.models import Q

READABLE = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC))


def readable(name: str, *columns: str) -> models.CheckConstraint:
    """The constraint that these columns hold no other times: whoever can write one row could keep all from reading."""
    return models.CheckConstraint(condition=Q(**{f"{column}__range": READABLE for column in columns}), name=name)
