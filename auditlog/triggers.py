"""What the database does by itself: refuse to change what was appended, and on PostgreSQL queue it for the sequencer.

Installed by migration 0002, checked by `integrity`. Triggers and grants prevent accidents; the tree plus one root kept
elsewhere is the evidence.
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

POSTGRES_FUNCTIONS = {
    "auditlog_refuse_change": """
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
""",
    # The hash of a leaf: RFC 6962 2.1.
    "auditlog_queue": r"""
BEGIN
    INSERT INTO auditlog_pending (entry_id, leaf_hash, recorded_at)
    SELECT id, sha256('\x00'::bytea || bytes), recorded_at FROM appended;
    RETURN NULL;
END
""",
}
"""The functions of PostgreSQL's triggers, by name: their bodies, as `pg_proc` must hold them."""


def postgres_triggers() -> dict[str, tuple[str, str]]:
    """The triggers of PostgreSQL by name: the table, and how `pg_get_triggerdef` must give them back."""
    refuse, queue = POSTGRES_FUNCTIONS
    when = {f"{table}_append_only": (table, refuse, "BEFORE DELETE OR UPDATE OR TRUNCATE ON {}") for table in TABLES}
    when["auditlog_entry_queue"] = ("auditlog_entry", queue, "AFTER INSERT ON {} REFERENCING NEW TABLE AS appended")
    return {
        name: (table, f"CREATE TRIGGER {name} {words.format(table)} FOR EACH STATEMENT EXECUTE FUNCTION {function}()")
        for name, (table, function, words) in when.items()
    }


def install(connection: BaseDatabaseWrapper) -> None:
    """Create the triggers; those already there are replaced."""
    remove(connection)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for name, body in POSTGRES_FUNCTIONS.items():
                cursor.execute(f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
            for _, sql in postgres_triggers().values():
                cursor.execute(sql)
        else:
            for sql in sqlite_triggers().values():
                cursor.execute(sql)


def remove(connection: BaseDatabaseWrapper) -> None:
    """Drop the triggers (the owner's privilege)."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for name, (table, _) in postgres_triggers().items():
                cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
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


def added(connection: BaseDatabaseWrapper) -> list[tuple[str, str]]:
    """Triggers and rules on our tables that are none of ours, each as what it is called and a sentence; sorted."""
    tables = [model._meta.db_table for app in settings.OUR_APPS for model in _models(app)]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            ours = {(name, table) for name, (table, _) in postgres_triggers().items()}
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
        cursor.execute(_POSTGRES_INSTALLED, [list(TABLES)])
        # A partition keeps triggers of the names it had when it was the table.
        sound = {
            (name, definition)
            for name, definition, function, body in cursor.fetchall()
            if POSTGRES_FUNCTIONS.get(function) == body
        }
    return sorted(name for name, (_, sql) in postgres_triggers().items() if (name, sql) not in sound)


# In its pretty form a definition names no schema that is looked into anyway.
_POSTGRES_INSTALLED = """
SELECT t.tgname, pg_get_triggerdef(t.oid, true), p.proname, p.prosrc
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_language l ON l.oid = p.prolang
WHERE NOT t.tgisinternal AND t.tgrelid = ANY(%s::regclass[]) AND t.tgenabled IN ('O', 'A')
  AND l.lanname = 'plpgsql' AND p.proconfig IS NULL
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
