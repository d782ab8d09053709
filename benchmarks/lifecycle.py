"""What a lifecycle costs: proposed, approved, claimed, executed (by a no-op), verified and settled, with its log.

    python -m benchmarks.lifecycle [statements] [contenders] [workers] [latency] [stored] [--json]

Prints ratios from one run; everything is measured here and now, contenders in turn and by their medians. Each of them
runs in an environment of its own, made under --cache by pip from its pins in benchmarks/lifecycle_contenders/, and is
used as its documentation shows. PostgreSQL and Valkey are started for the run.

Statements are counted twice: what a client sends to get work done, and with it what only begins and ends transactions.
"""

from __future__ import annotations

import argparse
import atexit
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import UUID

from benchmarks.stage import Found, psql, show, start_broker, start_postgres, use_grace

ROOT = Path(__file__).resolve().parent.parent
CONTENDERS = ROOT / "benchmarks" / "lifecycle_contenders"
OTHERS = ("karmasakshi_sealed", "maker_checker", "langgraph_resumed")
PARTS = ("statements", "contenders", "workers", "latency", "stored")
CONTROL = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")


# --- the others, and Grace as one of them ------------------------------------------------------------------------


class Contender:
    """A process that speaks the lines of `lifecycle_contenders/line.py`, in an environment of its own."""

    def __init__(self, name: str, python: Path, home: Path) -> None:
        argv = [str(python), f"{name}.py", str(home)]
        self._process = subprocess.Popen(
            argv, cwd=CONTENDERS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.ready = self._line() == "ready"

    def ask(self, words: str) -> str:
        """One line, and the answer to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()
        return self._line()

    def end(self) -> str:
        """Let it end; what it complained of."""
        return self._process.communicate()[1]

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def environment(name: str, cache: Path) -> Path | None:
    """The Python of a contender's environment, made when it is not there; None when it cannot be made."""
    home, pins = cache / name, CONTENDERS / f"{name}.txt"
    python, made = home / "bin" / "python", home / "made.txt"
    if made.exists() and made.read_text() == pins.read_text():
        return python
    shutil.rmtree(home, ignore_errors=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(pins)]
    for argv in ([sys.executable, "-m", "venv", str(home)], install):
        if subprocess.run(argv, check=False, stdout=sys.stderr).returncode:
            return None
    shutil.copy(pins, made)
    return python


def measure_contenders(home: Path, cache: Path, rounds: int, each: int) -> Found:
    """Lifecycles per second and statements for each, one thread on SQLite, all in turn so that noise is shared."""
    pythons = {"grace": Path(sys.executable), **{name: environment(name, cache) for name in OTHERS}}
    contenders: dict[str, Contender] = {}
    missing = [name for name, python in pythons.items() if python is None]
    for name, python in pythons.items():
        if python is not None:
            contender = Contender(name, python, home)
            if contender.ready:
                contenders[name] = contender
            else:
                missing.append(f"{name}: {contender.end()[-500:]}")
    statements = {name: [int(word) for word in each.ask("count").split()] for name, each in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            seconds[name].append(float(contender.ask(f"time {each}")) / each)
    for contender in contenders.values():
        contender.end()
    found: Found = {}
    ours = statistics.median(seconds["grace"])
    for name, times in seconds.items():
        median = statistics.median(times)
        found[name] = {
            "per_second": round(1 / median, 1),
            "milliseconds": round(median * 1000, 2),
            "quickest_round_milliseconds": round(min(times) * 1000, 2),
            "statements": statements[name][0],
            "statements_with_transaction_control": statements[name][1],
            **({} if name == "grace" else {"grace_is_times_as_quick": round(median / ours, 2)}),
        }
    return found | ({"not there": missing} if missing else {})


# --- statements and workers on PostgreSQL ------------------------------------------------------------------------


def furnished(url: str, broker: str, home: Path) -> None:
    """Make this process a Grace on a database with people, a policy and an agent."""
    os.environ["APPROVAL_DECISION_RATE_PER_MIN"] = "100000"
    use_grace(url, broker, home)
    from benchmarks import living

    living.register()
    living.furnish()


@contextmanager
def watched() -> Iterator[list[str]]:
    """The statements that this thread sends to PostgreSQL meanwhile; entries of the log go in by COPY."""
    import psycopg
    from django.db import connection

    sent: list[str] = []
    copy = psycopg.Cursor.copy

    def count(execute: Any, sql: str, *rest: Any) -> Any:
        sent.append(sql)
        return execute(sql, *rest)

    def count_copy(cursor: Any, statement: str, *rest: Any, **more: Any) -> Any:
        sent.append(statement)
        return copy(cursor, statement, *rest, **more)

    with connection.execute_wrapper(count), mock.patch.object(psycopg.Cursor, "copy", count_copy):
        yield sent


def measure_statements() -> Found:
    """What one lifecycle sends to PostgreSQL, for what only reads, and for what keeps a way back."""
    from auditlog import sequencer
    from benchmarks import living

    cast = living.Cast()
    found: Found = {}
    sequencer.run()
    for words, parameters in (("no-op", {}), ("no-op with a snapshot", {"reversible": True})):
        cast.live(f"warm {words}", **parameters)
        with watched() as sent:
            contract = cast.live(f"counted {words}", **parameters)
        assert living.settled(contract)
        # The benchmark's own look for the job is none of the lifecycle's.
        found[words] = sum(not sql.startswith(CONTROL) for sql in sent) - 1
    with watched() as sent:
        placed = sequencer.run()
    found["sequencer, for each of a batch of entries"] = round(len(sent) / max(placed, 1), 2)
    return found


def work(number: int, seconds: float, out: Any) -> None:
    """One worker process: how many lifecycles it completed."""
    import django

    django.setup()
    from benchmarks import living

    living.register()
    cast = living.Cast()
    cast.live(f"{number} warm {time.time()}")
    out.put("ready")
    done, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        cast.live(f"{number} {done} {time.time()}")
        done += 1
    out.put(done)


def sequence(over: Any) -> None:
    """The sequencer, as it runs beside the workers."""
    import django

    django.setup()
    from auditlog import sequencer

    while not over.is_set():
        sequencer.run()
        time.sleep(0.05)


def race(workers: int, seconds: float) -> float:
    """Lifecycles per second of some workers at once."""
    spawn = multiprocessing.get_context("spawn")
    out, over = spawn.Queue(), spawn.Event()
    beside = spawn.Process(target=sequence, args=(over,))
    crowd = [spawn.Process(target=work, args=(number, seconds, out)) for number in range(workers)]
    for process in (beside, *crowd):
        process.start()
    answers = [out.get(timeout=seconds + 120) for _ in range(2 * workers)]
    over.set()
    for process in (*crowd, beside):
        process.join()
    return sum(each for each in answers if each != "ready") / seconds


def measure_workers(seconds: float, rounds: int) -> Found:
    """Lifecycles per second of 1, 2 and 4 worker processes, in turn; the medians."""
    taken: dict[int, list[float]] = {1: [], 2: [], 4: []}
    for _ in range(rounds):
        for workers, rates in taken.items():
            rates.append(race(workers, seconds))
    median = {workers: statistics.median(rates) for workers, rates in taken.items()}
    return {
        f"{workers} workers": {"per_second": round(rate, 1), "times_one": round(rate / median[1], 2)}
        for workers, rate in median.items()
    } | {"processors": os.cpu_count()}


# --- from the approval to the executor ---------------------------------------------------------------------------


@contextmanager
def staffed(home: Path, broker: str) -> Iterator[None]:
    """A real worker of executions, as `up` starts it, which knows the no-op executor."""
    import redis

    from grace_site.supervision import workers

    # What the parts before this one sent is done, and would keep the worker busy.
    redis.Redis(unix_socket_path=broker.removeprefix("redis+socket://")).flushall()
    argv = [sys.executable, "-m", "celery", "-A", "grace_site", *workers.Crew(("executions",), 2).argv]
    log = home / "worker.log"
    with (
        log.open("w") as out,
        subprocess.Popen(
            [*argv, "-I", "benchmarks.living_worker"],
            env=os.environ | {"LOG_LEVEL": "INFO"},
            cwd=ROOT,
            stdout=out,
            stderr=out,
        ) as worker,
    ):
        try:
            until(lambda: " ready." in log.read_text(), "the worker is ready")
            yield
        finally:
            worker.terminate()


def until(true: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait for something, but not for ever."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.01)


def measure_latency(home: Path, broker: str, times: int) -> Found:
    """From the moment `decide` is called to the moment the executor is, at idle, through a real broker and worker."""
    from benchmarks import living
    from verification.models import Execution

    cast, taken, committed = living.Cast(), [], []
    with staffed(home, broker):
        for number in range(times + 3):
            asked = cast.propose(f"latency {number} {time.time()}")
            # Idle: nothing of the proposal is still under way.
            time.sleep(0.2)
            began = time.time()
            cast.approve(asked)
            ended = time.time()
            assert asked.contract is not None
            until(lambda asked=asked: living.settled(asked.contract), "the contract is settled")
            result = Execution.objects.get(contract_id=asked.contract.pk).result
            started = float(result["result"]["at"])
            # The first few make connections and compile expressions, as the first of any day do.
            if number >= 3:
                taken.append(started - began)
                committed.append(started - ended)
    return {
        "approved_to_executing_ms": {name: round(value * 1000, 1) for name, value in spread(taken).items()},
        "of_it_after_the_commit_ms": {name: round(value * 1000, 1) for name, value in spread(committed).items()},
    }


def spread(values: list[float]) -> dict[str, float]:
    """The median, the 95th of 100, and the longest."""
    ordered = sorted(values)
    return {"p50": statistics.median(ordered), "p95": ordered[int(len(ordered) * 0.95)], "max": ordered[-1]}


# --- when many are stored ----------------------------------------------------------------------------------------


def fill(url: str, template_id: UUID, many: int) -> None:
    """A process that fills a database."""
    os.environ["DATABASE_URL"] = url
    import django

    django.setup()
    from benchmarks import storing

    storing.copy(template_id, many)
    storing.settle_down()


def live_in(url: str, orders: Any) -> None:
    """A process with a database of its own: lives as many lifecycles as it is told, and says how long each took."""
    os.environ["DATABASE_URL"] = url
    import django

    django.setup()
    from benchmarks import living

    living.register()
    cast = living.Cast()
    while many := orders.recv():
        orders.send([living.timed(lambda: cast.live(f"{time.time_ns()}")) for _ in range(many)])


def measure_stored(url_of: Callable[[str], str], sizes: list[int], times: int) -> Found:
    """The median lifecycle on PostgreSQL with so many settled contracts stored; the sizes take turns."""
    from django.db import connection

    from benchmarks import living

    template = living.Cast().live("the template")
    assert living.settled(template)
    connection.close()
    spawn = multiprocessing.get_context("spawn")
    filled: dict[int, float] = {}
    orders: dict[int, Any] = {}
    taken: dict[int, list[float]] = {}
    for size in sizes:
        psql(url_of("postgres"), f"CREATE DATABASE bench_{size} TEMPLATE bench")
        began = time.perf_counter()
        filling = spawn.Process(target=fill, args=(url_of(f"bench_{size}"), template.pk, size))
        filling.start()
        filling.join()
        filled[size] = time.perf_counter() - began
    for size in sizes:
        orders[size], theirs = spawn.Pipe()
        spawn.Process(target=live_in, args=(url_of(f"bench_{size}"), theirs), daemon=True).start()
        taken[size] = []
    for turn in range(1 + times // 5):
        for size in sizes:
            orders[size].send(5)
            # The first turn makes connections and compiles expressions.
            taken[size] += orders[size].recv() if turn else orders[size].recv()[:0]
    for each in orders.values():
        each.send(0)
    median = {size: statistics.median(of) for size, of in taken.items()}
    return {
        f"{size:,} stored": {
            "p50_milliseconds": round(median[size] * 1000, 2),
            "times_the_smallest": round(median[size] / median[sizes[0]], 2),
            "filled_in_seconds": round(filled[size], 1),
        }
        for size in sizes
    }


# --- all of it ---------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=7, help="how often contenders, and crowds of workers, take turns")
    parser.add_argument("--each", type=int, default=20, help="lifecycles of a contender's turn")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a turn of workers")
    parser.add_argument("--times", type=int, default=60, help="lifecycles for latency, and at each size")
    parser.add_argument("--stored", type=int, nargs="+", default=[1_000, 100_000, 1_000_000], help="the sizes")
    parser.add_argument("--cache", type=Path, default=ROOT / "var" / "bench", help="where environments are kept")
    given = parser.parse_args()
    parts = given.parts or PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}")
    # A unix socket's path is short.
    home = Path(tempfile.mkdtemp(prefix="grace-bench-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    found: Found = {}
    if "contenders" in parts:
        found["one thread on SQLite"] = measure_contenders(home, given.cache, given.rounds, given.each)
    if set(parts) - {"contenders"}:
        template = start_postgres(home)
        psql(template.format(name="postgres"), "CREATE DATABASE bench")
        url = template.format(name="bench")
        broker = start_broker(home)
        furnished(url, broker, home)
        if "statements" in parts:
            found["statements on PostgreSQL"] = measure_statements()
        if "workers" in parts:
            found["workers on PostgreSQL"] = measure_workers(given.seconds, max(1, given.rounds // 2))
        if "latency" in parts:
            found["latency at idle, PostgreSQL and Valkey"] = measure_latency(home, broker, given.times)
        if "stored" in parts:
            by_name = partial(str.replace, template, "{name}")
            found["contracts stored in PostgreSQL"] = measure_stored(by_name, given.stored, given.times)
    show(found, as_json=given.json)


if __name__ == "__main__":
    main()
