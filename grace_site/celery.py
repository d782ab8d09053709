"""The Celery application. It carries ids; what is owed is a row in the database (see auditlog.jobs)."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "grace_site.settings")

app = Celery("grace")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
