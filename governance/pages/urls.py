"""Addresses of the console below missions."""

from django.urls import path

from auditlog import converters  # noqa: F401 - registers <index:…>

from . import (
    agents,
    approvals,
    audit,
    batches,
    bundles,
    contracts,
    edits,
    entries,
    holds,
    inbox,
    policies,
    receipts,
    records,
)

urlpatterns = [
    path("", inbox.inbox, name="inbox"),
    path("approvals/batch", batches.batch, name="batch"),
    path("approvals/batch/decide", batches.decide, name="batch-decide"),
    path("approvals/<uuid:request_id>", approvals.approval, name="approval"),
    path("approvals/<uuid:request_id>/brief", approvals.brief, name="approval-brief"),
    path("approvals/<uuid:request_id>/edit", edits.edit, name="approval-edit"),
    path("approvals/<uuid:request_id>/edit/preview", edits.preview, name="approval-edit-preview"),
    path("approvals/<uuid:request_id>/edit/approve", edits.approve, name="approval-edit-approve"),
    path("approvals/<uuid:request_id>/comment", approvals.comment, name="approval-comment"),
    path("approvals/<uuid:request_id>/decide", approvals.decide, name="decide"),
    path("approvals/<uuid:request_id>/withdraw", approvals.withdraw, name="withdraw"),
    path("contracts", contracts.contracts, name="contracts"),
    path("contracts/<uuid:contract_id>", contracts.contract, name="contract"),
    path("contracts/<uuid:contract_id>/cancel", contracts.cancel, name="contract-cancel"),
    path("contracts/<uuid:contract_id>/resolve", contracts.resolve, name="contract-resolve"),
    path("contracts/<uuid:contract_id>/retry", contracts.retry, name="contract-retry"),
    path("holds", holds.holds, name="holds"),
    path("holds/engage", holds.engage, name="hold-engage"),
    path("holds/<uuid:hold_id>/release", holds.release, name="hold-release"),
    path("policies", policies.policies, name="policies"),
    path("agents", agents.agents, name="agents"),
    path("agents/<uuid:agent_id>/revoke", agents.revoke, name="agent-revoke"),
    path("snapshots", records.snapshots, name="snapshots"),
    path("benchmarks", records.benchmarks, name="benchmarks"),
    path("jobs", records.jobs, name="jobs"),
    path("webhooks", records.webhooks, name="webhooks"),
    path("audit", audit.audit, name="audit"),
    path("audit/entries/<index:leaf_index>", entries.entry, name="audit-entry"),
    path("audit/findings/<index:finding_id>/acknowledge", audit.acknowledge, name="finding-acknowledge"),
    path("audit/export", bundles.ask, name="bundle-ask"),
    path("audit/exports/<uuid:job_id>", bundles.bundle, name="bundle"),
    path("approvals/<uuid:request_id>/receipts", receipts.receipts, name="receipts"),
]
