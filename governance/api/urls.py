"""Addresses below /api/governance, and those of contracts below /api/verification."""

from __future__ import annotations

from django.urls import path

from governance.api import agents, approvals, contracts, events, holds, policies, session, stream, webhooks

verification_urlpatterns = [
    path("contracts", contracts.Contracts.as_view(), name="api-contracts"),
    path("contracts/<uuid:id>", contracts.OneContract.as_view(), name="api-contract"),
    path("contracts/<uuid:id>/cancel", contracts.CancelContract.as_view(), name="api-contract-cancel"),
    path("contracts/<uuid:id>/retry", contracts.RetryContract.as_view(), name="api-contract-retry"),
    path("contracts/<uuid:id>/rollback", contracts.RollbackContract.as_view(), name="api-contract-rollback"),
    path("snapshots/<uuid:id>/restore", contracts.RestoreSnapshot.as_view(), name="api-snapshot-restore"),
    path("contracts/<uuid:id>/resolve", contracts.ResolveContract.as_view(), name="api-contract-resolve"),
    path("contracts/<uuid:id>/revisions", contracts.ReviseContract.as_view(), name="api-contract-revisions"),
    path("contracts/<uuid:id>/events", contracts.ContractEvents.as_view(), name="api-contract-events"),
    path("events", events.Events.as_view(), name="api-events"),
]

urlpatterns = [
    path("session", session.Session.as_view(), name="api-session"),
    path("me", session.WhoAmI.as_view(), name="api-me"),
    path("approvals", approvals.Approvals.as_view(), name="api-approvals"),
    path("approvals/decisions", approvals.DecideMany.as_view(), name="api-approval-decisions"),
    path("approvals/<uuid:id>", approvals.OneApproval.as_view(), name="api-approval"),
    path("approvals/<uuid:id>/decision", approvals.Decide.as_view(), name="api-approval-decision"),
    path("approvals/<uuid:id>/comments", approvals.AddComment.as_view(), name="api-approval-comments"),
    path("approvals/<uuid:id>/withdraw", approvals.Withdraw.as_view(), name="api-approval-withdraw"),
    path("policies", policies.Policies.as_view(), name="api-policies"),
    path("policies/active", policies.ActivePolicy.as_view(), name="api-policy-active"),
    path("policies/evaluate", policies.EvaluatePolicy.as_view(), name="api-policy-evaluate"),
    path("holds", holds.Holds.as_view(), name="api-holds"),
    path("holds/<uuid:id>/release", holds.ReleaseHold.as_view(), name="api-hold-release"),
    path("agents", agents.Agents.as_view(), name="api-agents"),
    path("agents/<uuid:id>", agents.OneAgent.as_view(), name="api-agent"),
    path("agents/<uuid:id>/rotate", agents.RotateAgent.as_view(), name="api-agent-rotate"),
    path("agents/<uuid:id>/revoke", agents.RevokeAgent.as_view(), name="api-agent-revoke"),
    path("webhooks", webhooks.Webhooks.as_view(), name="api-webhooks"),
    path("webhooks/<uuid:id>", webhooks.OneWebhook.as_view(), name="api-webhook"),
    path("webhooks/<uuid:id>/deliveries", webhooks.Deliveries.as_view(), name="api-deliveries"),
    path("deliveries/<uuid:id>/redeliver", webhooks.Redeliver.as_view(), name="api-redeliver"),
    path("stream", stream.Stream.as_view(), name="api-stream"),
]
