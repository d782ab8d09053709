"""The Celery application. It carries ids; what is owed is a row in the database (see auditlog.jobs)."""

import os
from typing import Any

from celery import Celery
from celery.signals import celeryd_init, setup_logging
from django_structlog.celery.steps import DjangoStructLogInitStep

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "grace_site.settings")

app = Celery("grace")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# The correlation id of a request reaches the task it leads to.
app.steps["worker"].add(DjangoStructLogInitStep)


@setup_logging.connect
def _keep_our_logging(**_: Any) -> None:
    """That somebody listens here is what keeps Celery from setting up its own."""


@celeryd_init.connect
def _show_signs_of_life(**_: Any) -> None:
    from grace_site import heartbeats  # noqa: F401  (connects by being imported)
