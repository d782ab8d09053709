"""What the database itself refuses: changing what was appended. Installed by migration 0002, checked by `integrity`.

Triggers and grants prevent accidents; the tree plus one root kept elsewhere is the evidence.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

# Table -> the columns that identify a row.
TABLES: dict[str, tuple[str, ...]] = {
    "auditlog_entry": ("id",),
    "auditlog_leaf": ("index",),
    "auditlog_tile": ("level", "number"),
    "auditlog_checkpoint": ("id",),
}

POSTGRES_FUNCTION = """
CREATE OR REPLACE FUNCTION auditlog_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$
"""


def install(connection: BaseDatabaseWrapper) -> None:
    """Create the triggers; those already there are replaced."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(POSTGRES_FUNCTION)
            for table in TABLES:
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}")
                cursor.execute(
                    f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                    "FOR EACH STATEMENT EXECUTE FUNCTION auditlog_refuse_change()"
                )
        else:
            for name, sql in sqlite_triggers().items():
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
                cursor.execute(sql)


def remove(connection: BaseDatabaseWrapper) -> None:
    """Drop the triggers (the owner's privilege)."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for table in TABLES:
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}")
        else:
            for name in sqlite_triggers():
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")


def sqlite_triggers() -> dict[str, str]:
    """The triggers of SQLite by name, exactly as `sqlite_master` must hold them.

    The third one is there because INSERT OR REPLACE deletes without firing the trigger on DELETE.
    """
    found: dict[str, str] = {}
    for table, key in TABLES.items():
        refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        same = " AND ".join(f'"{column}" = NEW."{column}"' for column in key)
        found |= {
            f"{table}_no_update": f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {refuse}",
            f"{table}_no_delete": f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}",
            f"{table}_no_replace": f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "  # noqa: S608 - our own
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) {refuse}",
        }
    return found


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """Names of triggers that are absent, disabled or altered, sorted."""
    return _missing_postgresql(connection) if connection.vendor == "postgresql" else _missing_sqlite(connection)


def _missing_postgresql(connection: BaseDatabaseWrapper) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.tgname, t.tgenabled IN ('O', 'A') AND t.tgtype = %s AND p.proname = 'auditlog_refuse_change'"
            " AND p.prosrc = %s FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid"
            " WHERE NOT t.tgisinternal AND t.tgrelid = ANY(%s::regclass[])",
            [_POSTGRES_TYPE, POSTGRES_FUNCTION.split("$$")[1], list(TABLES)],
        )
        sound = {name for name, good in cursor.fetchall() if good}
    return sorted({f"{table}_append_only" for table in TABLES} - sound)


# Bits of pg_trigger.tgtype: statement level, BEFORE (2), DELETE (8), UPDATE (16), TRUNCATE (32).
_POSTGRES_TYPE = 2 + 8 + 16 + 32


def _missing_sqlite(connection: BaseDatabaseWrapper) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        present: dict[str, Any] = dict(cursor.fetchall())
    return sorted(name for name, sql in sqlite_triggers().items() if present.get(name) != sql)
