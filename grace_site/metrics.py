"""What Prometheus reads. Counters follow the facts of the log; gauges are read from the database.

The names and labels are promises. Each app may declare its own (`<app>/metrics.py`); what only reflects
facts is declared here, so that no verb need think of it.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from auditlog import metrics as ground
from auditlog.models import Entry
from governance.models import ApprovalRequest, Hold
from grace_site import health, problems
from missions import metrics as mission_metrics
from verification import learning

logger = structlog.get_logger(__name__)

TIERS = ("tier_1", "tier_2", "tier_3")
HOURS = 3600.0

actions_executed = Counter(
    "grace_actions_executed_total", "Attempts to act that ended", ["action_type", "tier", "status"]
)
contracts_created = Counter("grace_contracts_created_total", "Contracts proposed", ["tier"])
contracts_verified = Counter("grace_contracts_verified_total", "Verifications, by what they found", ["tier", "status"])
contract_violations = Counter(
    "grace_contract_violations_total", "Effects that were not as said", ["action_type", "tier"]
)
rollbacks = Counter("grace_rollbacks_total", "Rollbacks begun, by why", ["action_type", "tier", "reason"])
rollback_duration = Histogram(
    "grace_rollback_duration_seconds",
    "Time a rollback took",
    ["action_type"],
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900),
)
action_duration = Histogram(
    "grace_action_duration_seconds",
    "Time an action took",
    ["action_type", "tier"],
    buckets=(0.05, 0.25, 1, 5, 15, 60, 300, 900, 3600),
)
confidence = Histogram(
    "grace_verification_confidence",
    "Share of the weight of criteria that passed",
    ["action_type"],
    buckets=(0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0),
)
approvals_requested = Counter("grace_approvals_requested_total", "Approval requests opened", ["tier"])
approvals_decided = Counter("grace_approvals_decided_total", "What people said", ["tier", "decision"])
approval_latency = Histogram(
    "grace_approval_latency_seconds",
    "Time from a request to its end",
    ["tier"],
    buckets=(60, 300, 900, 1800, 1 * HOURS, 2 * HOURS, 4 * HOURS),
)
benchmarks_run = Counter("grace_benchmarks_run_total", "Benchmark runs", ["benchmark_type", "passed"])
benchmark_duration = Histogram(
    "grace_benchmark_duration_seconds",
    "Time a benchmark run took",
    ["benchmark_type"],
    buckets=(0.5, 1, 5, 15, 60, 300),
)

GAUGES = {
    "grace_missions_active": "Missions under way",
    "grace_approvals_pending": "Approval requests nobody has settled",
    "grace_jobs_pending": "Jobs queued or running",
    "grace_holds_active": "Holds engaged",
    "grace_audit_sequencer_lag_seconds": "Age of the oldest entry without a place in the tree",
    "grace_audit_checkpoint_age_seconds": "Age of the last signed checkpoint",
    "grace_audit_integrity_findings": "Integrity findings nobody has acknowledged",
    "grace_mesh_subscriber_failures": "Failures in a row of a subscriber of the log",
    "grace_playbook_success_lower_bound": "Wilson lower bound of a playbook's success",
}

Data = Mapping[str, Any]


# --- counting facts -----------------------------------------------------------------------------


def count(entries: Sequence[Entry]) -> None:
    """Count committed entries. Registered as an observer: whatever it raises is logged and harms nobody."""
    for entry in entries:
        for counted in COUNTED.get(entry.fact, ()):
            counted(entry, entry.data)


def _created(entry: Entry, data: Data) -> None:
    """A contract left `proposed`, which is when it is given its tier."""
    if data.get("from_state") == "proposed":
        contracts_created.labels(tier=_label(data, "tier")).inc()


def _verified(entry: Entry, data: Data) -> None:
    if data.get("from_state") not in ("verifying", "in_doubt"):
        return
    contracts_verified.labels(tier=_label(data, "tier"), status=data["to_state"]).inc()
    if "confidence" in data:
        confidence.labels(action_type=_label(data, "action_type")).observe(float(data["confidence"]))


def _violated(entry: Entry, data: Data) -> None:
    contract_violations.labels(action_type=_label(data, "action_type"), tier=_label(data, "tier")).inc()


def _acted(entry: Entry, data: Data) -> None:
    action, tier = _label(data, "action_type"), _label(data, "tier")
    actions_executed.labels(action_type=action, tier=tier, status=_label(data, "status")).inc()
    if "duration_ms" in data:
        action_duration.labels(action_type=action, tier=tier).observe(data["duration_ms"] / 1000)


def _rolling_back(entry: Entry, data: Data) -> None:
    reason = {"violated": "violated", "executing": "execution_failed", "in_doubt": "in_doubt"}.get(
        str(data.get("from_state")), "other"
    )
    rollbacks.labels(action_type=_label(data, "action_type"), tier=_label(data, "tier"), reason=reason).inc()


def _rolled_back(entry: Entry, data: Data) -> None:
    if "rollback_duration_ms" in data:
        seconds = data["rollback_duration_ms"] / 1000
        rollback_duration.labels(action_type=_label(data, "action_type")).observe(seconds)


def _requested(entry: Entry, data: Data) -> None:
    approvals_requested.labels(tier=_label(data, "tier")).inc()


def _decided(entry: Entry, data: Data) -> None:
    approvals_decided.labels(tier=_label(data, "tier"), decision=_label(data, "verdict")).inc()


def _closed(entry: Entry, data: Data) -> None:
    if "latency_seconds" in data:
        approval_latency.labels(tier=_label(data, "tier")).observe(data["latency_seconds"])


def _benchmarked(entry: Entry, data: Data) -> None:
    suite = _label(data, "suite")
    benchmarks_run.labels(benchmark_type=suite, passed=str(bool(data.get("passed"))).lower()).inc()
    if "duration_ms" in data:
        benchmark_duration.labels(benchmark_type=suite).observe(data["duration_ms"] / 1000)


COUNTED: dict[str, tuple[Callable[[Entry, Data], None], ...]] = {
    "contract.denied": (_created,),
    "contract.awaiting_approval": (_created,),
    "contract.authorized": (_created,),
    "contract.verified": (_verified,),
    "contract.partial": (_verified,),
    "contract.violated": (_verified, _violated),
    "contract.rolling_back": (_rolling_back,),
    "contract.rolled_back": (_rolled_back,),
    "agentic.action_completed": (_acted,),
    "agentic.action_failed": (_acted,),
    "approval.requested": (_requested,),
    "approval.decided": (_decided,),
    "approval.granted": (_closed,),
    "approval.rejected": (_closed,),
    "approval.changes_requested": (_closed,),
    "approval.expired": (_closed,),
    "benchmark.completed": (_benchmarked,),
}


def _label(data: Data, name: str) -> str:
    """A label's value; facts name executors, tiers, suites and states, of which there are few."""
    return str(data.get(name) or "unknown")[:64]


# --- reading the database -----------------------------------------------------------------------


def _gauges() -> Iterator[Metric]:
    """The gauges, from a handful of counts over partial indexes."""
    found = ground.readings(timezone.now())
    holds = Hold.objects.filter(released_at=None).values_list("scope").annotate(count=Count("pk"))
    pending = ApprovalRequest.objects.filter(state=ApprovalRequest.State.PENDING)
    by_tier = dict(pending.values_list("tier").annotate(count=Count("pk")))
    yield _gauge("grace_missions_active", [], {(): mission_metrics.active()})
    yield _gauge("grace_approvals_pending", ["tier"], {(tier,): by_tier.get(tier, 0) for tier in TIERS})
    queues = dict.fromkeys(sorted(health.QUEUES), 0) | found.jobs_pending
    yield _gauge("grace_jobs_pending", ["queue"], {(queue,): many for queue, many in queues.items()})
    scopes = dict.fromkeys(Hold.Scope.values, 0) | dict(holds)
    yield _gauge("grace_holds_active", ["scope"], {(scope,): many for scope, many in scopes.items()})
    yield _gauge("grace_audit_sequencer_lag_seconds", [], {(): found.sequencer_lag})
    yield _gauge("grace_audit_checkpoint_age_seconds", [], {(): found.checkpoint_age})
    yield _gauge("grace_audit_integrity_findings", ["kind"], {(kind,): n for kind, n in found.findings.items()})
    since = timezone.now() - learning.RECENT
    failing: dict[tuple[str, ...], float] = {(name,): many for name, many in found.subscribers_failing.items()}
    yield _gauge("grace_mesh_subscriber_failures", ["subscriber"], failing)
    stats = learning.stats(group_by=["playbook"], since=since, where=~Q(playbook=""))
    bounds: dict[tuple[str, ...], float] = {(stat.group["playbook"],): stat.lower_bound for stat in stats}
    yield _gauge("grace_playbook_success_lower_bound", ["playbook"], bounds)


def _gauge(name: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, GAUGES[name], labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


class DatabaseGauges:
    """A collector which reads the database, at most once in five seconds however often it is scraped."""

    EVERY_SECONDS = 5.0

    def __init__(self) -> None:
        self._read_at = float("-inf")
        self._families: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        """The gauges; without their values while the database does not answer."""
        if time.monotonic() - self._read_at > self.EVERY_SECONDS:
            try:
                self._families = list(_gauges())
                self._read_at = time.monotonic()
            except DatabaseError:
                logger.warning("metrics.database_unavailable")
                return [GaugeMetricFamily(name, words) for name, words in GAUGES.items()]
        return self._families


class Named:
    """Every declared metric at least by name, whatever the inner collector shows: none is ever missing.

    With several processes the values come from their files, which name only what has been counted.
    """

    def __init__(self, inner: Callable[[], Iterable[Metric]]) -> None:
        self._inner = inner

    def collect(self) -> Iterator[Metric]:
        """The inner metrics, and the names of the rest."""
        shown = set()
        for family in self._inner():
            shown.add(family.name)
            yield family
        for family in REGISTRY.collect():
            if family.name.startswith("grace_") and family.name not in shown:
                yield Metric(family.name, family.documentation, family.type)


gauges = DatabaseGauges()


def page() -> bytes:
    """Everything, in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        counted = MultiProcessCollector(None, path=folder).collect
        registry.register(Named(counted))
    else:
        registry.register(Named(REGISTRY.collect))
    registry.register(gauges)
    return bytes(generate_latest(registry))


def view(request: HttpRequest) -> HttpResponse:
    """GET /metrics."""
    if not settings.PROMETHEUS_ENABLED:
        return problems.respond(request, problems.not_found())
    if not health.may_look(request):
        return problems.respond(request, problems.forbidden())
    return HttpResponse(page(), content_type=CONTENT_TYPE_LATEST)


def start_at_zero() -> None:
    """Show what has few labels from the first scrape: a rate needs a value before the first event."""
    for tier in TIERS:
        contracts_created.labels(tier=tier)
        approvals_requested.labels(tier=tier)
        approval_latency.labels(tier=tier)
    for tier, status in product(TIERS, ("verified", "partial", "violated")):
        contracts_verified.labels(tier=tier, status=status)
    for tier, verdict in product(TIERS, ("approve", "reject", "request_changes")):
        approvals_decided.labels(tier=tier, decision=verdict)
