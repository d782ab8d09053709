"""The trigger mesh: the log itself, heard by subscribers with durable cursors.

Delivery is at least once and in order; one delivery at a time for each subscriber, under a lease. A subscriber
that fails is tried again with backoff and holds up nobody but itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db.models import F, Max, Q, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from . import context, entries
from .models import Entry, Leaf, Subscription

logger = structlog.get_logger(__name__)

LEASE = timedelta(seconds=60)
BATCH = 200
BACKOFF_BASE_SECONDS = 2.0
BACKOFF_CAP_SECONDS = 600.0

React = Callable[[Entry], None]


class AlreadySubscribed(RuntimeError):
    """Two subscribers were given the same name."""


@dataclass(frozen=True)
class Subscriber:
    """Who listens to what; `from_start` hears the whole log, otherwise only what comes after first being seen."""

    name: str
    facts: tuple[str, ...]
    react: React
    from_start: bool = False

    @property
    def glob(self) -> str:
        """The facts as one glob of `entries.matching`."""
        return ",".join(self.facts)


_subscribers: dict[str, Subscriber] = {}


def subscribe(*facts: str, name: str, from_start: bool = False) -> Callable[[React], React]:
    """Register a function to be called with every entry whose fact matches one of the globs."""
    entries.matching(",".join(facts))

    def register(react: React) -> React:
        if name in _subscribers:
            raise AlreadySubscribed(name)
        _subscribers[name] = Subscriber(name, facts, react, from_start)
        return react

    return register


def subscribers() -> dict[str, Subscriber]:
    """All registered subscribers by name."""
    return dict(sorted(_subscribers.items()))


def register_all(now: datetime | None = None) -> None:
    """Give every subscriber its row. A new one starts at the current end of the log unless it asked otherwise."""
    known = set(Subscription.objects.values_list("name", flat=True))
    new = [each for each in _subscribers.values() if each.name not in known]
    if not new:
        return
    end = _end()
    Subscription.objects.bulk_create(
        [
            Subscription(
                name=each.name,
                facts=list(each.facts),
                cursor=0 if each.from_start else end,
                created_at=now or timezone.now(),
            )
            for each in new
        ],
        ignore_conflicts=True,
    )


def behind(now: datetime | None = None) -> list[str]:
    """Names of subscribers that have something to hear and may be tried now."""
    at = now or timezone.now()
    register_all(at)
    waiting = Subscription.objects.filter(name__in=_subscribers, cursor__lt=_end())
    return list(waiting.filter(Q(due_at=None) | Q(due_at__lte=at)).values_list("name", flat=True))


def failing(since: datetime) -> dict[str, datetime]:
    """Subscribers that have failed at every try from `since` or earlier on, and from when on."""
    found = Subscription.objects.filter(name__in=_subscribers, failing_since__lte=since)
    return {row.name: row.failing_since for row in found.order_by("name") if row.failing_since is not None}


def ahead() -> dict[str, int]:
    """Subscribers said to have heard more than there is, and so deaf to what comes, with their cursors."""
    last = Leaf.objects.order_by("-index").values("index")[:1]
    found = Subscription.objects.filter(cursor__gt=Coalesce(Subquery(last) + 1, 0))
    return dict(found.order_by("name").values_list("name", "cursor"))


def deliver(subscriber: str, *, now: datetime | None = None, limit: int = BATCH) -> int:
    """Deliver what is waiting for one subscriber; returns how many entries it took.

    Does nothing while another delivery holds the lease or the subscriber's backoff runs. With `now` given, the
    clock is not asked.
    """
    found = _subscribers.get(subscriber)
    at = now or timezone.now()
    register_all(at)
    token = _claim(subscriber, at) if found else None
    if found is None or token is None:
        return 0
    try:
        return _drain(found, token, now, limit)
    finally:
        Subscription.objects.filter(name=subscriber, token=token).update(lease_until=None)


def deliver_all(*, now: datetime | None = None) -> int:
    """Deliver, in this process, to everyone who is behind; returns how many entries were taken."""
    return sum(deliver(name, now=now) for name in behind(now))


def _claim(name: str, now: datetime) -> int | None:
    row = Subscription.objects.filter(name=name).first()
    if row is None:
        return None
    free = Subscription.objects.filter(name=name, token=row.token)
    free = free.filter(Q(lease_until=None) | Q(lease_until__lt=now), Q(due_at=None) | Q(due_at__lte=now))
    taken = free.update(token=F("token") + 1, lease_until=now + LEASE)
    return row.token + 1 if taken else None


def _drain(subscriber: Subscriber, token: int, now: datetime | None, limit: int) -> int:
    taken = 0
    while taken < limit:
        row = Subscription.objects.filter(name=subscriber.name, token=token).first()
        end = _end()
        if row is None or row.cursor >= end:
            break
        leaf = _next(subscriber, row.cursor, end)
        if leaf is None:
            _advance(subscriber, token, end, now)
            break
        if not _hear(subscriber, token, leaf, now):
            break
        taken += 1
    return taken


def _next(subscriber: Subscriber, cursor: int, end: int) -> Leaf | None:
    """The next leaf of interest at or after the cursor, looked for in steps so that no query scans the log."""
    for start in range(cursor, end, 5000):
        window = Leaf.objects.select_related("entry").filter(index__gte=start, index__lt=min(start + 5000, end))
        wanted = window.filter(entries.matching(subscriber.glob, "entry__")).order_by("index").first()
        if wanted is not None:
            return wanted
    return None


def _hear(subscriber: Subscriber, token: int, leaf: Leaf, now: datetime | None) -> bool:
    entry = leaf.entry
    ids = context.ObservabilityContext(
        correlation_id=entry.correlation_id,
        contract_id=entry.contract_id,
        mission_id=entry.mission_id,
        subscriber=subscriber.name,
    )
    try:
        with ids, context.caused_by(entry.id):
            subscriber.react(entry)
    except Exception as error:  # noqa: BLE001 - whatever a subscriber raises is its failure, not the mesh's
        _failed(subscriber, token, leaf, error, now or timezone.now())
        return False
    return _advance(subscriber, token, leaf.index + 1, now)


def _advance(subscriber: Subscriber, token: int, cursor: int, now: datetime | None) -> bool:
    at = now or timezone.now()
    moved = Subscription.objects.filter(name=subscriber.name, token=token, cursor__lte=cursor).update(
        cursor=cursor,
        failures=0,
        failing_since=None,
        last_error="",
        due_at=None,
        delivered_at=at,
        lease_until=at + LEASE,
    )
    return bool(moved)


def _failed(subscriber: Subscriber, token: int, leaf: Leaf, error: Exception, now: datetime) -> None:
    row = Subscription.objects.filter(name=subscriber.name, token=token).first()
    if row is None:
        return
    failures = row.failures + 1
    wait = min(BACKOFF_BASE_SECONDS * 2 ** min(failures - 1, 20), BACKOFF_CAP_SECONDS)
    wait *= random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
    text = f"{type(error).__name__}: {error}"[:2000]
    Subscription.objects.filter(name=subscriber.name, token=token).update(
        failures=failures,
        failing_since=row.failing_since or now,
        last_error=f"at leaf {leaf.index}: {text}",
        due_at=now + timedelta(seconds=wait),
    )
    logger.warning(
        "subscriber_failed", subscriber=subscriber.name, leaf_index=leaf.index, failures=failures, error=text
    )


def _end() -> int:
    """One past the last leaf."""
    last = Leaf.objects.aggregate(last=Max("index"))["last"]
    return 0 if last is None else last + 1
