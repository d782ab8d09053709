"""Addresses of the console below missions."""

from django.urls import path

from . import agents, approvals, audit, contracts, holds, policies, records

urlpatterns = [
    path("", approvals.inbox, name="inbox"),
    path("approvals/<uuid:request_id>", approvals.approval, name="approval"),
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
]
