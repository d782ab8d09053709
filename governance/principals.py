"""Who is acting: from a Django user to the actor the log knows, and to the agent behind it."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser, Group, User

from auditlog.actors import Actor
from verification.models import Contract

from .models import Agent


def actor_of(user: User) -> Actor:
    """The actor a user is in the log: an agent when it is the service user of one, otherwise a person."""
    agent = agent_of(user)
    if agent is not None:
        return Actor("agent", str(agent.pk), agent.name, user_id=user.pk)
    return Actor("person", str(user.pk), user.get_full_name() or user.get_username(), user_id=user.pk)


def agent_of(user: User | AnonymousUser | None) -> Agent | None:
    """The agent whose service user this is, with its owner; None for people."""
    if user is None or user.pk is None:
        return None
    return Agent.objects.select_related("owner").filter(user_id=user.pk).first()


def person_named(username: str) -> User | None:
    """The active person with this username; None for agents and for nobody."""
    return User.objects.filter(username=username, is_active=True, agent__isnull=True).first()


def answerable(*user_ids: int | None) -> frozenset[int]:
    """The ids of everybody on the side of some users: they, and the owners of the agents they stand for."""
    given = {each for each in user_ids if each is not None}
    if not given:
        return frozenset()
    return frozenset(given.union(Agent.objects.filter(user_id__in=given).values_list("owner_id", flat=True)))


def asking_side(contract: Contract) -> frozenset[int]:
    """The ids of everybody who answers for a contract: who asked, on whose behalf, and the owners of such agents.

    None of them may ever approve it (F).
    """
    return answerable(contract.requested_by_id, contract.on_behalf_of_id)


def behind(contract: Contract) -> User | None:
    """Who is behind a contract: its requester, or on whose behalf Grace asked; None when it was Grace alone."""
    return contract.requested_by or contract.on_behalf_of


def allows(agent: Agent, action_type: str) -> bool:
    """Whether an agent's owner lets it propose this; without a list everything, and the policy decides."""
    return not agent.allowed_action_types or action_type in agent.allowed_action_types


def unfit(contract: Contract) -> str:
    """Why those behind a contract may have it run no more, as a sentence; empty when they may."""
    for user in (contract.requested_by, contract.on_behalf_of):
        agent = agent_of(user)
        if user is not None and not user.is_active:
            return f"{agent.name if agent else user.get_username()} is no longer active."
        if agent is None:
            continue
        if agent.state != Agent.State.ACTIVE or not agent.owner.is_active:
            return f"{agent.name} was revoked, or nobody answers for it any more."
        if not allows(agent, contract.action_type):
            return f"{agent.name} may no longer propose {contract.action_type}."
    return ""


def groups_of(user_id: int) -> frozenset[str]:
    """The names of a user's groups, as they are in the database now."""
    return frozenset(Group.objects.filter(user__id=user_id).values_list("name", flat=True))
