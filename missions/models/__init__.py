"""Tables of missions: missions and steps, safe points, playbooks, incidents, summaries."""

from .incidents import Incident
from .missions import Mission, SafePoint, Step
from .playbooks import Playbook
from .summaries import Summary

__all__ = ["Incident", "Mission", "Playbook", "SafePoint", "Step", "Summary"]
