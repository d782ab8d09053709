"""Changes of the policy: asked for like anything else, and put before people whatever the policy says (D)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth.models import User

from auditlog.actors import Actor

from . import access, digest, policies, policy, proposals
from .proposals import Submitted
from .shapes import Proposal, repointed

ACTION_TYPE = "policy.change"
TARGET = "policy:grace"


def propose(
    *,
    document: Any,
    note: str,
    reason: str,
    by: Actor,
    user: User | None,
    now: datetime,
    idempotency_key: str | None = None,
) -> Submitted:
    """Ask that another policy comes into force: a tier_3 contract `policy.change`.

    `document` is the whole policy `{unmatched, tiers, rules}`; `note` stays with the version, `reason` is for the
    reviewers. Raises Forbidden, InvalidPolicy naming each wrong field below /policy, NothingChanged, and what
    `proposals.submit` refuses.
    """
    if user is not None:
        access.require_to_ask(user, ACTION_TYPE)
    if errors := digest.unfaithful(document, at="/policy"):
        raise policy.InvalidPolicy(errors[0].detail, errors=errors)
    members = policy.parse(document, at="/policy").as_dict()
    wanted = policies.digest_of(members)
    if wanted == (before := policies.current()).digest:
        raise policies.NothingChanged(f"This is what policy {before.version} says.")
    proposal = Proposal(
        action_type=ACTION_TYPE,
        target=TARGET,
        parameters={"policy": members, **({"note": note} if note else {})},
        expected_effect={"target_state": {"digest": wanted}},
        justification=reason,
    )
    with repointed():
        return proposals.submit(proposal=proposal, by=by, user=user, idempotency_key=idempotency_key, now=now)
