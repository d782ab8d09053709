from django.apps import AppConfig


class GraceSiteConfig(AppConfig):
    """Configuration of the site: checks and metrics are connected here."""

    name = "grace_site"
    verbose_name = "Grace"

    def ready(self) -> None:
        """Register the system checks and the metrics."""
        from grace_site import checks  # noqa: F401  (registers by being imported)
