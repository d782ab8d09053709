"""Celery's door: each task makes one call."""

from celery import shared_task
from django.utils import timezone

from . import approvals, delegations, pressing


@shared_task(name="governance.tasks.expire_due")
def expire_due(**_: object) -> None:
    """End the requests nobody decided in time."""
    approvals.expire_due(now=timezone.now())


@shared_task(name="governance.tasks.end_delegations")
def end_delegations(**_: object) -> None:
    """Write down the end of delegations whose time is over."""
    delegations.end_due(now=timezone.now())


@shared_task(name="governance.tasks.press")
def press(**_: object) -> None:
    """Remind and escalate where nobody has answered."""
    pressing.press_due(now=timezone.now())
