"""Who a command acts as, and how a refusal ends it."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.models import User
from django.core.management.base import CommandError

from auditlog.actors import SYSTEM, Actor
from auditlog.refusals import Refused
from governance import principals

REFUSED = 1


def add_as(parser: ArgumentParser) -> None:
    """The option `--as`."""
    parser.add_argument(
        "--as",
        dest="username",
        metavar="USERNAME",
        help="Who does this, as the log will say (default: the system). Their permissions apply.",
    )


def acting_as(username: str | None) -> tuple[Actor, User | None]:
    """The actor and user of `--as`; the system without it. Raises CommandError for nobody."""
    if username is None:
        return SYSTEM, None
    user = User.objects.filter(username=username, is_active=True).first()
    if user is None:
        raise CommandError(f"There is nobody called {username!r} who may log in.", returncode=2)
    return principals.actor_of(user), user


@contextmanager
def refusals_end_it() -> Iterator[None]:
    """Turn a refusal into one readable line (and one for each field) and exit code 1."""
    try:
        yield
    except Refused as refusal:
        fields = [f"  {error.pointer}: {error.detail}" for error in refusal.errors]
        raise CommandError("\n".join([f"{refusal.detail} ({refusal.code})", *fields]), returncode=REFUSED) from None
