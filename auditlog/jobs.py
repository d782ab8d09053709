"""Work owed is a row. Celery carries ids; the row says what is due, who holds it, and how it ended.

queued -> running -> completed | cancelled | dead, and back to queued for another attempt. A claim is one conditional
UPDATE which takes a lease and a higher token; everything the holder writes later is fenced by that token.
"""

from __future__ import annotations

import functools
import os
import random
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, connections, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from . import context, ids, log, mesh, metrics, publishing, sequencer
from .actors import SYSTEM, Actor
from .facts import JobFact
from .models import Job, JobState
from .refusals import Refused
from .subjects import Subject

logger = structlog.get_logger(__name__)

BACKOFF_BASE_SECONDS = 2.0
BACKOFF_CAP_SECONDS = 600.0
RESEND_AFTER = timedelta(seconds=60)
SOON_SECONDS = 10.0
"""What is due so soon is sent by whoever owes it, when it is time; anything later by the sweep."""
MAX_LOSSES = 20

_RUN = "auditlog.tasks.run_job"

JsonDict = dict[str, Any]
FINAL = (JobState.COMPLETED, JobState.CANCELLED, JobState.DEAD)


class UnknownKind(LookupError):
    """No runner is registered for this kind of job."""


class NotInTransaction(RuntimeError):
    """A job was enqueued outside the transaction of the change that owes it."""


class LeaseLost(Exception):
    """Somebody else holds the job now, or nobody: what its former holder does no longer counts.

    A lease that has run out is lost as well, before anybody else takes the job: it is neither renewed nor used.
    """


class RunAgain(Exception):
    """Raised by a runner: not done yet and nothing wrong, run me again in `after` seconds."""

    def __init__(self, after: float = 0.0) -> None:
        super().__init__(f"again in {after} s")
        self.after = after


class Cancelled(Exception):
    """Raised by a runner that stopped because it was asked to."""


class GiveUp(Exception):
    """Raised by a runner: it failed, and trying again by itself would be in vain. The job is dead at once."""


class NotCancellable(Refused):
    """The job has ended, or is everyday work that carries something of its own, which is what can be cancelled."""

    code = "job_not_cancellable"
    kind = Refused.Kind.CONFLICT


class NotRetryable(Refused):
    """The job has not failed for good, nor been cancelled."""

    code = "job_not_retryable"
    kind = Refused.Kind.CONFLICT


class NoSuchJob(Refused):
    """There is no such job."""

    code = "job_not_found"
    kind = Refused.Kind.NOT_FOUND


@dataclass(frozen=True)
class Runner:
    """What does the work of one kind of job."""

    kind: str
    run: Callable[[Job, Lease], JsonDict | None]
    queue: str
    max_attempts: int
    visible: bool
    lease_seconds: float | None
    take: Callable[[Job, Lease], object] | None


_runners: dict[str, Runner] = {}


def runner(
    kind: str,
    *,
    queue: str = "default",
    max_attempts: int | None = None,
    visible: bool = False,
    lease_seconds: float | None = None,
    take: Callable[[Job, Lease], object] | None = None,
) -> Callable[[Callable[[Job, Lease], JsonDict | None]], Callable[[Job, Lease], JsonDict | None]]:
    """Register a function `(job, lease) -> result or None` as what runs jobs of `kind`.

    Its lease lasts `lease_seconds`, by default the setting JOB_LEASE_SECONDS; it is renewed while the job runs.
    It may raise RunAgain, Cancelled or GiveUp; any other exception is a failed attempt. `take` claims in the
    transaction of the job's own claim what the job is about; what it answers is `lease.taken`, and what it raises is
    raised by the runner.
    """

    def register(run: Callable[[Job, Lease], JsonDict | None]) -> Callable[[Job, Lease], JsonDict | None]:
        if kind in _runners:
            raise RuntimeError(f"two runners for {kind}")
        attempts = max_attempts or 1 + settings.JOB_MAX_RETRIES
        _runners[kind] = Runner(kind, run, queue, attempts, visible, lease_seconds, take)
        return run

    return register


def runners() -> dict[str, Runner]:
    """All registered runners by kind."""
    return dict(sorted(_runners.items()))


def enqueue(
    *,
    kind: str,
    subject_id: str,
    now: datetime,
    due_at: datetime | None = None,
    max_attempts: int | None = None,
    contract_id: UUID | None = None,
    mission_id: UUID | None = None,
    arguments: Mapping[str, Any] | None = None,
    by: Actor = SYSTEM,
) -> Job:
    """Owe a piece of work, within the transaction around; it is sent to a worker on commit.

    Raises UnknownKind, NotInTransaction.
    """
    registered = _runner(kind)
    if not connection.in_atomic_block:
        raise NotInTransaction(kind)
    around = context.current()
    job = Job.objects.create(
        id=ids.new_id(),
        kind=kind,
        subject_id=str(subject_id),
        arguments=dict(arguments or {}),
        queue=registered.queue,
        visible=registered.visible,
        due_at=due_at or now,
        lease_seconds=registered.lease_seconds or settings.JOB_LEASE_SECONDS,
        max_attempts=max_attempts or registered.max_attempts,
        contract_id=contract_id or around.contract_id,
        mission_id=mission_id or around.mission_id,
        correlation_id=around.correlation_id,
        caused_by=context.cause(),
        created_at=now,
        sent_at=now if not due_at or due_at <= now else None,
    )
    _say(job, JobFact.ENQUEUED, by=by, now=now)
    metrics.on_commit(metrics.jobs_enqueued.labels(job_type=kind).inc)
    _send_when_due(job, now=now)
    return job


class Lease:
    """The right to work on a job, for as long as the row carries our token and its time has not come."""

    def __init__(self, job: Job, now: datetime | None = None) -> None:
        self.job_id: UUID = job.pk
        self.token: int = job.token
        self.seconds: float = job.lease_seconds
        self.taken: Any = None
        self.finished = False
        self.job = job
        self._now = now
        self._until: datetime = job.lease_until or self.now()
        self._lost = threading.Event()

    def now(self) -> datetime:
        """The time, as the caller of `run()` told it or by the clock."""
        return self._now or timezone.now()

    def alive(self) -> bool:
        """Whether, as far as this process knows, the lease still stands."""
        return not self._lost.is_set() and self.now() < self._until

    def fence(self) -> None:
        """Within the caller's transaction: lock the job's row and raise LeaseLost unless the lease stands."""
        held = self.row().select_for_update().values_list("pk", flat=True).first()
        if held is None:
            self._lost.set()
            raise LeaseLost(str(self.job_id))

    def renew(self) -> None:
        """Push the end of the lease out again. Raises LeaseLost."""
        until = self.now() + timedelta(seconds=self.seconds)
        if not self.row().update(lease_until=until):
            self._lost.set()
            raise LeaseLost(str(self.job_id))
        self._until = until

    def finish(self, result: JsonDict) -> None:
        """Within the caller's transaction: the work is done, and so is the job. Raises LeaseLost.

        Nothing of the lease's counts afterwards; the runner returns once the transaction is committed.
        """
        _finish(self, state=JobState.COMPLETED, fact=JobFact.COMPLETED, result=result, progress=100, error="")
        self.finished = True

    def progress(self, percent: int, text: str = "") -> None:
        """Say how far the work is (0 to 100). Raises LeaseLost."""
        if not self.row().update(progress=max(0, min(100, percent)), progress_text=text[:200]):
            self._lost.set()
            raise LeaseLost(str(self.job_id))

    def cancelled(self) -> bool:
        """Whether somebody asked for the job to stop."""
        return Job.objects.filter(pk=self.job_id, cancel_requested_at__isnull=False).exists()

    def row(self) -> QuerySet[Job]:
        """The job's row, as long as the lease stands."""
        return Job.objects.filter(pk=self.job_id, token=self.token, state=JobState.RUNNING, lease_until__gt=self.now())


def claim(job_id: UUID, *, now: datetime | None = None, take: bool = True) -> tuple[Job, Lease] | None:
    """Take a job that is due, or whose holder vanished, and what it is about. None when it is not to be had.

    Raises whatever the kind's `take` does; nothing is claimed then. Without `take` the job alone is claimed.
    """
    at = now or timezone.now()
    with log.recording():
        due = Q(state=JobState.QUEUED, due_at__lte=at)
        vanished = Q(state=JobState.RUNNING, lease_until__lt=at)
        job = Job.objects.select_for_update().filter(due | vanished, pk=job_id).first()
        if job is None or _given_up(job, at):
            return None
        job.losses += job.state == JobState.RUNNING
        job.state, job.token, job.attempts = JobState.RUNNING, job.token + 1, job.attempts + 1
        job.started_at, job.lease_until = at, at + timedelta(seconds=job.lease_seconds)
        job.worker = f"{socket.gethostname()}:{os.getpid()}"[:200]
        job.save(update_fields=["state", "token", "attempts", "losses", "started_at", "lease_until", "worker"])
        _say(job, JobFact.STARTED, now=at)
        lease, registered = Lease(job, now), _runners.get(job.kind)
        if take and registered is not None and registered.take is not None:
            lease.taken = registered.take(job, lease)
    return job, lease


def run(job_id: UUID | str, *, now: datetime | None = None) -> bool:
    """Claim a job and run it to its end, renewing the lease meanwhile. Whether it was ours to run.

    With `now` given, the clock is not asked.
    """
    job_id, not_taken = UUID(str(job_id)), None
    try:
        claimed = claim(job_id, now=now)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what this attempt comes to
        not_taken = error
        claimed = claim(job_id, now=now, take=False)
    if claimed is None:
        return False
    job, lease = claimed
    ids_around = context.ObservabilityContext(
        correlation_id=job.correlation_id,
        contract_id=job.contract_id,
        mission_id=job.mission_id,
        job_id=str(job.pk),
        job_type=job.kind,
    )
    timed = metrics.timed(metrics.job_duration.labels(job_type=job.kind))
    with ids_around, context.caused_by(job.caused_by), _Heartbeat(lease), timed:
        try:
            _attempt(job, lease, not_taken)
        except LeaseLost:
            logger.warning("lease_lost", fencing_token=lease.token)
    return True


def _attempt(job: Job, lease: Lease, not_taken: Exception | None) -> None:
    try:
        if not_taken is not None:
            raise not_taken
        result = _runner(job.kind).run(job, lease)
    except LeaseLost:
        raise
    except RunAgain as again:
        _finish(lease, state=JobState.QUEUED, due_in=again.after, attempts=job.attempts - 1)
    except Cancelled:
        _finish(lease, state=JobState.CANCELLED, fact=JobFact.CANCELLED)
    except Exception as error:
        logger.warning("job_attempt_failed", attempt=job.attempts, exc_info=True)
        _failed(job, lease, error)
    else:
        if not lease.finished:
            _finish(lease, state=JobState.COMPLETED, fact=JobFact.COMPLETED, result=result, progress=100, error="")


def _failed(job: Job, lease: Lease, error: Exception) -> None:
    text = f"{type(error).__name__}: {error}"[:4000]
    failures = job.attempts - job.losses
    if failures >= job.max_attempts or isinstance(error, GiveUp):
        _finish(lease, state=JobState.DEAD, fact=JobFact.FAILED, outcome="failure", error=text)
    else:
        wait = backoff(failures)
        _finish(lease, state=JobState.QUEUED, fact=JobFact.RETRIED, outcome="failure", error=text, due_in=wait)


def backoff(failures: int) -> float:
    """Seconds to wait after this many failures: exponential, capped, with jitter of a quarter."""
    wait: float = min(BACKOFF_BASE_SECONDS * 2 ** min(failures - 1, 30), BACKOFF_CAP_SECONDS)
    return wait * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret


def _finish(
    lease: Lease,
    *,
    state: JobState,
    fact: JobFact | None = None,
    outcome: str = "success",
    due_in: float | None = None,
    **changes: Any,
) -> None:
    now = lease.now()
    due_at = None if due_in is None else now + timedelta(seconds=due_in)
    if due_at is not None:
        changes |= {"due_at": due_at, "sent_at": now if due_at <= now else None}
    if state in FINAL:
        changes["finished_at"] = now
    with log.recording(savepoint=False):
        if not lease.row().update(state=state, lease_until=None, **changes):
            raise LeaseLost(str(lease.job_id))
        job = lease.job
        for name, value in {"state": state, "lease_until": None, **changes}.items():
            setattr(job, name, value)
        if fact is not None:
            _say(job, fact, outcome=outcome, now=now)
        if state == JobState.QUEUED:
            _send_when_due(job, now=now)
        if state in FINAL:
            metrics.on_commit(metrics.jobs_completed.labels(job_type=job.kind, status=state.value).inc)


def _given_up(job: Job, now: datetime) -> bool:
    """End a job whose workers vanish again and again: it may be what kills them."""
    if job.state != JobState.RUNNING or job.losses < MAX_LOSSES:
        return False
    ended = Job.objects.filter(pk=job.pk, token=job.token, state=JobState.RUNNING).update(
        state=JobState.DEAD,
        token=F("token") + 1,
        lease_until=None,
        finished_at=now,
        error=f"its worker vanished {job.losses + 1} times",
    )
    if ended:
        job.refresh_from_db()
        _say(job, JobFact.FAILED, outcome="failure", now=now)
    return True


def cancel(*, job_id: UUID, by: Actor, reason: str, now: datetime) -> Job:
    """Cancel a queued job, or ask a running one to stop. Raises NoSuchJob, NotCancellable.

    Only visible jobs: what another one carries, such as a contract, would be stranded without a word.
    """
    with log.recording():
        job = _locked(job_id)
        if job.state in FINAL:
            raise NotCancellable(f"The job is {job.state}.")
        if not job.visible:
            raise NotCancellable(f"A job {job.kind} is not cancelled by itself; cancel what it is about.")
        if job.state == JobState.QUEUED:
            job.state, job.finished_at = JobState.CANCELLED, now
            _say(job, JobFact.CANCELLED, by=by, reason=reason, now=now)
        job.cancel_requested_at = now
        job.save()
    return job


def retry(*, job_id: UUID, by: Actor, now: datetime) -> Job:
    """Give a dead or cancelled job a fresh set of attempts, and say so of any job. Raises NoSuchJob, NotRetryable."""
    with log.recording():
        job = _locked(job_id)
        if job.state not in (JobState.DEAD, JobState.CANCELLED):
            raise NotRetryable(f"The job is {job.state}.")
        job.state, job.attempts, job.losses = JobState.QUEUED, 0, 0
        job.due_at = job.sent_at = now
        job.finished_at = job.cancel_requested_at = None
        job.save()
        _say(job, JobFact.ENQUEUED, by=by, now=now, hidden_too=True)
        _send_on_commit(job)
    return job


def ended(job_id: UUID) -> bool:
    """Whether a job will not run again by itself. One that is gone has ended too."""
    return not Job.objects.filter(pk=job_id).exclude(state__in=FINAL).exists()


def is_owed(*, kind: str, subject_id: str) -> bool:
    """Whether a job of this kind about this subject has not ended."""
    return Job.objects.filter(kind=kind, subject_id=str(subject_id)).exclude(state__in=FINAL).exists()


def drop(*, kind: str, subject_id: str, now: datetime) -> int:
    """What queued jobs would have done is not wanted any more, and who dropped it says so. Returns how many it were."""
    waiting = Job.objects.filter(kind=kind, subject_id=str(subject_id), state=JobState.QUEUED)
    return waiting.update(state=JobState.CANCELLED, finished_at=now)


def bring_forward(*, kind: str, subject_id: str, now: datetime) -> int:
    """What a queued job waited for has happened: make it due now. Returns how many jobs were waiting."""
    with log.recording():
        waiting = Job.objects.filter(kind=kind, subject_id=str(subject_id), state=JobState.QUEUED, due_at__gt=now)
        found = list(waiting.select_for_update())
        for job in found:
            job.due_at = job.sent_at = now
            job.save(update_fields=["due_at", "sent_at"])
            _send_on_commit(job)
    return len(found)


def sweep(now: datetime) -> int:
    """Send again what is due, expired or was lost on the way; returns how many were sent.

    The broker may have forgotten anything; this is what makes sure that it does not matter. A job whose holder vanished
    is sent once when its lease has run out, and again when nobody has taken it for as long as a lease lasts.
    """
    due = Q(state=JobState.QUEUED, due_at__lte=now)
    stale = Q(sent_at=None) | Q(sent_at__lt=now - RESEND_AFTER)
    vanished = Q(state=JobState.RUNNING, lease_until__lt=now)
    owed = Job.objects.filter((due & stale) | vanished)
    longest_ago = owed.order_by(F("sent_at").asc(nulls_first=True), "due_at")[:500]
    found = [job for job in longest_ago if job.state == JobState.QUEUED or _unsent_since_lost(job, now)]
    sent = [job for job in found if publishing.send(_RUN, queue=job.queue, job_id=str(job.pk))]
    Job.objects.filter(pk__in=[job.pk for job in sent]).update(sent_at=now)
    return len(sent)


def _unsent_since_lost(job: Job, now: datetime) -> bool:
    assert job.lease_until is not None, "what runs has a lease"
    return job.sent_at is None or job.sent_at < max(job.lease_until, now - timedelta(seconds=job.lease_seconds))


def run_until_idle(now: datetime | None = None, *, limit: int = 10_000) -> int:
    """Do, in this process, everything that is due: sequence, deliver, run jobs. Returns how many jobs were run.

    For commands, bootstrap and tests. Claims exactly as a worker does. Stops after `limit` jobs.
    """
    count = 0
    while count < limit:
        busy = sequencer.run(now) + mesh.deliver_all(now=now)
        for job_id in _due(now or timezone.now()):
            ran = run(job_id, now=now)
            count += ran
            busy += ran
        if not busy:
            break
    return count


def _due(now: datetime) -> list[UUID]:
    due = Q(state=JobState.QUEUED, due_at__lte=now) | Q(state=JobState.RUNNING, lease_until__lt=now)
    return list(Job.objects.filter(due).order_by("due_at", "created_at").values_list("pk", flat=True)[:100])


class _Heartbeat:
    """Renews a lease from a thread with a connection of its own, for as long as the `with` block runs."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._stop = threading.Event()
        # Inside a transaction nobody else can see the row: there is nothing to renew, and nobody to renew against.
        self._needed = not connection.in_atomic_block
        self._thread = threading.Thread(target=self._beat, name=f"lease-{lease.job_id}", daemon=True)

    def __enter__(self) -> None:
        if self._needed:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._needed:
            self._thread.join()

    def _beat(self) -> None:
        pause = self._lease.seconds / 3
        try:
            while not self._stop.wait(pause):
                try:
                    self._lease.renew()
                except LeaseLost:
                    return
                except Exception:
                    # What is not renewed in time is lost, so this is tried again sooner.
                    pause = self._lease.seconds / 10
                    logger.warning("lease_not_renewed", job_id=str(self._lease.job_id), exc_info=True)
                else:
                    pause = self._lease.seconds / 3
        finally:
            connections.close_all()


def _locked(job_id: UUID) -> Job:
    job = Job.objects.select_for_update().filter(pk=job_id).first()
    if job is None:
        raise NoSuchJob("There is no such job.")
    return job


def _runner(kind: str) -> Runner:
    try:
        return _runners[kind]
    except KeyError:
        raise UnknownKind(kind) from None


def _send_when_due(job: Job, *, now: datetime) -> None:
    """On commit, or from this process when it is due soon: a second's wait does not become a sweep's."""
    wait = (job.due_at - now).total_seconds()
    if wait <= 0:
        _send_on_commit(job)
    elif wait <= SOON_SECONDS:
        later = functools.partial(publishing.send_later, wait, _RUN, queue=job.queue, job_id=str(job.pk))
        transaction.on_commit(later)


def _send_on_commit(job: Job) -> None:
    transaction.on_commit(functools.partial(_send_or_leave_to_sweep, job.pk, job.queue))


def _send_or_leave_to_sweep(job_id: UUID, queue: str) -> None:
    """What the broker did not take must not look sent, or the next sweep would pass it by for a minute."""
    sent = publishing.send(_RUN, queue=queue, job_id=str(job_id))
    if not sent and publishing.has_broker():
        Job.objects.filter(pk=job_id, state=JobState.QUEUED).update(sent_at=None)


def _say(
    job: Job,
    fact: JobFact,
    *,
    now: datetime,
    by: Actor = SYSTEM,
    outcome: str = "success",
    reason: str = "",
    hidden_too: bool = False,
) -> None:
    """Append a fact about a visible job, or about any when a person did it."""
    if not job.visible and not hidden_too:
        return
    data: dict[str, object] = {"job_id": str(job.pk), "kind": job.kind, "attempt": job.attempts}
    if outcome == "failure":
        data |= {"error": job.error.partition(":")[0], "dead": job.state == JobState.DEAD}
    if reason:
        data["reason"] = reason
    log.append(
        fact,
        actor=by,
        subject=Subject("job", str(job.pk), f"{job.kind} {job.subject_id}"),
        data=data,
        outcome=outcome,
        mission_id=job.mission_id,
        contract_id=job.contract_id,
        now=now,
    )
