"""Everybody who has seen a root of the log: signed checkpoints, the anchor file, the signer's memory.

Evidence that was deleted contradicts nothing, so each is held against the others as well. The signer writes its memory
first, then the anchors, and then in one transaction the checkpoint and an entry of the log that says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from django.conf import settings
from django.db.models import Q

from . import anchors, findings, notes, outside, signer
from .findings import NAMED_AT_MOST, Found
from .models import Checkpoint
from .signer import Said

Head = tuple[int, bytes]

ANCHORS = -1
SIGNER = -2
"""Who has seen a head; a checkpoint goes by its key."""


@dataclass
class Witnesses:
    """What was seen, and what is wrong with who says so.

    There are as many heads as somebody ever signed, so of each no more is kept than must be, nor longer.
    """

    every: bool = True
    begun: outside.Beginning = field(default_factory=outside.beginning)
    verifier: notes.Verifier | None = None
    checkpoint_count: int = 0
    # The size and root that were seen, and by whom; those that the log still has are dropped while it is walked along.
    heads: dict[Head, int] = field(default_factory=dict)
    # Sizes the anchor file was told, and sizes that the log says were signed or told and are not there.
    told: set[int] = field(default_factory=set)
    unsigned: list[int] = field(default_factory=list)
    untold: list[int] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)


def ask(*, since: int | None = None) -> Witnesses:
    """Ask everybody; with `since`, only about checkpoints of this size or larger, the last one, and the last anchor."""
    witnesses = Witnesses(since is None)
    # In the opposite order of that in which they are written: nobody honest is behind somebody asked earlier.
    said = _last_said(witnesses)
    for step, ask_them in (
        ("the key", lambda: _ask_for_the_key(witnesses, said)),
        ("checkpoints", lambda: _ask_checkpoints(witnesses, since)),
        ("anchors", lambda: _ask_anchors(witnesses, said)),
        ("what was accepted", _ask_what_was_accepted),
        ("the signer's memory", lambda: _ask_the_signer(witnesses)),
    ):
        witnesses.found += findings.look(step, ask_them)
    return witnesses


def _last_said(witnesses: Witnesses) -> Said | None:
    try:
        return signer.last_said()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is found
        witnesses.found.append(findings.failed("what the log says was signed", error))
        return None


def _ask_for_the_key(witnesses: Witnesses, said: Said | None) -> Iterator[Found]:
    # The key is made before anything is signed with it.
    signed = said is not None or Checkpoint.objects.exists()
    try:
        witnesses.verifier = signer.verifier()
    except signer.KeyUnreadable as problem:
        yield Found("key_unreadable", "signer", problem.detail)
        return
    if witnesses.verifier is None and signed:
        yield Found("key_missing", "signer", "Checkpoints were signed, but the key is gone.")


def _ask_what_was_accepted() -> Iterator[Found]:
    if count := outside.unreadable():
        detail = f"{count} lines of accepted.jsonl cannot be read, and count for nothing."
        yield Found("acceptance_unreadable", "signer", detail)


def _ask_the_signer(witnesses: Witnesses) -> list[Found]:
    remembered, wrong = signer.recollection()
    if remembered is not None:
        witnesses.heads[remembered.size, remembered.root] = SIGNER
    return wrong


def named(who: int) -> tuple[str, str]:
    """Who has seen a head: what a finding is about, and words for it."""
    known = {ANCHORS: ("anchors", "the anchor file"), SIGNER: ("signer", "the signer's memory")}
    return known.get(who, ("checkpoints", f"checkpoint {who}"))


def hear(seen: Witnesses, heard: Mapping[int, Said]) -> None:
    """Keep which of the heads that some leaves say were signed are nowhere to be found any more."""
    said = [each for index, each in heard.items() if index >= seen.begun.size]
    rows = Checkpoint.objects.filter(size__in=[each.size for each in said]).values_list("size", "root")
    kept = {(size, bytes(root)) for size, root in rows}
    seen.unsigned += [each.size for each in said if (each.size, each.root) not in kept]
    if seen.every:
        seen.untold += [each.size for each in said if "file" in each.anchors and each.size not in seen.told]


def gone(seen: Witnesses) -> list[Found]:
    """What was heard of and is gone; asked after the log was read."""
    found = _named("checkpoint_missing", UNSIGNED, seen.unsigned)
    if seen.verifier is None or "file" not in settings.LOG_ANCHORS:
        return found
    if seen.untold:
        # What was told while the log was read; that the file cannot be read was said before.
        with suppress(OSError):
            seen.told |= {line.head.size for line in anchors.read(seen.verifier) if line.head}
    return found + _named("anchor_missing", UNTOLD, [size for size in seen.untold if size not in seen.told])


UNSIGNED = "The checkpoint of size {} was signed, and is gone."
UNTOLD = "The anchor file was told the head of size {}, and does not hold it."


def _named(kind: str, sentence: str, missing: Sequence[int]) -> list[Found]:
    found = [Found(kind, f"head {size}", sentence.format(size)) for size in missing[:NAMED_AT_MOST]]
    if more := missing[NAMED_AT_MOST:]:
        sizes = f"{more[0]} to {more[-1]}"
        found.append(Found(kind, f"heads {sizes}", f"{sentence.format(sizes)} {len(more)} in all."))
    return found


def _ask_checkpoints(witnesses: Witnesses, since: int | None) -> Iterator[Found]:
    """What was signed before somebody accepted another log is not held against it."""
    rows = Checkpoint.objects.filter(pk__gt=witnesses.begun.checkpoint)
    if since is not None:
        last = rows.order_by("-pk").values_list("pk", flat=True).first()
        rows = rows.filter(Q(size__gte=since) | Q(pk=last))
    previous: Checkpoint | None = None
    for row in rows.order_by("pk").iterator():
        witnesses.checkpoint_count += 1
        yield from _ask_checkpoint(witnesses, row)
        if previous is not None and (row.signed_at < previous.signed_at or row.size < previous.size):
            name = f"checkpoint {row.pk}"
            yield Found("checkpoint_order", name, f"{name} is older or smaller than the one before it.")
        previous = row


def _ask_checkpoint(witnesses: Witnesses, row: Checkpoint) -> Iterator[Found]:
    name = f"checkpoint {row.pk}"
    if witnesses.verifier is None:
        return
    try:
        head = notes.open_checkpoint(row.note, witnesses.verifier)
    except notes.NoteInvalid as error:
        yield Found("checkpoint_signature", name, f"{name} of size {row.size}: {error}.")
        return
    if (head.size, head.root) != (row.size, bytes(row.root)):
        yield Found("checkpoint_edited", name, f"{name} is not what its signed note says.")
    witnesses.heads.setdefault((head.size, head.root), row.pk)


def _ask_anchors(witnesses: Witnesses, said: Said | None) -> Iterator[Found]:
    """All lines, or only the last: that is what was signed last, or newer, since a signer may have died after it."""
    if (verifier := witnesses.verifier) is None:
        return
    last: anchors.Line | None = None
    try:
        for line in anchors.read(verifier) if witnesses.every else filter(None, [anchors.last(verifier)]):
            last = line
            yield from _ask_anchor(witnesses, line)
    except OSError as error:
        yield Found("anchor_invalid", "anchors", f"The anchor file cannot be read: {type(error).__name__}.")
        return
    if said is None or not {"file"} <= {*said.anchors} & {*settings.LOG_ANCHORS}:
        return
    if last is None or (last.head is not None and last.head.size < said.size):
        yield from _named("anchor_missing", UNTOLD, [said.size])


def _ask_anchor(witnesses: Witnesses, line: anchors.Line) -> Iterator[Found]:
    if line.head is None:
        name = f"anchor line {line.number}" if line.number else "the last anchor line"
        yield Found("anchor_invalid", name, f"{name} carries no good signature of this log.")
        return
    witnesses.told.add(line.head.size)
    # A file that is shorter than it was is another file.
    if line.begins >= witnesses.begun.anchors or anchors.length() < witnesses.begun.anchors:
        witnesses.heads[line.head.size, line.head.root] = ANCHORS
