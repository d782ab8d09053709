"""Configuration of the verification app."""

from importlib import import_module

from django.apps import AppConfig


class VerificationConfig(AppConfig):
    """Registers the facts and the job runners of verification."""

    name = "verification"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Importing a module that registers something is what registers it."""
        for module in ("facts", "running", "benchmarking"):
            import_module(f"verification.{module}")
