"""What governance looks like from outside: proposals, approvals, policies, holds, agents, webhooks."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from rest_framework import serializers as s

from auditlog.api.endpoint import Strict, members
from governance import agents, principals
from governance.models import Agent, ApprovalRequest, Comment, Decision, Delivery, Hold, Policy, Webhook
from verification.api.shapes import (
    ContractShape,
    ExecutionShape,
    ForeignJson,
    JsonObject,
    Requester,
    RevisionShape,
    Verification,
)
from verification.models import Contract

Shape = s.Serializer[Any]
TIERS = ["tier_1", "tier_2", "tier_3"]


# --- proposing -------------------------------------------------------------------------------------------------


class ExpectedEffect(Shape):
    """What will be true afterwards. Every member of `target_state` is a required criterion by itself."""

    target_state = JsonObject(required=False)
    success_criteria = s.ListField(child=JsonObject(), required=False)
    rollback_threshold = s.FloatField(required=False, help_text="0.3 unless said otherwise.")


class ProposalShape(Shape):
    """An action, proposed. With neither a target state nor criteria nothing could be verified: refused."""

    action_type = s.CharField(help_text="One of /api/verification/action-types.")
    target = s.CharField()
    parameters = JsonObject()
    expected_effect = ExpectedEffect()
    preconditions = s.ListField(child=JsonObject(), required=False)
    mission_id = s.UUIDField(required=False, allow_null=True)
    confidence = s.FloatField(required=False, allow_null=True, help_text="0 to 1: how sure the proposer is.")
    justification = s.CharField(required=False)
    not_before = s.DateTimeField(required=False, allow_null=True)
    callback_url = s.CharField(
        required=False,
        help_text="Agents only, below CALLBACK_ALLOWED_URLS: told when there is no need to wait any longer.",
    )
    dry_run = s.BooleanField(required=False, help_text="Answer what would happen; write nothing.")


class RuleMatch(Shape):
    """A rule that had a say."""

    rule = s.CharField(help_text="Its name; empty for what holds without any rule.")
    effect = s.ChoiceField(["deny", *TIERS])
    why = s.CharField()


class PolicyReference(Shape):
    """Which version said so."""

    version = s.IntegerField()
    digest = s.CharField()


class Evaluation(Shape):
    """What policy says: the strictest of all rules that match."""

    effect = s.ChoiceField(["deny", *TIERS])
    tier = s.ChoiceField(TIERS, help_text="A denial is filed under tier_3.")
    requirements = JsonObject(help_text="Who must approve, for how long, how often it may be tried.")
    rules = RuleMatch(many=True)
    reason = s.CharField(help_text="Of a denial.")
    instead = s.CharField(help_text="What to propose rather.")
    policy = PolicyReference()
    risk = JsonObject()


class Preview(Shape):
    """What an action would do, from the executor's dry run."""

    kind = s.ChoiceField(["diff", "text", "json"])
    body = s.CharField()
    summary = s.CharField()


class Submitted(Shape):
    """What became of a proposal."""

    id = s.UUIDField(allow_null=True, help_text="Of the contract; null in a dry run.")
    state = s.CharField()
    tier = s.ChoiceField([*TIERS, ""])
    digest = s.CharField(help_text="What a decision must carry.")
    approval_id = s.UUIDField(allow_null=True)
    mission_id = s.UUIDField(allow_null=True)
    dry_run = s.BooleanField()
    replayed = s.BooleanField(help_text="The same key and body were sent before; this is the same contract.")
    evaluation = Evaluation(allow_null=True, help_text="What policy said; null in a replay.")
    preview = Preview(allow_null=True, help_text="What the action would do; null in a replay.")


class ApprovalSummary(Shape):
    """A request for approval, in short."""

    id = s.UUIDField()
    state = s.ChoiceField(ApprovalRequest.State.choices)
    tier = s.ChoiceField(TIERS)
    digest = s.CharField()
    revision = s.IntegerField()
    created_at = s.DateTimeField()
    expires_at = s.DateTimeField()
    decision_count = s.IntegerField(help_text="Decisions that stand.")


class ContractDetail(ContractShape):
    """A contract with everything known of it."""

    on_behalf_of = Requester(
        allow_null=True, help_text="Who brought Grace to ask for it by itself; they answer for it like a requester."
    )
    parameters = JsonObject()
    expected_effect = JsonObject()
    preconditions = s.ListField(child=JsonObject())
    not_before = s.DateTimeField(allow_null=True)
    revisions = RevisionShape(many=True)
    executions = ExecutionShape(many=True)
    verification = Verification(allow_null=True, help_text="Of the last attempt; null before the first.")
    snapshot_id = s.UUIDField(allow_null=True, help_text="The way back of the last attempt.")
    approval = ApprovalSummary(allow_null=True, help_text="The last request for approval.")
    approvals = ApprovalSummary(many=True)


class CancelRequest(Strict):
    """Why."""

    reason = s.CharField(required=False, default="", allow_blank=True, max_length=2000)


class GoBackRequest(Strict):
    """Why, or only what it would look like."""

    reason = s.CharField(required=False, default="", allow_blank=True, max_length=2000)
    dry_run = s.BooleanField(required=False, default=False)


class ResolveRequest(Strict):
    """How a person settles what the product could not."""

    verdict = s.ChoiceField(["verified", "failed", "rolled_back"])
    reason = s.CharField(max_length=2000)


class RevisionRequest(Shape):
    """What is to be different. Members left out stay as they are."""

    parameters = JsonObject(required=False)
    expected_effect = ExpectedEffect(required=False)
    preconditions = s.ListField(child=JsonObject(), required=False)
    not_before = s.DateTimeField(required=False, allow_null=True)


# --- approvals -------------------------------------------------------------------------------------------------


class ApprovalShape(Shape):
    """A question to people."""

    id = s.UUIDField()
    contract_id = s.UUIDField()
    revision = s.IntegerField()
    state = s.ChoiceField(ApprovalRequest.State.choices)
    tier = s.ChoiceField(TIERS)
    action_type = s.CharField()
    target = s.CharField()
    digest = s.CharField()
    requested_by = Requester()
    mission_id = s.UUIDField(allow_null=True)
    justification = s.CharField()
    risk_score = s.IntegerField()
    requirements = ForeignJson(help_text="Who must approve: groups and counts.")
    created_at = s.DateTimeField()
    expires_at = s.DateTimeField()
    valid_until = s.DateTimeField(allow_null=True)
    closed_at = s.DateTimeField(allow_null=True)
    closing_reason = s.CharField()


class SlotShape(Shape):
    """A place for one person of a group."""

    group = s.CharField()
    filled = s.BooleanField()
    person = s.CharField(allow_null=True)
    on_behalf_of = s.CharField(allow_null=True, help_text="In whose name, when it was not their own.")
    decided_at = s.DateTimeField(allow_null=True)


class DecisionShape(Shape):
    """What one person said."""

    id = s.UUIDField()
    person = s.CharField()
    on_behalf_of = s.CharField(allow_null=True, help_text="In whose name, when it was not their own.")
    verdict = s.ChoiceField(Decision.Verdict.choices)
    reason = s.CharField()
    digest = s.CharField()
    created_at = s.DateTimeField()
    withdrawn_at = s.DateTimeField(allow_null=True)
    entry_id = s.UUIDField(allow_null=True, help_text="The log entry that proves it.")


class CommentShape(Shape):
    """What somebody had to say, and where they point to."""

    id = s.UUIDField()
    person = s.CharField()
    text = s.CharField()
    links = s.ListField(child=s.CharField(), help_text="https addresses of evidence.")
    created_at = s.DateTimeField()
    entry_id = s.UUIDField(help_text="The log entry that proves it.")


class ApprovalDetail(ApprovalShape):
    """Everything a decision needs. The parameters are complete, never shortened."""

    on_behalf_of = Requester(
        allow_null=True, help_text="Who brought Grace to ask for it by itself; they can never approve it."
    )
    parameters = JsonObject()
    expected_effect = JsonObject()
    preconditions = s.ListField(child=JsonObject())
    not_before = s.DateTimeField(allow_null=True)
    preview = Preview()
    observation = ForeignJson(help_text="The target as it was when this was asked.")
    drift = JsonObject(help_text="What changed in the world since the request before this one; empty for a first one.")
    fingerprint = s.CharField()
    begins_at = s.DateTimeField(
        allow_null=True,
        help_text="When it could begin if it were approved now: by `not_before` and the policy's windows. null once it "
        "has begun, or will not any more.",
    )
    risk = JsonObject(help_text="Risk factors.")
    document = JsonObject(help_text="What the digest covers: SHA-256 over its RFC 8785 form.")
    slots = SlotShape(many=True)
    decisions = DecisionShape(many=True)
    comments = CommentShape(many=True)


class Edits(Strict):
    """What an approver changes. It makes a new revision, on which only their approval counts."""

    parameters = JsonObject(required=False)
    expected_effect = JsonObject(required=False)
    not_before = s.DateTimeField(required=False, allow_null=True)


class DecisionRequest(Strict):
    """A decision, bound to the digest it was shown."""

    verdict = s.ChoiceField(Decision.Verdict.choices)
    digest = s.RegexField(r"^[0-9a-f]{64}$")
    reason = s.CharField(required=False, default="", allow_blank=True, max_length=4000)
    edits = Edits(required=False, allow_null=True, default=None)


class BatchItem(Strict):
    """One decision of several."""

    approval_id = s.UUIDField()
    verdict = s.ChoiceField(Decision.Verdict.choices)
    digest = s.RegexField(r"^[0-9a-f]{64}$")
    reason = s.CharField(required=False, default="", allow_blank=True, max_length=4000)


class BatchRequest(Strict):
    """Several decisions. Each stands by itself."""

    decisions = s.ListField(child=BatchItem(), min_length=1, max_length=100)


class BatchResult(Shape):
    """What became of one decision."""

    approval_id = s.UUIDField()
    ok = s.BooleanField()
    state = s.CharField(allow_null=True)
    code = s.CharField(allow_null=True, help_text="Of the refusal.")
    detail = s.CharField(allow_null=True)


class CommentRequest(Strict):
    """Something to say about a request. It changes nothing of what is asked."""

    text = s.CharField(max_length=4000)
    links = s.ListField(
        child=s.CharField(max_length=500), required=False, default=list, max_length=10, help_text="https only."
    )


class WithdrawRequest(Strict):
    """Why an approval is taken back."""

    reason = s.CharField(required=False, default="", allow_blank=True, max_length=4000)


# --- policies, holds, agents, webhooks -------------------------------------------------------------------------


class PolicyShape(Shape):
    """One version of the policy."""

    id = s.UUIDField()
    version = s.IntegerField()
    digest = s.CharField()
    is_active = s.BooleanField()
    note = s.CharField()
    created_by = s.CharField()
    created_at = s.DateTimeField()
    unmatched = s.CharField(help_text="The effect on what no rule speaks about.")
    tiers = JsonObject(help_text="What each tier asks for at least.")
    rules = s.ListField(child=JsonObject())


class EvaluationRequest(Strict):
    """An action, asked about. Nothing is written."""

    action_type = s.CharField(max_length=100)
    target = s.CharField(max_length=500)
    parameters = JsonObject(required=False, default=dict)
    agent = s.CharField(required=False, allow_blank=True, default="", max_length=100)
    mission_id = s.UUIDField(required=False, allow_null=True, default=None)


class HoldShape(Shape):
    """Nothing in its scope starts while it is engaged."""

    id = s.UUIDField()
    scope = s.ChoiceField(Hold.Scope.choices)
    pattern = s.CharField()
    is_exact = s.BooleanField(help_text="Whether the pattern is one text and no glob.")
    reason = s.CharField()
    source = s.CharField()
    engaged_by = s.CharField()
    engaged_at = s.DateTimeField()
    released_by = s.CharField()
    released_at = s.DateTimeField(allow_null=True)


class HoldRequest(Strict):
    """What to stop, and why."""

    scope = s.ChoiceField(Hold.Scope.choices, default=Hold.Scope.EVERYTHING)
    pattern = s.CharField(required=False, default="", allow_blank=True, max_length=500)
    reason = s.CharField(max_length=2000)


class ReleaseRequest(Strict):
    """Why it may go on."""

    reason = s.CharField(max_length=2000)


class AgentShape(Shape):
    """A program that proposes, and who answers for it."""

    id = s.UUIDField()
    name = s.CharField()
    owner = s.CharField()
    state = s.ChoiceField(Agent.State.choices)
    allowed_action_types = s.ListField(child=s.CharField())
    open_request_limit = s.IntegerField()
    created_at = s.DateTimeField()


class KeyShape(Shape):
    """A key, by its first characters."""

    prefix = s.CharField()
    created_at = s.DateTimeField()
    expires_at = s.DateTimeField()
    last_used_at = s.DateTimeField(allow_null=True, help_text="To the minute.")
    revoked_at = s.DateTimeField(allow_null=True)


class AgentDetail(AgentShape):
    """An agent and its keys."""

    keys = KeyShape(many=True)


class AgentWithKey(AgentShape):
    """An agent and its new key, which is shown this once."""

    key = s.CharField()


def _key_days() -> s.IntegerField:
    return s.IntegerField(
        required=False,
        default=agents.KEY_DAYS,
        min_value=1,
        max_value=agents.MAX_KEY_DAYS,
        help_text="How long the key is good.",
    )


class AgentRequest(Strict):
    """A new agent. The owner is the caller unless somebody else is named."""

    name = s.CharField(max_length=100, help_text="Small letters, digits and hyphens.")
    owner = s.CharField(required=False, allow_null=True, default=None, max_length=150, help_text="A username.")
    allowed_action_types = s.ListField(child=s.CharField(max_length=100), required=False, default=list, max_length=100)
    open_request_limit = s.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        min_value=1,
        max_value=agents.MAX_OPEN_REQUESTS,
        help_text="Most requests that may wait for people; AGENT_OPEN_REQUESTS unless said otherwise.",
    )
    key_days = _key_days()


class ChangeAgentRequest(Strict):
    """What an agent may propose from now on (globs; none for all) and how many of its requests may wait."""

    allowed_action_types = s.ListField(child=s.CharField(max_length=100), max_length=100)
    open_request_limit = s.IntegerField(min_value=1, max_value=agents.MAX_OPEN_REQUESTS)
    reason = s.CharField(required=False, allow_blank=True, default="", max_length=2_000)


class RotateRequest(Strict):
    """A new key; the old ones end after the overlap."""

    overlap_minutes = s.IntegerField(required=False, default=24 * 60, min_value=0, max_value=60 * 24 * 30)
    key_days = _key_days()


class RotateSecretRequest(Strict):
    """A new signing secret; until the overlap is over deliveries are signed with the one before as well."""

    overlap_minutes = s.IntegerField(required=False, default=24 * 60, min_value=0, max_value=60 * 24 * 30)


class WebhookShape(Shape):
    """A receiver of facts."""

    id = s.UUIDField()
    url = s.CharField()
    facts = s.ListField(child=s.CharField())
    is_active = s.BooleanField()
    created_by = s.CharField()
    created_at = s.DateTimeField()


class WebhookWithSecret(WebhookShape):
    """A receiver and its signing secret, which is shown this once."""

    secret = s.CharField()


class WebhookRequest(Strict):
    """Whom to tell of what."""

    url = s.CharField(max_length=500)
    facts = s.ListField(child=s.CharField(max_length=100), min_length=1, max_length=20)


class DeliveryShape(Shape):
    """One fact owed to one receiver."""

    id = s.UUIDField()
    webhook_id = s.UUIDField(allow_null=True, help_text="None: the callback of a contract.")
    contract_id = s.UUIDField(allow_null=True, help_text="The contract whose callback this is.")
    entry_id = s.UUIDField()
    fact = s.CharField()
    state = s.ChoiceField(Delivery.State.choices)
    attempts = s.IntegerField()
    last_status = s.IntegerField(allow_null=True)
    last_error = s.CharField()
    job_id = s.UUIDField(allow_null=True)
    created_at = s.DateTimeField()
    delivered_at = s.DateTimeField(allow_null=True)


class CallbackSecretShape(Shape):
    """What verifies callbacks, as Standard Webhooks writes it."""

    secret = s.CharField()


# --- rows into shapes ------------------------------------------------------------------------------------------


def approval(row: ApprovalRequest) -> dict[str, Any]:
    """The members of ApprovalShape; `contract` and `revision` are joined."""
    contract = row.contract
    return {
        **{name: getattr(row, name) for name in _APPROVAL},
        "revision": row.revision.number,
        "action_type": contract.action_type,
        "target": contract.target,
        "requested_by": {"kind": contract.requested_by_kind, "label": row.requester_label},
        "mission_id": contract.mission_id,
        "justification": contract.justification,
    }


def approval_summary(row: ApprovalRequest, revision: int, decisions: int) -> dict[str, Any]:
    """The members of ApprovalSummary."""
    names = ("id", "state", "tier", "digest", "created_at", "expires_at")
    return {**{name: getattr(row, name) for name in names}, "revision": revision, "decision_count": decisions}


def approval_detail(row: ApprovalRequest, slots: list[dict[str, Any]], begins_at: datetime | None) -> dict[str, Any]:
    """The members of ApprovalDetail; decisions are prefetched."""
    revision = row.revision
    return {
        **approval(row),
        "on_behalf_of": on_behalf_of(row.contract),
        "parameters": revision.parameters,
        "expected_effect": revision.expected_effect,
        "preconditions": revision.preconditions,
        "not_before": revision.not_before,
        "preview": row.preview,
        "observation": row.observation,
        "drift": row.drift,
        "fingerprint": row.fingerprint,
        "begins_at": begins_at,
        "risk": row.risk,
        "document": json.loads(row.document),
        "slots": slots,
        "decisions": [decision(each) for each in row.decisions.all()],
        "comments": [comment(each) for each in row.comments.all()],
    }


def on_behalf_of(contract: Contract) -> dict[str, Any] | None:
    """Who brought Grace to ask for a contract by itself, as a Requester; None when nobody did."""
    if contract.on_behalf_of is None:
        return None
    actor = principals.actor_of(contract.on_behalf_of)
    return {"kind": actor.kind, "label": actor.label}


def decision(row: Decision) -> dict[str, Any]:
    """The members of DecisionShape."""
    names = {"person": row.person_label, "on_behalf_of": row.on_behalf_of_label or None}
    return {**{name: getattr(row, name) for name in _DECISION}, **names}


def comment(row: Comment) -> dict[str, Any]:
    """The members of CommentShape."""
    return {**{name: getattr(row, name) for name in _COMMENT}, "person": row.person_label}


def policy(row: Policy) -> dict[str, Any]:
    """The members of PolicyShape."""
    return {**{name: getattr(row, name) for name in _POLICY}, "created_by": row.created_by_label}


def hold(row: Hold) -> dict[str, Any]:
    """The members of HoldShape."""
    labels = {"engaged_by": row.engaged_by_label, "released_by": row.released_by_label}
    return {**{name: getattr(row, name) for name in _HOLD}, **labels}


def agent(row: Agent) -> dict[str, Any]:
    """The members of AgentShape; the owner is joined."""
    return {**{name: getattr(row, name) for name in _AGENT}, "owner": row.owner.get_username()}


def webhook(row: Webhook) -> dict[str, Any]:
    """The members of WebhookShape."""
    return {**{name: getattr(row, name) for name in _WEBHOOK}, "created_by": row.created_by_label}


def delivery(row: Delivery) -> dict[str, Any]:
    """The members of DeliveryShape."""
    return {name: getattr(row, name) for name in _DELIVERY}


_APPROVAL = members(ApprovalShape, "revision", "action_type", "target", "requested_by", "mission_id", "justification")
_DECISION = members(DecisionShape, "person", "on_behalf_of")
_COMMENT = members(CommentShape, "person")
_POLICY = members(PolicyShape, "created_by")
_HOLD = members(HoldShape, "engaged_by", "released_by")
_AGENT = members(AgentShape, "owner")
_WEBHOOK = members(WebhookShape, "created_by")
_DELIVERY = members(DeliveryShape)
