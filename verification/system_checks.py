"""System checks over what executors are allowed: a list with a mistake in it opens nothing, and says so."""

import stat
from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register

from verification import configuration, outgoing
from verification.executors.command_run import templates


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
