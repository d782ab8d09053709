"""Policies: which version is in force, what it says about an action, and how another version comes into force."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Max

from auditlog import log, reading
from auditlog.actors import Actor
from auditlog.refusals import Refused
from auditlog.subjects import Subject
from verification import executors
from verification.executors.base import Call, Reversibility

from . import digest, policy, principals, risk
from .facts import PolicyFact
from .models import Policy
from .policy import Requirements, Ruling
from .risk import Risk

JsonDict = dict[str, Any]


class NoPolicy(Refused):
    """No policy is in force, so nothing can be decided."""

    code = "no_policy"
    kind = Refused.Kind.HELD


class PolicyDamaged(Refused):
    """The policy in force is not what was published."""

    code = "policy_damaged"
    kind = Refused.Kind.HELD


class NoSuchVersion(Refused):
    """The policy has no such version."""

    code = "policy_not_found"
    kind = Refused.Kind.NOT_FOUND


class NothingChanged(Refused):
    """The new version says what the one in force says."""

    code = "policy_unchanged"
    kind = Refused.Kind.CONFLICT


@dataclass(frozen=True)
class Evaluation:
    """What the policy in force says about one action, and the risk it was told."""

    ruling: Ruling
    policy: Policy
    risk: Risk

    @property
    def effect(self) -> str:
        """`deny` or the tier."""
        return self.ruling.effect.value

    @property
    def tier(self) -> str:
        """The tier; a denial is filed under tier_3."""
        return self.ruling.tier

    @property
    def requirements(self) -> Requirements:
        """What has to be true before it runs."""
        return self.ruling.requirements

    def as_dict(self) -> JsonDict:
        """`{effect, tier, requirements, rules: [{rule, effect, why}], reason, instead, policy, risk}`."""
        in_force = {"version": self.policy.version, "digest": self.policy.digest}
        return {**self.ruling.as_dict(), "policy": in_force, "risk": self.risk.as_dict()}


@reading.remembered
def active() -> Policy | None:
    """The row that says that it is in force, whatever else it says."""
    return Policy.objects.filter(is_active=True).order_by().first()


@reading.remembered
def current() -> Policy:
    """The version in force. Raises NoPolicy, and PolicyDamaged when its row was changed behind our back."""
    row = active()
    if row is None:
        raise NoPolicy("No policy is in force; run `manage.py bootstrap`.")
    if not digest.same(row.digest, digest_of(document_of(row))):
        raise PolicyDamaged(f"Policy {row.version} is not what was published; nothing is decided by it.")
    return row


def document_of(row: Policy) -> JsonDict:
    """A version as the document it was published from."""
    return {"unmatched": row.unmatched, "tiers": row.tiers, "rules": row.rules}


def version(number: int) -> Policy:
    """One version. Raises NoSuchVersion."""
    row = Policy.objects.filter(version=number).first() if number < 2**31 else None
    if row is None:
        raise NoSuchVersion(f"There is no policy {number}.")
    return row


def pair(number: int, *, against: int | None = None) -> tuple[Policy | None, Policy]:
    """The version to compare with (the one before unless told; None before the first), and the version."""
    after = version(number)
    if against is not None:
        return version(against), after
    return Policy.objects.filter(version__lt=number).order_by("-version").first(), after


def changed(before: Policy | None, after: Policy) -> str:
    """What changed from one version to another, as a unified diff."""
    was = document_of(before) if before else {}
    return difference(was, document_of(after), names=(str(before) if before else "nothing", str(after)))


def difference(before: JsonDict, after: JsonDict, *, names: tuple[str, str]) -> str:
    """The difference of two policy documents as a unified diff of their lines; empty when there is none."""
    lines = difflib.unified_diff(_lines(before), _lines(after), *names, n=6, lineterm="")
    return "\n".join(lines)


def _lines(document: JsonDict) -> list[str]:
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False).splitlines()


def digest_of(document: JsonDict) -> str:
    """SHA-256 (hex) of a policy document."""
    return digest.sha256(digest.canonical(document))


def parsed(row: Policy) -> policy.Policy:
    """A version, ready to decide. Raises InvalidPolicy."""
    return _parsed(digest.canonical(document_of(row)))


@lru_cache(maxsize=32)
def _parsed(canonical: bytes) -> policy.Policy:
    return policy.parse(json.loads(canonical))


def named_groups() -> frozenset[str]:
    """The groups whose word the policy in force asks for; none when there is no sound policy."""
    try:
        return parsed(current()).groups()
    except Refused:
        return frozenset()


def evaluate(
    *,
    action_type: str,
    target: str,
    parameters: JsonDict,
    user: User | None,
    now: datetime,
    mission_id: UUID | None = None,
    playbook: str = "",
    minimum_tier: str = "",
) -> Evaluation:
    """What the policy in force says about this action by this user (None: Grace itself). Changes nothing.

    An action type nobody can carry out counts as irreversible. Raises NoPolicy and PolicyDamaged.
    """
    row = current()
    asked, found = situation(
        action_type=action_type,
        target=target,
        parameters=parameters,
        user=user,
        now=now,
        mission_id=mission_id,
        playbook=playbook,
        minimum_tier=minimum_tier,
    )
    return Evaluation(parsed(row).decide(asked), row, found)


def rule(
    *,
    action_type: str,
    target: str,
    parameters: JsonDict,
    user: User | None,
    now: datetime,
    mission_id: UUID | None,
    playbook: str,
) -> Ruling:
    """What the policy in force says, and nothing else: records are looked up only for a policy that asks for risk."""
    in_force = parsed(current())
    asked, _ = situation(
        action_type=action_type,
        target=target,
        parameters=parameters,
        user=user,
        now=now,
        mission_id=mission_id,
        playbook=playbook,
        with_record=in_force.looks_at_records,
    )
    return in_force.decide(asked)


def situation(
    *,
    action_type: str,
    target: str,
    parameters: JsonDict,
    user: User | None,
    now: datetime,
    mission_id: UUID | None = None,
    playbook: str = "",
    minimum_tier: str = "",
    with_record: bool = True,
) -> tuple[policy.Situation, risk.Risk]:
    """Everything a policy may look at when it decides about this action, and the risk in it.

    Without a record the risk is that of something never done before.
    """
    agent = principals.agent_of(user)
    reversibility = _reversibility(action_type, target, parameters)
    found = risk.of_unknown(reversibility)
    if with_record:
        found = risk.assess(
            action_type=action_type,
            target=target,
            requested_by_id=user.pk if user else None,
            reversibility=reversibility,
        )
    asked = policy.Situation(
        action_type=action_type,
        target=target,
        parameters=parameters,
        now=now,
        reversibility=found.reversibility,
        agent=agent.name if agent else "",
        owner=agent.owner.get_username() if agent else "",
        groups=principals.groups_of(user.pk) if user else frozenset(),
        mission_id=str(mission_id or ""),
        playbook=playbook,
        minimum_tier=minimum_tier,
        risk=found.as_dict(),
    )
    return asked, found


def _reversibility(action_type: str, target: str, parameters: JsonDict) -> Reversibility | None:
    """The class the executor declares; None where it cannot say, which is never taken for harmless."""
    try:
        return executors.get(action_type).reversibility(Call(action_type, target, parameters))
    except (Refused, executors.ExecutorError, LookupError, TypeError, ValueError, AttributeError):
        return None


def publish(*, document: Any, note: str, by: Actor, now: datetime) -> Policy:
    """Put another version in force. Raises InvalidPolicy naming each wrong field, and NothingChanged.

    Callers: the seeds, and the executor of `policy.change`, whose contract is tier_3.
    """
    members = policy.parse(document).as_dict()
    new_digest = digest_of(members)
    with log.recording():
        before = Policy.objects.select_for_update().filter(is_active=True).first()
        if before is not None and before.digest == new_digest:
            raise NothingChanged(f"This is what policy {before.version} says.")
        Policy.objects.filter(is_active=True).update(is_active=False)
        latest = Policy.objects.aggregate(latest=Max("version"))["latest"] or 0
        row = Policy.objects.create(
            version=latest + 1,
            **members,
            digest=new_digest,
            note=note,
            is_active=True,
            created_by_label=by.label,
            created_at=now,
        )
        _record(row, before, by=by, now=now)
    return row


def _record(row: Policy, before: Policy | None, *, by: Actor, now: datetime) -> None:
    log.append(
        PolicyFact.CHANGED,
        actor=by,
        subject=Subject("policy", str(row.pk), str(row)),
        data={
            "version": row.version,
            "digest": row.digest,
            "previous_digest": before.digest if before else "",
            "rules": len(row.rules),
            "note": row.note[:500],
        },
        now=now,
    )
