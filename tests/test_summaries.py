"""Summaries: hours are counted from the rows, again and again, and always the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from auditlog import jobs
from auditlog.ids import new_id
from auditlog.models import Entry, Job
from governance import principals
from missions import summaries, tasks
from missions.models import Summary
from tests.harness.errands import lay_down_the_law, propose
from tests.harness.ledger import Ledger
from tests.harness.people import People
from tests.test_missions import approve
from verification import executors
from verification.models import Contract

HOUR = timedelta(hours=1)
NINE = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "floor", "ceiling"),
    [
        (NINE, NINE, NINE),
        (NINE + timedelta(microseconds=1), NINE, NINE + HOUR),
        (NINE + timedelta(minutes=59, seconds=59), NINE, NINE + HOUR),
        (datetime.fromisoformat("2026-11-23T14:45:00+05:30"), NINE, NINE + HOUR),
    ],
)
def test_hours_are_hours_of_utc(moment: datetime, floor: datetime, ceiling: datetime) -> None:
    assert (summaries.floor(moment), summaries.ceiling(moment)) == (floor, ceiling)


@pytest.fixture
def contract(db: None) -> Callable[..., Contract]:
    """Makes a contract; `at` is minutes after nine, `took` minutes until it settled (None: not yet)."""

    def make(at: int, took: float | None = None, state: str = "verified", **columns: Any) -> Contract:
        created = NINE + timedelta(minutes=at)
        settled = None if took is None else created + timedelta(minutes=took)
        given = {
            "id": new_id(),
            "action_type": "command.run",
            "executor_version": "1",
            "target": "t",
            "state": state if settled else "executing",
            "tier": "tier_1",
            "requested_by_kind": "agent",
            "requested_by_label": "scout",
            "request_sha256": "0" * 64,
            "created_at": created,
            "state_changed_at": settled or created,
            "settled_at": settled,
        }
        return Contract.objects.create(**{**given, **columns})

    return make


def aggregate(start: datetime = NINE, end: datetime = NINE + 3 * HOUR) -> summaries.Aggregated:
    return summaries.aggregate(start=start, end=end, now=timezone.now())


def rows() -> dict[tuple[str, int, str, str], dict[str, int]]:
    return {
        (row.kind, row.period_start.astimezone(UTC).hour, row.tier, row.action_type): row.counts
        for row in Summary.objects.all()
    }


def test_contracts_are_counted_where_they_were_made_and_where_they_settled(
    contract: Callable[..., Contract],
) -> None:
    contract(0, took=0.5)
    contract(10, took=1, state="rolled_back")
    contract(20, took=60)
    contract(30)
    contract(40, took=1, action_type="config.update", tier="tier_2")
    contract(200, took=1)
    result = aggregate()
    assert (result.contracts, result.approvals) == (3, 0)
    assert rows() == {
        ("contracts", 9, "tier_1", "command.run"): {
            "created": 4,
            "verified": 1,
            "rolled_back": 1,
            "settled": 2,
            "latency_ms": 90_000,
        },
        ("contracts", 10, "tier_1", "command.run"): {"verified": 1, "settled": 1, "latency_ms": 3_600_000},
        ("contracts", 9, "tier_2", "config.update"): {
            "created": 1,
            "verified": 1,
            "settled": 1,
            "latency_ms": 60_000,
        },
    }


def test_counting_again_gives_the_same_rows_and_forgets_what_is_gone(
    contract: Callable[..., Contract],
) -> None:
    kept, moved = contract(0, took=1), contract(70, took=1, tier="tier_2")
    aggregate()
    before = {row.pk: row.counts for row in Summary.objects.all()}
    aggregate()
    assert {row.pk: row.counts for row in Summary.objects.all()} == before
    Contract.objects.filter(pk=moved.pk).update(tier="tier_3")
    aggregate()
    assert set(rows()) == {
        ("contracts", 9, "tier_1", "command.run"),
        ("contracts", 10, "tier_3", "command.run"),
    }
    assert Contract.objects.filter(pk=kept.pk).exists()


def test_other_hours_are_left_alone(contract: Callable[..., Contract]) -> None:
    contract(0, took=1)
    contract(70, took=1)
    aggregate()
    Contract.objects.all().delete()
    aggregate(NINE + HOUR, NINE + 2 * HOUR)
    assert [key[1] for key in rows()] == [9]


def test_the_number_of_queries_does_not_grow_with_the_rows(
    contract: Callable[..., Contract], django_assert_max_num_queries: Any
) -> None:
    for minute in range(50):
        contract(minute, took=1)
    with django_assert_max_num_queries(25):
        aggregate()


@pytest.mark.django_db
def test_approvals_are_counted_by_what_became_of_them(users: People, tmp_path: Any) -> None:
    lay_down_the_law(timezone.now())
    executor = executors.register(Ledger(tmp_path))
    try:
        first = propose(users.ada, target="ledger:code1")
        propose(users.ada, target="ledger:code2")
        approve(first, users.bea)
    finally:
        executors.unregister(executor.action_type)
    now = timezone.now()
    summaries.aggregate(start=now - HOUR, end=now, now=now)
    totals: dict[str, int] = {}
    for row in Summary.objects.filter(kind="approvals"):
        assert (row.tier, row.action_type) == ("tier_2", "ledger.append")
        for name, count in row.counts.items():
            totals[name] = totals.get(name, 0) + count
    assert (totals["requested"], totals["decisions"], totals["verdict_approve"]) == (2, 1, 1)


@pytest.mark.django_db
@pytest.mark.parametrize("end", [NINE, NINE - HOUR, NINE + timedelta(days=367)])
def test_a_period_that_is_none_is_refused(end: datetime) -> None:
    with pytest.raises(summaries.InvalidPeriod):
        aggregate(NINE, end)


def test_what_is_due_reaches_back_a_day_or_to_where_counting_stopped(
    contract: Callable[..., Contract], now: datetime
) -> None:
    assert summaries.due(now) == (now - timedelta(hours=24), now)
    contract(-60 * 24 * 3, took=1)
    assert summaries.due(now)[0] == NINE - timedelta(days=3)
    summaries.aggregate(start=summaries.due(now)[0], end=now, now=now)
    contract(0, took=1)
    assert summaries.due(now)[0] == NINE - timedelta(days=3)
    summaries.aggregate(start=summaries.due(now)[0], end=now, now=now)
    assert summaries.due(now) == (now - timedelta(hours=24), now)
    assert summaries.due(now + timedelta(days=5, seconds=1)) == (NINE, now + timedelta(days=5) + HOUR)


@pytest.mark.django_db
def test_the_beat_owes_a_job_people_can_see(contract: Callable[..., Contract], now: datetime) -> None:
    contract(0, took=1)
    tasks.aggregate()
    job = Job.objects.get(kind=summaries.JOB)
    assert job.visible
    jobs.run_until_idle()
    job.refresh_from_db()
    assert (job.state, job.result["contracts"]) == ("completed", 1)
    entry = Entry.objects.get(fact="analytics.aggregated")
    assert (entry.data["contracts"], entry.data["approvals"]) == (1, 0)


@pytest.mark.django_db
def test_the_command_counts_a_period_and_says_what_it_did(
    contract: Callable[..., Contract], users: People, now: datetime
) -> None:
    contract(0, took=1)
    out = StringIO()
    call_command("aggregate", "--from", "2026-11-23T09:00", "--to", "2026-11-23T10:00", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {
        "start": "2026-11-23T09:00:00+00:00",
        "end": "2026-11-23T10:00:00+00:00",
        "contracts": 1,
        "approvals": 0,
    }
    out = StringIO()
    call_command("aggregate", "--as", users.administrator.username, stdout=out)
    assert "1 rows of contracts" in out.getvalue()
    said = Entry.objects.filter(fact="analytics.aggregated").order_by("recorded_at", "id").last()
    assert said is not None
    assert said.actor_id == principals.actor_of(users.administrator).id


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--from", "yesterday"], "is not a time"),
        (["--from", "2026-11-23", "--to", "2026-11-22"], "ends after it begins"),
        (["--as", "nobody"], "no administrator"),
    ],
)
def test_the_command_refuses_nonsense(arguments: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        call_command("aggregate", *arguments)
