from django.apps import AppConfig


class MissionsConfig(AppConfig):
    """Configuration of the missions app: its jobs, reactions and gate are registered here."""

    name = "missions"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the runners, the subscribers, the gate, and what a proposal's mission has to be."""
        from governance import proposals
        from verification import gates

        from . import missions, reactions, tasks  # noqa: F401  (each registers by being imported)
        from .gate import MissionGate

        gates.register(MissionGate())
        proposals.checked_by(lambda proposal, user: missions.check_mission(proposal.mission_id, user))
