from django.apps import AppConfig


class GraceSiteConfig(AppConfig):
    """Configuration of the site: what the other apps offer is connected here."""

    name = "grace_site"
    verbose_name = "Grace"

    def ready(self) -> None:
        """Register the system checks, have the facts counted, and put the beat schedule together."""
        from auditlog import observers
        from grace_site import celery_app, checks, configuration_snapshot, metrics, schedules

        _keep_keys_out_of_the_admin()
        checks.register()
        configuration_snapshot.register()
        observers.watch(metrics.count)
        celery_app.conf.beat_schedule = schedules.composed()


def _keep_keys_out_of_the_admin() -> None:
    """knox offers a form that makes a key for anybody; keys come from `agents.create` and `agents.rotate` only."""
    from django.contrib import admin
    from knox.models import AuthToken

    if admin.site.is_registered(AuthToken):
        admin.site.unregister(AuthToken)
