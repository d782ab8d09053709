"""Two roles on PostgreSQL: the owner migrates; the app's role works, and of the log it can only append and read.

Neither stops whoever owns the database: the tree plus one root kept elsewhere is the evidence. They stop everything
short of that, a compromised application included.
"""

from __future__ import annotations

import re
from typing import Any

from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

from . import triggers

APPEND = "SELECT, INSERT"
WORK = "SELECT, INSERT, UPDATE, DELETE"
READ = "SELECT"

_ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class NotARole(ValueError):
    """The name needs quotes in SQL, or is none."""


def statements(app: str, *, schema: str = "public") -> list[str]:
    """The SQL that gives the role `app` exactly what it needs, from the models; for the owner of the tables to run.

    Repeating it is harmless, and needed after every migration that makes a table. Raises NotARole.
    """
    for name in (app, schema):
        if not _ROLE.fullmatch(name):
            raise NotARole(f"{name!r} is not a plain name of lower-case letters, digits and underscores.")
    return [
        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC",
        f"REVOKE ALL ON SCHEMA {schema} FROM {app}",
        f"GRANT USAGE ON SCHEMA {schema} TO {app}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {app}",
        *[f"GRANT {may} ON {schema}.{table} TO {app}" for table, may in sorted(_tables().items())],
    ]


def _tables() -> dict[str, str]:
    """Every table of the models, and what the app's role may do with it."""
    models = apps.get_models(include_auto_created=True)
    found = {model._meta.db_table: WORK for model in models if model._meta.managed and not model._meta.proxy}
    # Migrating is the owner's; whether everything is migrated is anybody's question.
    return found | dict.fromkeys(triggers.TABLES, APPEND) | {MigrationRecorder.Migration._meta.db_table: READ}


def excess(connection: BaseDatabaseWrapper) -> list[str]:
    """What the connection's role could do to what was appended, a sentence each; nothing where it can only append.

    SQLite has no roles: there whoever can write to the file can do anything, and nothing is said of it.
    """
    if connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user")
        role, superuser = cursor.fetchone()
        if superuser:
            return [f"{role} is a superuser: no trigger and no grant binds it."]
        cursor.execute(_OWNS, [list(triggers.TABLES), list(triggers.POSTGRES_FUNCTIONS)])
        owned = [f"{role} owns the {what}, or is a member of its owner." for (what,) in cursor.fetchall()]
        cursor.execute(_MAY, [list(triggers.TABLES)])
        granted = [f"{role} may {verbs} on {table}." for table, verbs in cursor.fetchall()]
        if _may_switch_triggers_off(connection, cursor):
            granted.append(f"{role} may set session_replication_role, which switches triggers off.")
    return owned + granted


def _may_switch_triggers_off(connection: BaseDatabaseWrapper, cursor: Any) -> bool:
    # Before PostgreSQL 15 a setting of superusers could not be granted.
    if getattr(connection, "pg_version", 0) < 150_000:
        return False
    cursor.execute("SELECT has_parameter_privilege('session_replication_role', 'SET')")
    return bool(cursor.fetchone()[0])


# The owner of a table may alter and drop it, that of the triggers' function replace it, that of the schema drop both.
_OWNS = """
SELECT 'table ' || relname FROM pg_class WHERE oid = ANY(%s::regclass[]) AND pg_has_role(relowner, 'MEMBER')
UNION ALL
SELECT 'function ' || proname FROM pg_proc WHERE proname = ANY(%s) AND pg_has_role(proowner, 'MEMBER')
UNION ALL
SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = current_schema() AND pg_has_role(nspowner, 'MEMBER')
ORDER BY 1
"""

# An owner has them all, whatever was revoked, and has been named above.
_MAY = """
SELECT relname, string_agg(verb, ', ' ORDER BY verb)
FROM pg_class, unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) verb
WHERE pg_class.oid = ANY(%s::regclass[]) AND NOT pg_has_role(relowner, 'MEMBER')
  AND (has_table_privilege(pg_class.oid, verb)
       OR verb = 'UPDATE' AND has_any_column_privilege(pg_class.oid, verb))
GROUP BY relname ORDER BY relname
"""
