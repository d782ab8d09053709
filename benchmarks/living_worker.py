"""Imported by a real worker of the lifecycle benchmark: makes the no-op executor known to it."""

from celery.signals import worker_init

from benchmarks import living


@worker_init.connect
def _know_nothing(**_: object) -> None:
    living.register()
