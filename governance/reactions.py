"""What governance does when it hears of facts."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import structlog
from django.utils import timezone

from auditlog import entries, jobs, mesh
from auditlog.actors import SYSTEM
from auditlog.models import Entry
from verification import contracts
from verification.models import Contract, State

from . import anchoring, approvals, breaker, callbacks, holding, holds, mailing, proposals, webhooks
from .models import Agent, Hold

logger = structlog.get_logger(__name__)


@mesh.subscribe("contract.awaiting_approval", name="governance-ask-again")
def ask_again(entry: Entry) -> None:
    """A contract went back to waiting for people: see to it that they are asked (M), also for further attempts (E)."""
    if entry.contract_id is not None and entries.data(entry)["from_state"] in (State.AUTHORIZED, State.FAILED):
        approvals.owe_reopening(entry.contract_id, now=timezone.now())


@mesh.subscribe("contract.held", name="governance-hold-failed-rollback")
def hold_what_could_not_be_rolled_back(entry: Entry) -> None:
    """A rollback failed: nothing else touches that target until people have looked (S)."""
    moved = entries.data(entry)
    if moved["from_state"] != State.ROLLING_BACK:
        return
    why = moved["reason"].replace("\x00", "")
    engage = partial(
        holds.engage,
        by=SYSTEM,
        user=None,
        now=timezone.now(),
        source="rollback_failed",
        contract_id=entry.contract_id,
    )
    reason = f"A rollback of {moved['action_type']} failed: {why}"[: holds.MAX_REASON_CHARS]
    try:
        engage(scope=Hold.Scope.TARGET, pattern=moved["target"], is_exact=True, reason=reason)
    except holds.InvalidHold:
        # What cannot be taken would be told again for ever, and every later failure would wait behind it.
        logger.exception("target_not_held", contract_id=str(entry.contract_id))
        plain = f"A rollback failed, and its target cannot be held: see contract {entry.contract_id}."
        engage(scope=Hold.Scope.EVERYTHING, reason=plain)


@mesh.subscribe("contract.violated", "contract.held", name="governance-circuit-breaker")
def break_the_circuit(entry: Entry) -> None:
    """The same action went wrong on the same target again and again: stop it before the next one does."""
    if entry.contract_id is not None:
        breaker.count(contract_id=entry.contract_id, happened_at=entry.recorded_at, now=timezone.now())


@mesh.subscribe("agent.revoked", name="governance-stop-revoked-agent")
def stop_agent(entry: Entry) -> None:
    """An agent is out: what it asked for ends before it begins, whoever had said yes."""
    agent = Agent.objects.filter(pk=UUID(entry.subject_id)).first()
    if agent is not None:
        reason = f"The agent {agent.name} was revoked."
        proposals.cancel_all_of(user_id=agent.user_id, reason=reason, now=timezone.now())


@mesh.subscribe("hold.released", name="governance-go-on-after-hold")
def go_on(entry: Entry) -> None:
    """A hold is off: what waited for it need not wait for its next look."""
    hold = Hold.objects.filter(pk=UUID(entry.subject_id)).first()
    if hold is None:
        return
    for contract in Contract.objects.filter(state=State.AUTHORIZED).iterator():
        if holding.covers(hold, contract):
            jobs.bring_forward(kind=contracts.EXECUTION_JOB, subject_id=str(contract.pk), now=timezone.now())


@mesh.subscribe("auditlog.checkpoint_signed", name="governance-anchor")
def anchor(entry: Entry) -> None:
    """Tell a head of the log to somebody outside, who keeps it."""
    anchoring.tell(entry)


@mesh.subscribe(*mailing.APPROVALS, *mailing.ALARMS, name="governance-mail")
def write(entry: Entry) -> None:
    """Owe a mail to everybody the fact concerns."""
    mailing.owe(entry, now=timezone.now())


@mesh.subscribe("*", name="governance-webhooks")
def tell(entry: Entry) -> None:
    """Owe the fact to every webhook that asked for it."""
    webhooks.owe(entry, now=timezone.now())


@mesh.subscribe(*callbacks.FACTS, name="governance-callbacks")
def call_back(entry: Entry) -> None:
    """Owe an agent the news of its contract, at the address it named."""
    webhooks.owe_callback(entry, now=timezone.now())
