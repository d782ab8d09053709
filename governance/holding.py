"""What holds keep from starting, and how they stop the clocks of what they cover."""

from __future__ import annotations

import fnmatch
import socket
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db.models import Q

from auditlog import log, reading
from auditlog.actors import Actor
from auditlog.refusals import Refused
from auditlog.subjects import Subject
from verification.models import Contract

from . import principals
from .facts import HoldFact
from .models import FileHold, Hold

RELEASE = "hold.release"
FILE_NAME = "HOLD"
Scope = Hold.Scope


class NoSuchHold(Refused):
    """There is no such hold."""

    code = "hold_not_found"
    kind = Refused.Kind.NOT_FOUND


class NotEngaged(Refused):
    """The hold was released already."""

    code = "hold_not_engaged"
    kind = Refused.Kind.CONFLICT


def mark_released(*, hold_id: UUID, by: Actor, reason: str, now: datetime) -> Hold:
    """Take a hold off. Only the executor of `hold.release` calls this, when its contract runs. Raises NotEngaged."""
    with log.recording():
        hold = Hold.objects.select_for_update().filter(pk=hold_id).first()
        if hold is None:
            raise NoSuchHold(f"There is no hold {hold_id}.")
        if hold.released_at is not None:
            raise NotEngaged("The hold was released already.")
        hold.released_at, hold.released_by_label = now, by.label
        hold.save(update_fields=["released_at", "released_by_label"])
        say(hold, HoldFact.RELEASED, reason=reason, by=by, now=now)
    return hold


def mark_engaged_again(*, hold_id: UUID, by: Actor, reason: str, now: datetime) -> Hold:
    """Undo a release: the hold is engaged as if it had never been off. Raises NoSuchHold."""
    with log.recording():
        hold = Hold.objects.select_for_update().filter(pk=hold_id).first()
        if hold is None:
            raise NoSuchHold(f"There is no hold {hold_id}.")
        if hold.released_at is None:
            return hold
        hold.released_at, hold.released_by_label = None, ""
        hold.save(update_fields=["released_at", "released_by_label"])
        say(hold, HoldFact.ENGAGED, reason=reason, by=by, now=now)
    return hold


def file_reason() -> str:
    """Why the file VAR_DIR/HOLD holds everything on this host; empty when it is not there."""
    path = Path(settings.VAR_DIR) / FILE_NAME
    try:
        return path.read_text(errors="replace").strip()[:500] or "the file HOLD is there"
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"the file HOLD cannot be read: {error.strerror}"


def holds_everything() -> bool:
    """Whether nothing starts on this host, `hold.release` excepted: by the file, or by a hold on everything."""
    return bool(file_reason()) or Hold.objects.filter(scope=Scope.EVERYTHING, released_at=None).exists()


def notice_file(*, now: datetime) -> None:
    """Remember that the file VAR_DIR/HOLD is there, if it is; called by what runs by the clock and by what it stops."""
    try:
        written_at = datetime.fromtimestamp((Path(settings.VAR_DIR) / FILE_NAME).stat().st_mtime, UTC)
    except OSError:
        return
    FileHold.objects.update_or_create(
        host=socket.gethostname(),
        written_at=written_at,
        defaults={"last_seen_at": now},
        create_defaults={"began_at": min(written_at, now), "last_seen_at": now},
    )


def covering(contract: Contract) -> Hold | None:
    """The engaged hold that keeps this contract from starting, if any; `hold.release` passes all."""
    if contract.action_type == RELEASE:
        return None
    return next((hold for hold in engaged() if covers(hold, contract)), None)


@reading.remembered
def engaged() -> list[Hold]:
    """Every hold that is engaged now."""
    return list(Hold.objects.filter(released_at=None))


def covers(hold: Hold, contract: Contract) -> bool:
    """Whether a contract is in the scope of a hold."""
    if hold.scope == Scope.EVERYTHING:
        return True
    names = _NAMES[Scope(hold.scope)](contract)
    if hold.is_exact or hold.scope == Scope.MISSION:
        return hold.pattern in names
    return any(fnmatch.fnmatchcase(name, hold.pattern) for name in names)


def paused(contract: Contract, *, since: datetime, until: datetime) -> timedelta:
    """For how long, between two times, holds stopped this contract's clocks."""
    return length_of_union(spans(contract, since=since, until=until))


def spans(contract: Contract, *, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """The spans between two times in which holds, or the file of any host, covered this contract; they may overlap."""
    if contract.action_type == RELEASE:
        return []
    overlapping = Hold.objects.filter(Q(released_at=None) | Q(released_at__gt=since), engaged_at__lt=until)
    held = [(hold.engaged_at, hold.released_at or until) for hold in overlapping if covers(hold, contract)]
    files = FileHold.objects.filter(last_seen_at__gt=since, began_at__lt=until)
    held += files.values_list("began_at", "last_seen_at")
    return [(max(start, since), min(stop, until)) for start, stop in held]


def length_of_union(spans: Iterable[tuple[datetime, datetime]]) -> timedelta:
    """How long at least one of the spans lasted; pure."""
    total, end = timedelta(0), None
    for start, stop in sorted(spans):
        begin = start if end is None else max(start, end)
        if stop > begin:
            total += stop - begin
            end = stop
    return total


def _agents(contract: Contract) -> list[str]:
    """The names of the agents behind a contract."""
    named = [contract.requested_by_label] if contract.requested_by_kind == "agent" else []
    agent = principals.agent_of(contract.on_behalf_of)
    return named if agent is None else [*named, agent.name]


_NAMES: dict[Scope, Callable[[Contract], Iterable[str]]] = {
    Scope.AGENT: _agents,
    Scope.ACTION_TYPE: lambda contract: [contract.action_type],
    Scope.TARGET: lambda contract: [contract.target],
    Scope.MISSION: lambda contract: [str(contract.mission_id)],
}
"""What a pattern is compared with; everything is held without one."""


def say(hold: Hold, fact: HoldFact, *, reason: str, by: Actor, now: datetime) -> None:
    """Append a fact about a hold. Inside `recording()`."""
    log.append(
        fact,
        actor=by,
        subject=Subject("hold", str(hold.pk), str(hold)),
        data={
            "scope": hold.scope,
            "pattern": hold.pattern,
            "reason": reason,
            "source": hold.source,
            **({"is_exact": True} if hold.is_exact else {}),
        },
        now=now,
        contract_id=hold.contract_id,
    )
