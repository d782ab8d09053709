"""The tables of the ground."""

from .integrity import Finding, IntegrityRun
from .jobs import Job, JobState
from .log import Checkpoint, Disclosure, Entry, Leaf, Payload, Pending, Tile, Tree
from .mesh import Subscription

__all__ = [
    "Checkpoint",
    "Disclosure",
    "Entry",
    "Finding",
    "IntegrityRun",
    "Job",
    "JobState",
    "Leaf",
    "Payload",
    "Pending",
    "Subscription",
    "Tile",
    "Tree",
]
