"""What django-eventstream calls its storage is our log: nothing is stored twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Q
from django_eventstream.event import Event
from django_eventstream.storage import EventDoesNotExist, StorageBase

from auditlog import entries
from auditlog.models import Entry, Leaf
from governance.streams import sight
from governance.streams.channels import Channel

BATCH = 500


class LogStorage(StorageBase):
    """Reads facts after a leaf index, as far as the channel's viewer may see them."""

    def append_event(self, channel: str, event_type: str, data: Any) -> Event:
        """Refused: facts come from verbs, by `log.append`."""
        raise NotImplementedError("facts are appended to the log, not to the stream")

    def get_events(self, channel: str, last_id: int, limit: int = 100) -> list[Event]:
        """Up to `limit` events after leaf index `last_id`; raises EventDoesNotExist when that lies ahead of us."""
        try:
            newest = newest_index()
            if last_id > newest:
                raise EventDoesNotExist(f"The log ends at {newest}.", newest)
            return _read(Channel.parse(channel), last_id, limit)
        finally:
            let_go()

    def get_current_id(self, channel: str) -> int:
        """The newest leaf index, -1 while the log is empty."""
        try:
            return newest_index()
        finally:
            let_go()


def newest_index() -> int:
    """The newest leaf index, -1 while the log is empty."""
    newest = Leaf.objects.order_by("-index").values_list("index", flat=True).first()
    return -1 if newest is None else newest


def after(index: int, limit: int, wanted: Q | None = None) -> list[tuple[int, Entry]]:
    """Up to `limit` entries after a leaf index, in order, each with its own index: one query.

    `wanted` is a condition on leaves, such as `entries.matching("approval.*", "entry__")`.
    """
    leaves = Leaf.objects.select_related("entry").filter(wanted or Q(), index__gt=index).order_by("index")
    return [(leaf.index, leaf.entry) for leaf in leaves[:limit]]


def select(channel: Channel, viewer: sight.Viewer, batch: Sequence[tuple[int, Entry]]) -> list[Event]:
    """What of a batch this channel's viewer is shown."""
    wanted = [(index, entry) for index, entry in batch if channel.takes(entry.fact)]
    asked_by = sight.requesters(entry for _, entry in wanted)
    return [
        Event(str(channel), entry.fact, json.dumps(as_json(index, entry)), index)
        for index, entry in wanted
        if viewer.may_see(entry.fact, requester_id=asked_by.get(entry.contract_id) if entry.contract_id else None)
    ]


def as_json(index: int | None, entry: Entry) -> dict[str, Any]:
    """A fact as it is shown on the stream, in webhooks and in lists: no label of a person, only ids."""
    document = entry.document()
    return {
        "index": index,
        "id": str(entry.id),
        "fact": entry.fact,
        "at": document["at"],
        "actor": {"kind": entry.actor_kind, "id": entry.actor_id},
        "subject": {"kind": entry.subject_kind, "id": entry.subject_id},
        "mission_id": str(entry.mission_id) if entry.mission_id else None,
        "contract_id": str(entry.contract_id) if entry.contract_id else None,
        "correlation_id": entry.correlation_id or None,
        "outcome": entry.outcome,
        "data": document.get("data") or {},
    }


def let_go() -> None:
    """Close this thread's connection: a stream lives for minutes and must not sit on one.

    Not inside a transaction, which only a test has open here.
    """
    if not connection.in_atomic_block:
        connection.close()


def _read(channel: Channel, last_id: int, limit: int) -> list[Event]:
    user = get_user_model().objects.filter(pk=channel.user_id).first()
    viewer = sight.viewer_of(user)
    wanted = entries.matching(",".join(channel.globs), "entry__")
    shown: list[Event] = []
    while len(shown) < limit and (batch := after(last_id, BATCH, wanted)):
        shown += select(channel, viewer, batch)
        last_id = batch[-1][0]
    return shown[:limit]
