"""Whatever `verify_log --full` names is found within a day by what runs by the clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from celery import current_app
from django.db import connection

from auditlog import findings, integrity, sequencer, signer, walking
from auditlog.models import Checkpoint, Entry, Finding, IntegrityRun
from auditlog.testing import flushable
from tests.test_verify_log import (
    ADA,
    NOW,
    TAMPERINGS,
    delete_the_tree,
    edit_content,
    forge_a_leaf_past_the_end,
    signed,
    write,
)

__all__ = ["signed"]

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
QUARTER = timedelta(minutes=15)


@pytest.fixture
def watched(signed: Checkpoint) -> Checkpoint:
    """A log that was checked in every way, and has grown since."""
    assert integrity.check_incrementally(NOW).passed
    whole = integrity.check_daily(NOW)
    assert whole is not None
    assert whole.passed
    write(3)
    checkpoint = signer.sign(NOW)
    assert integrity.check_incrementally(NOW).passed
    return checkpoint


def a_day_passes() -> None:
    """What the beats do, as far as it could see anything different: a run or two of each."""
    for number in (1, 2):
        signer.sign_if_due(NOW + number * QUARTER - timedelta(minutes=3))
        integrity.check_incrementally(NOW + number * QUARTER)
    integrity.check_daily(NOW + DAY)


@pytest.mark.parametrize(("tamper", "expected", "words"), TAMPERINGS, ids=lambda each: getattr(each, "__name__", ""))
def test_tampering_is_found_within_a_day(
    watched: Checkpoint, tamper: Callable[[], None], expected: set[str], words: str
) -> None:
    with flushable():
        tamper()
    a_day_passes()
    found = findings.unacknowledged()
    told = "\n".join(found.values_list("detail", flat=True))
    assert expected <= set(found.values_list("kind", flat=True)), told
    assert words.lower() in told.lower()
    assert not IntegrityRun.objects.latest("pk").passed
    assert findings.stop_signing()


@pytest.mark.parametrize("tamper", [forge_a_leaf_past_the_end, delete_the_tree])
def test_findings_are_kept_though_the_log_takes_no_entry(watched: Checkpoint, tamper: Callable[[], None]) -> None:
    said = Entry.objects.filter(fact="auditlog.integrity_failed").count()
    with flushable():
        tamper()
    for number in (1, 2):
        run = integrity.check_incrementally(NOW + number * QUARTER)
        assert {"leaf_forged", "tree_missing"} & set(run.findings)
    if connection.vendor == "sqlite":
        assert Entry.objects.filter(fact="auditlog.integrity_failed").count() == said
    assert signer.sign_if_due(NOW + DAY) is None


def test_an_honest_day_finds_nothing(watched: Checkpoint) -> None:
    a_day_passes()
    assert not Finding.objects.exists()
    assert not IntegrityRun.objects.filter(passed=False).exists()


def test_the_whole_is_looked_at_once_a_day(signed: Checkpoint) -> None:
    assert integrity.check_daily(NOW) is not None
    assert integrity.check_daily(NOW + timedelta(hours=22)) is None
    again = integrity.check_daily(NOW + timedelta(hours=23))
    assert again is not None
    assert (again.level, again.from_index) == ("full", 0)
    assert integrity.check_daily(NOW) is not None, "by a clock that was put right"


def test_the_rolling_slices_are_not_put_off_by_it(signed: Checkpoint) -> None:
    first = integrity.check_incrementally(NOW).slice_number
    integrity.check_daily(NOW)
    assert integrity.check_incrementally(NOW).slice_number == first + 1


def test_the_log_goes_on_while_all_of_it_is_checked(signed: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass takes minutes on a large log, and sequencing and signing wait in the same queue."""
    monkeypatch.setattr(walking, "CHUNK", 256)
    placed = Checkpoint.objects.count()
    assert integrity.check_daily(NOW + timedelta(hours=1)) is not None
    assert Checkpoint.objects.count() > placed
    sequencer.run(NOW)
    assert integrity.check(NOW + timedelta(hours=1), full=True).found == []


def test_what_was_acknowledged_and_lasts_is_not_found_anew_by_it(watched: Checkpoint) -> None:
    with flushable():
        edit_content()
    integrity.check_daily(NOW + DAY)
    findings.acknowledge(finding_id=Finding.objects.get().pk, by=ADA, reason="known", now=NOW + DAY)
    for day in (2, 3):
        run = integrity.check_daily(NOW + day * DAY)
        assert run is not None
        assert run.passed
    assert Finding.objects.count() == 1


def test_a_beat_asks_for_it() -> None:
    write()
    current_app.loader.import_default_modules()
    current_app.tasks["auditlog.tasks.verify_whole_log"].apply(kwargs={"unknown": 1}).get()
    assert IntegrityRun.objects.get().level == "full"
