from django.apps import AppConfig


class AuditlogConfig(AppConfig):
    """Configuration of the auditlog app."""

    name = "auditlog"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Log and jobs"

    def ready(self) -> None:
        from . import exports, facts  # noqa: F401 - exports registers its runner

        facts.load_all()
