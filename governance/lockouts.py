"""Policies that ask what nobody could answer: in force, they could not even be replaced."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.models import Group, User

from auditlog.refusals import FieldError
from verification.executors.base import Reversibility

from . import quorum
from .policy import Partial, Policy, Ruling, Situation, Tier

WAYS_BACK: dict[str, dict[str, Any]] = {"policy.change": {"policy": {}}, "hold.release": {"hold_id": ""}}
"""What has to stay possible under any policy, with parameters like those it has."""

_ONCE = datetime(2026, 1, 1, tzinfo=UTC)


def found(read: Policy, *, at: str = "") -> list[FieldError]:
    """Every place at which a policy asks for nobody, for a group that does not exist, or for too many people.

    And whether it could be changed again, and a hold be released, by the people there are now.
    """
    errors = [
        FieldError(f"{at}/tiers/{tier}/approvals", "missing", f"{tier} asks people, so it names at least one group.")
        for tier in (Tier.CODE, Tier.GOVERNANCE)
        if not read.tiers.get(tier, Partial()).approvals
    ]
    people = _people(read.groups())
    known = set(Group.objects.filter(name__in=read.groups()).values_list("name", flat=True))
    for here, stated in read.stated():
        for group in sorted({group for group, _ in stated.approvals} - known):
            errors.append(FieldError(f"{at}{here}/approvals", "no_such_group", f"There is no group {group!r}."))
        if stated.escalate_to and stated.escalate_to not in known:
            detail = f"There is no group {stated.escalate_to!r}."
            errors.append(FieldError(f"{at}{here}/escalate_to", "no_such_group", detail))
        if {group for group, _ in stated.approvals} <= known and not _enough(stated.approvals, people):
            detail = f"It asks for {_said(stated.approvals)}; so many active people are not there."
            errors.append(FieldError(f"{at}{here}/approvals", "too_few_people", detail))
    return errors or [error for kind in WAYS_BACK for error in _shut(read, kind, people, at)]


def risks(read: Policy) -> list[str]:
    """What reviewers of a policy should know about it, as sentences; it may be meant like that."""
    asked = {kind: sum(count for _, count in _ruling(read, kind).requirements.approvals) for kind in WAYS_BACK}
    return [f"One person's word is enough for {kind}." for kind, count in asked.items() if count == 1]


def _shut(read: Policy, action_type: str, people: list[quorum.Approval], at: str) -> list[FieldError]:
    ruling = _ruling(read, action_type)
    if ruling.denied:
        detail = f"It denies {action_type} to everybody, so nobody could ever lift that."
        return [FieldError(f"{at}/rules", "locks_out", detail)]
    if not _enough(ruling.requirements.approvals, people):
        detail = (
            f"{action_type} would need {_said(ruling.requirements.approvals)}; so many active people are not there."
        )
        return [FieldError(f"{at}/rules", "locks_out", detail)]
    return []


def _ruling(read: Policy, action_type: str) -> Ruling:
    return read.decide(
        Situation(action_type, "", WAYS_BACK[action_type], _ONCE, reversibility=Reversibility.EXTERNALLY_REVERSIBLE)
    )


def _people(groups: Collection[str]) -> list[quorum.Approval]:
    """The active people in some groups; agents decide nothing."""
    rows = User.objects.filter(is_active=True, agent__isnull=True, groups__name__in=groups)
    of: dict[int, set[str]] = defaultdict(set)
    for person, group in rows.values_list("pk", "groups__name"):
        of[person].add(group)
    return [quorum.Approval(person, names) for person, names in of.items()]


def _enough(approvals: tuple[tuple[str, int], ...], people: list[quorum.Approval]) -> bool:
    return quorum.complete(quorum.fill(approvals, people))


def _said(approvals: tuple[tuple[str, int], ...]) -> str:
    return " and ".join(f"{count} of {group}" for group, count in approvals)
