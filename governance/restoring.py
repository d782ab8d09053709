"""Going back by hand: a restore or a rollback is a contract of its own, proposed here in the right words."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User

from auditlog.actors import Actor
from auditlog.refusals import Kind, Refused
from verification import contracts, snapshotting
from verification.models import Contract, Snapshot

from . import proposals
from .proposals import Proposal, Submitted

RESTORE = "snapshot.restore"
ROLLBACK = "contract.rollback"


class NothingToGoBackTo(Refused):
    """There is no snapshot of what was before, or none that says what it would look like."""

    code = "nothing_to_go_back_to"
    kind = Kind.CONFLICT


def restore(
    *, snapshot_id: UUID, justification: str, by: Actor, user: User, now: datetime, dry_run: bool = False
) -> Submitted:
    """Propose to bring a target back to a snapshot; with `dry_run` only look at the difference.

    Raises snapshotting.NotFound, NothingToGoBackTo, and whatever `proposals.submit` refuses.
    """
    snapshot = snapshotting.get(snapshot_id)
    proposal = _proposal(RESTORE, snapshot, justification, mission_id=snapshot.mission_id)
    return proposals.submit(proposal=proposal, by=by, user=user, idempotency_key=None, now=now, dry_run=dry_run)


def rollback(
    *, contract_id: UUID, justification: str, by: Actor, user: User, now: datetime, dry_run: bool = False
) -> Submitted:
    """Propose to undo a settled contract, back to what its last attempt found.

    Raises contracts.NotFound, contracts.NotNow for one that has not settled, NothingToGoBackTo, and whatever
    `proposals.submit` refuses.
    """
    contract = Contract.objects.filter(pk=contract_id).first()
    if contract is None:
        raise contracts.NotFound(f"There is no contract {contract_id}.")
    if contract.settled_at is None:
        raise contracts.NotNow(f"The contract is {contract.state}; only a settled one can be rolled back.")
    last = contract.executions.filter(snapshot__isnull=False).order_by("-attempt").first()
    if last is None or last.snapshot is None:
        raise NothingToGoBackTo("No snapshot was taken for this contract.")
    proposal = _proposal(ROLLBACK, last.snapshot, justification, mission_id=contract.mission_id)
    return proposals.submit(proposal=proposal, by=by, user=user, idempotency_key=None, now=now, dry_run=dry_run)


def _proposal(action_type: str, snapshot: Snapshot, justification: str, *, mission_id: UUID | None) -> Proposal:
    body: dict[str, Any] = {
        "action_type": action_type,
        "target": snapshot.scope,
        "parameters": {"snapshot_id": str(snapshot.pk)},
        # Back is back: everything that was observed then is expected again.
        "expected_effect": {"target_state": _state(snapshot)},
        "justification": justification,
    }
    return Proposal.from_body({**body, "mission_id": str(mission_id)} if mission_id else body)


def _state(snapshot: Snapshot) -> dict[str, Any]:
    if not snapshot.baseline:
        raise NothingToGoBackTo("This snapshot does not say what the target looked like.")
    return dict(snapshot.baseline)
