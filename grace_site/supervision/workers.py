"""Which workers run here, for which queues, and the command line of each. Knows no Django."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

QUEUES = ("default", "executions", "log")


@dataclass(frozen=True)
class Crew:
    """One worker: the queues it takes from, and how many processes do the work."""

    queues: tuple[str, ...]
    processes: int

    @property
    def name(self) -> str:
        """What it is called among the parts."""
        return f"worker-{'-'.join(self.queues)}"

    @property
    def argv(self) -> tuple[str, ...]:
        """What follows `celery -A grace_site`.

        The log is signed by one hand: its worker is one process of one thread.
        """
        name = ("-n", f"{'-'.join(self.queues)}@%h", "-Q", ",".join(self.queues), "-c", str(self.processes))
        solo = ("--pool", "solo") if self.queues == ("log",) else ()
        return ("worker", *name, "-l", "INFO", "--without-mingle", "--without-gossip", *solo)


def parse(entries: Sequence[str], *, concurrency: int) -> tuple[Crew, ...]:
    """Crews from entries such as `executions:8`, `default` or `default+executions:4`.

    Without a number an entry has `concurrency` processes, and `log` one. Raises ValueError, saying what is wrong.
    """
    crews = tuple(_crew(entry, concurrency) for entry in entries)
    named = [queue for crew in crews for queue in crew.queues]
    if twice := {queue for queue in named if named.count(queue) > 1}:
        raise ValueError(f"names {sorted(twice)[0]} twice")
    return crews


def _crew(entry: str, concurrency: int) -> Crew:
    names, _, number = entry.partition(":")
    queues = tuple(names.split("+"))
    if unknown := [queue for queue in queues if queue not in QUEUES]:
        raise ValueError(f"names {unknown[0]!r}, which is none of {', '.join(QUEUES)}")
    processes = number or ("1" if queues == ("log",) else str(concurrency))
    if not processes.isascii() or not processes.isdigit() or not 1 <= int(processes) <= 256:
        raise ValueError(f"wants from 1 to 256 processes for {names}, not {number!r}")
    if "log" in queues and (len(queues) > 1 or processes != "1"):
        raise ValueError("has the log in a worker of its own with one process: one hand signs it")
    return Crew(queues, int(processes))
