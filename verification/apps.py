from django.apps import AppConfig


class VerificationConfig(AppConfig):
    """Configuration of the verification app."""

    name = "verification"
    default_auto_field = "django.db.models.BigAutoField"
