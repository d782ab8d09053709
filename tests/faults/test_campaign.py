"""Contracts run while processes are killed with SIGKILL at moments chosen by chance (P).

Every contract ends settled, or says honestly that it is in doubt or held; no effect happens twice; the log is intact;
and nobody had to start anything. `make faults` kills 200 times, CI a few times. FAULTS and FAULTS_SEED set how many and
which.
"""

import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.faults.conftest import Estate
from tests.faults.house import PARTS, House
from tests.faults.people import Agent, Asked
from tests.harness.processes import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(5400)]

FAULTS = int(os.environ.get("FAULTS", "12"))
SETTLE_SECONDS = 300
# And than a lease and a sweep, after which something might be done again.
LONGER_THAN_ANY_ACTION = 25

SETTLED = {"verified", "rolled_back", "failed", "cancelled", "expired"}
HONEST = {"in_doubt", "held", "partial"}
NOTHING_LEFT = {"rolled_back", "failed", "cancelled", "expired"}


def test_p_whatever_is_killed_every_contract_is_settled_and_nothing_happens_twice(estate: Estate, chance: int) -> None:
    agent = estate.agent(*estate.acts)
    # Two of them: changing a database is tier_3.
    people = [agent, estate.person("bea"), estate.person("cem"), estate.contractor()]
    workers = [threading.Thread(target=each.work, daemon=True) for each in people]
    with ExitStack() as stack:
        for each in people:
            stack.callback(each.stop.set)
        for worker in workers:
            worker.start()
        _shake(estate.house, lambda: len(agent.asked) >= 4 * len(estate.acts))
        agent.stop.set()
        workers[0].join(150)
        assert not workers[0].is_alive()
        ready = estate.installation.status
        wait_until(lambda: ready("/readyz") == 200, seconds=120, what="it is ready by itself")
        _wait_until_over(agent)

    report = Counter(f"{type(each.act).__name__} {each.state}" for each in agent.asked)
    sys.stdout.write(f"seed {chance}: killed {dict(estate.house.killed)}; {dict(report)}\n")
    for each in agent.asked:
        _once_at_most(each)
    verified = [each.act for each in agent.asked if each.state == "verified"]
    assert len(verified) > len(agent.asked) / 2, report
    assert all(act in verified for act in agent.acts), report
    assert len(PARTS) > FAULTS or set(PARTS) <= set(estate.house.killed)
    _nothing_comes_later(agent.asked)
    checked = estate.installation.manage("verify_log", "--full")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def _shake(house: House, enough: Callable[[], bool]) -> None:
    """SIGKILL one process after the other, as often as wanted, and until enough was asked for to meet it."""
    killed, deadline = 0, time.monotonic() + 240 + FAULTS * 15
    while killed < FAULTS or not enough():
        assert time.monotonic() < deadline, f"only {killed} of {FAULTS} could be killed"
        killed += house.kill_something()
        time.sleep(random.uniform(0.2, 2.5))


def _wait_until_over(agent: Agent) -> None:
    """Until no contract is on its way any more; what is in doubt gets the whole time to find out."""

    def over(states: set[str]) -> bool:
        for each in agent.asked:
            if each.state not in SETTLED and (now := agent.look(each)) is not None:
                each.state = now["state"]
        return all(each.state in states for each in agent.asked)

    deadline = time.monotonic() + SETTLE_SECONDS
    while not over(SETTLED) and time.monotonic() < deadline:
        time.sleep(1)
    left = [(each.name, each.contract_id, each.state) for each in agent.asked if each.state not in SETTLED | HONEST]
    assert not left, left


def _once_at_most(asked: Asked) -> None:
    effects = asked.act.effects(asked.name)
    where = (asked.name, asked.contract_id, asked.state, effects)
    assert effects <= 1, where
    if asked.state == "verified":
        assert effects == 1, where
    if asked.state in NOTHING_LEFT:
        assert effects == 0, where


def _nothing_comes_later(asked: list[Asked]) -> None:
    """Whatever still acts behind a contract that is over has its effect on a world that forgot the first one."""
    over = [each for each in asked if each.state in SETTLED]
    for each in over:
        each.act.forget(each.name)
    time.sleep(LONGER_THAN_ANY_ACTION)
    late = [(each.name, each.contract_id, each.state) for each in over if each.act.effects(each.name)]
    assert not late, late
