from django.apps import AppConfig


class AuditlogConfig(AppConfig):
    """Configuration of the auditlog app."""

    name = "auditlog"
    default_auto_field = "django.db.models.BigAutoField"
