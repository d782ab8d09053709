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
