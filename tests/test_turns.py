"""Contracts on one target run one after the other, on different targets side by side.

What tells is what the commands themselves wrote down of their beginnings and ends.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from auditlog.models import Job
from tests.harness.people import People
from tests.harness.processes import wait_until
from tests.harness.story import Story, settled
from tests.harness.workforce import Workforce

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("crashes")]

SCRIPT = """
import json, pathlib, sys, time

what, home, who = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
diary = home / "diary"


def write(word):
    with diary.open("a") as file:
        file.write(f"{who} {word}\\n")


if what == "probe":
    print(json.dumps({"done": f"{who} ends" in (diary.read_text() if diary.exists() else "")}))
else:
    write("begins")
    deadline = time.monotonic() + 100
    while (home / "wait").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    write("ends")
"""


class Office:
    """Desks at which people work, who write into one diary when they begin and when they end, and wait in between."""

    def __init__(self, home: Path) -> None:
        self.home = home
        script = home / "work.py"
        script.write_text(SCRIPT)
        (home / "wait").touch()
        line = [sys.executable, "-I", "-S", str(script)]
        argv, probe = (json.dumps([*line, what, str(home), "{who}"]) for what in ("work", "probe"))
        self.commands = home / "commands.toml"
        self.commands.write_text(
            f"""
            [commands.work]
            argv = {argv}
            probe = {probe}
            reversibility = "reversible"
            target = "desk:{{desk}}"
            timeout_seconds = 120
            probe_timeout_seconds = 30
            arguments = {{ desk = "string", who = "string" }}
            """
        )

    def diary(self) -> list[str]:
        """Who began and who ended, in the order in which they wrote it."""
        path = self.home / "diary"
        return path.read_text().splitlines() if path.exists() else []

    def go_on(self) -> None:
        """Nobody waits between beginning and ending any more."""
        (self.home / "wait").unlink()


@pytest.fixture
def office(tmp_path: Path, settings: Any) -> Office:
    made = Office(tmp_path)
    settings.COMMANDS_FILE = made.commands
    return made


@pytest.fixture
def story(var_dir: Path, users: People) -> Story:
    return Story(var_dir, users)


def propose(story: Story, who: str, *, desk: str) -> dict[str, Any]:
    return story.propose(
        {
            "action_type": "command.run",
            "target": f"desk:{desk}",
            "parameters": {"command": "work", "arguments": {"desk": desk, "who": who}},
            "expected_effect": {"target_state": {"done": True}},
        }
    )


def job_of(asked: dict[str, Any]) -> Job:
    return Job.objects.get(kind="execution.run", subject_id=asked["id"])


def tried_and_put_back(asked: dict[str, Any]) -> bool:
    """Whether a worker has claimed this contract's job and had to give it back."""
    job = job_of(asked)
    return job.token > 0 and job.state == "queued"


def test_contracts_on_different_targets_run_side_by_side(story: Story, office: Office, workforce: Workforce) -> None:
    asked = [propose(story, "ann", desk="a"), propose(story, "ben", desk="b")]
    for _ in asked:
        workforce.hire()
    both = {"ann begins", "ben begins"}
    wait_until(lambda: set(office.diary()) == both, seconds=40, what="both have begun, and neither has ended")
    office.go_on()
    assert [settled(each).state for each in asked] == ["verified", "verified"]
    assert len({job_of(each).worker for each in asked}) == 2
    assert set(office.diary()[2:]) == {"ann ends", "ben ends"}


def test_contracts_on_one_target_run_one_after_the_other(story: Story, office: Office, workforce: Workforce) -> None:
    asked = {who: propose(story, who, desk="a") for who in ("ann", "bob", "cid")}
    for _ in range(2):
        workforce.hire()
    wait_until(office.diary, seconds=40, what="one of them has begun")
    first = office.diary()[0].removesuffix(" begins")
    others = [contract for who, contract in asked.items() if who != first]
    for each in others:
        wait_until(lambda each=each: tried_and_put_back(each), seconds=40, what="the other worker has tried the others")
        assert job_of(each).worker != job_of(asked[first]).worker
    assert office.diary() == [f"{first} begins"]
    office.go_on()
    assert {settled(each).state for each in asked.values()} == {"verified"}
    wrote = [line.split() for line in office.diary()]
    order = [who for who, word in wrote if word == "begins"]
    assert sorted(order) == sorted(asked)
    assert wrote == [[who, word] for who in order for word in ("begins", "ends")]
