"""What a new installation begins with: groups, people, and the first policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import Group, User

from auditlog.actors import SYSTEM

from . import policies
from .models import Policy

GROUPS = ("operators", "reviewers", "auditors")


@dataclass(frozen=True)
class Person:
    """Somebody a new installation knows; `username` is also who they are in the documents."""

    username: str
    name: str
    groups: tuple[str, ...]
    is_staff: bool = True
    is_superuser: bool = False


PEOPLE = (
    Person("ada", "Ada", ("operators",)),
    Person("bea", "Bea", ("reviewers",)),
    Person("cem", "Cem", ("reviewers",)),
    Person("dee", "Dee", ("reviewers",)),
    Person("eve", "Eve", ("auditors",)),
    Person("administrator", "Administrator", (), is_superuser=True),
)
"""Ada owns the first agent, Bea, Cem and Dee review, Eve reads everything, and an administrator."""


def _rule(name: str, effect: str, action_types: list[str], when: str = "", **more: Any) -> dict[str, Any]:
    rule: dict[str, Any] = {"name": name, "effect": effect, "action_types": action_types, **more}
    return {**rule, "when": when} if when else rule


_READS = 'parameters.method in ["GET", "HEAD"]'

POLICY: dict[str, Any] = {
    "unmatched": "tier_3",
    "tiers": {
        "tier_2": {"approvals": [{"group": "reviewers", "count": 1}]},
        "tier_3": {"approvals": [{"group": "reviewers", "count": 2}]},
    },
    "rules": [
        _rule("read over HTTP", "tier_1", ["http.request"], _READS),
        _rule("change over HTTP", "tier_2", ["http.request"], f"!({_READS})"),
        _rule(
            "commands that read or can be taken back",
            "tier_1",
            ["command.run"],
            'risk.reversibility in ["read_only", "reversible"]',
        ),
        _rule(
            "commands with an undo",
            "tier_2",
            ["command.run"],
            'risk.reversibility == "externally_reversible"',
        ),
        _rule("restart a service", "tier_1", ["service.restart"]),
        _rule("clear a cache", "tier_1", ["cache.clear"]),
        _rule("rotate logs", "tier_1", ["log.rotate"]),
        _rule("change configuration", "tier_2", ["config.update"]),
        _rule("hand work to a remote agent", "tier_2", ["remote"]),
        _rule("change a database", "tier_3", ["database.migrate"]),
        _rule("change who may do what", "tier_3", ["policy.*", "security.*", "hold.release", "freeze.*"]),
        _rule("what cannot be taken back", "tier_3", [], 'risk.reversibility in ["irreversible", "unknown"]'),
    ],
}
"""tier_2 asks one reviewer, tier_3 two; what no rule speaks about is tier_3."""


def seed(*, now: datetime, passwords: Mapping[str, str] | None = None) -> list[str]:
    """Make the groups, the people and the first policy where they are missing; answers who was made.

    Somebody without an entry in `passwords` cannot log in until a password is set. What exists is left as it is.
    """
    for name in GROUPS:
        Group.objects.get_or_create(name=name)
    made = [person.username for person in PEOPLE if _made(person, (passwords or {}).get(person.username))]
    if not Policy.objects.exists():
        policies.publish(document=POLICY, note="The policy Grace begins with.", by=SYSTEM, now=now)
    return made


def _made(person: Person, password: str | None) -> bool:
    user, made = User.objects.get_or_create(
        username=person.username,
        defaults={
            "first_name": person.name,
            "is_staff": person.is_staff,
            "is_superuser": person.is_superuser,
        },
    )
    if made:
        user.set_password(password)
        user.save(update_fields=["password"])
        user.groups.set(Group.objects.filter(name__in=person.groups))
    return made
