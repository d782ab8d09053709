"""What the database itself refuses: changing what was appended. Installed by migration 0002, checked by `integrity`.

Triggers and grants prevent accidents; the tree plus one root kept elsewhere is the evidence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

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
                cursor.execute(_postgres_trigger(table))
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


def _postgres_trigger(table: str) -> str:
    """The trigger of PostgreSQL on a table, word for word as `pg_get_triggerdef` gives it back."""
    return (
        f"CREATE TRIGGER {table}_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION auditlog_refuse_change()"
    )


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """Names of triggers that are absent, disabled or altered, sorted."""
    return _missing_postgresql(connection) if connection.vendor == "postgresql" else _missing_sqlite(connection)


def added(connection: BaseDatabaseWrapper) -> list[tuple[str, str]]:
    """Triggers and rules on our tables that are none of ours, each as what it is called and a sentence; sorted."""
    tables = [model._meta.db_table for app in settings.OUR_APPS for model in _models(app)]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            ours = {(f"{table}_append_only", table) for table in TABLES}
            cursor.execute(_POSTGRES_ADDED, {"tables": tables})
            found = cursor.fetchall()
        else:
            ours = {(name, sql.split(" ON ")[1].split()[0]) for name, sql in sqlite_triggers().items()}
            cursor.execute("SELECT 'trigger', name, tbl_name FROM sqlite_master WHERE type = 'trigger'")
            found = [each for each in cursor.fetchall() if each[2] in tables]
    strange = sorted(each for each in found if each[1:] not in ours)
    return [(name, f"The {what} {name} on {table} is none of Grace's.") for what, name, table in strange]


def switched_off(connection: BaseDatabaseWrapper) -> list[str]:
    """What keeps every trigger from firing, a sentence each: PostgreSQL can be told that it is a replica."""
    if connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute(_POSTGRES_OFF)
        return [sentence for (sentence,) in cursor.fetchall()]


def _models(app: str) -> Iterable[type[Model]]:
    return apps.get_app_config(app).get_models(include_auto_created=True)


def _missing_postgresql(connection: BaseDatabaseWrapper) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(_POSTGRES_SOUND, {"body": POSTGRES_FUNCTION.split("$$")[1], "tables": list(TABLES)})
        sound = {
            name
            for name, definition in cursor.fetchall()
            if definition == _postgres_trigger(name.removesuffix("_append_only"))
        }
    return sorted({f"{table}_append_only" for table in TABLES} - sound)


# In its pretty form a definition names no schema that is looked into anyway.
_POSTGRES_SOUND = """
SELECT t.tgname, pg_get_triggerdef(t.oid, true)
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_language l ON l.oid = p.prolang
WHERE NOT t.tgisinternal AND t.tgrelid = ANY(%(tables)s::regclass[]) AND t.tgenabled IN ('O', 'A')
  AND p.proname = 'auditlog_refuse_change' AND p.prosrc = %(body)s AND l.lanname = 'plpgsql' AND p.proconfig IS NULL
"""

_POSTGRES_ADDED = """
WITH ours AS (SELECT to_regclass(name) AS oid FROM unnest(%(tables)s::text[]) AS name)
SELECT 'trigger', tgname, relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM ours)
UNION ALL
SELECT 'rule', rulename, relname FROM pg_rewrite JOIN pg_class ON pg_class.oid = ev_class
WHERE ev_class IN (SELECT oid FROM ours)
"""

_POSTGRES_OFF = """
SELECT 'session_replication_role is replica: no trigger fires.'
WHERE current_setting('session_replication_role') = 'replica'
UNION ALL
SELECT 'session_replication_role is set to replica for ' || coalesce('the role ' || rolname, 'every role') || ' in '
  || coalesce('the database ' || datname, 'every database') || ': no trigger fires there.'
FROM pg_db_role_setting LEFT JOIN pg_roles ON pg_roles.oid = setrole LEFT JOIN pg_database d ON d.oid = setdatabase
WHERE 'session_replication_role=replica' = ANY(setconfig) AND (setdatabase = 0 OR datname = current_database())
ORDER BY 1
"""


def _missing_sqlite(connection: BaseDatabaseWrapper) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        present: dict[str, Any] = dict(cursor.fetchall())
    return sorted(name for name, sql in sqlite_triggers().items() if present.get(name) != sql)
