"""Metrics: every promised name from the first scrape, driven by facts, harmless when they fail."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY

from auditlog import log, observers
from auditlog.actors import SYSTEM
from auditlog.facts import SystemFact
from auditlog.models import Entry
from auditlog.subjects import Subject
from grace_site import metrics
from tests.harness.processes import ROOT

PROMISED = {
    "grace_actions_executed_total": {"action_type", "tier", "status"},
    "grace_contracts_verified_total": {"tier", "status"},
    "grace_contract_violations_total": {"action_type", "tier"},
    "grace_rollbacks_total": {"action_type", "tier", "reason"},
    "grace_approvals_requested_total": {"tier"},
    "grace_benchmarks_run_total": {"benchmark_type", "passed"},
    "grace_missions_active": set(),
    "grace_jobs_enqueued_total": {"job_type"},
    "grace_contracts_created_total": {"tier"},
    "grace_approvals_decided_total": {"tier", "decision"},
    "grace_approval_latency_seconds": {"tier"},
    "grace_action_duration_seconds": {"action_type", "tier"},
    "grace_rollback_duration_seconds": {"action_type"},
    "grace_verification_confidence": {"action_type"},
    "grace_approvals_pending": {"tier"},
    "grace_jobs_pending": {"queue"},
    "grace_job_duration_seconds": {"job_type"},
    "grace_missions_completed_total": {"status"},
    "grace_jobs_completed_total": {"job_type", "status"},
    "grace_benchmark_duration_seconds": {"benchmark_type"},
    "grace_webhook_deliveries_total": {"outcome"},
    "grace_mails_total": {"outcome"},
    "grace_audit_entries_total": set(),
    "grace_audit_sequencer_lag_seconds": set(),
    "grace_audit_checkpoint_age_seconds": set(),
    "grace_audit_integrity_findings": {"kind"},
    "grace_holds_active": {"scope"},
    "grace_mesh_subscriber_failures": {"subscriber"},
    "grace_playbook_success_lower_bound": {"playbook"},
}


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> None:
    metrics.gauges._read_at = float("-inf")


def named(page: str) -> set[str]:
    """The names a scrape shows."""
    return set(re.findall(r"^# TYPE (grace_\w+)", page, re.MULTILINE))


@pytest.mark.django_db
def test_every_promised_name_is_there_from_the_first_scrape() -> None:
    assert set(PROMISED) - named(Client().get("/metrics").content.decode()) == set()


@pytest.mark.django_db
def test_nothing_unpromised_is_there() -> None:
    shown = {name for name in named(Client().get("/metrics").content.decode()) if not name.endswith("_created")}
    assert shown - set(PROMISED) == set()


def test_counters_carry_exactly_the_promised_labels() -> None:
    for name, labels in PROMISED.items():
        counter = REGISTRY._names_to_collectors.get(name)
        if counter is not None:
            assert set(counter._labelnames) == labels, name


@pytest.mark.django_db
def test_it_can_be_switched_off(settings: Any) -> None:
    settings.PROMETHEUS_ENABLED = False
    assert Client().get("/metrics").status_code == HTTPStatus.NOT_FOUND


@pytest.mark.django_db
def test_however_often_it_is_scraped_the_database_is_read_once(django_assert_num_queries: Any) -> None:
    Client().get("/metrics")
    with django_assert_num_queries(0):
        Client().get("/metrics")


def _value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def _entry(fact: str, **data: Any) -> Entry:
    document = {
        **dict.fromkeys(("id", "at", "subsystem", "outcome"), "x"),
        **dict.fromkeys(("mission_id", "contract_id", "correlation_id", "caused_by")),
        **{name: {"kind": "x", "id": "x", "label": "x"} for name in ("actor", "subject")},
        "fact": fact,
        "data": data,
        "commitments": [],
    }
    return Entry(id=uuid4(), fact=fact, bytes=json.dumps(document).encode(), recorded_at=timezone.now())


MOVED = {"action_type": "config.update", "tier": "tier_2"}
COUNTS: list[tuple[Entry, str, dict[str, str]]] = [
    (
        _entry("contract.awaiting_approval", **MOVED, from_state="proposed", to_state="awaiting_approval"),
        "grace_contracts_created_total",
        {"tier": "tier_2"},
    ),
    (
        _entry("contract.verified", **MOVED, from_state="verifying", to_state="verified", confidence="1.0"),
        "grace_contracts_verified_total",
        {"tier": "tier_2", "status": "verified"},
    ),
    (
        _entry("contract.violated", **MOVED, from_state="verifying", to_state="violated"),
        "grace_contract_violations_total",
        MOVED,
    ),
    (
        _entry("contract.rolling_back", **MOVED, from_state="violated", to_state="rolling_back"),
        "grace_rollbacks_total",
        {**MOVED, "reason": "violated"},
    ),
    (
        _entry("contract.rolled_back", **MOVED, rollback_duration_ms=1500),
        "grace_rollback_duration_seconds_sum",
        {"action_type": "config.update"},
    ),
    (
        _entry("agentic.action_completed", **MOVED, status="success", duration_ms=20),
        "grace_actions_executed_total",
        {**MOVED, "status": "success"},
    ),
    (_entry("approval.requested", tier="tier_3"), "grace_approvals_requested_total", {"tier": "tier_3"}),
    (
        _entry("approval.decided", tier="tier_3", verdict="approve"),
        "grace_approvals_decided_total",
        {"tier": "tier_3", "decision": "approve"},
    ),
    (
        _entry("approval.granted", tier="tier_3", latency_seconds=90),
        "grace_approval_latency_seconds_sum",
        {"tier": "tier_3"},
    ),
    (
        _entry("benchmark.completed", suite="smoke", passed=True, duration_ms=900),
        "grace_benchmarks_run_total",
        {"benchmark_type": "smoke", "passed": "true"},
    ),
]


@pytest.mark.parametrize(("entry", "name", "labels"), COUNTS, ids=[entry.fact for entry, _, _ in COUNTS])
def test_a_fact_is_counted(entry: Entry, name: str, labels: dict[str, str]) -> None:
    before = _value(name, **labels)
    metrics.count([entry])
    assert _value(name, **labels) > before


def test_a_contract_that_comes_back_for_approval_is_not_another_one() -> None:
    before = _value("grace_contracts_created_total", tier="tier_2")
    metrics.count([_entry("contract.awaiting_approval", **MOVED, from_state="authorized")])
    assert _value("grace_contracts_created_total", tier="tier_2") == before


def _heartbeat() -> None:
    with log.recording():
        log.append(
            SystemFact.HEARTBEAT,
            actor=SYSTEM,
            subject=Subject("subsystem", "tests"),
            data={"name": "tests"},
            now=timezone.now(),
        )


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The facts an observer is told."""
    facts: list[str] = []
    monkeypatch.setattr(observers, "_observers", [lambda entries: facts.extend(e.fact for e in entries)])
    return facts


@pytest.mark.django_db(transaction=True)
def test_observers_are_told_after_the_commit(told: list[str]) -> None:
    _heartbeat()
    assert told == ["system.heartbeat"]


@pytest.mark.django_db(transaction=True)
def test_observers_hear_nothing_of_what_was_rolled_back(told: list[str]) -> None:
    from django.db import transaction

    with transaction.atomic():
        _heartbeat()
        transaction.set_rollback(True)
    assert told == []


@pytest.mark.django_db(transaction=True)
def test_a_failing_metric_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(entries: Sequence[Entry]) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(observers, "_observers", [broken])
    _heartbeat()
    assert Entry.objects.filter(fact="system.heartbeat").exists()


def test_several_processes_count_together(tmp_path: Path, worker_environment: dict[str, str]) -> None:
    """Two processes count, a third shows the sum, and every name is there although nobody counted most of them."""
    count = (
        "import django; django.setup()\n"
        "from grace_site import metrics\n"
        "metrics.approvals_requested.labels(tier='tier_1').inc(20)\n"
    )
    show = (
        "import django; django.setup()\n"
        "from prometheus_client import CollectorRegistry, generate_latest\n"
        "from grace_site import metrics\n"
        "metrics.DatabaseGauges.collect = lambda self: []\n"
        "print(metrics.page().decode())\n"
    )
    env = worker_environment | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def run(code: str) -> str:
        argv = [sys.executable, "-c", code]
        return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout

    run(count)
    run(count)
    page = run(show)
    assert 'grace_approvals_requested_total{tier="tier_1"} 40.0' in page
    assert set(PROMISED) - named(page) - set(metrics.GAUGES) == set()
