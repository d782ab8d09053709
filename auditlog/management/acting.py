"""On whose behalf a command acts."""

from __future__ import annotations

from argparse import ArgumentParser

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.utils.module_loading import import_string

from auditlog.actors import SYSTEM, Actor


def add_argument(parser: ArgumentParser) -> None:
    """Add `--as NAME`."""
    parser.add_argument("--as", dest="name", metavar="NAME", help="The administrator who does it (default: system).")


def actor(name: str | None) -> Actor:
    """The administrator of this name, or the system. Raises CommandError (2)."""
    if name is None:
        return SYSTEM
    users = get_user_model()._default_manager.filter(username=name, is_superuser=True, is_active=True)
    user = users.first()
    if user is None:
        raise CommandError(f"There is no administrator {name!r}.", returncode=2)
    found: Actor = import_string(settings.GRACE_ACTOR_OF)(user)
    return found
