"""What delegations mean, resolved when somebody decides: who speaks for whom, and who stands on whose side.

Authority goes one step: who decides in somebody's name cannot pass that on. Suspicion goes all the way: the delegate of
a delegate of the requester is on the requester's side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from auditlog import log, reading
from auditlog.actors import Actor
from auditlog.refusals import Refused
from auditlog.subjects import Subject
from verification.models import Contract

from . import parties
from .facts import ApprovalFact
from .models import Delegation


class NoSuchDelegation(Refused):
    """There is no such delegation."""

    code = "delegation_not_found"
    kind = Refused.Kind.NOT_FOUND


@dataclass(frozen=True)
class InForce:
    """The delegations that are in force at one moment, read once."""

    rows: tuple[Delegation, ...]

    def to(self, person_id: int) -> list[Delegation]:
        """Those by which a person may decide for others, the earliest first."""
        return [each for each in self.rows if each.delegate_id == person_id]

    def of(self, delegation_id: object) -> Delegation | None:
        """The one with this id, if it is in force."""
        return next((each for each in self.rows if each.pk == delegation_id), None)

    def side(self, people: Iterable[int]) -> frozenset[int]:
        """Some people, and everybody who decides for one of them, directly or through others."""
        return reached(frozenset(people), [(each.delegator_id, each.delegate_id) for each in self.rows])


def reached(start: frozenset[int], steps: Iterable[tuple[int, int]]) -> frozenset[int]:
    """Everything that can be reached from `start` by steps (from, to); circles end by themselves. Pure."""
    pairs, found = list(steps), start
    while further := {there for here, there in pairs if here in found} - found:
        found |= further
    return found


def in_force(*, now: datetime) -> InForce:
    """The delegations in force at a moment."""
    return InForce(tuple(each for each in rows() if each.starts_at <= now < each.ends_at))


@reading.remembered
def rows() -> list[Delegation]:
    """Every delegation that nobody has ended, whether or not it has begun; the earliest first."""
    return list(Delegation.objects.filter(ended_at=None).select_related("delegator").order_by("starts_at", "id"))


def asking_side(contract: Contract, *, now: datetime) -> frozenset[int]:
    """Everybody who may neither approve a contract nor judge it (F).

    Who asked, on whose behalf, whose own thing it is about, the owners of such agents, and the delegates of them all.
    """
    return in_force(now=now).side(parties.asking_side(contract))


def say(delegation: Delegation, fact: ApprovalFact, *, by: Actor, reason: str, now: datetime) -> None:
    """Append a fact about a delegation. Inside `recording()`."""
    log.append(
        fact,
        actor=by,
        subject=Subject("delegation", str(delegation.pk)),
        data={
            "delegator_id": str(delegation.delegator_id),
            "delegate_id": str(delegation.delegate_id),
            "groups": list(delegation.groups),
            "starts_at": delegation.starts_at,
            "ends_at": delegation.ends_at,
            "reason": reason,
        },
        now=now,
    )
