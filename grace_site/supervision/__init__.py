"""Keeping Grace's parts running, and finding the ones that do."""

from grace_site.supervision.state import Running, running

__all__ = ["Running", "running"]
