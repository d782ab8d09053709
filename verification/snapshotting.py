"""Snapshots: taking one, looking into one, marking one golden, going back to one."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from auditlog import log
from auditlog.actors import Actor
from auditlog.refusals import Kind, Refused
from auditlog.subjects import Subject

from .executors import get as executor_of
from .executors.base import Call, ExecutorError
from .facts import SnapshotFact
from .models import Contract, Snapshot
from .snapshots import providers, store

GOING_BACK = ("snapshot.restore", "contract.rollback")
"""Action types that bring a target back to the snapshot they name."""


class NotFound(Refused):
    """There is no such snapshot."""

    code = "snapshot_not_found"
    kind = Kind.NOT_FOUND


class SnapshotDamaged(Refused):
    """The snapshot is not what was kept; nothing may be restored from it."""

    code = "snapshot_damaged"
    kind = Kind.CONFLICT


class NotUsable(Refused):
    """The snapshot was invalidated or has expired."""

    code = "snapshot_not_usable"
    kind = Kind.CONFLICT


class NotReadable(Refused):
    """The scope cannot be read now."""

    code = "scope_not_readable"
    kind = Kind.INVALID


def take(
    *,
    call: Call,
    kind: Snapshot.Kind,
    by: Actor,
    now: datetime,
    baseline: dict[str, Any] | None = None,
    contract: Contract | None = None,
) -> Snapshot:
    """Keep what the call's executor needs to find its way back. Reads the target outside any transaction."""
    return keep(drawn(call=call, baseline=baseline, contract=contract), kind=kind, by=by, now=now)


def drawn(*, call: Call, baseline: dict[str, Any] | None, contract: Contract | None) -> Snapshot:
    """What the call's executor needs to find its way back, as a row that is still to be kept.

    Reads the target, outside any transaction. Raises ExecutorError.
    """
    writer = store.Writer()
    executor_of(call.action_type).snapshot(call, writer)
    row = Snapshot(
        scope=call.target,
        action_type=call.action_type,
        parameters=dict(call.parameters),
        baseline=baseline,
        contract_id=contract.pk if contract else None,
        mission_id=contract.mission_id if contract else None,
    )
    return _sealed(row, writer)


def take_of(*, scope: str, kind: Snapshot.Kind, by: Actor, now: datetime) -> Snapshot:
    """Keep what a registered provider knows of a scope (`grace`: Grace's own configuration). Outside any transaction.

    Raises providers.UnknownScope, and NotReadable.
    """
    provider = providers.get(scope)
    try:
        row = _drawn_of(provider)
    except ExecutorError as error:
        raise NotReadable(f"{scope[:80]} cannot be kept now: {error}") from None
    return keep(row, kind=kind, by=by, now=now)


def _drawn_of(provider: providers.Provider) -> Snapshot:
    if provider.call is not None:
        baseline = executor_of(provider.call.action_type).observe(provider.call).state
        return drawn(call=provider.call, baseline=baseline, contract=None)
    writer = store.Writer()
    provider.take(writer)
    return _sealed(Snapshot(scope=provider.scope, baseline=writer.digests() if provider.restore else None), writer)


def _sealed(row: Snapshot, writer: store.Writer) -> Snapshot:
    sealed = writer.seal()
    row.manifest, row.manifest_sha256, row.signature = sealed.manifest, sealed.sha256, sealed.signature
    row.item_count, row.byte_count = sealed.item_count, sealed.byte_count
    return row


def keep(row: Snapshot, *, kind: Snapshot.Kind, by: Actor, now: datetime) -> Snapshot:
    """Write down a snapshot that was drawn."""
    row.kind, row.created_at, row.created_by_label = kind, now, by.label
    with log.recording(savepoint=False):
        row.save(force_insert=True)
        _record(row, SnapshotFact.CREATED, by=by, now=now)
    return row


def open_verified(snapshot: Snapshot) -> store.Reader:
    """A reader of a snapshot whose signature and hashes hold; raises SnapshotDamaged and NotUsable."""
    if snapshot.state not in {Snapshot.State.ACTIVE, Snapshot.State.RESTORED}:
        raise NotUsable(f"The snapshot is {snapshot.state}.")
    try:
        return store.open_sealed(snapshot.manifest, snapshot.manifest_sha256, snapshot.signature)
    except store.Damaged as damage:
        raise SnapshotDamaged(f"Snapshot {snapshot.pk}: {damage}.") from None


def mark_golden(*, snapshot_id: UUID, by: Actor, now: datetime) -> Snapshot:
    """Make a sound snapshot the golden one of its scope; the one before stays as a snapshot."""
    snapshot = get(snapshot_id)
    open_verified(snapshot)
    with log.recording():
        rows = {row.pk: row for row in Snapshot.objects.select_for_update().filter(scope=snapshot.scope)}
        snapshot = rows[snapshot.pk]
        if snapshot.is_golden:
            return snapshot
        Snapshot.objects.filter(scope=snapshot.scope, is_golden=True).update(is_golden=False)
        snapshot.is_golden = True
        snapshot.save(update_fields=["is_golden"])
        _record(snapshot, SnapshotFact.GOLDEN, by=by, now=now)
    return snapshot


def note_restored(*, snapshot_id: UUID, by: Actor, now: datetime) -> Snapshot:
    """Write down that the world was brought back to a snapshot."""
    with log.recording():
        snapshot = Snapshot.objects.select_for_update().get(pk=snapshot_id)
        snapshot.state = Snapshot.State.RESTORED
        snapshot.save(update_fields=["state"])
        _record(snapshot, SnapshotFact.RESTORED, by=by, now=now)
    return snapshot


def get(snapshot_id: UUID) -> Snapshot:
    """The snapshot's row; raises NotFound."""
    try:
        return Snapshot.objects.get(pk=snapshot_id)
    except Snapshot.DoesNotExist:
        raise NotFound(f"There is no snapshot {snapshot_id}.") from None


def _record(snapshot: Snapshot, fact: SnapshotFact, *, by: Actor, now: datetime) -> None:
    log.append(
        fact,
        actor=by,
        subject=Subject("snapshot", str(snapshot.pk), str(snapshot)),
        data={
            "snapshot_kind": snapshot.kind,
            "scope": snapshot.scope,
            "manifest_sha256": snapshot.manifest_sha256,
            "item_count": snapshot.item_count,
        },
        now=now,
        contract_id=snapshot.contract_id,
        mission_id=snapshot.mission_id,
    )
