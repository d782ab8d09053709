"""`manage.py bootstrap`: an installation from nothing, once; and nothing more when it is repeated."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.harness.installation import Installation

pytestmark = pytest.mark.xdist_group("bootstrap")

STEPS = [
    "database",
    "people and roles",
    "policy",
    "agent",
    "playbooks and sandbox",
    "golden snapshot",
    "smoke benchmark",
    "first contract",
    "check_config",
    "verify_log",
]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Installation, dict[str, Any]]:
    """A new installation, and what its first bootstrap told."""
    here = Installation(tmp_path_factory.mktemp("bootstrap"))
    ran = here.manage("bootstrap", "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    return here, told


def test_it_says_once_who_can_come_in(first: tuple[Installation, dict[str, Any]]) -> None:
    here, told = first
    assert set(told) == {"url", "users", "agent", "steps"}
    assert told["url"].endswith(f":{here.port}")
    groups = {user["username"]: user["groups"] for user in told["users"]}
    assert groups["ada"] == ["operators"]
    assert groups["bea"] == groups["cem"] == groups["dee"] == ["reviewers"]
    assert groups["eve"] == ["auditors"]
    assert "administrator" in groups
    assert all(len(user["password"]) >= 12 for user in told["users"])
    assert len({user["password"] for user in told["users"]}) == len(told["users"])
    assert set(told["agent"]) == {"name", "key"}
    assert told["agent"]["key"]


def test_it_takes_every_step_in_order(first: tuple[Installation, dict[str, Any]]) -> None:
    _, told = first
    assert [step["name"] for step in told["steps"]] == STEPS
    assert all(step["detail"] for step in told["steps"])


def test_what_it_made_is_there(first: tuple[Installation, dict[str, Any]]) -> None:
    here, _ = first
    assert here.rows("SELECT state, tier FROM verification_contract") == [("verified", "tier_1")]
    assert here.rows("SELECT state FROM missions_mission") == [("completed",)]
    assert here.rows("SELECT count(*) FROM verification_snapshot WHERE is_golden") == [(1,)]
    assert here.rows("SELECT suite FROM verification_benchmarkrun WHERE is_golden") == [("smoke",)]


def test_no_secret_lies_about(first: tuple[Installation, dict[str, Any]]) -> None:
    here, told = first
    secrets = [user["password"].encode() for user in told["users"]] + [told["agent"]["key"].encode()]
    for path in here.var_dir.rglob("*"):
        if path.is_file():
            written = path.read_bytes()
            assert not [secret for secret in secrets if secret in written], path


def test_repeated_it_changes_nothing_and_tells_no_secret(first: tuple[Installation, dict[str, Any]]) -> None:
    here, told = first
    before = here.count()
    again = here.manage("bootstrap", "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    said = json.loads(again.stdout)
    assert (said["users"], said["agent"]) == ([], {})
    assert [step["name"] for step in said["steps"]] == STEPS
    assert here.count() == before
    for secret in [user["password"] for user in told["users"]] + [told["agent"]["key"]]:
        assert secret not in again.stdout + again.stderr


def test_for_people_it_prints_a_line_for_each_step(first: tuple[Installation, dict[str, Any]]) -> None:
    here, _ = first
    ran = here.manage("bootstrap")
    assert ran.returncode == 0, ran.stderr
    lines = [line for line in ran.stdout.splitlines() if line.startswith("ok  ")]
    assert [line.removeprefix("ok  ").partition(":")[0] for line in lines] == STEPS


@pytest.mark.sqlite
def test_a_step_that_fails_ends_it_and_is_named(first: tuple[Installation, dict[str, Any]], tmp_path: Path) -> None:
    here, _ = first
    with closing(sqlite3.connect(here.var_dir / "grace.sqlite3")) as database:
        database.execute(f"VACUUM INTO '{tmp_path / 'copy.sqlite3'}'")
    broken = Installation(tmp_path / "broken", DATABASE_URL=f"sqlite:///{tmp_path / 'copy.sqlite3'}")
    with closing(sqlite3.connect(tmp_path / "copy.sqlite3")) as database:
        for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{trigger}"')
        database.execute("UPDATE auditlog_entry SET actor_id = 'nobody' WHERE fact = 'contract.verified'")
        database.commit()
    ran = broken.manage("bootstrap")
    assert ran.returncode == 1
    assert "failed  verify_log" in ran.stderr
    said = json.loads(broken.manage("bootstrap", "--json").stdout)
    assert said["error"].startswith("verify_log: ")
    assert [step["name"] for step in said["steps"]] == STEPS[:-1]


def test_with_commands_of_the_operators_own_it_tries_none_of_the_sandbox(tmp_path: Path) -> None:
    commands = tmp_path / "commands.toml"
    commands.write_text('[commands.nothing]\nargv = ["/usr/bin/true"]\n')
    here = Installation(tmp_path / "own", COMMANDS_FILE=str(commands))
    ran = here.manage("bootstrap", "--json")
    assert ran.returncode == 0, ran.stderr
    [step] = [step for step in json.loads(ran.stdout)["steps"] if step["name"] == "first contract"]
    assert step["detail"].startswith("not tried: COMMANDS_FILE is your own")


USELESS = """
[commands."sandbox.release_lock"]
argv = ["/bin/false"]
probe = ["/bin/echo", "{\\"locked\\": true}"]
target = "lock:app.lock"
reversibility = "read_only"
"""


def test_a_first_run_that_fails_still_tells_who_can_come_in_and_another_tries_once_more(tmp_path: Path) -> None:
    commands = tmp_path / "commands.toml"
    commands.write_text(USELESS)
    ran = Installation(tmp_path / "here", COMMANDS_FILE=str(commands)).manage("bootstrap")
    assert ran.returncode == 1
    assert "failed  first contract" in ran.stderr
    assert len([line for line in ran.stdout.splitlines() if line.startswith("login  ")]) == 6
    assert "agent  sandbox-agent  " in ran.stdout
    mended = Installation(tmp_path / "here")
    assert mended.manage("bootstrap").returncode == 0
    before = mended.count()
    assert before["verification_contract"] == 2
    assert mended.manage("bootstrap").returncode == 0
    assert mended.count() == before


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    here = Installation(tmp_path / "here")
    here.home.mkdir()
    here.var_dir.write_text("this is no directory")
    ran = here.manage("bootstrap")
    assert ran.returncode != 0
    assert "Traceback" not in ran.stderr
    assert str(here.var_dir) in ran.stderr
