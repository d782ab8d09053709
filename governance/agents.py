"""Agents: programs that propose, the person who answers for each, and their keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from knox.models import AuthToken

from auditlog import log
from auditlog.actors import Actor
from auditlog.refusals import FieldError, Refused
from auditlog.subjects import Subject

from . import access, principals
from .facts import AgentFact
from .models import Agent, AgentKey

KEY_DAYS = 90
MAX_KEY_DAYS = 366
MAX_OPEN_REQUESTS = 100_000
OVERLAP = timedelta(hours=24)
MAX_OVERLAP = timedelta(days=30)
USE_NOTED_EVERY = timedelta(minutes=1)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,98}[a-z0-9])?")


class InvalidAgent(Refused):
    """The agent cannot be made like this; `errors` names the fields."""

    code = "invalid_agent"
    kind = Refused.Kind.INVALID


class NameTaken(Refused):
    """There is an agent of this name."""

    code = "agent_name_taken"
    kind = Refused.Kind.CONFLICT


class NoSuchAgent(Refused):
    """There is no such agent."""

    code = "agent_not_found"
    kind = Refused.Kind.NOT_FOUND


class NoSuchOwner(Refused):
    """Nobody of that name can answer for an agent."""

    code = "owner_not_found"
    kind = Refused.Kind.INVALID


class NotActive(Refused):
    """The agent was revoked or suspended."""

    code = "agent_not_active"
    kind = Refused.Kind.CONFLICT


class NotYours(Refused):
    """Only its owner, or an administrator, may do this to an agent."""

    code = "not_yours"
    kind = Refused.Kind.FORBIDDEN


def create(
    *,
    name: str,
    owner: User,
    allowed_action_types: Sequence[str] = (),
    by: Actor,
    now: datetime,
    open_request_limit: int | None = None,
    key_days: int = KEY_DAYS,
) -> tuple[Agent, str]:
    """Make an agent and its first key, which is answered once and never again.

    Without a limit of open requests it is AGENT_OPEN_REQUESTS. Allowed action types are globs; without any the agent
    may propose every type; the policy decides in any case. Raises InvalidAgent and NameTaken.
    """
    _sensible(name, owner, allowed_action_types, open_request_limit, key_days)
    with log.recording():
        username = f"agent-{name}"
        if Agent.objects.filter(name=name).exists() or User.objects.filter(username=username).exists():
            raise NameTaken(f"There is an agent called {name}.")
        user = User(username=username, first_name=name)
        user.set_unusable_password()
        user.save()
        agent = Agent.objects.create(
            name=name,
            user=user,
            owner=owner,
            allowed_action_types=sorted(set(allowed_action_types)),
            open_request_limit=open_request_limit or settings.AGENT_OPEN_REQUESTS,
            created_at=now,
        )
        row, key = _new_key(agent, by=by, now=now, days=key_days)
        _say(agent, AgentFact.CREATED, by=by, now=now, key=row)
    return agent, key


def _sensible(
    name: str, owner: User, allowed_action_types: Sequence[str], open_request_limit: int | None, key_days: int
) -> None:
    errors = [*_days(key_days), *_bounds(allowed_action_types, open_request_limit)]
    if not _NAME.fullmatch(name):
        errors.append(FieldError("/name", "invalid", "Small letters, digits and hyphens, at most 100."))
    if not owner.is_active or principals.agent_of(owner) is not None:
        errors.append(FieldError("/owner", "invalid", "The owner is a person whose account is active."))
    if errors:
        raise InvalidAgent(errors[0].detail, errors=errors)


def _bounds(allowed_action_types: Sequence[str], open_request_limit: int | None) -> list[FieldError]:
    errors = []
    if open_request_limit is not None and not 1 <= open_request_limit <= MAX_OPEN_REQUESTS:
        errors.append(FieldError("/open_request_limit", "out_of_range", f"From 1 to {MAX_OPEN_REQUESTS}."))
    if not all(isinstance(each, str) and 0 < len(each) <= 100 for each in allowed_action_types):
        errors.append(FieldError("/allowed_action_types", "wrong_type", "A list of action types is expected."))
    return errors


def _days(key_days: int) -> list[FieldError]:
    if 1 <= key_days <= MAX_KEY_DAYS:
        return []
    return [FieldError("/key_days", "out_of_range", f"From 1 to {MAX_KEY_DAYS} days.")]


def rotate(
    *,
    agent_id: UUID,
    overlap: timedelta = OVERLAP,
    by: Actor,
    now: datetime,
    key_days: int = KEY_DAYS,
) -> str:
    """Make another key and answer it once; the earlier ones stay good for the overlap at most.

    Raises NoSuchAgent, NotActive and InvalidAgent.
    """
    errors = _days(key_days)
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        detail = f"The overlap is from none to {MAX_OVERLAP.days} days."
        errors.append(FieldError("/overlap", "out_of_range", detail))
    if errors:
        raise InvalidAgent(errors[0].detail, errors=errors)
    with log.recording():
        agent = _locked(agent_id)
        if agent.state != Agent.State.ACTIVE:
            raise NotActive(f"The agent is {agent.state}.")
        until = now + overlap
        AuthToken.objects.filter(user_id=agent.user_id, expiry__gt=until).update(expiry=until)
        agent.keys.filter(expires_at__gt=until, revoked_at=None).update(expires_at=until)
        row, key = _new_key(agent, by=by, now=now, days=key_days)
        _say(agent, AgentFact.KEY_ROTATED, by=by, now=now, key=row)
    return key


def revoke(*, agent_id: UUID, by: Actor, now: datetime, reason: str = "") -> Agent:
    """End an agent and all its keys, at once and for good. Doing it twice changes nothing.

    What it asked for and what has not begun is cancelled when the fact is heard, and would not start before either.
    """
    with log.recording():
        agent = _locked(agent_id)
        if agent.state == Agent.State.REVOKED:
            return agent
        agent.state = Agent.State.REVOKED
        agent.save(update_fields=["state"])
        User.objects.filter(pk=agent.user_id).update(is_active=False)
        AuthToken.objects.filter(user_id=agent.user_id).delete()
        agent.keys.filter(revoked_at=None).update(revoked_at=now)
        _say(agent, AgentFact.REVOKED, by=by, now=now, reason=reason)
    return agent


def suspend(*, agent_id: UUID, by: Actor, user: User | None, now: datetime, reason: str = "") -> Agent:
    """Let an agent do nothing until it is resumed; its keys open nothing meanwhile. Doing it twice changes nothing.

    What it asked for stays; what is about to start is cancelled. By its owner or an administrator; `user` is None for
    Grace. Raises NoSuchAgent, NotYours and NotActive.
    """
    with log.recording():
        agent = _answered_for(agent_id, user)
        if agent.state == Agent.State.REVOKED:
            raise NotActive("The agent was revoked.")
        if agent.state == Agent.State.ACTIVE:
            agent.state = Agent.State.SUSPENDED
            agent.save(update_fields=["state"])
            _say(agent, AgentFact.SUSPENDED, by=by, now=now, reason=reason)
    return agent


def resume(*, agent_id: UUID, by: Actor, user: User | None, now: datetime, reason: str = "") -> Agent:
    """Let a suspended agent go on, with the keys it has. Raises NoSuchAgent, NotYours and NotActive."""
    with log.recording():
        agent = _answered_for(agent_id, user)
        if agent.state == Agent.State.REVOKED:
            raise NotActive("The agent was revoked.")
        if agent.state == Agent.State.SUSPENDED:
            agent.state = Agent.State.ACTIVE
            agent.save(update_fields=["state"])
            _say(agent, AgentFact.RESUMED, by=by, now=now, reason=reason)
    return agent


def change(
    *,
    agent_id: UUID,
    allowed_action_types: Sequence[str],
    open_request_limit: int,
    by: Actor,
    user: User | None,
    now: datetime,
    reason: str = "",
) -> Agent:
    """Say anew what an agent may propose (globs; none for all) and how many of its requests may wait.

    By its owner or an administrator. Raises NoSuchAgent, NotYours, NotActive and InvalidAgent.
    """
    if errors := _bounds(allowed_action_types, open_request_limit):
        raise InvalidAgent(errors[0].detail, errors=errors)
    with log.recording():
        agent = _answered_for(agent_id, user)
        if agent.state == Agent.State.REVOKED:
            raise NotActive("The agent was revoked.")
        wanted = sorted(set(allowed_action_types)), open_request_limit
        if (agent.allowed_action_types, agent.open_request_limit) == wanted:
            return agent
        agent.allowed_action_types, agent.open_request_limit = wanted
        agent.save(update_fields=["allowed_action_types", "open_request_limit"])
        _say(agent, AgentFact.CHANGED, by=by, now=now, reason=reason)
    return agent


def used(token_digest: str, *, now: datetime) -> None:
    """Note that a key was used; at most once a minute, so that reads stay reads."""
    stale = AgentKey.objects.filter(token_digest=token_digest)
    stale.exclude(last_used_at__gt=now - USE_NOTED_EVERY).update(last_used_at=now)


def owner_named(username: str) -> User:
    """The person with this username, who may answer for an agent. Raises NoSuchOwner."""
    found = principals.person_named(username)
    if found is None:
        detail = f"Nobody called {username[:80]!r} can answer for an agent."
        raise NoSuchOwner(detail, errors=[FieldError("/owner", NoSuchOwner.code, detail)])
    return found


def named(name: str) -> Agent:
    """The agent of this name. Raises NoSuchAgent."""
    agent = Agent.objects.filter(name=name).first()
    if agent is None:
        raise NoSuchAgent(f"There is no agent called {name[:100]}.")
    return agent


def _locked(agent_id: UUID) -> Agent:
    agent = Agent.objects.select_for_update().filter(pk=agent_id).first()
    if agent is None:
        raise NoSuchAgent(f"There is no agent {agent_id}.")
    return agent


def _answered_for(agent_id: UUID, user: User | None) -> Agent:
    """The agent, locked, by somebody who answers for it."""
    agent = _locked(agent_id)
    if user is not None and user.pk != agent.owner_id and not access.may(user, "agents.manage"):
        raise NotYours(f"Only the owner of {agent.name}, or an administrator, may do this.")
    return agent


def _new_key(agent: Agent, *, by: Actor, now: datetime, days: int) -> tuple[AgentKey, str]:
    token, key = AuthToken.objects.create(user=agent.user, expiry=timedelta(days=days))
    row = AgentKey.objects.create(
        agent=agent,
        token_digest=token.digest,
        token_key=token.token_key,
        created_by_label=by.label,
        created_at=now,
        expires_at=now + timedelta(days=days),
    )
    return row, key


def _say(
    agent: Agent, fact: AgentFact, *, by: Actor, now: datetime, key: AgentKey | None = None, reason: str = ""
) -> None:
    data: dict[str, object] = {"agent": agent.name, "owner_id": str(agent.owner_id)}
    if key is not None:
        data |= {"key": key.token_key, "expires_at": key.expires_at}
    if fact is AgentFact.CHANGED:
        data |= {"allowed_action_types": agent.allowed_action_types, "open_request_limit": agent.open_request_limit}
    if reason:
        data["reason"] = reason
    log.append(fact, actor=by, subject=Subject("agent", str(agent.pk), agent.name), data=data, now=now)
