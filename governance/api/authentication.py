"""How programs say who they are: an agent's key, sent as `Authorization: Bearer <key>`."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed

from governance import agents, logins
from governance.models import Agent


class AgentAuthentication(TokenAuthentication):
    """A key is good while it has not expired, its agent is active and the agent's owner is too."""

    def authenticate_credentials(self, token: bytes) -> Any:
        """The agent's user and its key; raises AuthenticationFailed, always in the same words."""
        try:
            return super().authenticate_credentials(token)
        except (AuthenticationFailed, UnicodeDecodeError, ValueError):
            logins.key_refused(now=timezone.now())
            raise _refused() from None

    def validate_user(self, auth_token: Any) -> Any:
        """Refuse keys of people, of agents that are not active, and of agents nobody answers for."""
        user, key = super().validate_user(auth_token)
        agent = Agent.objects.select_related("owner").filter(user_id=user.pk).first()
        if agent is None or agent.state != Agent.State.ACTIVE or not agent.owner.is_active:
            raise _refused()
        agents.used(key.digest, now=timezone.now())
        return user, key

    def authenticate_header(self, request: Any) -> str:
        """The scheme; knox compares it with what was sent, so it stands alone."""
        return "Bearer"


def _refused() -> AuthenticationFailed:
    # Not a word about why: a key that was revoked and one that never was look the same.
    return AuthenticationFailed("The key is not known, or no longer good.")


class AgentScheme(OpenApiAuthenticationExtension):
    """How OpenAPI describes it."""

    target_class = "governance.api.authentication.AgentAuthentication"
    name = "agentKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """A bearer token."""
        return {"type": "http", "scheme": "bearer", "description": "An agent's key, shown once when it is made."}
