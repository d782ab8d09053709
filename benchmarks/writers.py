"""Writers at once, against a hash chain under a lock: throughput with quick and slow commits, and deadlocks.

The chain keeps what Grace keeps: the same document, the same columns with the same indexes, in raw SQL. What it leaves
out is in its favour: it checks no shape, withholds no secret and needs no sequencer.

Writers are processes, started once. Races of the two take turns and are short, so that whatever else the machine does
falls on both; the figures are medians.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.stage import Found, psql

KINDS = ("chain", "grace")
CHAIN = (
    "CREATE TABLE bench_head (id int PRIMARY KEY, hash bytea)",
    "INSERT INTO bench_head VALUES (1, '')",
    "CREATE TABLE bench_chain (LIKE auditlog_entry INCLUDING ALL, previous bytea, hash bytea)",
    "CREATE TABLE bench_row (id int PRIMARY KEY, amount int)",
    "INSERT INTO bench_row SELECT n, 0 FROM generate_series(1, 20) n",
)
# How long a commit takes the server at least, in microseconds, and how long a request works after it said what it does.
STAGES = {
    "quick commits": (0, 0.0),
    "commits of 3 ms": (3000, 0.0),
    "quick commits of requests that take 5 ms more": (0, 0.005),
}


def append_to_chain() -> None:
    """An entry of a hash chain, as they are usually written: under one lock, in the transaction."""
    from hashlib import sha256

    from django.db import connection
    from django.utils import timezone

    from auditlog import ids

    entry_id, now = ids.new_id(), timezone.now()
    said = {"fact": "system.heartbeat", "outcome": "success", "mission_id": None, "contract_id": None}
    said |= {"id": str(entry_id), "at": now.isoformat(), "version": 1, "subsystem": "auditlog", "caused_by": None}
    said |= {"actor": {"kind": "system", "id": "system"}, "subject": {"kind": "bench", "id": "1"}}
    said |= {"correlation_id": None, "data": {"name": "x"}, "commitments": []}
    document = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT hash FROM bench_head WHERE id = 1 FOR UPDATE")
        previous = bytes(cursor.fetchone()[0])
        new = sha256(previous + document).digest()
        cursor.execute(
            "INSERT INTO bench_chain (id, bytes, recorded_at, fact, actor_kind, actor_id, subsystem, subject_kind,"
            " subject_id, outcome, previous, hash)"
            " VALUES (%s, %s, %s, 'system.heartbeat', 'system', 'system', 'auditlog', 'bench', '1', 'success', %s, %s)",
            [entry_id, document, now, previous, new],
        )
        cursor.execute("UPDATE bench_head SET hash = %s WHERE id = 1", [new])


def append_to_grace() -> None:
    """The same entry in Grace."""
    from django.utils import timezone

    from auditlog import log
    from auditlog.actors import SYSTEM
    from auditlog.facts import SystemFact
    from auditlog.subjects import Subject

    log.append(
        SystemFact.HEARTBEAT, actor=SYSTEM, subject=Subject("bench", "1"), data={"name": "x"}, now=timezone.now()
    )


def transactions(kind: str, two_rows: bool, work: float) -> Callable[[random.Random], None]:
    """One request: it says something, or changes two of everybody's rows and says so of each; then it works on."""
    from django.db import connection, transaction

    from auditlog import log

    say = append_to_chain if kind == "chain" else append_to_grace

    def change(row: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE bench_row SET amount = amount + 1 WHERE id = %s", [row])

    def run(chance: random.Random) -> None:
        with transaction.atomic() if kind == "chain" else log.recording():
            for row in sorted(chance.sample(range(1, 5), 2)) if two_rows else []:
                change(row)
                say()
            if not two_rows:
                say()
            if work:
                time.sleep(work)

    return run


def write(orders: Connection, seed: int) -> None:
    """A writer's process. An order is a kind, whether to change two rows, how long to work, and seconds; None ends it.

    Answers with how many transactions it committed, and how many deadlocked.
    """
    import django

    django.setup()
    from django.db import OperationalError, connection

    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    connection.ensure_connection()
    orders.send("ready")
    while order := orders.recv():
        kind, two_rows, work, seconds = order
        run = transactions(kind, two_rows, work)
        done = deadlocks = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                run(chance)
                done += 1
            except OperationalError as error:
                if "deadlock" not in str(error):
                    raise
                deadlocks += 1
        orders.send((done, deadlocks))


def sequence(orders: Connection) -> None:
    """The sequencer's process, as it runs beside writers: nudged at most every 50 ms. Any word starts and stops it.

    When stopped it answers with how many entries were still waiting, and gives them their places.
    """
    import django

    django.setup()
    from auditlog import sequencer
    from auditlog.models import Pending

    orders.send("ready")
    while orders.recv():
        while not orders.poll(0.05):
            sequencer.run()
        orders.recv()
        orders.send(Pending.objects.count())
        sequencer.run()


class Crowd:
    """Some writers and a sequencer, waiting for orders."""

    def __init__(self, writers: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._processes = []
        self._lines: list[Connection] = []
        for number in range(writers + 1):
            ours, theirs = spawn.Pipe()
            target: Any = write if number < writers else sequence
            arguments = (theirs, number) if number < writers else (theirs,)
            self._processes.append(spawn.Process(target=target, args=arguments, daemon=True))
            self._lines.append(ours)
        for process in self._processes:
            process.start()
        for line in self._lines:
            line.recv()

    def race(
        self, kind: str, writers: int, seconds: float, *, two_rows: bool = False, work: float = 0.0
    ) -> tuple[float, float, int]:
        """Transactions per second, deadlocks per 1,000 transactions, entries still waiting for their place."""
        *crowd, sequencer = self._lines
        crowd = crowd[:writers]
        if kind == "grace":
            sequencer.send("start")
        for line in crowd:
            line.send((kind, two_rows, work, seconds))
        counts = [line.recv() for line in crowd]
        waiting = 0
        if kind == "grace":
            sequencer.send("stop")
            waiting = sequencer.recv()
        done, deadlocks = sum(each[0] for each in counts), sum(each[1] for each in counts)
        return done / seconds, deadlocks * 1000 / max(1, done + deadlocks), waiting

    def end(self) -> None:
        """Let everybody go."""
        for line in self._lines:
            line.send(None)
        for process in self._processes:
            process.join()


def measure(url: str, seconds: float, rounds: int) -> Found:
    """Throughput at 1, 4 and 8 writers on each stage; deadlocks when two rows are changed."""
    psql(url, *CHAIN)
    crowd = Crowd(8)
    found: Found = {}
    for words, (delay, work) in STAGES.items():
        slow = f"ALTER SYSTEM SET commit_delay = {delay}"
        psql(url, slow, "ALTER SYSTEM SET commit_siblings = 0", "SELECT pg_reload_conf()")
        for writers in (1, 4, 8):
            found[f"{words}, writers: {writers}"] = _compared(crowd, writers, seconds, rounds, work)
    psql(url, "ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")
    found["deadlocks per 1000 transactions that change two rows, writers: 8"] = {
        kind: round(crowd.race(kind, 8, 5 * seconds, two_rows=True)[1], 1) for kind in KINDS
    }
    crowd.end()
    return found


def _compared(crowd: Crowd, writers: int, seconds: float, rounds: int, work: float) -> Found:
    races = [{kind: crowd.race(kind, writers, seconds, work=work) for kind in KINDS} for _ in range(rounds)]
    rates = {kind: [race[kind][0] for race in races] for kind in KINDS}
    return {
        **{f"{kind}_per_second": round(statistics.median(rates[kind])) for kind in KINDS},
        "times": round(
            statistics.median(g / max(c, 1) for c, g in zip(rates["chain"], rates["grace"], strict=True)), 2
        ),
        "waiting_at_the_end": max(race["grace"][2] for race in races),
    }
