"""Logging in and out, for programs that act for a person; and who one is."""

from __future__ import annotations

from typing import Any

from django.contrib import auth
from django.middleware.csrf import get_token
from rest_framework import serializers as s
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import ANYBODY, LOGGED_IN, Endpoint, Strict, operation
from governance import access, principals, proving, second_factor
from governance.api.authentication import AgentAuthentication

TAG = "session"


class LoginRequest(Strict):
    """The same name and password as at /admin/login/."""

    username = s.CharField(max_length=150)
    password = s.CharField(max_length=1000, trim_whitespace=False, style={"input_type": "password"})


class AgentReference(s.Serializer[Any]):
    """The agent a key belongs to."""

    id = s.UUIDField()
    name = s.CharField()
    owner = s.CharField()
    allowed_action_types = s.ListField(child=s.CharField())


class SecondFactorRequest(Strict):
    """A code of the caller's device."""

    code = s.CharField(max_length=20)


class Me(s.Serializer[Any]):
    """Who is asking, and what they may."""

    kind = s.ChoiceField(["person", "agent"])
    id = s.CharField()
    username = s.CharField()
    name = s.CharField()
    groups = s.ListField(child=s.CharField())
    permissions = s.ListField(child=s.CharField())
    agent = AgentReference(allow_null=True)
    second_factor = s.BooleanField(help_text="Whether it was proved in this session, and lately.")
    csrf_token = s.CharField(
        allow_null=True,
        help_text="To be sent as `X-CSRFToken` with every request of this session that changes something, together "
        "with the cookies of this answer. null for agents, who need none.",
    )


class WrongCredentials(AuthenticationFailed):
    """No such person, or another password."""

    default_detail = "The name or the password is wrong."
    default_code = "wrong_credentials"


class Session(Endpoint):
    """`/session`"""

    throttle_scope = "login"

    def get_authenticators(self) -> list[Any]:
        """Logging in needs no session, and must not stumble over an old one."""
        if self.request is not None and self.request.method == "POST":
            return [AgentAuthentication()]
        return super().get_authenticators()

    @operation(
        "log_in",
        "Begin a session",
        tag=TAG,
        asks=ANYBODY,
        body=LoginRequest,
        answer=Me,
        example={"username": "bea", "password": "…"},
        description="Sets the cookies `sessionid` and `csrftoken`. Requests that change something must carry both "
        "and the header `X-CSRFToken` (the answer repeats its value as `csrf_token`). Limited by address, and locked "
        "for a while after too many failures (429).",
    )
    def post(self, request: Request) -> Response:
        """The same door as the admin's login form."""
        user = auth.authenticate(request._request, username=self.body["username"], password=self.body["password"])
        if user is None:
            raise WrongCredentials
        auth.login(request._request, user)
        return self.answer(me(request._request, user))

    @operation("log_out", "End the session", tag=TAG, asks=LOGGED_IN)
    def delete(self, request: Request) -> Response:
        """The cookies are worth nothing afterwards."""
        auth.logout(request._request)
        return Response(status=204)


class SecondFactor(Endpoint):
    """`/session/second-factor`"""

    throttle_scope = "login"

    @operation(
        "prove_second_factor",
        "Prove one's second factor",
        tag=TAG,
        asks=LOGGED_IN,
        body=SecondFactorRequest,
        answer=Me,
        example={"code": "123456"},
        description="For decisions of which a policy asks it, in this session and for SECOND_FACTOR_MINUTES. A device "
        "is added in the console. Each code counts once; after a wrong one the next has to wait (429).",
    )
    def post(self, request: Request) -> Response:
        """Agents have none, and decide nothing."""
        second_factor.prove(code=self.body["code"], by=self.actor, user=self.user, now=self.now)
        proving.note(request._request, now=self.now)
        return self.answer(me(request._request, request.user))


class WhoAmI(Endpoint):
    """`/me`"""

    @operation("me", "Who am I, and what may I do?", tag=TAG, asks=LOGGED_IN, answer=Me)
    def get(self, request: Request) -> Response:
        """For people and agents alike."""
        return self.answer(me(request._request, request.user))


def me(request: Any, user: Any) -> dict[str, Any]:
    """The members of Me; sets the CSRF cookie for people."""
    agent = principals.agent_of(user)
    return {
        "kind": "agent" if agent else "person",
        "id": str(agent.pk if agent else user.pk),
        "username": user.get_username(),
        "name": agent.name if agent else user.get_full_name() or user.get_username(),
        "groups": sorted(principals.groups_of(user.pk)),
        "permissions": sorted(access.permissions(user)),
        "agent": _agent(agent) if agent else None,
        "second_factor": agent is None and proving.is_proved(request),
        "csrf_token": None if agent else get_token(request),
    }


def _agent(agent: Any) -> dict[str, Any]:
    return {
        "id": agent.pk,
        "name": agent.name,
        "owner": agent.owner.get_username(),
        "allowed_action_types": agent.allowed_action_types,
    }
