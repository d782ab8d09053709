"""Celery's door: each task makes one call. Tasks take ids by keyword and tolerate keywords they do not know."""

from typing import Any

from celery import shared_task
from django.utils import timezone

from . import heartbeats, integrity, jobs, mesh, publishing, sequencer, signer


@shared_task(name="auditlog.tasks.run_job")
def run_job(*, job_id: str, **_: object) -> None:
    """Run one job, if it is still to be had."""
    jobs.run(job_id)


@shared_task(name="auditlog.tasks.sweep_jobs")
def sweep_jobs(**_: object) -> None:
    """Send again what is due, expired or lost."""
    jobs.sweep(timezone.now())


@shared_task(name="auditlog.tasks.sequence")
def sequence(**_: object) -> None:
    """Give pending entries their place in the tree."""
    sequencer.run()


@shared_task(name="auditlog.tasks.sign_checkpoint")
def sign_checkpoint(**_: object) -> None:
    """Sign a checkpoint when the log has grown, or the last one is old."""
    signer.sign_if_due(timezone.now())


@shared_task(name="auditlog.tasks.deliver_all")
def deliver_all(**_: object) -> None:
    """Wake each subscriber that is behind, each in a task of its own so that none holds up another."""
    for name in mesh.behind():
        publishing.send("auditlog.tasks.deliver_mesh", queue="default", subscriber=name)


@shared_task(name="auditlog.tasks.deliver_mesh")
def deliver_mesh(*, subscriber: str, **_: object) -> None:
    """Deliver what is waiting for one subscriber."""
    mesh.deliver(subscriber)


@shared_task(name="auditlog.tasks.heartbeat", bind=True)
def heartbeat(self: Any, **_: object) -> None:
    """Say that the workers of the queue this came through are alive."""
    queue = (self.request.delivery_info or {}).get("routing_key") or "default"
    heartbeats.beat(name=f"worker:{queue}", now=timezone.now())


@shared_task(name="auditlog.tasks.verify_log_beat")
def verify_log_beat(**_: object) -> None:
    """Check what was added since the last check, and a slice of the rest."""
    integrity.check_incrementally(timezone.now())


@shared_task(name="auditlog.tasks.verify_whole_log")
def verify_whole_log(**_: object) -> None:
    """Check everything, once a day."""
    integrity.check_daily(timezone.now())
