"""How long a finding lasts: until it is acknowledged, and what comes back is found anew."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import connection

from auditlog import findings, heartbeats, integrity, sequencer, signer, triggers
from auditlog.findings import Found
from auditlog.models import Checkpoint, Finding, IntegrityRun
from tests.test_log_people import checks
from tests.test_verify_log import ADA, NOW, signed, write

__all__ = ["signed"]

pytestmark = pytest.mark.django_db

QUARTER = timedelta(minutes=15)


def run_at(at: datetime) -> IntegrityRun:
    return integrity.check_incrementally(at)


def looked_at_everything(at: datetime) -> None:
    """A daily pass that found nothing."""
    checks(at, at)
    IntegrityRun.objects.filter(started_at=at).update(level=findings.FULL)


def acknowledge_all(at: datetime = NOW) -> None:
    for row in findings.unacknowledged():
        findings.acknowledge(finding_id=row.pk, by=ADA, reason="looked", now=at)


def drop_a_trigger() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("DROP TRIGGER auditlog_entry_no_update")
        else:
            cursor.execute("DROP TRIGGER auditlog_entry_append_only ON auditlog_entry")


def test_a_trigger_that_is_dropped_again_is_found_again(signed: Checkpoint) -> None:
    drop_a_trigger()
    assert run_at(NOW).findings == ["trigger_missing"]
    acknowledge_all()
    assert run_at(NOW + QUARTER).passed, "it is still missing, and somebody has acknowledged that"
    triggers.install(connection)
    assert run_at(NOW + 2 * QUARTER).passed
    drop_a_trigger()
    again = run_at(NOW + 3 * QUARTER)
    assert again.findings == ["trigger_missing"]
    assert not again.passed
    first, second = Finding.objects.order_by("pk")
    assert first.detail == second.detail
    assert (first.acknowledged_at, second.acknowledged_at) == (NOW, None)
    assert second.found_at == NOW + 3 * QUARTER


def test_a_subsystem_that_falls_silent_again_a_month_later_is_found_again() -> None:
    for day in (0, 30):
        start = NOW + timedelta(days=day)
        end = start + timedelta(hours=7)
        for name in ("worker:log", "worker:default"):
            heartbeats.beat(name=name, now=start)
        checks(start, end)
        heartbeats.beat(name="worker:log", now=end)
        sequencer.run(end)
        assert run_at(end).findings == ["subsystem_silent"], day
        acknowledge_all(end)
        assert run_at(end + QUARTER).passed, "it is still silent, and somebody has acknowledged that"
    assert Finding.objects.count() == 2


EDITED = Found("entry_edited", "leaf 5", "The content of leaf 5 is not what it was.")


def test_what_is_looked_at_once_a_day_is_not_found_anew_when_it_was_there_all_the_time() -> None:
    write()
    findings.record([EDITED], now=NOW)
    acknowledge_all()
    for hour in (1, 2, 3):
        run_at(NOW + timedelta(hours=hour))
    assert findings.record([EDITED], now=NOW + timedelta(hours=4)) == []
    assert Finding.objects.count() == 1


def test_what_the_daily_pass_did_not_see_any_more_is_found_anew() -> None:
    write()
    findings.record([EDITED], now=NOW)
    acknowledge_all()
    looked_at_everything(NOW + timedelta(hours=1))
    (row,) = findings.record([EDITED], now=NOW + timedelta(hours=2))
    assert Finding.objects.count() == 2
    assert row.found_at == NOW + timedelta(hours=2)


def test_a_look_at_everything_that_has_not_begun_yet_says_of_nothing_that_it_is_over() -> None:
    write()
    findings.record([EDITED], now=NOW)
    acknowledge_all()
    looked_at_everything(NOW + timedelta(days=1))
    assert findings.record([EDITED], now=NOW + timedelta(hours=1)) == []


def test_a_log_that_is_truncated_again_in_the_very_same_way_is_found_anew(signed: Checkpoint) -> None:
    (row,) = findings.record([Found("truncated", "signer", "shorter")], now=NOW)
    signer.acknowledge(finding_ids=[row.pk], by=ADA, reason="a backup", now=NOW)
    assert findings.unacknowledged().count() == 0
    (again,) = findings.record([Found("truncated", "signer", "shorter")], now=NOW)
    assert again.pk != row.pk


def test_an_open_finding_stays_open_when_it_is_not_seen_any_more(signed: Checkpoint) -> None:
    drop_a_trigger()
    run_at(NOW)
    triggers.install(connection)
    looked_at_everything(NOW + QUARTER)
    run_at(NOW + 2 * QUARTER)
    assert findings.stop_signing()
    assert Finding.objects.count() == 1
