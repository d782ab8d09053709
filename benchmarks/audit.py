"""What the log costs, and how quickly it is checked. Prints ratios from one run; everything is measured here and now.

    python -m benchmarks.audit [writers] [saves] [integrity] [offline] [--json] [--entries N] [--rounds N] [--seconds S]

A private PostgreSQL (with synchronous commits) and a broker are started for it. `saves` compares with other packages;
install them where they cannot get in the way, and say where (PACKAGES, by default var/bench/audit; `make bench` does):

    python -m uv pip install --no-deps --target var/bench/audit -r benchmarks/requirements.txt
"""

from __future__ import annotations

import argparse
import atexit
import itertools
import json
import multiprocessing
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import saves, writers
from benchmarks.stage import Found, psql, show, start_broker, start_postgres, use_grace

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("saves", "writers", "integrity", "offline")


# --- checking --------------------------------------------------------------------------------------------------


def fill(entries: int) -> None:
    """Add this many entries to the log, by the log's own functions.

    Half of them are a person's, whose name is a commitment with its value kept beside.
    """
    from contextvars import copy_context

    from django.db import connection, transaction

    from auditlog import ids, inserting, log, sequencer
    from auditlog.actors import SYSTEM, Actor
    from auditlog.facts import SystemFact
    from auditlog.models import Disclosure, Entry
    from auditlog.subjects import Subject

    ada = Actor("person", "user:1", "Ada Lovelace", 1)
    began = datetime.now(UTC)
    around = copy_context()
    for first in range(0, entries, 5000):
        rows = log._Rows()
        for number in range(first, min(first + 5000, entries)):
            rows.add(
                log._Draft(
                    id=ids.new_id(),
                    fact=SystemFact.HEARTBEAT,
                    actor=ada if number % 2 else SYSTEM,
                    subject=Subject("bench", str(number % 1000)),
                    data={"name": "x"},
                    outcome="success",
                    at=began + timedelta(microseconds=number),
                    mission_id=None,
                    contract_id=None,
                    caused_by=None,
                    around=around,
                )
            )
        with transaction.atomic():
            inserting.insert(Entry, rows.entries, using="default")
            inserting.insert(Disclosure, rows.disclosures, using="default")
        sequencer.run()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


class Watch:
    """How long the database took to answer."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, execute: Any, *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(*arguments)
        finally:
            self.seconds += time.perf_counter() - began


def measure_integrity(entries: int) -> Found:
    """Periodic runs over a log that grows to this many entries, and the full pass of once a day."""
    found: Found = {}
    tenth = entries // 10
    fill(tenth)
    found[f"the first run, over {tenth:,} entries"] = alone(periodic_run)
    fill(entries - tenth)
    found[f"a run after {entries - tenth:,} new ones"] = alone(periodic_run)
    found["a periodic run"] = alone(periodic_run)
    fill(10_000)
    found["a periodic run after 10,000 new ones"] = alone(periodic_run)
    found["a full pass"] = alone(full_pass)
    return {"entries": entries, **found}


def alone(work: Callable[[], object]) -> Found:
    """Do some work in a process of its own: how long it took, how long the database took, and the memory it had."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_watched, args=(work, theirs))
    process.start()
    found: Found = ours.recv()
    process.join()
    return found


def _watched(work: Callable[[], object], answer: Any) -> None:
    import django

    django.setup()
    from django.db import connection

    connection.ensure_connection()
    watch, began = Watch(), time.perf_counter()
    with connection.execute_wrapper(watch):
        work()
    answer.send(
        {
            "seconds": round(time.perf_counter() - began, 2),
            "database_seconds": round(watch.seconds, 2),
            "peak_megabytes": round(_peak_kilobytes() / 1024),
        }
    )


def _peak_kilobytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def periodic_run() -> None:
    """What runs every 15 minutes."""
    from auditlog import integrity

    run = integrity.check_incrementally(datetime.now(UTC))
    if not run.passed:
        raise RuntimeError(f"the log does not verify: {run.findings}")


def full_pass() -> None:
    """Every entry from its bytes up."""
    from auditlog import integrity, signer

    signer.sign(datetime.now(UTC))
    report = integrity.check(datetime.now(UTC), full=True)
    if report.found:
        raise RuntimeError(f"the log does not verify: {report.found[:3]}")


# Runs a program and says how much memory it had at most, not counting what it was forked from.
WITH_PEAK = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def verify_bundle(directory: Path) -> Found:
    """Time and memory of a bundle's own program on it; of the processor too, for when this machine does more."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    argv = [sys.executable, "-I", "-S", "-c", WITH_PEAK, str(directory / "verify.py")]
    checked = subprocess.run(argv, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = int(checked.stdout.rpartition("VmHWM:")[2].split()[0])
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "processor_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "megabytes": round(peak / 1024, 1),
    }


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
    manifest |= {"entries": count, "size": count, "root": head.root.hex()}
    manifest["files"] = {name: exports._digest(part / name) for name in manifest["files"]}
    exports.seal(part, manifest, signer.key())
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
    parser.add_argument("--rounds", type=int, default=15, help="how often contenders take turns")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each race of writers")
    parser.add_argument("--packages", type=Path, default=ROOT / "var" / "bench" / "audit", help="where the others are")
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
    use_grace(url_of("bench"), start_broker(home), home)
    found: Found = {}
    if "saves" in parts:
        found["saves"] = saves.measure(url_of, home, given.packages, given.rounds)
    if "writers" in parts:
        found["writers"] = writers.measure(url_of("bench"), given.seconds, max(3, given.rounds // 3))
    if "integrity" in parts:
        found["integrity"] = measure_integrity(given.entries)
    if "offline" in parts:
        if "integrity" not in parts:
            fill(given.entries)
        found["offline"] = measure_offline(home)
    show(found, as_json=given.json)


if __name__ == "__main__":
    main()
