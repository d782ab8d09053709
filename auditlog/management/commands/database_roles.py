"""What the app's role in PostgreSQL needs, as SQL made from the models."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from auditlog import roles


class Command(BaseCommand):
    """`manage.py database_roles --app ROLE [--apply]`."""

    help = (
        "Print the SQL that gives a role of PostgreSQL what Grace needs to work and nothing more: entries, leaves, "
        "tiles and checkpoints it can only append and read. Run it as the owner of the tables, after each migrate."
    )
    # It is run between migrating and starting; what else is wrong is not its question.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--app", required=True, metavar="ROLE", help="The role Grace connects as; it must exist.")
        parser.add_argument("--schema", default="public", help="Where the tables are (default: public).")
        parser.add_argument("--apply", action="store_true", help="Run the SQL over DATABASE_URL rather than print it.")

    def handle(self, *args: Any, app: str, schema: str, apply: bool, **options: Any) -> None:
        try:
            wanted = roles.statements(app, schema=schema)
        except roles.NotARole as problem:
            raise CommandError(str(problem), returncode=1) from problem
        if not apply:
            self.stdout.write(";\n".join(["BEGIN", *wanted, "COMMIT"]) + ";")
            return
        if connection.vendor != "postgresql":
            raise CommandError("Only PostgreSQL has roles.", returncode=1)
        with transaction.atomic(), connection.cursor() as cursor:
            for statement in wanted:
                cursor.execute(statement)
        self.stdout.write(f"{app} has what it needs, and nothing more.")
