from django.apps import AppConfig


class GraceSiteConfig(AppConfig):
    """Configuration of the site: what the other apps offer is connected here."""

    name = "grace_site"
    verbose_name = "Grace"

    def ready(self) -> None:
        """Register the system checks, have the facts counted, and put the beat schedule together."""
        from auditlog import observers
        from grace_site import celery_app, checks, metrics, schedules

        checks.register()
        observers.watch(metrics.count)
        celery_app.conf.beat_schedule = schedules.composed()
