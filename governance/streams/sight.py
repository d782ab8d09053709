"""Who may see which fact. Used live, on replay and wherever facts are listed; what is not named is not shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from auditlog.models import Entry
from governance import access, principals
from verification.models import Contract

ASKED_OF = {
    "agentic": "contracts.read",
    "approval": "approvals.read",
    "benchmark": "benchmarks.read",
    "contract": "contracts.read",
    "error": "incidents.read",
    "hold": "holds.read",
    "incident": "incidents.read",
    "job": "jobs.read",
    "learning": "learning.read",
    "mission": "missions.read",
    "playbook": "playbooks.read",
    "policy": "policies.read",
    "snapshot": "snapshots.read",
}
"""The permission a fact asks for, by the first part of its name. All others ask for `auditlog.read`."""

_EVERY_OTHER = "auditlog.read"


@dataclass(frozen=True)
class Viewer:
    """What one person or agent may see, read once and used for many facts.

    `own_only` is set for agents: they see the facts of contracts they asked for, and no others.
    """

    user_id: int
    permissions: frozenset[str]
    own_only: bool

    def may_see(self, fact: str, *, requester_id: int | None) -> bool:
        """Whether a fact is shown; `requester_id` is the user who asked for its contract, if it has one."""
        if ASKED_OF.get(fact.partition(".")[0], _EVERY_OTHER) not in self.permissions:
            return False
        return not self.own_only or requester_id == self.user_id

    def prefixes(self) -> list[str]:
        """The first parts of the names of all facts this viewer might be shown."""
        return [prefix for prefix, asked in ASKED_OF.items() if asked in self.permissions]


def viewer_of(user: Any) -> Viewer:
    """Read what a user may see. Somebody who is not active, or not logged in, sees nothing."""
    if user is None or not user.is_active:
        return Viewer(0, frozenset(), own_only=True)
    return Viewer(user.pk, access.permissions(user), own_only=principals.agent_of(user) is not None)


def visible(viewer: Viewer, entries: QuerySet[Entry]) -> QuerySet[Entry]:
    """The same rule as a filter for the database."""
    if _EVERY_OTHER in viewer.permissions:
        shown = entries
        for prefix, asked in ASKED_OF.items():
            if asked not in viewer.permissions:
                shown = shown.exclude(fact__startswith=f"{prefix}.")
    else:
        shown = entries.filter(fact__regex=rf"^({'|'.join(viewer.prefixes()) or 'nothing'})\.")
    if viewer.own_only:
        shown = shown.filter(contract_id__in=Contract.objects.filter(requested_by_id=viewer.user_id).values("id"))
    return shown


def requesters(entries: Iterable[Entry]) -> dict[UUID, int | None]:
    """Who asked for each contract these entries are about: one query, by contract id."""
    ids = {entry.contract_id for entry in entries if entry.contract_id}
    if not ids:
        return {}
    return dict(Contract.objects.filter(id__in=ids).values_list("id", "requested_by_id"))
