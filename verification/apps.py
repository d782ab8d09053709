"""Configuration of the verification app."""

from importlib import import_module

from django.apps import AppConfig


class VerificationConfig(AppConfig):
    """Registers the facts, the job runners and the subscribers of verification."""

    name = "verification"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Importing a module that registers something is what registers it."""
        for module in ("facts", "running", "benchmarking", "reactions", "system_checks"):
            import_module(f"verification.{module}")
        _register_restores()
        import_module("verification.snapshots.families").register()


def _register_restores() -> None:
    from verification import executors
    from verification.executors.snapshot_restore.executor import SnapshotRestore

    executors.register(SnapshotRestore("snapshot.restore", "Bring a target back to a snapshot"))
    executors.register(SnapshotRestore("contract.rollback", "Undo a settled contract"))
