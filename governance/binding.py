"""From rows to the digest: what exactly a yes, of the policy or of people, was given to."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from verification.models import Contract, Revision

from . import digest
from .models import Policy


class Frozen(Protocol):
    """What an assessment and an approval request both keep: the conditions of a yes."""

    tier: str
    requirements: Any
    policy: Policy
    expires_at: datetime
    fingerprint: str


def document(contract: Contract, revision: Revision, frozen: Frozen) -> str:
    """The text that is hashed, from the rows as they are now. Raises ValueError when it has no canonical form."""
    return digest.document(
        digest.Bound(
            action_type=contract.action_type,
            executor_version=contract.executor_version,
            target=contract.target,
            parameters=revision.parameters,
            expected_effect=revision.expected_effect,
            preconditions=revision.preconditions,
            tier=frozen.tier,
            requirements=frozen.requirements,
            policy_digest=frozen.policy.digest,
            mission_id=str(contract.mission_id or ""),
            agent=requester(contract),
            on_behalf_of=str(contract.on_behalf_of_id or ""),
            not_before=revision.not_before,
            expires_at=frozen.expires_at,
            fingerprint=frozen.fingerprint,
        )
    )


def requester(contract: Contract) -> str:
    """Who asked, as it stands in the digest: it decides who may not approve.

    A person is named by their id alone: what a digest covers could never be erased.
    """
    name = "" if contract.requested_by_kind == "person" else contract.requested_by_label
    return f"{contract.requested_by_kind}:{contract.requested_by_id or ''}:{name}"
