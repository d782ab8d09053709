"""System checks over what executors are allowed: a list with a mistake in it opens nothing, and says so."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register

from verification import configuration, outgoing
from verification.executors.cache_clear.listed import CACHES
from verification.executors.command_run import templates
from verification.executors.database_migrate.listed import DATABASES
from verification.executors.remote.remotes import REMOTES
from verification.executors.service_restart.listed import SERVICES

TABLES = (SERVICES, CACHES, DATABASES, REMOTES)
PROGRAM_SUFFIXES = frozenset({".py", ".sh", ".pl", ".rb", ".js"})


@register("grace")
def commands_are_usable(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """COMMANDS_FILE parses, each command in it can be used, and only the operator can change it."""
    found: list[CheckMessage] = [
        Error(
            f"The command {name!r} of COMMANDS_FILE is not usable: {reason}" if name else reason,
            hint="Correct it; docs/commands.example.toml shows every member.",
            id="verification.E001",
        )
        for name, reason in templates.problems().items()
    ]
    path = configuration.commands_file()
    if path is not None and path.exists() and path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        found.append(
            Warning(
                "COMMANDS_FILE can be written to by others than its owner: they decide what Grace runs.",
                hint="chmod go-w",
                id="verification.W001",
            )
        )
    return found


@register("grace")
def targets_are_usable(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """TARGETS_FILE parses, each target in it can be used, and only the operator can change or read it."""
    problems = {name: reason for table in TABLES for name, reason in table.problems().items()}
    found: list[CheckMessage] = [
        Error(
            f"The target {name} of TARGETS_FILE is not usable: {reason}" if name else reason,
            hint="Correct it; docs/targets.example.toml shows every member.",
            id="verification.E004",
        )
        for name, reason in problems.items()
    ]
    path = configuration.targets_file()
    if path is not None and path.exists() and path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_IROTH):
        found.append(
            Warning(
                "TARGETS_FILE can be written or read by others than its owner: it says what Grace may act on, and may "
                "hold passwords.",
                hint="chmod o-r,go-w",
                id="verification.W002",
            )
        )
    return found


@register("grace")
def what_runs_is_out_of_reach(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Neither COMMANDS_FILE, nor a program it names, nor TARGETS_FILE lies where `config.update` may write."""
    roots = [Path(os.path.realpath(root)) for root in configuration.config_roots()]
    return [
        Error(
            f"{path} decides what Grace runs and lies below an allowed root: whoever may change a configuration "
            "file could change it.",
            hint="Keep commands and their programs out of CONFIG_ROOTS.",
            id="verification.E003",
        )
        for path in sorted(_programs() | _targets())
        if any(Path(os.path.realpath(path)).is_relative_to(root) for root in roots)
    ]


def _programs() -> set[Path]:
    path = configuration.commands_file()
    if path is None or not path.exists():
        return set()
    named = [Path(part) for name in templates.names() for part in _parts(templates.get(name))]
    return {path, *(each for each in named if each.is_file() and _is_program(each))}


def _targets() -> set[Path]:
    path = configuration.targets_file()
    return {path} if path is not None and path.exists() else set()


def _parts(command: templates.Command) -> Iterator[str]:
    for argv in (command.argv, command.probe, command.undo):
        yield from argv or ()


def _is_program(path: Path) -> bool:
    return path.suffix in PROGRAM_SUFFIXES or os.access(path, os.X_OK)


@register("grace")
def allowed_urls_are_readable(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Every prefix of HTTP_ALLOWED_URLS is a URL; one that is not opens nothing."""
    found: list[CheckMessage] = []
    for prefix in configuration.http_allowed_urls():
        try:
            outgoing.parse(prefix)
        except outgoing.UrlNotAllowed as problem:
            found.append(
                Error(
                    f"HTTP_ALLOWED_URLS holds {prefix!r}, which opens nothing: {problem}",
                    hint="Write scheme, host, port and path: http://127.0.0.1:9000/api/",
                    id="verification.E002",
                )
            )
    return found
