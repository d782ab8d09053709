"""What verification hears of its own facts: each contract that settles adds to the record."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from auditlog import mesh
from auditlog.actors import SYSTEM
from auditlog.models import Entry

from . import insights


@mesh.subscribe(
    "contract.verified",
    "contract.failed",
    "contract.dead_lettered",
    "contract.rolled_back",
    name="verification-learn",
)
def learn(entry: Entry) -> None:
    """A contract settled: say what its record now suggests."""
    insights.draw(contract_id=UUID(entry.subject_id), by=SYSTEM, now=timezone.now())
