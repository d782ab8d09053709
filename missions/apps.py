from django.apps import AppConfig


class MissionsConfig(AppConfig):
    """Configuration of the missions app."""

    name = "missions"
    default_auto_field = "django.db.models.BigAutoField"
