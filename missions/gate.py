"""The gate of missions: what serves a paused mission waits, what serves an abandoned one does not start."""

from __future__ import annotations

from verification.gates import Closed, Dispatch, Gate, Then

from .models import Mission

RETRY_AFTER_SECONDS = 30.0


class MissionGate(Gate):
    """Looks at the mission of what is about to run; a contract without one, or of an unknown one, passes."""

    name = "mission"

    def check(self, dispatch: Dispatch) -> Closed | None:
        """None when the mission lets this start."""
        mission_id = dispatch.contract.mission_id
        if mission_id is None:
            return None
        state = Mission.objects.filter(pk=mission_id).values_list("state", flat=True).first()
        if state == Mission.State.PAUSED:
            return Closed(self.name, "mission_paused", "The mission is paused.", Then.WAIT, RETRY_AFTER_SECONDS)
        if state == Mission.State.CANCELLED:
            return Closed(self.name, "mission_abandoned", "The mission was abandoned.", Then.CANCEL)
        return None

    def closed(self, dispatch: Dispatch, why: Closed) -> None:
        """Nothing to keep."""

    def begun(self, dispatch: Dispatch) -> None:
        """Nothing to spend."""
