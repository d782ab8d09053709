"""System checks over what executors are allowed."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from verification import system_checks


@pytest.fixture
def commands(settings: Any, tmp_path: Path) -> Path:
    settings.COMMANDS_FILE = tmp_path / "commands.toml"
    settings.COMMANDS_FILE.touch(mode=0o600)
    return tmp_path / "commands.toml"


def ids(found: list[Any]) -> list[str]:
    return [message.id for message in found]


def test_usable_commands_are_fine(commands: Path) -> None:
    commands.write_text('[commands.a]\nargv = ["/bin/true"]\n')
    assert system_checks.commands_are_usable(None) == []


@pytest.mark.parametrize(
    "text",
    [
        "[commands",
        'commands = "x"',
        "commands.a = 1",
        '[commands.a]\nargv = ["true"]',
        "[commands.a]\nargv = []",
        '[commands.a]\nargv = ["/bin/true"]\ntimeout = 5',
        '[commands.a]\nargv = ["/bin/true", "{x}"]',
        '[commands.a]\nargv = ["/bin/true"]\narguments = { x = 5 }',
        '[commands.a]\nargv = ["/bin/true"]\narguments = { x = { type = "strin" } }',
        '[commands.a]\nargv = ["/bin/true"]\nreversibility = "maybe"',
    ],
)
def test_a_command_that_is_not_usable_is_named(commands: Path, text: str) -> None:
    commands.write_text(text)
    assert ids(system_checks.commands_are_usable(None)) == ["verification.E001"]


def test_others_must_not_write_the_commands(commands: Path) -> None:
    commands.chmod(0o664)
    assert ids(system_checks.commands_are_usable(None)) == ["verification.W001"]


def test_a_prefix_that_opens_nothing_is_named(settings: Any) -> None:
    settings.HTTP_ALLOWED_URLS = ["http://127.0.0.1:9000/", "127.0.0.1:9000", "https://user@x/"]
    assert ids(system_checks.allowed_urls_are_readable(None)) == ["verification.E002"] * 2


def test_what_may_be_run_must_not_lie_where_agents_may_write(settings: Any, commands: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    settings.CONFIG_ROOTS = [root]
    (root / "tool.py").touch()
    (root / "data.json").touch()
    commands.write_text(
        f'[commands.a]\nargv = ["/bin/cat", "{root}/data.json"]\n[commands.b]\nargv = ["/bin/cat", "{root}/tool.py"]\n'
    )
    assert ids(system_checks.what_runs_is_out_of_reach(None)) == ["verification.E003"]
    settings.CONFIG_ROOTS = [tmp_path]
    assert ids(system_checks.what_runs_is_out_of_reach(None)) == ["verification.E003"] * 2


@pytest.fixture
def targets(settings: Any, tmp_path: Path) -> Path:
    settings.TARGETS_FILE = tmp_path / "targets.toml"
    settings.TARGETS_FILE.touch(mode=0o600)
    return tmp_path / "targets.toml"


SERVICE = '[services.a]\nsupervisor = "unix:///run/s.sock"\nprogram = "a"\n'


def test_usable_targets_are_fine(targets: Path) -> None:
    targets.write_text(SERVICE)
    assert system_checks.targets_are_usable(None) == []
    targets.unlink()
    targets.write_text("")
    targets.chmod(0o600)
    assert system_checks.targets_are_usable(None) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[services", "TARGETS_FILE cannot be read"),
        ("services = 1", "services"),
        ('[services.a]\nprogram = "a"', "services.a"),
        (SERVICE + '[services.B]\nprogram = "a"', "services.B"),
        ('[caches.c]\nurl = "redis://localhost"', "caches.c"),
        ("[databases.d]", "databases.d"),
    ],
)
def test_a_target_that_is_not_usable_is_named(targets: Path, text: str, named: str) -> None:
    targets.write_text(text)
    [found] = system_checks.targets_are_usable(None)
    assert found.id == "verification.E004"
    assert named in found.msg


def test_others_must_neither_write_nor_read_the_targets(targets: Path) -> None:
    for mode in (0o620, 0o602, 0o604):
        targets.chmod(mode)
        assert ids(system_checks.targets_are_usable(None)) == ["verification.W002"]


def test_the_targets_must_not_lie_where_agents_may_write(settings: Any, targets: Path, tmp_path: Path) -> None:
    settings.CONFIG_ROOTS = [tmp_path]
    settings.COMMANDS_FILE = None
    assert ids(system_checks.what_runs_is_out_of_reach(None)) == ["verification.E003"]


def test_the_example_of_targets_is_usable_and_shows_every_member(settings: Any, tmp_path: Path) -> None:
    example = Path(settings.BASE_DIR) / "docs" / "targets.example.toml"
    settings.TARGETS_FILE = tmp_path / "targets.toml"
    settings.TARGETS_FILE.write_text(example.read_text())
    settings.TARGETS_FILE.chmod(0o600)
    assert system_checks.targets_are_usable(None) == []
    shown = tomllib.loads(re.sub(r"(?m)^# (?=[a-z_]+ = )", "", example.read_text()))
    for table in system_checks.TABLES:
        members = {name for entry in shown[table.name].values() for name in entry}
        assert members == {each.name for each in fields(table.make)} - {"name", "digest"}
