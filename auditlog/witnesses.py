"""Everybody who has seen a root of the log: signed checkpoints, the anchor file, the signer's memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.db.models import QuerySet

from . import anchors, notes, outside
from .findings import Found
from .models import Checkpoint


@dataclass
class Witnesses:
    """Everybody who has seen a root: checkpoints, the anchor file, the signer's memory."""

    begun: outside.Beginning
    checkpoint_count: int = 0
    # The size and root that were seen, by whom, and that in words.
    heads: dict[tuple[int, bytes], tuple[str, str]] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)

    def gather(self, checkpoints: QuerySet[Checkpoint], verifier: notes.Verifier | None, *, every: bool) -> None:
        """Ask them; of the anchors only the last without `every`."""
        previous: Checkpoint | None = None
        for row in checkpoints.iterator():
            self.checkpoint_count += 1
            self._add(row, verifier, previous)
            previous = row
        if self.checkpoint_count and verifier is None:
            self.found.append(Found("key_missing", "signer", "Checkpoints were signed, but the key is gone."))
        if verifier is not None:
            self._add_anchors(verifier, every=every)

    def _add(self, row: Checkpoint, verifier: notes.Verifier | None, previous: Checkpoint | None) -> None:
        name = f"checkpoint {row.pk}"
        if verifier is not None:
            try:
                head = notes.open_checkpoint(row.note, verifier)
            except notes.NoteInvalid as error:
                self.found.append(Found("checkpoint_signature", name, f"{name} of size {row.size}: {error}."))
                return
            if (head.size, head.root) != (row.size, bytes(row.root)):
                self.found.append(Found("checkpoint_edited", name, f"{name} is not what its signed note says."))
            self.heads.setdefault((head.size, head.root), (name, name))
        if previous is not None and (row.signed_at < previous.signed_at or row.size < previous.size):
            self.found.append(Found("checkpoint_order", name, f"{name} is older or smaller than the one before it."))

    def _add_anchors(self, verifier: notes.Verifier, *, every: bool) -> None:
        told = anchors.read(verifier, self.begun.anchors)
        last = None if every else anchors.last(verifier, self.begun.anchors)
        for number, head in told if every else [last] if last else []:
            name = f"anchor line {number}" if number else "the last anchor line"
            if head is None:
                self.found.append(Found("anchor_invalid", name, f"{name} carries no good signature of this log."))
            else:
                self.heads[head.size, head.root] = ("anchors", name)
