"""Work owed: claimed once, fenced, retried, and not lost when a worker, a message or the broker is."""

# ruff: noqa: PT012 - what must fail here is a whole transaction

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import current_app
from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from auditlog import context, jobs, log, publishing, sequencer
from auditlog.actors import Actor
from auditlog.jobs import Lease
from auditlog.models import Entry, Job, JobState
from tests.harness import processes

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ADA = Actor("person", "user:1", "Ada", 1)
LATER = NOW + timedelta(hours=1)

Work = Callable[[Job, Lease], dict[str, Any] | None]


def nothing(job: Job, lease: Lease) -> None:
    """Does nothing."""


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Registers a runner for the length of a test, and gives its kind."""
    monkeypatch.setattr(jobs, "_runners", dict(jobs._runners))

    def register(run: Work, kind: str = "test.work", **options: Any) -> str:
        jobs.runner(kind, **options)(run)
        return kind

    return register


def owe(kind: str = "test.work", **options: Any) -> Job:
    with log.recording():
        return jobs.enqueue(kind=kind, subject_id="s-1", now=NOW, **options)


def fresh(job: Job) -> Job:
    return Job.objects.get(pk=job.pk)


def facts() -> list[str]:
    sequencer.run(NOW)
    return list(Entry.objects.filter(fact__startswith="job.").order_by("leaf__index").values_list("fact", flat=True))


# --- one process -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_job_runs_once_and_keeps_its_result(work: Any) -> None:
    ran: list[UUID] = []

    def run(job: Job, lease: Lease) -> dict[str, Any]:
        ran.append(job.pk)
        lease.progress(40, "half way")
        assert fresh(job).progress == 40
        return {"answer": job.arguments["question"]}

    work(run)
    job = owe(arguments={"question": 42})
    assert jobs.run_until_idle(NOW) == 1
    assert jobs.run(job.pk, now=NOW) is False
    done = fresh(job)
    assert (done.state, done.result, done.progress, done.token, ran) == (
        JobState.COMPLETED,
        {"answer": 42},
        100,
        1,
        [job.pk],
    )
    assert facts() == []


@pytest.mark.django_db
def test_a_job_belongs_to_the_transaction_that_owes_it(work: Any) -> None:
    work(nothing)
    with pytest.raises(ZeroDivisionError), log.recording():
        jobs.enqueue(kind="test.work", subject_id="1", now=NOW)
        _ = 1 / 0
    assert not Job.objects.exists()
    with pytest.raises(jobs.UnknownKind), log.recording():
        jobs.enqueue(kind="test.unknown", subject_id="1", now=NOW)


@pytest.mark.django_db(transaction=True)
def test_a_job_outside_a_transaction_is_an_error(work: Any) -> None:
    work(nothing)
    with pytest.raises(jobs.NotInTransaction):
        jobs.enqueue(kind="test.work", subject_id="1", now=NOW)


@pytest.mark.django_db
def test_a_job_carries_its_context(work: Any) -> None:
    seen: list[context.Context] = []
    work(lambda job, lease: seen.append(context.current()))
    mission = uuid4()
    with context.ObservabilityContext(correlation_id="c-1", mission_id=mission):
        owe()
    jobs.run_until_idle(NOW)
    assert seen == [context.Context("c-1", None, mission)]


@pytest.mark.django_db
def test_a_job_waits_until_it_is_due(work: Any) -> None:
    work(nothing)
    job = owe(due_at=LATER)
    assert jobs.run_until_idle(NOW) == 0
    assert jobs.run(job.pk, now=NOW) is False
    assert jobs.run_until_idle(LATER) == 1


@pytest.mark.django_db
def test_a_failed_attempt_is_retried_with_backoff_and_then_dead(work: Any) -> None:
    def fail(job: Job, lease: Lease) -> None:
        raise ValueError(f"attempt {job.attempts}")

    work(fail, max_attempts=3, visible=True)
    job = owe()
    at = NOW
    waits = []
    for attempt in (1, 2):
        assert jobs.run_until_idle(at) == 1
        found = fresh(job)
        assert (found.state, found.attempts, found.error) == (
            JobState.QUEUED,
            attempt,
            f"ValueError: attempt {attempt}",
        )
        waits.append((found.due_at - at).total_seconds())
        assert jobs.run_until_idle(at) == 0
        at = found.due_at
    assert 1.5 <= waits[0] <= 2.5
    assert 3.0 <= waits[1] <= 5.0
    jobs.run_until_idle(at)
    found = fresh(job)
    assert (found.state, found.finished_at) == (JobState.DEAD, at)
    assert facts() == [
        "job.enqueued",
        *["job.started", "job.retried"] * 2,
        "job.started",
        "job.failed",
    ]
    last = Entry.objects.get(fact="job.failed")
    assert last.outcome == "failure"
    assert last.data == {
        "job_id": str(job.pk),
        "kind": "test.work",
        "attempt": 3,
        "error": "ValueError",
        "dead": True,
    }


def test_backoff_doubles_up_to_a_cap() -> None:
    assert all(1.5 <= jobs.backoff(1) <= 2.5 for _ in range(50))
    assert all(450 <= jobs.backoff(60) <= 750 for _ in range(50))
    assert len({jobs.backoff(1) for _ in range(20)}) > 1


@pytest.mark.django_db
def test_a_dead_job_can_be_retried_by_a_person(work: Any) -> None:
    answers = iter([ValueError("no"), None])

    def run(job: Job, lease: Lease) -> None:
        if error := next(answers):
            raise error

    work(run, max_attempts=1, visible=True)
    job = owe()
    with pytest.raises(jobs.NotRetryable):
        jobs.retry(job_id=job.pk, by=ADA, now=NOW)
    jobs.run_until_idle(NOW)
    assert fresh(job).state == JobState.DEAD
    jobs.retry(job_id=job.pk, by=ADA, now=LATER)
    jobs.run_until_idle(LATER)
    assert fresh(job).state == JobState.COMPLETED
    with pytest.raises(jobs.NoSuchJob):
        jobs.retry(job_id=uuid4(), by=ADA, now=NOW)


@pytest.mark.django_db
def test_a_runner_may_ask_to_run_again_without_having_failed(work: Any) -> None:
    def run(job: Job, lease: Lease) -> None:
        if job.token < 4:
            raise jobs.RunAgain(after=30)

    work(run, max_attempts=1)
    job = owe()
    at = NOW
    for _ in range(3):
        assert jobs.run_until_idle(at) == 1
        assert fresh(job).due_at == at + timedelta(seconds=30)
        at += timedelta(seconds=30)
    jobs.run_until_idle(at)
    assert fresh(job).state == JobState.COMPLETED


@pytest.mark.django_db
def test_cancelling(work: Any) -> None:
    def run(job: Job, lease: Lease) -> None:
        assert not lease.cancelled()
        jobs.cancel(job_id=job.pk, by=ADA, reason="stop", now=NOW)
        assert lease.cancelled()
        raise jobs.Cancelled

    work(run, visible=True)
    queued, running = owe(due_at=LATER), owe()
    jobs.cancel(job_id=queued.pk, by=ADA, reason="not needed", now=NOW)
    jobs.run_until_idle(NOW)
    assert fresh(queued).state == fresh(running).state == JobState.CANCELLED
    assert facts().count("job.cancelled") == 2
    assert Entry.objects.filter(fact="job.cancelled", actor_id="user:1").get().data["reason"] == "not needed"
    with pytest.raises(jobs.NotCancellable):
        jobs.cancel(job_id=queued.pk, by=ADA, reason="", now=NOW)


# --- leases ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_expired_lease_is_taken_over_with_a_higher_token(work: Any) -> None:
    work(nothing)
    job = owe()
    claimed = jobs.claim(job.pk, now=NOW)
    assert claimed is not None
    _, first = claimed
    assert jobs.claim(job.pk, now=NOW + timedelta(seconds=29)) is None
    taken = jobs.claim(job.pk, now=NOW + timedelta(seconds=31))
    assert taken is not None
    _, second = taken
    assert (first.token, second.token) == (1, 2)
    for write in (
        first.fence,
        first.renew,
        lambda: first.progress(1),
        lambda: jobs._finish(first, state=JobState.DEAD),
    ):
        with pytest.raises(jobs.LeaseLost), transaction.atomic():
            write()
    assert not first.alive()
    assert fresh(job).losses == 1
    with transaction.atomic():
        second.fence()


@pytest.mark.django_db
def test_a_lease_that_ran_out_is_neither_renewed_nor_used_though_nobody_took_it_over(work: Any, sent: Any) -> None:
    work(nothing)
    job = owe()
    claimed = jobs.claim(job.pk, now=NOW)
    assert claimed is not None
    late = NOW + timedelta(seconds=31)
    resumed = Lease(claimed[0], late)
    for write in (
        resumed.fence,
        resumed.renew,
        lambda: resumed.progress(1),
        lambda: resumed.finish({}),
        lambda: jobs._finish(resumed, state=JobState.QUEUED, due_in=1),
    ):
        with pytest.raises(jobs.LeaseLost), transaction.atomic():
            write()
    found = fresh(job)
    assert (found.state, found.token, found.lease_until) == (JobState.RUNNING, 1, NOW + timedelta(seconds=30))
    assert jobs.sweep(late) == 1
    assert jobs.run(job.pk, now=late)
    assert (fresh(job).state, fresh(job).losses) == (JobState.COMPLETED, 1)


@pytest.mark.django_db
def test_a_late_runner_can_record_nothing(work: Any) -> None:
    def slow(job: Job, lease: Lease) -> dict[str, Any]:
        taken = jobs.claim(job.pk, now=NOW + timedelta(minutes=5))
        assert taken is not None
        return {"late": True}

    work(slow)
    job = owe()
    assert jobs.run(job.pk, now=NOW) is True
    found = fresh(job)
    assert (found.state, found.result, found.token) == (JobState.RUNNING, None, 2)


@pytest.mark.django_db
def test_a_lost_attempt_is_no_failure_but_endless_loss_is_the_end(work: Any) -> None:
    work(nothing, max_attempts=1, visible=True)
    job = owe()
    at = NOW
    for _ in range(jobs.MAX_LOSSES + 1):
        assert jobs.claim(job.pk, now=at) is not None
        at += timedelta(minutes=1)
    assert jobs.claim(job.pk, now=at) is None
    assert fresh(job).state == JobState.DEAD
    assert "vanished" in fresh(job).error
    assert facts()[-1] == "job.failed"


@pytest.mark.django_db(transaction=True)
def test_a_lease_is_renewed_while_its_job_runs(work: Any) -> None:
    seen: list[datetime | None] = []

    def run(job: Job, lease: Lease) -> None:
        before = fresh(job).lease_until
        processes.wait_until(lambda: fresh(job).lease_until != before, seconds=10, what="the lease is renewed")
        seen.append(fresh(job).lease_until)
        assert lease.alive()

    work(run, lease_seconds=3)
    with log.recording():
        job = jobs.enqueue(kind="test.work", subject_id="1", now=timezone.now())
    before = threading.active_count()
    jobs.run(job.pk)
    assert fresh(job).state == JobState.COMPLETED
    assert len(seen) == 1
    assert threading.active_count() == before


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_of_many_claimers_at_once_one_wins(work: Any) -> None:
    work(nothing)
    for _ in range(10):
        job = owe()
        barrier = threading.Barrier(8)
        won: list[int] = []

        def claim(job: Job = job, barrier: threading.Barrier = barrier, won: list[int] = won) -> None:
            try:
                barrier.wait()
                if claimed := jobs.claim(job.pk, now=NOW):
                    won.append(claimed[1].token)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=claim) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [1]
        assert fresh(job).attempts == 1


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_fence_holds_until_its_transaction_ends(work: Any) -> None:
    """Nobody takes a job over while its holder is writing, even when the lease runs out meanwhile."""
    work(nothing)
    job = owe()
    claimed = jobs.claim(job.pk, now=NOW)
    assert claimed is not None
    _, lease = claimed
    order: list[str] = []

    def take_over() -> None:
        try:
            if jobs.claim(job.pk, now=LATER):
                order.append("taken over")
        finally:
            connections.close_all()

    thread = threading.Thread(target=take_over)
    with transaction.atomic():
        lease.fence()
        thread.start()
        time.sleep(0.3)
        order.append("written")
    thread.join()
    assert order == ["written", "taken over"]


# --- messages --------------------------------------------------------------------------------------------------


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would have been published."""
    messages: list[dict[str, Any]] = []

    def send(task: str, *, queue: str, **arguments: object) -> bool:
        messages.append({"task": task, "queue": queue, **arguments})
        return True

    monkeypatch.setattr(publishing, "send", send)
    return messages


@pytest.mark.django_db
def test_the_sweep_sends_what_is_due_stale_or_expired(work: Any, sent: list[dict[str, Any]]) -> None:
    work(nothing, queue="executions")
    just_sent, future, expired = owe(), owe(due_at=LATER), owe()
    jobs.claim(expired.pk, now=NOW)
    assert jobs.sweep(NOW) == 0
    soon = NOW + timedelta(seconds=45)
    assert jobs.sweep(soon) == 1
    assert sent == [{"task": "auditlog.tasks.run_job", "queue": "executions", "job_id": str(expired.pk)}]
    # Once for each lease, and not at every sweep: the worker that takes it may have to wait its turn.
    assert jobs.sweep(NOW + timedelta(seconds=55)) == 0
    assert jobs.sweep(NOW + timedelta(seconds=70)) == 1
    assert jobs.sweep(NOW + timedelta(seconds=80)) == 1
    assert sent[-1]["job_id"] == str(expired.pk)
    assert jobs.sweep(LATER) == 3
    assert {message["job_id"] for message in sent} == {str(each.pk) for each in (just_sent, future, expired)}


@pytest.mark.django_db(transaction=True)
def test_what_is_due_again_soon_does_not_wait_for_a_sweep(work: Any, broker: str, sent: list[dict[str, Any]]) -> None:
    def run(job: Job, lease: Lease) -> None:
        if job.token == 1:
            raise jobs.RunAgain(after=0.3)

    work(run)
    with log.recording():
        job = jobs.enqueue(kind="test.work", subject_id="1", now=timezone.now())
    sent.clear()
    assert jobs.run(job.pk)
    assert (fresh(job).state, sent) == (JobState.QUEUED, [])
    processes.wait_until(lambda: sent, seconds=5, what="the job is sent when it is due")
    assert sent[0]["job_id"] == str(job.pk)
    assert jobs.run(job.pk)
    assert fresh(job).state == JobState.COMPLETED


@pytest.mark.django_db(transaction=True)
def test_a_dead_broker_fails_no_request_and_the_sweep_sends_later(
    work: Any, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(nothing)
    monkeypatch.setattr(publishing, "_paused_until", 0.0)
    with monkeypatch.context() as dead:
        dead.setattr(current_app, "send_task", _dead)
        began = time.monotonic()
        for _ in range(5):
            owe()
        assert time.monotonic() - began < 5
        assert Job.objects.count() == 5
        assert jobs.sweep(NOW) == 0
    monkeypatch.setattr(publishing, "_paused_until", 0.0)
    # What the broker did not take is not thought to be sent: the very next sweep brings it.
    assert jobs.sweep(NOW) == 5


def _dead(*_: object, **__: object) -> None:
    raise ConnectionError("nobody listens")


# --- kill -9 ---------------------------------------------------------------------------------------------------

RUNNER = """
import sys, time
import django
django.setup()
from auditlog import jobs
from auditlog.models import Job

@jobs.runner("test.killed", lease_seconds=3.0, max_attempts=1)
def run(job, lease):
    print("token", lease.token, flush=True)
    if "sleep" in sys.argv:
        time.sleep(600)
    return {"token": lease.token}

if jobs.run(sys.argv[1]):
    print(Job.objects.get().state, flush=True)
else:
    print("not to be had", flush=True)
"""


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch, work: Any) -> Iterator[None]:
    """The kind of job that the other process runs, known here too."""
    work(nothing, kind="test.killed", lease_seconds=3.0, max_attempts=1)
    return


@pytest.mark.django_db(transaction=True)
def test_a_job_whose_worker_was_killed_is_run_again_with_a_higher_token(
    killed: None, database_url: str, tmp_path: Path
) -> None:
    script = tmp_path / "runner.py"
    script.write_text(textwrap.dedent(RUNNER))
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "DJANGO_SETTINGS_MODULE": "grace_site.settings",
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }

    def start(*arguments: str) -> subprocess.Popen[str]:
        argv = [sys.executable, str(script), str(job.pk), *arguments]
        return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)

    with log.recording():
        job = jobs.enqueue(kind="test.killed", subject_id="1", now=timezone.now())
    first = start("sleep")
    assert first.stdout is not None
    assert first.stdout.readline() == "token 1\n"
    claimed_until = fresh(job).lease_until or timezone.now()
    processes.wait_until(lambda: claimed_until < timezone.now(), seconds=10, what="the lease as it was taken is over")
    second = start()
    assert second.communicate(timeout=60)[0] == "not to be had\n", "its lease is renewed while it runs"
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    processes.wait_until(
        lambda: (fresh(job).lease_until or timezone.now()) < timezone.now(), seconds=10, what="the lease runs out"
    )
    third = start()
    assert third.communicate(timeout=60)[0] == "token 2\ncompleted\n"
    found = fresh(job)
    assert (found.state, found.result, found.losses, found.attempts) == (JobState.COMPLETED, {"token": 2}, 1, 2)


# --- what the database refuses ---------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", [{"state": "lost"}, {"state": "running"}, {"progress": 101}])
def test_impossible_jobs_are_refused_by_the_database(work: Any, wrong: dict[str, Any]) -> None:
    work(nothing)
    job = owe()
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(**wrong)


def test_work_that_carries_something_else_is_not_cancelled(db: None, work: Callable[..., str]) -> None:
    work(nothing)
    job = owe()
    with pytest.raises(jobs.NotCancellable):
        jobs.cancel(job_id=job.pk, by=ADA, reason="stop", now=NOW)
    assert (fresh(job).state, fresh(job).cancel_requested_at) == (JobState.QUEUED, None)


def test_retrying_any_job_is_a_fact(db: None, work: Callable[..., str]) -> None:
    work(nothing)
    job = owe()
    Job.objects.filter(pk=job.pk).update(state=JobState.DEAD)
    jobs.retry(job_id=job.pk, by=ADA, now=NOW)
    entry = Entry.objects.get(fact="job.enqueued")
    assert (entry.actor_id, entry.subject_id) == (ADA.id, str(job.pk))
