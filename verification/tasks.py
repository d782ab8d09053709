"""The tasks of verification: each makes one call."""

from celery import shared_task
from django.utils import timezone

from . import contracts


@shared_task
def owe_what_is_owed_by_none(**_: object) -> None:
    """See that every contract that has to go on is carried by a job."""
    contracts.owe_what_is_owed_by_none(now=timezone.now())
