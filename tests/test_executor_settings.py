"""System checks over what executors are allowed."""

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
