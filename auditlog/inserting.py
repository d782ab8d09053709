"""Putting entries into the database: as few statements as the database allows.

On PostgreSQL one statement writes the entries and their places in the sequencer's queue, from one JSON
parameter; on SQLite, which has one writer at a time anyway, the writer gives its entries their places in the tree.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connections, transaction
from django.utils import timezone

from . import sequencer
from .models import Entry, Pending

_TYPES = {"UUIDField": "uuid", "BinaryField": "text", "DateTimeField": "timestamptz", "CharField": "text"}
_FIELDS = [(field.attname, _TYPES[field.get_internal_type()]) for field in Entry._meta.concrete_fields]
# One parameter for all rows: quoting arrays, or a parameter for each value, takes longer than writing the rows.
_INSERT = (
    "WITH given AS MATERIALIZED (SELECT * FROM ROWS FROM (json_to_recordset(%s::json)"  # noqa: S608 - our own names
    f" AS ({', '.join(f'{name} {kind}' for name, kind in _FIELDS)}, leaf_hash text))"
    f" WITH ORDINALITY AS rows ({', '.join(name for name, _ in _FIELDS)}, leaf_hash, number)),"
    f" written AS (INSERT INTO auditlog_entry ({', '.join(name for name, _ in _FIELDS)})"
    f" SELECT {', '.join('decode(bytes, $$hex$$)' if name == 'bytes' else name for name, _ in _FIELDS)} FROM given)"
    " INSERT INTO auditlog_pending (entry_id, leaf_hash, recorded_at)"
    " SELECT id, decode(leaf_hash, $$hex$$), recorded_at FROM given ORDER BY number"
)


def insert(entries: Sequence[Entry], leaf_hashes: Sequence[bytes], *, using: str) -> None:
    """Write entries in the transaction around, and see to it that they get their places in the tree."""
    if connections[using].vendor == "postgresql":
        _queue(entries, leaf_hashes, using)
        transaction.on_commit(sequencer.sequence_soon, using=using)
    else:
        Entry.objects.using(using).bulk_create(entries)
        queue = [
            Pending(entry_id=entry.id, leaf_hash=leaf_hash, recorded_at=entry.recorded_at)
            for entry, leaf_hash in zip(entries, leaf_hashes, strict=True)
        ]
        sequencer.place(queue, using=using, now=timezone.now())
        transaction.on_commit(sequencer.deliver_soon, using=using)


def _queue(entries: Sequence[Entry], leaf_hashes: Sequence[bytes], using: str) -> None:
    rows = [
        {name: _as_json(getattr(entry, name)) for name, _ in _FIELDS} | {"leaf_hash": leaf_hash.hex()}
        for entry, leaf_hash in zip(entries, leaf_hashes, strict=True)
    ]
    with connections[using].cursor() as cursor:
        cursor.execute(_INSERT, [json.dumps(rows, ensure_ascii=False)])


def _as_json(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)
