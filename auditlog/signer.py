"""Signs checkpoints of the log, and remembers outside the database what it has signed.

The memory is a locked file: whoever rewrites the database and even owns the key still meets a signer that refuses
to sign what does not extend the last thing it signed.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from django.conf import settings

from . import anchors, canonical, findings, log, merkle, notes, tree
from .actors import SYSTEM
from .facts import AuditlogFact
from .findings import Found
from .models import Checkpoint, Leaf, Tree
from .refusals import Refused
from .subjects import Subject

logger = structlog.get_logger(__name__)

IDLE = timedelta(minutes=10)


class SigningRefused(Refused):
    """The log is not consistent with what was signed before, or a finding waits to be acknowledged."""

    code = "signing_refused"
    kind = Refused.Kind.CONFLICT


@dataclass(frozen=True)
class Memory:
    """The last size and root that were signed."""

    size: int
    root: bytes
    signed_at: str


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
    except SigningRefused as refusal:
        logger.error("signing_refused", detail=refusal.detail)
        return None


def sign(now: datetime) -> Checkpoint:
    """Sign the tree as it stands. Raises SigningRefused."""
    if findings.stop_signing():
        raise SigningRefused("An integrity finding has not been acknowledged.")
    with _locked():
        head = tree.head()
        found = disagreements(head)
        # Once a person has acknowledged, in the log and with a reason, how the log differs, signing goes on from
        # there; the evidence stays in the checkpoints and the anchors.
        if unacknowledged := findings.record(found, now=now):
            raise SigningRefused("; ".join(row.detail for row in unacknowledged))
        return _sign(head, now)


def latest() -> Checkpoint | None:
    """The last checkpoint signed."""
    return Checkpoint.objects.order_by("-pk").first()


def disagreements(head: Tree) -> list[Found]:
    """Where the tree does not extend what the signer remembers."""
    remembered = memory()
    if remembered is None:
        if Checkpoint.objects.exists():
            return [Found("memory_missing", "signer", "Checkpoints were signed, but the signer's memory is gone.")]
        return []
    return disagreement(head, remembered.size, remembered.root, "signer", "the signer's memory")


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
    """The public key of the log, once there is one."""
    path = _key_path()
    return notes.Signer.parse(path.read_text()).verifier if path.exists() else None


def key() -> notes.Signer:
    """The log's key; made when nothing has been signed yet. Raises SigningRefused when it was lost."""
    path = _key_path()
    if not path.exists():
        if Checkpoint.objects.exists():
            raise SigningRefused("Checkpoints were signed, but the log's key is gone.")
        _make_key(path)
    return notes.Signer.parse(path.read_text())


def memory() -> Memory | None:
    """What was signed last, as remembered outside the database."""
    path = _log_dir() / "signer.json"
    if not path.exists():
        return None
    told = json.loads(path.read_text())
    return Memory(int(told["size"]), bytes.fromhex(told["root"]), str(told["signed_at"]))


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
    _remember(Memory(head.size, bytes(head.root), canonical.stamp(signed_at)))
    anchors.publish(statement, note, signed_at)
    with log.recording():
        checkpoint = Checkpoint.objects.create(size=head.size, root=bytes(head.root), note=note, signed_at=signed_at)
        log.append(
            AuditlogFact.CHECKPOINT_SIGNED,
            actor=SYSTEM,
            subject=Subject("log", signer.name),
            data={"size": head.size, "root": bytes(head.root).hex()},
            now=now,
        )
    return checkpoint


def _remember(what: Memory) -> None:
    path = _log_dir() / "signer.json"
    text = json.dumps({"size": what.size, "root": what.root.hex(), "signed_at": what.signed_at})
    _write(path, text + "\n")


def _make_key(path: Path) -> None:
    origin = settings.LOG_ORIGIN or f"grace.invalid/log/{secrets.token_hex(4)}"
    signer = notes.Signer(origin, secrets.token_bytes(32))
    _write(path, signer.skey + "\n")
    _write(path.with_suffix(".vkey"), signer.verifier.vkey + "\n")


def _write(path: Path, text: str) -> None:
    """Replace a file at once and durably; only its owner may read it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _locked() -> Iterator[None]:
    """One signer at a time on this host."""
    _log_dir().mkdir(parents=True, exist_ok=True, mode=0o700)
    with (_log_dir() / "signer.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _log_dir() -> Path:
    return Path(settings.VAR_DIR) / "log"


def _key_path() -> Path:
    return Path(settings.VAR_DIR) / "keys" / "log.key"
