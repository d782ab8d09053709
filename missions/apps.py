from django.apps import AppConfig


class MissionsConfig(AppConfig):
    """Configuration of the missions app: its jobs, reactions and gate are registered here."""

    name = "missions"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the runners, the subscribers and the gate."""
        from importlib.util import find_spec

        if find_spec("governance.approvals") is None:  # Temporary, until the door exists.
            return
        from verification import gates

        from . import reactions, tasks  # noqa: F401  (each registers by being imported)
        from .gate import MissionGate

        gates.register(MissionGate())
