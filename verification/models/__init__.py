"""Tables of verification: contracts and their revisions, executions, permits, snapshots, benchmark runs."""

from .benchmarks import BenchmarkRun
from .contracts import Contract, Revision, State
from .executions import Execution
from .permits import Permit
from .snapshots import Snapshot

__all__ = ["BenchmarkRun", "Contract", "Execution", "Permit", "Revision", "Snapshot", "State"]
