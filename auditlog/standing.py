"""Where the log stands: how large it is, what of it is signed, when it was last checked, and who else has its root."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Count, Min

from . import anchors, findings, merkle, signer, tree
from .models import Checkpoint, IntegrityRun, Pending
from .notes import Verifier


@dataclass(frozen=True)
class AnchorStanding:
    """One place that roots are told to. `size` is the last size it holds, where it can be read back."""

    name: str
    size: int | None = None
    agrees: bool | None = None


@dataclass(frozen=True)
class Standing:
    """The state of the log at a moment. Ages are in seconds; `lag` is 0 when nothing waits for its place."""

    size: int
    root: str
    pending: int
    lag: float
    checkpoint: Checkpoint | None
    checkpoint_root: str
    checkpoint_age: float | None
    unsigned: int
    last_run: IntegrityRun | None
    open_findings: int
    signing_stopped: bool
    verifier: Verifier | None
    # Why there is none, if there should be.
    key_problem: str
    anchors: tuple[AnchorStanding, ...]


def standing(now: datetime) -> Standing:
    """Read it all: a handful of queries, whatever the size of the log."""
    head = tree.head()
    waiting = Pending.objects.aggregate(count=Count("pk"), oldest=Min("recorded_at"))
    checkpoint = signer.latest()
    verifier, key_problem = _key()
    return Standing(
        size=head.size,
        root=bytes(head.root).hex(),
        pending=waiting["count"],
        lag=_age(waiting["oldest"], now) or 0.0,
        checkpoint=checkpoint,
        checkpoint_root=bytes(checkpoint.root).hex() if checkpoint else "",
        checkpoint_age=_age(checkpoint.signed_at if checkpoint else None, now),
        unsigned=head.size - (checkpoint.size if checkpoint else 0),
        last_run=IntegrityRun.objects.order_by("-started_at").first(),
        open_findings=findings.unacknowledged().count(),
        signing_stopped=findings.stop_signing(),
        verifier=verifier,
        key_problem=key_problem,
        anchors=tuple(_anchor(name, verifier, head.size) for name in settings.LOG_ANCHORS),
    )


def _key() -> tuple[Verifier | None, str]:
    try:
        return signer.verifier(), ""
    except signer.KeyUnreadable as problem:
        return None, problem.detail


def _anchor(name: str, verifier: Verifier | None, size: int) -> AnchorStanding:
    """Only the file can be read back; what the others were told, they have."""
    if name != "file" or verifier is None:
        return AnchorStanding(name)
    try:
        told = anchors.last(verifier)
        if told is None and not anchors.length():
            return AnchorStanding(name)
    except OSError:
        return AnchorStanding(name, agrees=False)
    last = told.head if told else None
    if last is None or last.size > size:
        return AnchorStanding(name, None if last is None else last.size, agrees=False)
    try:
        return AnchorStanding(name, last.size, agrees=merkle.root_at(last.size, tree.Nodes()) == last.root)
    except LookupError:
        # The tree itself lacks something; which, the integrity check names.
        return AnchorStanding(name, last.size, agrees=False)


def _age(since: datetime | None, now: datetime) -> float | None:
    return max(0.0, (now - since).total_seconds()) if since else None
