"""What missions count for Prometheus."""

from prometheus_client import Counter

from .models import Mission

completed = Counter("grace_missions_completed_total", "Missions that ended, by how", ["status"])


def active() -> int:
    """How many missions are active now: the reading behind `grace_missions_active`."""
    return Mission.objects.filter(state=Mission.State.ACTIVE).count()
