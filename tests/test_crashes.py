"""Workers that are killed, stopped or forgotten: what was owed is settled all the same, and done once.

The workers are real processes. What happened is counted in the world: every run of the command appends a line.
"""

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from auditlog import jobs
from auditlog.models import Entry, Job
from tests.harness.people import People
from tests.harness.processes import parent_of, wait_until
from tests.harness.story import Story, settled, told
from tests.harness.workforce import Workforce
from verification.models import Contract, Execution

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("crashes")]

LEASE_SECONDS = 4
TIMEOUT_SECONDS = 4

SCRIPT = '''
import json, pathlib, sys, time

what, home = sys.argv[1], pathlib.Path(sys.argv[2])
lines = home / "lines.txt"


def wait_while(name):
    """Say that this point was reached, and stay there while the test wants it."""
    (home / ("at-" + name)).touch()
    deadline = time.monotonic() + 20
    while (home / name).exists() and time.monotonic() < deadline:
        time.sleep(0.02)


if what == "probe":
    wait_while("slow-probe")
    print(json.dumps({"lines": len(lines.read_text().splitlines()) if lines.exists() else 0}))
elif what == "append":
    wait_while("slow-before")
    with lines.open("a") as file:
        file.write("done\\n")
    wait_while("slow-after")
elif what == "undo":
    lines.unlink(missing_ok=True)
'''


class World:
    """Where the command acts, and where it can be made to linger: `slow-probe`, `slow-before`, `slow-after`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        script = home / "act.py"
        script.write_text(SCRIPT)
        lines = ['[commands."append"]', 'reversibility = "reversible"', "idempotent = true", 'target = "lines:here"']
        for part, what in (("argv", "append"), ("probe", "probe"), ("undo", "undo")):
            argv = ", ".join(f'"{word}"' for word in (sys.executable, "-I", "-S", script, what, home))
            lines.append(f"{part} = [{argv}]")
        lines += [f"timeout_seconds = {TIMEOUT_SECONDS}", "probe_timeout_seconds = 30"]
        self.commands = home / "commands.toml"
        self.commands.write_text("\n".join(lines) + "\n")

    def lines(self) -> int:
        """How often the command has had its effect."""
        path = self.home / "lines.txt"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def linger(self, at: str) -> None:
        """Let the next run stay at this point."""
        (self.home / f"at-{at}").unlink(missing_ok=True)
        (self.home / at).touch()

    def go_on(self, at: str) -> None:
        """Let everybody pass this point."""
        (self.home / at).unlink()

    def reached(self, at: str) -> bool:
        """Whether a run is, or has been, at this point."""
        return (self.home / f"at-{at}").exists()

    def supervisor(self) -> int:
        """The process that watches the command that runs."""
        began = b"\0".join(word.encode() for word in (sys.executable, "-I", "-S", f"{self.home / 'act.py'}", "append"))
        running = [each for each in Path("/proc").glob("[0-9]*") if _command_line(each).startswith(began)]
        return parent_of(int(running[0].name))


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def world(tmp_path: Path, settings: Any) -> World:
    made = World(tmp_path)
    settings.COMMANDS_FILE, settings.JOB_LEASE_SECONDS = made.commands, LEASE_SECONDS
    return made


@pytest.fixture
def story(var_dir: Path, users: People) -> Story:
    return Story(var_dir, users)


def propose(story: Story) -> dict[str, Any]:
    """One more line is asked for: tier_1, so it is owed at once."""
    asked = story.propose(
        {
            "action_type": "command.run",
            "target": "lines:here",
            "parameters": {"command": "append"},
            "expected_effect": {"target_state": {"lines": 1}},
        }
    )
    assert (asked["tier"], asked["state"]) == ("tier_1", "authorized")
    return asked


def job_of(asked: dict[str, Any]) -> Job:
    return Job.objects.get(kind="execution.run", subject_id=asked["id"])


def lease_is_over(asked: dict[str, Any]) -> bool:
    until = job_of(asked).lease_until
    return until is not None and until < timezone.now()


def facts(asked: dict[str, Any]) -> list[str]:
    return [each.fact for each in told(asked["id"])]


def test_p_a_worker_killed_after_the_effect_is_recovered_and_does_it_once(
    story: Story, world: World, workforce: Workforce
) -> None:
    world.linger("slow-after")
    asked = propose(story)
    first = workforce.hire()
    wait_until(lambda: world.reached("slow-after"), seconds=20, what="the effect has happened")
    workforce.signal(first, signal.SIGKILL)
    assert Contract.objects.get(pk=asked["id"]).state == "executing"
    world.go_on("slow-after")
    workforce.hire()
    contract = settled(asked)
    assert contract.state == "verified"
    assert world.lines() == 1
    assert Execution.objects.get(contract=contract).recovered
    assert "contract.in_doubt" in facts(asked)


def test_p_a_worker_killed_before_the_effect_is_looked_after_and_it_is_done_once(
    story: Story, world: World, workforce: Workforce
) -> None:
    """The command was running and had done nothing. It is ended, seen to have done nothing, and run again."""
    world.linger("slow-before")
    asked = propose(story)
    first = workforce.hire()
    wait_until(lambda: world.reached("slow-before"), seconds=20, what="the command runs")
    workforce.signal(first, signal.SIGKILL)
    gone_at = time.monotonic() + TIMEOUT_SECONDS + 1
    workforce.hire()
    wait_until(lambda: time.monotonic() > gone_at, seconds=10, what="the orphaned command has been ended")
    assert world.lines() == 0
    world.go_on("slow-before")
    contract = settled(asked)
    assert contract.state == "verified"
    assert world.lines() == 1
    assert [each.state for each in Execution.objects.filter(contract=contract)] == ["settled", "settled"]
    said = facts(asked)
    assert said.index("contract.in_doubt") < said.index("contract.failed") < said.index("contract.verified")


def test_p_a_worker_killed_before_it_began_leaves_everything_to_the_next(
    story: Story, world: World, workforce: Workforce
) -> None:
    asked = propose(story)
    world.linger("slow-probe")
    first = workforce.hire()
    wait_until(lambda: world.reached("slow-probe"), seconds=20, what="the worker looks at the target")
    workforce.signal(first, signal.SIGKILL)
    assert Contract.objects.get(pk=asked["id"]).state == "authorized"
    world.go_on("slow-probe")
    workforce.hire()
    contract = settled(asked)
    assert (contract.state, world.lines()) == ("verified", 1)
    assert Execution.objects.get(contract=contract).attempt == 1
    assert "contract.in_doubt" not in facts(asked)


def test_p_a_command_whose_supervisor_is_killed_is_in_doubt_and_it_is_done_once(
    story: Story, world: World, workforce: Workforce
) -> None:
    """The command was running and had done nothing. Nobody knows that before its deadline, so nothing is tried."""
    world.linger("slow-before")
    asked = propose(story)
    workforce.hire()
    wait_until(lambda: world.reached("slow-before"), seconds=20, what="the command runs")
    os.kill(world.supervisor(), signal.SIGKILL)
    in_doubt = Contract.objects.filter(pk=asked["id"], state="in_doubt")
    wait_until(in_doubt.exists, seconds=20, what="the contract is in doubt")
    world.go_on("slow-before")
    assert settled(asked).state == "verified"
    assert world.lines() == 1
    first, second = Execution.objects.filter(contract_id=asked["id"])
    assert first.deadline_at < second.started_at  # type: ignore[operator]  # both began


def test_p_a_pool_process_killed_alone_is_replaced_and_nothing_runs_twice(
    story: Story, world: World, workforce: Workforce
) -> None:
    """Celery delivers the message again at once; the lease still stands, so nobody takes it before its time."""
    world.linger("slow-after")
    asked = propose(story)
    worker = workforce.hire()
    wait_until(lambda: world.reached("slow-after"), seconds=20, what="the effect has happened")
    pid = int(job_of(asked).worker.rpartition(":")[2])
    assert pid != worker.pid
    os.kill(pid, signal.SIGKILL)
    world.go_on("slow-after")
    contract = settled(asked)
    assert (contract.state, world.lines()) == ("verified", 1)
    assert worker.poll() is None


def test_p_what_the_broker_forgot_is_sent_again(story: Story, world: World, workforce: Workforce) -> None:
    asked = propose(story)
    assert workforce.broker.llen("executions") == 1
    workforce.broker.flushall()
    workforce.hire()
    assert jobs.sweep(timezone.now()) == 0, "it was sent a moment ago; the sweep does not know that it is lost"
    assert jobs.sweep(timezone.now() + jobs.RESEND_AFTER + timedelta(seconds=1)) == 1
    contract = settled(asked)
    assert (contract.state, world.lines()) == ("verified", 1)


def test_p_a_message_delivered_five_times_runs_once(story: Story, world: World, workforce: Workforce) -> None:
    asked = propose(story)
    for times in range(1, 5):
        assert jobs.sweep(timezone.now() + times * (jobs.RESEND_AFTER + timedelta(seconds=1))) == 1
    assert workforce.broker.llen("executions") == 5
    workforce.hire()
    contract = settled(asked)
    wait_until(lambda: workforce.broker.llen("executions") == 0, seconds=20, what="every message was taken")
    assert (contract.state, world.lines()) == ("verified", 1)
    assert facts(asked).count("contract.executing") == 1


@pytest.mark.parametrize("at", ["slow-probe", "slow-after"])
def test_q_a_worker_that_slept_past_its_lease_records_nothing(
    at: str, story: Story, world: World, workforce: Workforce
) -> None:
    asked = propose(story)
    world.linger(at)
    sleeper = workforce.hire()
    wait_until(lambda: world.reached(at), seconds=20, what=f"the worker is at {at}")
    workforce.signal(sleeper, signal.SIGSTOP)
    wait_until(lambda: lease_is_over(asked), seconds=20, what="its lease is over")
    world.go_on(at)
    workforce.hire()
    contract = settled(asked)
    assert (contract.state, world.lines()) == ("verified", 1)
    before = (facts(asked), Entry.objects.count(), job_of(asked).token)
    workforce.signal(sleeper, signal.SIGCONT)
    log = workforce.logs[0]
    wait_until(lambda: "lease_lost" in log.read_text(), seconds=20, what="the sleeper knows that it is too late")
    assert (facts(asked), Entry.objects.count(), job_of(asked).token) == before
    assert Contract.objects.get(pk=asked["id"]).state == "verified"
    assert world.lines() == 1


@pytest.mark.parametrize("at", ["slow-probe", "slow-after"])
def test_q_nor_does_it_where_it_is_the_only_worker(at: str, story: Story, world: World, workforce: Workforce) -> None:
    """Nobody took over what it held. It is told to go on by the sweep, and finds out what became of it like another."""
    asked = propose(story)
    world.linger(at)
    alone = workforce.hire()
    wait_until(lambda: world.reached(at), seconds=20, what=f"the worker is at {at}")
    workforce.signal(alone, signal.SIGSTOP)
    wait_until(lambda: lease_is_over(asked), seconds=20, what="its lease is over")
    world.go_on(at)
    before = (facts(asked), Entry.objects.count(), job_of(asked).token, job_of(asked).lease_until)
    workforce.signal(alone, signal.SIGCONT)
    log = workforce.logs[0]
    wait_until(lambda: "lease_lost" in log.read_text(), seconds=20, what="the worker knows that it is too late")
    now = (facts(asked), Entry.objects.count(), job_of(asked).token, job_of(asked).lease_until)
    assert now == before
    contract = settled(asked)
    assert (contract.state, world.lines()) == ("verified", 1)
    assert ("contract.in_doubt" in facts(asked)) == (at == "slow-after")
