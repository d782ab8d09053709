"""The log: what was said, where it stands in the tree, and what was signed."""

from __future__ import annotations

from typing import Any

from django.db import models

from auditlog import canonical, parsing

from .times import readable

UNREADABLE = "The bytes of this entry cannot be read: the rest is what its columns say."
_IDS = ("mission_id", "contract_id", "correlation_id", "caused_by")


class Entry(models.Model):
    """One fact: the canonical bytes that are hashed, and projections of them for search. Append-only.

    The key is the whole identity and nothing in the database refers to it by a constraint, so that the table can be
    partitioned by it (a UUIDv7 sorts by time).
    """

    id = models.UUIDField(primary_key=True, editable=False)
    bytes = models.BinaryField()
    recorded_at = models.DateTimeField()
    fact = models.CharField(max_length=100)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.CharField(max_length=200)
    subsystem = models.CharField(max_length=50)
    subject_kind = models.CharField(max_length=50)
    subject_id = models.CharField(max_length=200)
    mission_id = models.UUIDField(null=True)
    contract_id = models.UUIDField(null=True)
    correlation_id = models.CharField(max_length=200, null=True)
    caused_by = models.UUIDField(null=True)
    outcome = models.CharField(max_length=30)

    class Meta:
        verbose_name_plural = "entries"
        constraints = [readable("entry_time", "recorded_at")]
        indexes = [
            models.Index(fields=["recorded_at"], name="entry_recorded_at"),
            models.Index(
                fields=["fact", "recorded_at"],
                name="entry_fact",
                # With these a prefix such as approval.* is found whatever the collation of the database.
                opclasses=["varchar_pattern_ops", "timestamptz_ops"],
            ),
            models.Index(fields=["recorded_at"], name="entry_failed", condition=~models.Q(outcome="success")),
            models.Index(fields=["subject_id", "subject_kind"], name="entry_subject"),
            models.Index(fields=["actor_id", "recorded_at"], name="entry_actor"),
            models.Index(fields=["mission_id"], name="entry_mission", condition=models.Q(mission_id__isnull=False)),
            models.Index(fields=["contract_id"], name="entry_contract", condition=models.Q(contract_id__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.fact} {self.subject_kind}:{self.subject_id}"

    def document(self) -> dict[str, Any]:
        """What the bytes say; where they are no entry, what the columns say, and that (`data.unreadable`)."""
        try:
            return parsing.entry(bytes(self.bytes))
        except parsing.Unreadable:
            return self._from_columns()

    def _from_columns(self) -> dict[str, Any]:
        return {
            **{name: (value := getattr(self, name)) and str(value) for name in _IDS},
            "id": str(self.pk),
            "at": canonical.stamp(self.recorded_at),
            "fact": self.fact,
            "actor": {"kind": self.actor_kind, "id": self.actor_id},
            "subsystem": self.subsystem,
            "subject": {"kind": self.subject_kind, "id": self.subject_id},
            "outcome": self.outcome,
            "data": {"unreadable": UNREADABLE},
            "commitments": [],
        }

    @property
    def data(self) -> dict[str, Any]:
        """The data of the fact; a large payload appears as its hash and size (see `entries.data`)."""
        found: dict[str, Any] = self.document()["data"]
        return found


class Leaf(models.Model):
    """An entry's place in the tree. Append-only."""

    index = models.BigIntegerField(primary_key=True)
    # Joins for the ORM only: the database holds no constraint, so the entries can be partitioned or archived.
    entry = models.OneToOneField(Entry, on_delete=models.DO_NOTHING, db_constraint=False, related_name="leaf")
    hash = models.BinaryField(max_length=32)
    sequenced_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "leaves"
        constraints = [readable("leaf_time", "sequenced_at")]

    def __str__(self) -> str:
        return str(self.index)


class Pending(models.Model):
    """An entry that waits for its place in the tree: the sequencer's queue.

    That no entry is placed twice is the leaves' to refuse; an index here as well would cost every writer.
    """

    entry_id = models.UUIDField()
    leaf_hash = models.BinaryField(max_length=32)
    recorded_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "pending"
        constraints = [readable("pending_time", "recorded_at")]

    def __str__(self) -> str:
        return str(self.entry_id)


class Tree(models.Model):
    """The one row that says how large the tree is; whoever sequences holds its lock."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    size = models.BigIntegerField(default=0)
    root = models.BinaryField(max_length=32)
    frontier = models.BinaryField(default=b"")
    sequenced_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="tree_is_one_row"),
            models.CheckConstraint(condition=models.Q(size__gte=0), name="tree_size"),
            readable("tree_time", "sequenced_at"),
        ]

    def __str__(self) -> str:
        return f"tree of {self.size}"


class Tile(models.Model):
    """A full hash tile: 256 hashes of one level of tiles, and the hash over all of them. Append-only."""

    level = models.SmallIntegerField()
    number = models.BigIntegerField()
    hashes = models.BinaryField(max_length=8192)
    root = models.BinaryField(max_length=32)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["level", "number"], name="tile_once")]

    def __str__(self) -> str:
        return f"tile {self.level}/{self.number}"


class Checkpoint(models.Model):
    """A signed size and root: a C2SP signed note. Append-only."""

    size = models.BigIntegerField()
    root = models.BinaryField(max_length=32)
    note = models.TextField()
    signed_at = models.DateTimeField()

    class Meta:
        constraints = [readable("checkpoint_time", "signed_at")]
        indexes = [models.Index(fields=["size"], name="checkpoint_size")]

    def __str__(self) -> str:
        return f"checkpoint of {self.size}"


class Disclosure(models.Model):
    """A value behind a commitment in an entry, and its salt. Erasable: the log verifies without it."""

    entry_id = models.UUIDField()
    pointer = models.CharField(max_length=200)
    value = models.TextField()
    salt = models.BinaryField(max_length=16)
    subject = models.CharField(max_length=220)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["entry_id", "pointer"], name="disclosure_once")]
        indexes = [models.Index(fields=["subject"], name="disclosure_subject")]

    def __str__(self) -> str:
        return f"{self.entry_id} {self.pointer}"


class Payload(models.Model):
    """Data too large for an entry, kept beside the log under its hash."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    size = models.BigIntegerField()
    bytes = models.BinaryField()

    def __str__(self) -> str:
        return self.sha256
