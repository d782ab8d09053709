"""Count contracts and approvals by the hour, again."""

from __future__ import annotations

import json as json_format
from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from auditlog.actors import SYSTEM, Actor
from auditlog.refusals import Refused
from governance import principals
from missions import summaries


class Command(BaseCommand):
    """`manage.py aggregate [--from TIME] [--to TIME] [--as NAME] [--json]`."""

    help = (
        "Count contracts and approvals again, hour by hour, into the summaries the overview shows. Repeating "
        "it is harmless: each hour is counted from the rows themselves. Without --from it goes back a day, or "
        "as far as counting was interrupted. Times are ISO 8601 (2026-11-23 or 2026-11-23T12:00), UTC unless "
        "they say otherwise."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--from", dest="start", type=_moment, metavar="TIME", help="Count from this hour on.")
        parser.add_argument("--to", dest="end", type=_moment, metavar="TIME", help="Count up to here (default: now).")
        parser.add_argument("--as", dest="name", metavar="NAME", help="The administrator who does it.")
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(
        self,
        *args: Any,
        start: datetime | None,
        end: datetime | None,
        name: str | None,
        json: bool,
        **options: Any,
    ) -> None:
        now = timezone.now()
        since, until = summaries.due(now)
        try:
            result = summaries.aggregate(start=start or since, end=end or until, by=_actor(name), now=now)
        except Refused as refused:
            raise CommandError(refused.detail, returncode=2) from refused
        if json:
            self.stdout.write(json_format.dumps(result.as_dict()))
        else:
            span = f"{result.start:%Y-%m-%d %H:%M} to {result.end:%Y-%m-%d %H:%M} UTC"
            self.stdout.write(f"{span}: {result.contracts} rows of contracts, {result.approvals} of approvals")


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a time such as 2026-11-23T12:00") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _actor(name: str | None) -> Actor:
    if name is None:
        return SYSTEM
    user = User.objects.filter(username=name, is_superuser=True, is_active=True).first()
    if user is None:
        raise CommandError(f"There is no administrator {name!r}.", returncode=2)
    return principals.actor_of(user)
