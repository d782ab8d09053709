"""System checks: settings that start but should not be, each with an id and a hint."""

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning
from django.core.checks import register as register_check
from django.db import DatabaseError, connections

from auditlog import roles

Check = Callable[..., list[CheckMessage]]


def register() -> None:
    """Add Grace's checks to Django's."""
    for check in ALWAYS:
        register_check(check, "grace")
    for check in DEPLOYED:
        register_check(check, "grace", Tags.security, deploy=True)
    for check in DEPLOYED_DATABASE:
        register_check(check, "grace", Tags.database, deploy=True)


def var_dir_is_private(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """VAR_DIR holds keys and snapshots."""
    if not settings.VAR_DIR.is_dir():
        return []
    if not os.access(settings.VAR_DIR, os.W_OK):
        return [
            Error(
                f"{settings.VAR_DIR} cannot be written to.",
                hint="Set VAR_DIR to another directory.",
                id="grace.E001",
            )
        ]
    if settings.VAR_DIR.stat().st_mode & 0o007:
        return [
            Warning(
                f"Everybody on this machine can look into {settings.VAR_DIR}.",
                hint=f"Run: chmod 700 {settings.VAR_DIR}",
                id="grace.W001",
            )
        ]
    return []


def roots_are_narrow(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """`config.update` may write below CONFIG_ROOTS: never everywhere, and never where Grace itself lives."""
    found: list[CheckMessage] = []
    for root in settings.CONFIG_ROOTS:
        resolved = Path(os.path.realpath(root))
        precious = [Path("/"), settings.BASE_DIR, settings.VAR_DIR, settings.VAR_DIR / "keys"]
        if any(Path(os.path.realpath(one)).is_relative_to(resolved) for one in precious):
            found.append(
                Error(
                    f"CONFIG_ROOTS allows {root}, which holds Grace's own files or everything.",
                    hint="Name the directories whose files agents may change, and nothing above them.",
                    id="grace.E002",
                )
            )
    return found


def commands_file_exists(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """A file that is named should be there, and only its owner should be able to change it."""
    path = settings.COMMANDS_FILE
    if path is None:
        return []
    if not path.is_file():
        return [Error(f"COMMANDS_FILE names {path}, which is no file.", hint="Correct the path.", id="grace.E003")]
    if path.stat().st_mode & 0o022:
        return [
            Error(
                f"Others than its owner can change {path}, and with it what agents may run.",
                hint=f"Run: chmod go-w {path}",
                id="grace.E004",
            )
        ]
    return []


def beats_name_tasks(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """A beat whose task does not exist would be sent for ever and never run."""
    from grace_site import celery_app, health, schedules

    for app in settings.OUR_APPS:
        if find_spec(f"{app}.tasks"):
            import_module(f"{app}.tasks")
    return [
        Error(
            f"The beat {name} sends {task} to the queue {queue}, and nobody would run it.",
            hint="Correct the app's beats.py.",
            id="grace.E005",
        )
        for name, (task, _every, queue) in schedules.intervals().items()
        if task not in celery_app.tasks or queue not in health.QUEUES
    ]


def switches_agree(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Combinations that surprise."""
    found: list[CheckMessage] = []
    if not settings.VERIFICATION_ENABLED:
        found.append(
            Warning(
                "VERIFICATION_ENABLED is false: nothing is executed at all.",
                hint="There is no unverified execution; set it to true to have contracts run.",
                id="grace.W002",
            )
        )
    if settings.SELF_HEAL_EXECUTE and not settings.MISSION_TRACKING_ENABLED:
        found.append(
            Warning(
                "SELF_HEAL_EXECUTE is true, but without MISSION_TRACKING_ENABLED nothing is planned.",
                hint="Set MISSION_TRACKING_ENABLED=true, or SELF_HEAL_EXECUTE=false.",
                id="grace.W003",
            )
        )
    return found


def deployment_is_complete(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """What production needs beyond what a start insists on."""
    found: list[CheckMessage] = []
    if not settings.PRODUCTION:
        found.append(Warning("GRACE_ENV is not production.", hint="Set GRACE_ENV=production.", id="grace.W004"))
    if settings.USES_SQLITE:
        found.append(
            Warning(
                "The database is SQLite: one writer at a time, on one machine.",
                hint="Set DATABASE_URL=postgres://user@host/name.",
                id="grace.W005",
            )
        )
    in_the_clear = settings.EMAIL_HOST_USER and not (settings.EMAIL_USE_TLS or settings.EMAIL_USE_SSL)
    if in_the_clear and settings.EMAIL_HOST not in ("localhost", "127.0.0.1", "::1"):
        found.append(
            Warning(
                "EMAIL_URL sends a password and mail over a network in the clear.",
                hint="Use smtp+tls:// (STARTTLS) or smtp+ssl://.",
                id="grace.W009",
            )
        )
    if settings.PRIVATE_BROKER:
        found.append(
            Warning(
                "There is no broker of your own: only `manage.py up` starts one.",
                hint="Set REDIS_URL to a Redis or Valkey with maxmemory-policy noeviction.",
                id="grace.W006",
            )
        )
    return found


def role_can_only_append(
    app_configs: Sequence[Any] | None, databases: Sequence[str] | None = None, **_: Any
) -> list[CheckMessage]:
    """In production Grace connects as a role that owns nothing. Asked only with `--database`, or by check_config."""
    found: list[CheckMessage] = []
    for alias in databases or ():
        try:
            excess = roles.excess(connections[alias])
        except DatabaseError:
            found.append(
                Warning(
                    "The log's tables cannot be reached, so what the database role may do to them was not looked at.",
                    hint="Migrate first, and run this where the database answers.",
                    id="grace.W008",
                )
            )
            continue
        found += [
            Warning(
                f"Grace could change its own log: {detail}",
                hint="Migrate as one role and run as another: see docs/operating.md, Two roles.",
                id="grace.W007",
            )
            for detail in excess
        ]
    return found


ALWAYS: tuple[Check, ...] = (
    var_dir_is_private,
    roots_are_narrow,
    commands_file_exists,
    beats_name_tasks,
    switches_agree,
)
DEPLOYED: tuple[Check, ...] = (deployment_is_complete,)
DEPLOYED_DATABASE: tuple[Check, ...] = (role_can_only_append,)
