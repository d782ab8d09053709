"""Tables of verification: contracts and their revisions, executions, snapshots, benchmark runs."""

from .benchmarks import BenchmarkRun
from .contracts import Contract, Revision, State
from .executions import Execution
from .snapshots import Snapshot

__all__ = ["BenchmarkRun", "Contract", "Execution", "Revision", "Snapshot", "State"]
