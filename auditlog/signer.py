"""Signs checkpoints of the log, and remembers outside the database what it has signed.

The memory is a locked file: whoever rewrites the database and even owns the key still meets a signer that refuses
to sign what does not extend the last thing it signed. What the database says of this is not asked: that the log may be
another one is accepted on this host, beside the memory, or not at all.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.db import connection

from . import anchors, canonical, findings, log, merkle, notes, outside, parsing, tree
from .actors import SYSTEM, Actor
from .facts import AuditlogFact
from .findings import NAMED_AT_MOST, Found
from .models import Checkpoint, Finding, Leaf, Tree
from .outside import Beginning, Memory
from .refusals import Refused
from .subjects import Subject

logger = structlog.get_logger(__name__)

IDLE = timedelta(minutes=10)
BROKEN = frozenset({"tree_edited", "tree_missing", "tree_incomplete", "root_mismatch", "leaf_forged"})
"""The tree contradicts itself: it has to be put right."""


class SigningRefused(Refused):
    """The log is not consistent with what was signed before, or a finding waits to be acknowledged."""

    code = "signing_refused"
    kind = Refused.Kind.CONFLICT


@dataclass(frozen=True)
class Said:
    """A head that an entry of the log says was signed, and the anchors that took it."""

    size: int
    root: bytes
    anchors: tuple[str, ...]


class KeyUnreadable(Refused):
    """The log's key is there, and nothing can be made of it."""

    code = "log_key_unreadable"
    kind = Refused.Kind.CONFLICT


class NotTheSigningHost(Refused):
    """The log's key, or what is remembered of signing, is not on this host: another one signs."""

    code = "not_the_signing_host"
    kind = Refused.Kind.CONFLICT


class TreeBroken(Refused):
    """The tree does not hold in itself: nothing can begin there until it has been put right."""

    code = "tree_broken"
    kind = Refused.Kind.CONFLICT


class NotAllNamed(Refused):
    """The log differs from what was seen in more ways than were named."""

    code = "not_all_named"
    kind = Refused.Kind.CONFLICT


def sign_if_due(now: datetime) -> Checkpoint | None:
    """Sign when the log has grown since the last checkpoint, or that one is ten minutes old. None when not due.

    What is not consistent with the signer's memory becomes a finding, and nothing is signed until it has been
    acknowledged.
    """
    last = latest()
    if not _due(last, now) or findings.stop_signing():
        return None
    try:
        return sign(now)
    except (SigningRefused, KeyUnreadable) as refusal:
        logger.error("signing_refused", detail=refusal.detail)
        return None


def sign(now: datetime) -> Checkpoint:
    """Sign the tree as it stands. Raises SigningRefused, KeyUnreadable."""
    with outside.locked():
        head = tree.head()
        found = disagreements(head)
        if unacknowledged := findings.record(found, now=now):
            raise SigningRefused("; ".join(row.detail for row in unacknowledged))
        # A signature that nothing could ever extend is none to give, whatever somebody has acknowledged.
        if broken := [each.detail for each in found if each.kind in BROKEN]:
            raise SigningRefused("; ".join(broken))
        if findings.stop_signing():
            raise SigningRefused("An integrity finding has not been acknowledged.")
        return _sign(head, now)


def acknowledge(*, finding_ids: Sequence[int], by: Actor, reason: str, now: datetime) -> list[Finding]:
    """Take note of findings on the host that signs, and keep that beside the signer's memory.

    Where they say that the log is not the one that was seen, history begins anew with the log as it stands. Raises
    NotTheSigningHost, NotAllNamed, TreeBroken, and what `findings.acknowledge` raises.
    """
    # Keys are copied to every host. The one that signs, and lost its memory of that, is known by accepting just this.
    accepts = bool(outside.accepted()) or Finding.objects.filter(pk__in=finding_ids, kind="memory_missing").exists()
    if not (_key_path().exists() and (signs_here() or accepts)):
        raise NotTheSigningHost("The log is not signed here: acknowledge it on the host that signs, with its VAR_DIR.")
    with outside.locked():
        # How the log differs now is named, and has to be accepted too.
        findings.record(disagreements(tree.head()), now=now)
        with log.recording():
            head = tree.head()
            rows = [findings.open_to(finding_id=each, reason=reason) for each in finding_ids]
            anew = _beginning(head, rows)
            if anew is not None:
                # What the log has now is what the next signature has to extend.
                outside.remember(Memory(head.size, bytes(head.root), canonical.stamp(now)))
            for row in rows:
                about = {"kind": row.kind, "subject": row.subject, "detail": row.detail}
                told = {"at": canonical.stamp(now), "by": f"{by.kind}:{by.id}", "reason": reason, **about}
                outside.accept(findings.digest(row), told, anew)
            return [findings.acknowledge(finding_id=row.pk, by=by, reason=reason, now=now, here=True) for row in rows]


def _beginning(head: Tree, rows: Sequence[Finding]) -> Beginning | None:
    """Where history begins anew when `rows` are accepted; None when they do not say that it does."""
    if not any(row.kind in findings.ANEW for row in rows):
        return None
    left = findings.unacknowledged().filter(kind__in=findings.ANEW).exclude(pk__in=[row.pk for row in rows])
    if others := sorted(left.values_list("pk", flat=True)):
        raise NotAllNamed(f"The log differs in more than that: look at {', '.join(map(str, others))} as well.")
    if broken := own_root(head) + misplaced():
        raise TreeBroken("; ".join(each.detail for each in broken))
    last = latest()
    return Beginning(head.size, last.pk if last else 0, anchors.length())


def signs_here() -> bool:
    """Whether this host signs, or nobody did yet: another one has no memory of it and would miss it."""
    return (outside.directory() / "signer.json").exists() or not Checkpoint.objects.exists()


def latest() -> Checkpoint | None:
    """The last checkpoint signed."""
    return Checkpoint.objects.order_by("-pk").first()


def last_said() -> Said | None:
    """The head the log says was signed last, whatever became of the checkpoint."""
    below = canonical.MAX_INTEGER
    while rows := _signings(below):
        for below, raw in rows:
            with suppress(parsing.Unreadable):
                found = said(parsing.entry(raw))
                if found is not None and found.size <= below:
                    return found
    return None


def _signings(below: int) -> list[tuple[int, bytes]]:
    """Places and bytes of entries about signed checkpoints, the last first. What has no place yet says nothing."""
    with connection.cursor() as cursor:
        cursor.execute(_SIGNINGS, [AuditlogFact.CHECKPOINT_SIGNED.name_, below])
        return [(place, bytes(raw)) for place, raw in cursor.fetchall()]


# Placed by the sequencer and not dated by their writer, so that a forged one is the last until the next signature only.
# The leaves are walked backwards: the last such entry is never far from the end.
_SIGNINGS = """
SELECT l."index", e.bytes FROM auditlog_leaf l CROSS JOIN auditlog_entry e
WHERE e.id = l.entry_id AND e.fact = %s AND l."index" < %s ORDER BY l."index" DESC LIMIT 10
"""


def said(document: Mapping[str, Any]) -> Said | None:
    """The head an entry about a signed checkpoint says was signed; None when it is not to be understood.

    It is to be believed only of a size that is at most the place of the entry.
    """
    data = document["data"]
    anchors = data.get("anchors")
    try:
        told = tuple(map(parsing.text, anchors if isinstance(anchors, list) else ()))
        return Said(parsing.size(data.get("size")), parsing.root(data.get("root")), told)
    except parsing.Unreadable:
        return None


def recollection() -> tuple[Memory | None, list[Found]]:
    """What the signer remembers, and what is wrong with that."""
    # Asked before the memory, which is written before them.
    said = last_said()
    last = Checkpoint.objects.filter(pk__gt=outside.beginning().checkpoint).order_by("-pk").first()
    newest = max((each.size for each in (said, last) if each), default=None)
    try:
        remembered = outside.memory()
    except parsing.Unreadable as error:
        return None, [Found("memory_unreadable", "signer", f"The signer's memory cannot be read: {error}.")]
    if newest is None or (remembered is not None and remembered.size >= newest):
        return remembered, []
    if remembered is None:
        return None, [Found("memory_missing", "signer", "Checkpoints were signed, but the signer's memory is gone.")]
    behind = f"The size {newest} was signed, which is more than the signer remembers."
    return remembered, [Found("memory_behind", "signer", behind)]


def disagreements(head: Tree) -> list[Found]:
    """Where the tree does not extend what the signer remembers, or does not hold in itself."""
    remembered, found = recollection()
    if remembered is not None:
        found += disagreement(head, remembered.size, remembered.root, "signer", "the signer's memory")
    return found + own_root(head) + misplaced()


def own_root(head: Tree) -> list[Found]:
    """Whether the tree's row has the root its tiles lead to."""
    if contradicts := contradiction(head):
        return contradicts
    try:
        sound = merkle.root_at(head.size, tree.Nodes()) == bytes(head.root)
    except LookupError as error:
        return [Found("tree_incomplete", "tree", f"The root of the tree cannot be computed: {error}.")]
    return [] if sound else [Found("root_mismatch", "tree", "The tree's row has a root its tiles do not lead to.")]


def misplaced() -> list[Found]:
    """Leaves outside of the tree, or no tree. One statement, so one snapshot: the log may grow meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute(_MISPLACED, [NAMED_AT_MOST])
        places = [place for (place,) in cursor.fetchall()]
    if None in places:
        return [Found("tree_missing", "tree", "The tree's row is gone: nothing says how large the log is.")]
    return [Found("leaf_forged", f"leaf {each}", f"Leaf {each} stands outside of the tree.") for each in places]


_MISPLACED = """
SELECT CAST(NULL AS bigint) WHERE NOT EXISTS (SELECT 1 FROM auditlog_tree) AND EXISTS (SELECT 1 FROM auditlog_leaf)
UNION ALL SELECT "index" FROM auditlog_leaf WHERE "index" >= (SELECT max(size) FROM auditlog_tree)
UNION ALL SELECT "index" FROM auditlog_leaf WHERE "index" < 0
ORDER BY 1 LIMIT %s
"""


def contradiction(head: Tree) -> list[Found]:
    """Whether the tree's row agrees with itself."""
    try:
        sound = merkle.Frontier.unpack(head.size, bytes(head.frontier)).root() == bytes(head.root)
    except ValueError:
        sound = False
    return [] if sound else [Found("tree_edited", "tree", "The tree's row contradicts itself.")]


def disagreement(head: Tree, size: int, root: bytes, subject: str, witness: str) -> list[Found]:
    """Whether the tree extends (size, root), which `witness` has seen."""
    if head.size < size:
        return [truncated(size, subject, witness)]
    try:
        actual = merkle.root_at(size, tree.Nodes())
    except LookupError as error:
        return [Found("tree_incomplete", subject, f"The root at size {size} cannot be computed: {error}.")]
    return [] if actual == root else [rewritten(size, root, actual, subject, witness)]


def truncated(size: int, subject: str, witness: str) -> Found:
    """The log is shorter than somebody has seen it."""
    return Found("truncated", subject, f"The log is shorter than the {size} entries {witness} has seen.")


def rewritten(size: int, root: bytes, actual: bytes, subject: str, witness: str) -> Found:
    """The log is not the one somebody has seen."""
    detail = f"The first {size} entries have root {actual.hex()}; {witness} has seen {root.hex()}."
    return Found("rewritten", subject, detail)


def verifier() -> notes.Verifier | None:
    """The public key of the log, once there is one. Raises KeyUnreadable."""
    found = _stored_key()
    return found.verifier if found else None


def key() -> notes.Signer:
    """The log's key; made when nothing has been signed yet. Raises SigningRefused when it was lost, KeyUnreadable."""
    if _stored_key() is None:
        if Checkpoint.objects.exists() or last_said() or (outside.directory() / "signer.json").exists():
            raise SigningRefused("Checkpoints were signed, but the log's key is gone.")
        _make_key(_key_path())
    found = _stored_key()
    assert found is not None
    return found


def _stored_key() -> notes.Signer | None:
    try:
        return notes.Signer.parse(_key_path().read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        # What is in it is a secret, so that nothing of it is said.
        raise KeyUnreadable(f"The log's key cannot be read: {type(error).__name__}.") from None


def _due(last: Checkpoint | None, now: datetime) -> bool:
    """Whether to sign. Facts about signing are not growth, or each checkpoint would cause the next."""
    if last is None:
        return Leaf.objects.exists()
    if now - last.signed_at >= IDLE:
        return True
    grown = Leaf.objects.filter(index__gte=last.size)
    return grown.exclude(entry__fact=AuditlogFact.CHECKPOINT_SIGNED.name_).exists()


def _sign(head: Tree, now: datetime) -> Checkpoint:
    signer = key()
    last = latest()
    signed_at = max(now, last.signed_at) if last else now
    statement = notes.Head(signer.name, head.size, bytes(head.root))
    note = signer.sign(statement.text())
    # Remembered first: a signature nobody remembers could be followed by one that contradicts it.
    outside.remember(Memory(head.size, bytes(head.root), canonical.stamp(signed_at)))
    told = anchors.publish(statement, note, signed_at)
    with log.recording():
        checkpoint = Checkpoint.objects.create(size=head.size, root=bytes(head.root), note=note, signed_at=signed_at)
        log.append(
            AuditlogFact.CHECKPOINT_SIGNED,
            actor=SYSTEM,
            subject=Subject("log", signer.name),
            data={"size": head.size, "root": bytes(head.root).hex(), "anchors": told},
            now=now,
        )
    return checkpoint


def _make_key(path: Path) -> None:
    origin = settings.LOG_ORIGIN or f"grace.invalid/log/{secrets.token_hex(4)}"
    signer = notes.Signer(origin, secrets.token_bytes(32))
    outside.write(path, f"{signer.skey}\n".encode())
    outside.write(path.with_suffix(".vkey"), f"{signer.verifier.vkey}\n".encode())


def _key_path() -> Path:
    return Path(settings.VAR_DIR) / "keys" / "log.key"
