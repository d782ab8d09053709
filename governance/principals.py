"""Who is acting: from a Django user to the actor the log knows, and to the agent behind it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import F

from auditlog import reading
from auditlog.actors import Actor
from verification.models import Contract

from . import policy
from .models import Agent


@dataclass(frozen=True)
class Principal:
    """Somebody as they are in the database now: their row, the agent they are the service user of, and their groups."""

    user: User
    agent: Agent | None
    groups: frozenset[str]


@reading.remembered
def principal(user_id: int) -> Principal | None:
    """Who has this id; None for nobody."""
    return _principals({user_id}).get(user_id)


def meet(*user_ids: int | None) -> None:
    """Within `reading.once()`: look several people up together, so that asking for each asks the database no more."""
    wanted = {each for each in user_ids if each is not None}
    found = _principals(wanted)
    for user_id in wanted:
        reading.tell(principal, user_id, answer=found.get(user_id))


def _principals(user_ids: set[int]) -> dict[int, Principal]:
    rows = User.objects.filter(pk__in=user_ids).select_related("agent__owner").annotate(group=F("groups__name"))
    users: dict[int, User] = {}
    groups: dict[int, set[str]] = {}
    for user in rows:
        users.setdefault(user.pk, user)
        groups.setdefault(user.pk, set()).update([user.group] if user.group else [])
    return {pk: Principal(user, getattr(user, "agent", None), frozenset(groups[pk])) for pk, user in users.items()}


def actor_of(user: User) -> Actor:
    """The actor a user is in the log: an agent when it is the service user of one, otherwise a person."""
    agent = agent_of(user)
    if agent is not None:
        return Actor("agent", str(agent.pk), agent.name, user_id=user.pk)
    return Actor("person", str(user.pk), user.get_full_name() or user.get_username(), user_id=user.pk)


def agent_of(user: User | AnonymousUser | None) -> Agent | None:
    """The agent whose service user this is, with its owner; None for people."""
    return agent_of_id(user.pk) if user is not None and user.pk is not None else None


def agent_of_id(user_id: int) -> Agent | None:
    """The agent whose service user has this id."""
    found = principal(user_id)
    return found.agent if found else None


def person_named(username: str) -> User | None:
    """The active person with this username; None for agents and for nobody."""
    return User.objects.filter(username=username, is_active=True, agent__isnull=True).first()


def ids_of(name: str) -> list[str]:
    """The ids under which the log knows whoever has this name: a person's username, or an agent's name."""
    people = User.objects.filter(username__iexact=name).values_list("pk", flat=True)
    programs = Agent.objects.filter(name__iexact=name).values_list("pk", flat=True)
    return [str(pk) for pk in (*people, *programs)]


def names_of(actor_ids: Collection[str]) -> dict[str, str]:
    """What to call actors by their ids in the log: people and agents there still are. Two queries."""
    people = User.objects.filter(pk__in=[each for each in actor_ids if each.isdecimal() and len(each) < 10])
    programs = Agent.objects.filter(pk__in=[each for each in actor_ids if _is_uuid(each)])
    found = {str(user.pk): user.get_full_name() or user.get_username() for user in people}
    return found | {str(pk): name for pk, name in programs.values_list("pk", "name")}


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def answerable(*user_ids: int | None) -> frozenset[int]:
    """The ids of everybody on the side of some users: they, and the owners of the agents they stand for."""
    given = {each for each in user_ids if each is not None}
    agents = [found.agent for each in given if (found := principal(each)) is not None]
    return frozenset(given.union(agent.owner_id for agent in agents if agent is not None))


def stands_behind(user: User) -> frozenset[int]:
    """The ids of the users this person answers for: themselves, and the service users of the agents they own."""
    return frozenset({user.pk, *Agent.objects.filter(owner_id=user.pk).values_list("user_id", flat=True)})


def behind(contract: Contract) -> User | None:
    """Who is behind a contract: its requester, or on whose behalf Grace asked; None when it was Grace alone."""
    user_id = contract.requested_by_id or contract.on_behalf_of_id
    found = principal(user_id) if user_id is not None else None
    return found.user if found else None


def allows(agent: Agent, action_type: str) -> bool:
    """Whether an agent's owner lets it propose this, by globs; without any everything, and the policy decides."""
    return policy.any_glob(agent.allowed_action_types, action_type)


def unfit(contract: Contract) -> str:
    """Why those behind a contract may have it run no more, as a sentence; empty when they may."""
    for user_id in (contract.requested_by_id, contract.on_behalf_of_id):
        found = principal(user_id) if user_id is not None else None
        if found is None:
            continue
        user, agent = found.user, found.agent
        if not user.is_active:
            return f"{agent.name if agent else user.get_username()} is no longer active."
        if agent is None:
            continue
        if agent.state != Agent.State.ACTIVE or not agent.owner.is_active:
            return f"{agent.name} was suspended or revoked, or nobody answers for it any more."
        if not allows(agent, contract.action_type):
            return f"{agent.name} may no longer propose {contract.action_type}."
    return ""


def groups_of(user_id: int) -> frozenset[str]:
    """The names of a user's groups, as they are in the database now."""
    found = principal(user_id)
    return found.groups if found else frozenset()
