"""Everybody who has seen a root of the log: signed checkpoints, the anchor file, the signer's memory.

Evidence that was deleted contradicts nothing, so each is held against the others as well. The signer writes its memory
first, then the anchors, and then in one transaction the checkpoint and an entry of the log that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from django.conf import settings
from django.db.models import Q

from . import anchors, notes, outside, signer
from .findings import NAMED_AT_MOST, Found
from .models import Checkpoint
from .signer import Said

CHUNK = 1000

Head = tuple[int, bytes]


@dataclass
class Witnesses:
    """What was seen, and what is wrong with who says so."""

    begun: outside.Beginning
    verifier: notes.Verifier | None = None
    checkpoint_count: int = 0
    # The size and root that were seen, by whom, and that in words.
    heads: dict[Head, tuple[str, str]] = field(default_factory=dict)
    told: set[Head] = field(default_factory=set)
    found: list[Found] = field(default_factory=list)


def ask(*, since: int | None = None) -> Witnesses:
    """Ask everybody; with `since`, only about checkpoints of this size or larger, the last one, and the last anchor."""
    witnesses = Witnesses(outside.beginning())
    verifier = _key(witnesses)
    # In the opposite order of that in which they are written: nobody honest is behind somebody asked earlier.
    said = signer.last_said()
    _ask_checkpoints(witnesses, verifier, since)
    if verifier is not None:
        _ask_anchors(witnesses, verifier, said, every=since is None)
    if count := outside.unreadable():
        detail = f"{count} lines of accepted.jsonl cannot be read, and count for nothing."
        witnesses.found.append(Found("acceptance_unreadable", "signer", detail))
    remembered, wrong = signer.recollection()
    witnesses.found += wrong
    if remembered is not None:
        witnesses.heads[remembered.size, remembered.root] = ("signer", "the signer's memory")
    return witnesses


def _key(witnesses: Witnesses) -> notes.Verifier | None:
    # The key is made before anything is signed with it.
    signed = signer.last_said() is not None or Checkpoint.objects.exists()
    try:
        witnesses.verifier = signer.verifier()
    except signer.KeyUnreadable as problem:
        witnesses.found.append(Found("key_unreadable", "signer", problem.detail))
        return None
    if witnesses.verifier is None and signed:
        witnesses.found.append(Found("key_missing", "signer", "Checkpoints were signed, but the key is gone."))
    return witnesses.verifier


def gone(heard: Mapping[int, Said], seen: Witnesses, *, every: bool) -> list[Found]:
    """Which of the heads the log says were signed are nowhere to be found any more; asked after the log was read.

    `heard` is what the log says, by leaf. With `every`, those that the anchor file was told as well.
    """
    said = [each for index, each in heard.items() if index >= seen.begun.size]
    kept: set[Head] = set()
    for first in range(0, len(said), CHUNK):
        sizes = [each.size for each in said[first : first + CHUNK]]
        rows = Checkpoint.objects.filter(size__in=sizes).values_list("size", "root")
        kept |= {(size, bytes(root)) for size, root in rows}
    found = _named("checkpoint_missing", UNSIGNED, [each for each in said if (each.size, each.root) not in kept])
    if seen.verifier is None or not every or "file" not in settings.LOG_ANCHORS:
        return found
    told = {(each.size, each.root): each for each in said if "file" in each.anchors}
    if told.keys() - seen.told:
        # What was told while the log was read; that the file cannot be read was said before.
        with suppress(OSError):
            seen.told |= {(line.head.size, line.head.root) for line in anchors.read(seen.verifier) if line.head}
    return found + _named("anchor_missing", UNTOLD, [each for head, each in told.items() if head not in seen.told])


UNSIGNED = "The checkpoint of size {} was signed, and is gone."
UNTOLD = "The anchor file was told the head of size {}, and does not hold it."


def _named(kind: str, sentence: str, missing: Sequence[Said]) -> list[Found]:
    found = [Found(kind, f"head {each.size}", sentence.format(each.size)) for each in missing[:NAMED_AT_MOST]]
    if more := missing[NAMED_AT_MOST:]:
        sizes = f"{more[0].size} to {more[-1].size}"
        found.append(Found(kind, f"heads {sizes}", f"{sentence.format(sizes)} {len(more)} in all."))
    return found


def _ask_checkpoints(witnesses: Witnesses, verifier: notes.Verifier | None, since: int | None) -> None:
    """What was signed before somebody accepted another log is not held against it."""
    rows = Checkpoint.objects.filter(pk__gt=witnesses.begun.checkpoint)
    if since is not None:
        last = rows.order_by("-pk").values_list("pk", flat=True).first()
        rows = rows.filter(Q(size__gte=since) | Q(pk=last))
    previous: Checkpoint | None = None
    for row in rows.order_by("pk").iterator():
        witnesses.checkpoint_count += 1
        _ask_checkpoint(witnesses, row, verifier)
        if previous is not None and (row.signed_at < previous.signed_at or row.size < previous.size):
            name = f"checkpoint {row.pk}"
            detail = f"{name} is older or smaller than the one before it."
            witnesses.found.append(Found("checkpoint_order", name, detail))
        previous = row


def _ask_checkpoint(witnesses: Witnesses, row: Checkpoint, verifier: notes.Verifier | None) -> None:
    name = f"checkpoint {row.pk}"
    if verifier is None:
        return
    try:
        head = notes.open_checkpoint(row.note, verifier)
    except notes.NoteInvalid as error:
        witnesses.found.append(Found("checkpoint_signature", name, f"{name} of size {row.size}: {error}."))
        return
    if (head.size, head.root) != (row.size, bytes(row.root)):
        witnesses.found.append(Found("checkpoint_edited", name, f"{name} is not what its signed note says."))
    witnesses.heads.setdefault((head.size, head.root), ("checkpoints", name))


def _ask_anchors(witnesses: Witnesses, verifier: notes.Verifier, said: Said | None, *, every: bool) -> None:
    """All lines, or only the last: that is what was signed last, or newer, since a signer may have died after it."""
    last: anchors.Line | None = None
    try:
        for line in anchors.read(verifier) if every else filter(None, [anchors.last(verifier)]):
            last = line
            _ask_anchor(witnesses, line)
    except OSError as error:
        detail = f"The anchor file cannot be read: {type(error).__name__}."
        witnesses.found.append(Found("anchor_invalid", "anchors", detail))
        return
    if said is None or not {"file"} <= {*said.anchors} & {*settings.LOG_ANCHORS}:
        return
    if last is None or (last.head is not None and last.head.size < said.size):
        witnesses.found += _named("anchor_missing", UNTOLD, [said])


def _ask_anchor(witnesses: Witnesses, line: anchors.Line) -> None:
    if line.head is None:
        name = f"anchor line {line.number}" if line.number else "the last anchor line"
        detail = f"{name} carries no good signature of this log."
        witnesses.found.append(Found("anchor_invalid", name, detail))
        return
    witnesses.told.add((line.head.size, line.head.root))
    # A file that is shorter than it was is another file.
    if line.begins >= witnesses.begun.anchors or anchors.length() < witnesses.begun.anchors:
        witnesses.heads[line.head.size, line.head.root] = ("anchors", "the anchor file")
