"""What missions hear of what happens below: contracts that serve them, and their own progress.

Each may be told the same thing twice, and hears the log from its start: they count states, not messages.
"""

from __future__ import annotations

from uuid import UUID

import structlog
from django.utils import timezone

from auditlog import mesh
from auditlog.actors import SYSTEM
from auditlog.models import Entry
from auditlog.refusals import Refused
from verification.models.contracts import SETTLED

from . import incidents, missions

logger = structlog.get_logger(__name__)

ENDINGS = frozenset({"contract.dead_lettered", *(f"contract.{state}" for state in SETTLED)})


# One subscriber for both: a contract must have its place before what became of it is heard.
@mesh.subscribe("contract.*", name="missions.follow", from_start=True)
def follow(entry: Entry) -> None:
    """A contract was proposed for a mission and gets its place in it; or it moved, and the mission counts
    it."""
    if entry.mission_id is None or not missions.tracked():
        return
    if entry.fact == "contract.created":
        _attach(entry.mission_id, UUID(entry.subject_id))
    elif entry.fact in ENDINGS:
        missions.follow(contract_id=UUID(entry.subject_id), by=SYSTEM, now=timezone.now())


def _attach(mission_id: UUID, contract_id: UUID) -> None:
    try:
        missions.attach(mission_id=mission_id, contract_id=contract_id, by=SYSTEM, now=timezone.now())
    except Refused as refused:
        # Proposing asks first (`missions.check_mission`); this one slipped through in between.
        logger.warning("contract_not_attached", code=refused.code, contract_id=str(contract_id))
        missions.turn_away(contract_id=contract_id, by=SYSTEM, now=timezone.now())


@mesh.subscribe("mission.*", name="incidents.follow", from_start=True)
def conclude(entry: Entry) -> None:
    """A mission came further: its incidents are resolved, or handed to people."""
    if entry.mission_id is not None:
        incidents.follow(mission_id=entry.mission_id, now=timezone.now())
