"""Honest work never looks like tampering, and killed sequencers leave nothing to repair."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.db import connection, connections, transaction
from django.utils import timezone

from auditlog import findings, integrity, log, merkle, sequencer, signer, tree
from auditlog.actors import Actor
from auditlog.facts import SystemFact
from auditlog.models import Entry, Finding, Leaf, Pending
from auditlog.subjects import Subject
from tests.harness.processes import wait_until

ADA = Actor("person", "user:1", "Ada", 1)
SECONDS = 5.0


def say(count: int, *, shift: float = 0.0) -> None:
    now = timezone.now() + timedelta(seconds=shift)
    with log.recording():
        for _ in range(count):
            log.append(SystemFact.HEARTBEAT, actor=ADA, subject=Subject("x", "1"), data={"name": "x"}, now=now)


class Crowd:
    """Threads that each do one thing over and over until told to stop, each with its own connection."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def do(self, work: Callable[[random.Random], None], seed: int, pause: float = 0.0) -> None:
        def run() -> None:
            chance = random.Random(seed)
            try:
                while not self.over.is_set():
                    work(chance)
                    time.sleep(pause)
            except BaseException as error:  # noqa: BLE001 - shown by the test
                self.errors.append(error)
            finally:
                connections.close_all()

        thread = threading.Thread(target=run)
        thread.start()
        self._threads.append(thread)

    def end(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()


def write(chance: random.Random) -> None:
    """A request: usually kept, sometimes rolled back in whole or in part, by a clock that is not quite right."""
    with transaction.atomic():
        say(chance.randint(1, 4), shift=chance.uniform(-120, 120))
        if chance.random() < 0.2:
            with transaction.atomic():
                say(1)
                transaction.set_rollback(True)
        if chance.random() < 0.2:
            transaction.set_rollback(True)


def write_slowly(chance: random.Random) -> None:
    """A long transaction: its entries are older than those placed before them."""
    with transaction.atomic():
        say(2)
        time.sleep(chance.uniform(0.1, 0.5))


def step_the_clock(by: timedelta, looking: threading.Lock) -> None:
    """The clock of this machine is wrong by some hours for a while, and is put right again.

    No check falls into the moment in which it steps, while nothing has its place by the new time yet.
    """
    with time_machine.travel(timezone.now() + by, tick=True):
        with looking:
            begun = timezone.now()
            say(1)
            wait_until(lambda: tree.head().sequenced_at >= begun, seconds=20, what="something has its place")
        time.sleep(SECONDS / 2)


@pytest.mark.django_db(transaction=True)
def test_honest_work_of_many_at_once_gives_no_finding() -> None:
    crowd = Crowd()
    for seed in range(3):
        crowd.do(write, seed, pause=0.01)
    crowd.do(write_slowly, 10, pause=0.05)
    for seed in (20, 21):
        crowd.do(lambda chance: sequencer.run() and None, seed, pause=0.02)
    crowd.do(lambda chance: signer.sign_if_due(timezone.now()) and None, 30, pause=0.1)
    found: list[findings.Found] = []
    looking = threading.Lock()

    def look(chance: random.Random) -> None:
        with looking:
            integrity.check_incrementally(timezone.now())
            integrity.check_daily(timezone.now())
            found.extend(integrity.check(timezone.now(), full=True).found)

    crowd.do(look, 40, pause=0.2)
    time.sleep(SECONDS)
    step_the_clock(timedelta(hours=3), looking)
    step_the_clock(timedelta(hours=-7), looking)
    time.sleep(SECONDS / 2)
    crowd.end()
    assert crowd.errors == []
    assert found == []
    sequencer.run()
    signer.sign(timezone.now())
    assert integrity.check(timezone.now(), full=True).found == []
    assert not Finding.objects.exists()
    assert tree.head().size > 50


KILLER = """
import os, random, signal, time
import django
django.setup()
from django.db import connections
from auditlog import sequencer

chance, children, kills = random.Random(7), [], 0
connections.close_all()
while kills < 100:
    while len(children) < 3:
        pid = os.fork()
        if pid == 0:
            while True:
                sequencer.run(batch=chance.randint(1, 20))
        children.append(pid)
    time.sleep(chance.uniform(0.005, 0.04))
    pid = children.pop(chance.randrange(len(children)))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    kills += 1
for pid in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
print(kills)
"""


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_hundred_killed_sequencers_leave_no_gap_no_double_and_the_right_root(
    database_url: str, tmp_path: Path
) -> None:
    for _ in range(12):
        say(500)
    script = tmp_path / "killer.py"
    script.write_text(textwrap.dedent(KILLER))
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "DJANGO_SETTINGS_MODULE": "grace_site.settings",
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }
    argv = [sys.executable, str(script)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout.strip() == "100", done.stderr
    placed = Leaf.objects.count()
    assert placed > 0
    assert placed + Pending.objects.count() == Entry.objects.count() == 6000
    sequencer.run()
    leaves = list(Leaf.objects.order_by("index").values_list("index", "entry_id", "hash"))
    assert [index for index, *_ in leaves] == list(range(6000))
    assert len({entry_id for _, entry_id, _ in leaves}) == 6000
    assert merkle.root_of([bytes(found) for *_, found in leaves]) == bytes(tree.head().root)
    assert integrity.check(timezone.now(), full=True).found == []
    assert connection.vendor == "postgresql"
