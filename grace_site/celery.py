"""The Celery application. It carries ids; what is owed is a row in the database (see auditlog.jobs)."""

import os
from typing import Any

from celery import Celery
from celery.signals import celeryd_init, setup_logging, task_prerun
from django_structlog.celery.steps import DjangoStructLogInitStep

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "grace_site.settings")

app = Celery("grace")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# Celery would close the database's connection before and after every task, and a new one costs as much time as short
# tasks take. Here they are looked after as web servers look after theirs.
KEEP_CONNECTIONS_SECONDS = 300
app.conf["CELERY_DB_REUSE_MAX"] = 2**31
# The correlation id of a request reaches the task it leads to.
app.steps["worker"].add(DjangoStructLogInitStep)


@setup_logging.connect
def _keep_our_logging(**_: Any) -> None:
    """That somebody listens here is what keeps Celery from setting up its own."""


@celeryd_init.connect
def _show_signs_of_life(**_: Any) -> None:
    from grace_site import heartbeats  # noqa: F401  (connects by being imported)


@celeryd_init.connect
def _tell_steps(**_: Any) -> None:
    from grace_site import steps

    steps.watch()


@celeryd_init.connect
def _keep_connections(**_: Any) -> None:
    from django.db import connections

    for database in connections.settings.values():
        database.update(CONN_MAX_AGE=KEEP_CONNECTIONS_SECONDS, CONN_HEALTH_CHECKS=True)


@task_prerun.connect
def _drop_lost_connections(task: Any, **_: Any) -> None:
    """What is too old or failed goes; what is kept is tried once before the task uses it."""
    from django.db import close_old_connections

    if not task.request.is_eager:
        close_old_connections()
