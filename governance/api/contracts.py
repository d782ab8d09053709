"""Contracts: proposed through policy, followed, cancelled, settled by people."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers as s
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog import entries
from auditlog.api.endpoint import Endpoint, PageQuery, Query, operation
from governance import proposals, resolving, restoring
from governance.api import events, shapes, waiting
from governance.models import ApprovalRequest
from verification import contracts
from verification.api import shapes as below
from verification.models import Contract, Snapshot, State

TAG = "contracts"
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Any text of up to 200 characters. The same key with the same body answers the same contract; with "
    "another body, 409.",
)
EXAMPLE = {
    "action_type": "config.update",
    "target": "file:service.json",
    "parameters": {"path": "service.json", "merge": {"workers": 4}},
    "expected_effect": {
        "target_state": {"exists": True},
        "success_criteria": [{"type": "state_match", "path": "content.workers", "equals": 4, "required": True}],
    },
    "justification": "The queue grows faster than two workers can empty it.",
    "confidence": 0.9,
}


class WaitQuery(Query):
    """Whether to wait."""

    wait = s.FloatField(
        default=0,
        min_value=0,
        max_value=waiting.MAX_SECONDS,
        help_text="Answer when the contract has settled, at the latest after so many seconds (60 at most). When too "
        "many requests wait already, the answer comes at once.",
    )


class ContractQuery(PageQuery):
    """Filters of the list."""

    state = s.CharField(required=False, max_length=300, help_text="One state or several, separated by commas.")
    tier = s.ChoiceField(shapes.TIERS, required=False)
    action_type = s.CharField(required=False, max_length=100)
    target = s.CharField(required=False, max_length=500)
    agent = s.CharField(required=False, max_length=100, help_text="An agent's name.")
    mission_id = s.UUIDField(required=False)
    incident_id = s.UUIDField(required=False)
    created_after = s.DateTimeField(required=False, help_text="At or after.")
    created_before = s.DateTimeField(required=False, help_text="Before.")

    def validate_state(self, value: str) -> list[str]:
        """Each must be a state there is."""
        states = [state.strip() for state in value.split(",")]
        if unknown := [state for state in states if state not in State.values]:
            raise s.ValidationError(f"{unknown[0][:40]!r} is not a state.", code="invalid_choice")
        return states


_FILTERS = {
    "state": "state__in",
    "tier": "tier",
    "action_type": "action_type",
    "target": "target",
    "agent": "requested_by__agent__name",
    "mission_id": "mission_id",
    "incident_id": "incident_id",
    "created_after": "created_at__gte",
    "created_before": "created_at__lt",
}


class Contracts(Endpoint):
    """`/contracts`"""

    write_scope = "proposals"

    @operation(
        "list_contracts",
        "Contracts, newest first",
        tag=TAG,
        asks="contracts.read",
        query=ContractQuery,
        answer=[below.ContractShape],
    )
    def get(self, request: Request) -> Response:
        """Agents see their own."""
        wanted = {column: self.query[name] for name, column in _FILTERS.items() if name in self.query}
        return self.page(self.visible(Contract.objects.filter(**wanted)), below.contract)

    @operation(
        "propose_contract",
        "Propose an action",
        tag=TAG,
        asks="contracts.propose",
        query=WaitQuery,
        body=shapes.ProposalShape,
        raw_body=True,
        answer=shapes.Submitted,
        status=201,
        parameters=[IDEMPOTENCY_KEY],
        example=EXAMPLE,
        description="Policy gives the proposal a tier. tier_1 runs by itself, the others wait for people; the answer "
        "says which. Nothing has run when it arrives, unless `wait` was asked for. A dry run writes nothing.",
    )
    def post(self, request: Request) -> Response:
        """Submit it; what is wrong in it is named by pointer."""
        dry_run = _dry_run(self.body)
        proposal = proposals.Proposal.from_body(self.body)
        submitted = proposals.submit(
            proposal=proposal,
            by=self.actor,
            user=self.user,
            idempotency_key=request.headers.get("Idempotency-Key"),
            now=self.now,
            dry_run=dry_run,
        )
        if submitted.contract is not None and self.query["wait"]:
            waiting.until_settled(submitted.contract.pk, seconds=self.query["wait"])
            submitted.contract.refresh_from_db()
        return self.answer(submitted_shape(submitted), status=201 if submitted.contract else 200)


class OneContract(Endpoint):
    """`/contracts/{id}`"""

    @operation(
        "get_contract",
        "One contract",
        tag=TAG,
        asks="contracts.read",
        query=WaitQuery,
        answer=shapes.ContractDetail,
    )
    def get(self, request: Request, id: UUID) -> Response:
        """With its revisions, executions, the verification of each criterion, and its approval."""
        contract = self.find(Contract.objects.all(), id=id)
        if self.query["wait"] and waiting.until_settled(id, seconds=self.query["wait"]):
            contract.refresh_from_db()
        response = self.answer(detail(contract))
        response["ETag"] = f'"{contracts.version(contract)}"'
        return response


IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    description="The `ETag` of the contract as you saw it. Once it has moved or was revised, nothing is done (412).",
)


class OfContract(Endpoint):
    """An address below one contract. With `If-Match` a verb acts only on the contract as the caller saw it."""

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """What the header expects is compared under the contract's lock."""
        given = request.headers.get("If-Match", "*")
        if given.strip() == "*" or request.method in SAFE_METHODS:
            return super().dispatch(request, *args, **kwargs)
        with contracts.expecting(kwargs["id"], frozenset(re.findall(r'(?<!W/)"([^"]*)"', given))):
            return super().dispatch(request, *args, **kwargs)

    def seen(self, id: UUID) -> Contract:
        """The contract, if the caller may see it and it is as expected; raises Missing and contracts.Changed."""
        return contracts.as_expected(self.find(Contract.objects.all(), id=id))


class CancelContract(OfContract):
    """`/contracts/{id}/cancel`"""

    @operation(
        "cancel_contract",
        "Stop a contract",
        tag=TAG,
        parameters=[IF_MATCH],
        asks="contracts.cancel",
        body=shapes.CancelRequest,
        answer=below.ContractShape,
        description="Before it began, at once. While it runs its executor is asked to stop, and it is cancelled if "
        "nothing happened, also after a doubt. One that waits for another attempt becomes a dead letter.",
    )
    def post(self, request: Request, id: UUID) -> Response:
        """Before it began, at once. While it runs its executor is asked to stop."""
        self.seen(id)
        contract = proposals.cancel(
            contract_id=id, by=self.actor, user=self.user, reason=self.body["reason"], now=self.now
        )
        return self.answer(below.contract(contract))


class RetryContract(OfContract):
    """`/contracts/{id}/retry`"""

    @operation(
        "retry_contract",
        "Try a dead-lettered contract again",
        tag=TAG,
        parameters=[IF_MATCH],
        asks="contracts.retry",
        answer=below.ContractShape,
    )
    def post(self, request: Request, id: UUID) -> Response:
        """Under the same authorization while attempts are left; then it is put before the policy anew."""
        self.seen(id)
        return self.answer(below.contract(contracts.retry(contract_id=id, by=self.actor, now=self.now)))


class RollbackContract(OfContract):
    """`/contracts/{id}/rollback`"""

    write_scope = "proposals"

    @operation(
        "rollback_contract",
        "Propose to undo a settled contract",
        tag=TAG,
        parameters=[IF_MATCH],
        asks="contracts.rollback",
        body=shapes.GoBackRequest,
        answer=shapes.Submitted,
        status=201,
        example={"reason": "Logins have been slow since this morning."},
        description="Going back is an action like any other: a contract with a tier, approved, verified and logged.",
    )
    def post(self, request: Request, id: UUID) -> Response:
        """To what its last attempt found. With `dry_run` only the difference is looked at (200)."""
        self.seen(id)
        submitted = restoring.rollback(
            contract_id=id,
            justification=self.body["reason"],
            dry_run=self.body["dry_run"],
            by=self.actor,
            user=self.user,
            now=self.now,
        )
        return self.answer(submitted_shape(submitted), status=201 if submitted.contract else 200)


class RestoreSnapshot(Endpoint):
    """`/snapshots/{id}/restore`"""

    write_scope = "proposals"

    @operation(
        "restore_snapshot",
        "Propose to go back to a snapshot",
        tag="snapshots",
        asks="snapshots.restore",
        body=shapes.GoBackRequest,
        answer=shapes.Submitted,
        status=201,
        example={"dry_run": True},
        description="Going back is an action like any other: a contract with a tier, approved, verified and logged. "
        "With `dry_run` the answer shows the difference as `preview`, and nothing is written (200).",
    )
    def post(self, request: Request, id: UUID) -> Response:
        """Everything that was observed then is expected again."""
        self.find(Snapshot.objects.all(), id=id)
        submitted = restoring.restore(
            snapshot_id=id,
            justification=self.body["reason"],
            dry_run=self.body["dry_run"],
            by=self.actor,
            user=self.user,
            now=self.now,
        )
        return self.answer(submitted_shape(submitted), status=201 if submitted.contract else 200)


class ResolveContract(OfContract):
    """`/contracts/{id}/resolve`"""

    @operation(
        "resolve_contract",
        "Settle a contract by hand",
        tag=TAG,
        parameters=[IF_MATCH],
        asks="contracts.resolve",
        body=shapes.ResolveRequest,
        answer=below.ContractShape,
        example={"verdict": "verified", "reason": "Looked at the service: it does what was promised."},
    )
    def post(self, request: Request, id: UUID) -> Response:
        """For partial, in_doubt and held, by somebody who did not ask for it, with a reason that goes into the log."""
        self.seen(id)
        contract = resolving.resolve(
            contract_id=id,
            verdict=self.body["verdict"],
            reason=self.body["reason"],
            by=self.actor,
            user=self.user,
            now=self.now,
        )
        return self.answer(below.contract(contract))


class ReviseContract(OfContract):
    """`/contracts/{id}/revisions`"""

    write_scope = "proposals"

    @operation(
        "revise_contract",
        "Answer a reviewer who asked for changes",
        tag=TAG,
        parameters=[IF_MATCH],
        asks="contracts.propose",
        body=shapes.RevisionRequest,
        raw_body=True,
        answer=shapes.ContractDetail,
        status=201,
        example={"parameters": {"path": "service.json", "merge": {"workers": 3}}},
    )
    def post(self, request: Request, id: UUID) -> Response:
        """A new revision, with a tier and a request for approval of its own."""
        self.seen(id)
        proposals.revise(contract_id=id, revision=self.body, by=self.actor, user=self.user, now=self.now)
        return self.answer(detail(Contract.objects.get(pk=id)), status=201)


class ContractEvents(Endpoint):
    """`/contracts/{id}/events`"""

    @operation(
        "contract_events",
        "What happened to a contract",
        tag=TAG,
        asks="contracts.read",
        query=PageQuery,
        answer=[below.Event],
    )
    def get(self, request: Request, id: UUID) -> Response:
        """Its facts, in the order of the log."""
        self.find(Contract.objects.all(), id=id)
        return self.page(events.shown(request, entries.timeline(contract_id=id)), events.event, order=events.ORDER)


def detail(contract: Contract) -> dict[str, Any]:
    """The members of ContractDetail: the same few queries, however many rows there are."""
    revisions = list(contract.revisions.all())
    numbers = {each.pk: each.number for each in revisions}
    current = next(each for each in revisions if each.number == contract.current_revision)
    executions = list(contract.executions.order_by("attempt"))
    last = executions[-1] if executions else None
    ran = next((each for each in revisions if last and each.pk == last.revision_id), current)
    requests = [shapes.approval_summary(each, numbers[each.revision_id], each.standing) for each in _requests(contract)]
    return {
        **below.contract(contract),
        "on_behalf_of": shapes.on_behalf_of(contract),
        "parameters": current.parameters,
        "expected_effect": current.expected_effect,
        "preconditions": current.preconditions,
        "not_before": current.not_before,
        "revisions": [below.revision(each) for each in revisions],
        "executions": [below.execution(each, numbers[each.revision_id]) for each in executions],
        "verification": below.verification(last, ran.expected_effect) if last else None,
        "snapshot_id": last.snapshot_id if last else None,
        "approval": requests[-1] if requests else None,
        "approvals": requests,
    }


def _requests(contract: Contract) -> QuerySet[Any]:
    standing = Count("decisions", filter=Q(decisions__withdrawn_at__isnull=True))
    found = ApprovalRequest.objects.filter(contract=contract).annotate(standing=standing)
    return found.order_by("created_at", "id")


def submitted_shape(submitted: proposals.Submitted) -> dict[str, Any]:
    """The members of Submitted."""
    contract, look = submitted.contract, submitted.look
    return {
        "id": contract.pk if contract else None,
        "state": contract.state if contract else submitted.state,
        "tier": submitted.tier,
        "digest": submitted.digest,
        "approval_id": submitted.approval.pk if submitted.approval else None,
        "mission_id": contract.mission_id if contract else None,
        "dry_run": contract is None,
        "replayed": submitted.replayed,
        "evaluation": submitted.evaluation.as_dict() if submitted.evaluation else None,
        "preview": look.preview.as_dict() if look else None,
    }


def _dry_run(body: dict[str, Any]) -> bool:
    """Take `dry_run` out of the body: how to ask, not what is asked."""
    asked = body.pop("dry_run", False)
    if not isinstance(asked, bool):
        raise s.ValidationError({"dry_run": s.ErrorDetail("A boolean is expected.", code="wrong_type")})
    return asked
