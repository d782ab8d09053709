"""Callbacks: an agent names an address in its proposal, and need not ask again and again what became of it.

What is delivered, and how, is what webhooks are sent (see `webhooks`). Addresses are those the operator lists. Each key
of an agent has a callback secret of its own, derived from SECRET_KEY and kept nowhere: it comes and goes with the key.
"""

from __future__ import annotations

import base64
from datetime import datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from auditlog.models import Entry
from auditlog.refusals import FieldError, Refused
from verification import outgoing
from verification.models import Contract, State

from . import principals
from .models import Agent, AgentKey

FACTS = (
    *(
        f"contract.{state}"
        for state in (
            *(State.AWAITING_APPROVAL, State.AUTHORIZED, State.REJECTED, State.CHANGES_REQUESTED, State.EXPIRED),
            *(State.CANCELLED, State.VERIFIED, State.PARTIAL, State.FAILED, State.ROLLED_BACK, State.HELD),
        )
    ),
    "contract.dead_lettered",
)
"""Where an agent need not wait any longer, or has something to do. What only passes by is not told."""

MAX_SIGNATURES = 5


class AgentsOnly(Refused):
    """Callbacks are for programs; people have the console, and webhooks."""

    code = "agents_only"
    kind = Refused.Kind.FORBIDDEN


class NobodyToTell(Exception):
    """No key of the agent is good any more, so nothing could be signed that it would believe."""


def refused(url: str, *, agent: Agent | None) -> list[FieldError]:
    """Why a proposal may not name this address; empty when it may (or names none). May look a name up (1 s)."""
    if not url:
        return []
    if agent is None:
        return [_not_available("Callbacks are for agents; ask for a webhook, or wait with `wait`.")]
    if not settings.CALLBACK_ALLOWED_URLS:
        return [_not_available("No callbacks are allowed here (CALLBACK_ALLOWED_URLS); wait with `wait`.")]
    found = outgoing.check(url, "/callback_url", prefixes=settings.CALLBACK_ALLOWED_URLS)
    return [_not_listed(error) if error.code == "url_not_allowed" else error for error in found]


def _not_available(detail: str) -> FieldError:
    return FieldError("/callback_url", "not_available", detail)


def _not_listed(error: FieldError) -> FieldError:
    detail = "The address is below none of those callbacks may go to (CALLBACK_ALLOWED_URLS)."
    return FieldError(error.pointer, error.code, detail)


def calls_for(entry: Entry, data: dict[str, object]) -> bool:
    """Whether a fact is one a callback tells. What the answer to the proposal said already is not."""
    return entry.fact in FACTS and data.get("from_state") != State.PROPOSED


def wanted(contract: Contract) -> bool:
    """Whether whoever asked is still there to be told."""
    agent = principals.agent_of(contract.requested_by)
    return agent is not None and agent.state == Agent.State.ACTIVE


def secrets(contract: Contract, *, now: datetime) -> list[str]:
    """What signs a callback now: the secret of every good key of the agent, the newest first. Raises NobodyToTell.

    Several signatures on one delivery are how Standard Webhooks has secrets change over.
    """
    keys = AgentKey.objects.filter(agent__user=contract.requested_by_id, revoked_at=None, expires_at__gt=now)
    found = [secret_of(key) for key in keys.order_by("-created_at", "-pk")[:MAX_SIGNATURES]]
    if not found:
        raise NobodyToTell("No key of the agent is good any more.")
    return found


def secret_of(key: AgentKey) -> str:
    """The callback secret that belongs to a key, as Standard Webhooks writes one."""
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"grace callback secret " + key.pk.bytes)
    return "whsec_" + base64.b64encode(derived.derive(settings.SECRET_KEY.encode())).decode()


def secret_for(digest: str) -> str:
    """The callback secret of the key with this digest, which whoever asks came with. Raises AgentsOnly."""
    key = AgentKey.objects.filter(token_digest=digest).first()
    if key is None:
        raise AgentsOnly("Only an agent, asking with its key, has a callback secret.")
    return secret_of(key)
