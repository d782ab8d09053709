"""Whose own thing a contract is about: who may never approve it (F), whoever asked for it.

A grant is the agent's it is given to. An exception to a freeze belongs to whoever wants the excepted contract to run,
and the release of a hold to whoever it stops: the held agents, those behind a held mission, or behind the contract that
led to it. A policy, a calendar and a hold on everybody are nobody's own.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from uuid import UUID

from django.db.models import Q, QuerySet

from verification.models import Contract

from . import freezing, granting, holding, principals
from .models import Agent, Hold


def asking_side(contract: Contract) -> frozenset[int]:
    """The ids of everybody on the side of a contract: who asked, on whose behalf, and whose own thing it is about.

    The owners of such agents are among them; their delegates are for `delegating` to add.
    """
    return principals.answerable(contract.requested_by_id, contract.on_behalf_of_id, *_named(contract))


def _named(contract: Contract) -> Iterator[int | None]:
    """The ids of users named by what a governing contract is about."""
    if contract.action_type == granting.CREATE:
        yield from _users(Agent.objects.filter(name=contract.revision.parameters["agent"]))
    elif contract.action_type == freezing.EXCEPT:
        yield from _behind(Q(pk=UUID(contract.revision.parameters["contract_id"])))
    elif contract.action_type == holding.RELEASE:
        hold = Hold.objects.filter(pk=UUID(contract.revision.parameters["hold_id"])).first()
        yield from _held(hold) if hold is not None else ()


def _held(hold: Hold) -> Iterator[int | None]:
    if hold.scope == holding.Scope.AGENT:
        agents = Agent.objects.all()
        held = [pk for pk, name in agents.values_list("pk", "name") if _covers(hold, name)]
        yield from _users(agents.filter(pk__in=held))
    if hold.scope == holding.Scope.MISSION:
        yield from _behind(Q(mission_id=UUID(hold.pattern)))
    if hold.contract_id is not None:
        yield from _behind(Q(pk=hold.contract_id))


def _covers(hold: Hold, name: str) -> bool:
    return name == hold.pattern if hold.is_exact else fnmatch.fnmatchcase(name, hold.pattern)


def _users(agents: QuerySet[Agent]) -> Iterator[int]:
    yield from agents.values_list("user_id", flat=True)


def _behind(which: Q) -> Iterator[int | None]:
    for pair in Contract.objects.filter(which).values_list("requested_by_id", "on_behalf_of_id").distinct():
        yield from pair
