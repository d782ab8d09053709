"""Configuration of the governance app."""

from importlib import import_module

from django.apps import AppConfig


class GovernanceConfig(AppConfig):
    """Registers the gates, executors, job runners and reactions of governance."""

    name = "governance"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Importing a module that registers something is what registers it."""
        from auditlog import erasure
        from verification import executors, gates

        from . import forgetting, logins
        from . import gates as ours
        from .executors.freeze_end import FreezeEnd
        from .executors.freeze_except import FreezeExcept
        from .executors.grant_create import GrantCreate
        from .executors.hold_release import HoldRelease
        from .executors.policy_change import PolicyChange

        for module in ("facts", "reactions", "reopening"):
            import_module(f"governance.{module}")
        for gate in ours.GATES:
            gates.register(gate)
        for executor in (HoldRelease, PolicyChange, GrantCreate, FreezeExcept, FreezeEnd):
            executors.register(executor())
        erasure.also(forgetting.forget)
        logins.connect()
