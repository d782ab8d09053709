"""Two roles on PostgreSQL: all of Grace works as the one that can only append, and that one cannot do more."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connection
from django.db.utils import DatabaseError
from django.utils import timezone

from auditlog import erasure, exports, findings, integrity, proofs, roles, sequencer, signer, triggers
from auditlog.actors import SYSTEM
from auditlog.models import Entry, Finding, IntegrityRun
from governance import principals
from grace_site import bootstrapping
from tests.harness.governed import Governed, contract_of, fresh
from tests.harness.people import People
from verification.models import State

# Roles belong to the whole server, which the workers of a test run share.
pytestmark = pytest.mark.xdist_group("roles")

OWNER, APP, DATABASE = "grace_owner", "grace_app", "two_roles"


# --- what is printed -------------------------------------------------------------------------------------------


def test_the_log_can_be_appended_to_and_everything_else_worked_on() -> None:
    printed = "\n".join(roles.statements("grace_app"))
    for table in triggers.TABLES:
        assert f"GRANT SELECT, INSERT ON public.{table} TO grace_app" in printed
    assert "GRANT SELECT ON public.django_migrations TO grace_app" in printed
    assert "GRANT SELECT, INSERT, UPDATE, DELETE ON public.verification_contract TO grace_app" in printed
    assert "GRANT SELECT, INSERT, UPDATE, DELETE ON public.auth_user_groups TO grace_app" in printed


@pytest.mark.parametrize("name", ["grace-app", "Grace", "x; DROP TABLE y", "", "x" * 64])
def test_only_plain_names_are_taken(name: str) -> None:
    with pytest.raises(CommandError, match="not a plain name"):
        call_command("database_roles", "--app", name)


@pytest.mark.sqlite
@pytest.mark.django_db
def test_sqlite_has_no_roles() -> None:
    assert roles.excess(connection) == []
    with pytest.raises(CommandError, match="Only PostgreSQL"):
        call_command("database_roles", "--app", APP, "--apply")


# --- the real thing --------------------------------------------------------------------------------------------


@contextmanager
def connected(**settings: str) -> Iterator[None]:
    """This process's connection, as somebody else or to another database."""
    before = {name: connection.settings_dict[name] for name in settings}
    connection.close()
    connection.settings_dict.update(settings)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(before)


def sql(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture(scope="module")
def installed(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """A database set up as docs/operating.md says: made for its owner, migrated by it, granted to the app."""
    with django_db_blocker.unblock():
        sql(f"CREATE ROLE {OWNER} LOGIN", f"CREATE ROLE {APP} LOGIN", f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        with connected(NAME=DATABASE, USER=OWNER):
            call_command("migrate", verbosity=0)
            out = io.StringIO()
            call_command("database_roles", "--app", APP, stdout=out)
            sql(*out.getvalue().split(";\n"))
            call_command("database_roles", "--app", APP, "--apply", stdout=out)
    yield
    with django_db_blocker.unblock():
        sql(f"DROP DATABASE {DATABASE}", f"DROP OWNED BY {APP}", f"DROP ROLE {APP}", f"DROP ROLE {OWNER}")


@pytest.fixture
def as_app(installed: None, transactional_db: None) -> Iterator[None]:
    """This process is Grace in production: connected as the app's role."""
    with connected(NAME=DATABASE, USER=APP):
        yield


@pytest.mark.postgres
def test_the_whole_product_works_as_the_app(as_app: None, var_dir: Path, tmp_path: Path) -> None:
    told = bootstrapping.Told(url="")
    steps = [step.name for step, _ in bootstrapping.run(told)]
    assert steps[-1] == "verify_log"

    people = People()
    governed = Governed(var_dir / "sandbox", people)
    asked = governed.ask()
    governed.decide(asked, people.bea)
    governed.settle()
    assert contract_of(asked).state == State.VERIFIED
    assert governed.read() == {"port": 9000}
    rejected = governed.ask(port=9001)
    governed.decide(rejected, people.cem, "reject")
    assert fresh(rejected).state == "rejected"

    now = timezone.now()
    sequencer.run(now)
    signer.sign(now)
    receipt = proofs.receipt(0)
    bundle = exports.export(directory=tmp_path / "bundle", by=SYSTEM, now=now)
    assert erasure.erase(
        subject=f"person:{principals.actor_of(people.bea).id}", by=SYSTEM, reason="asked for it", now=now
    )
    sequencer.run(now)
    assert receipt
    assert bundle.directory.exists()
    call_command("verify_log", "--full", stdout=io.StringIO())
    assert integrity.check_incrementally(timezone.now()).passed


REFUSED = [
    "UPDATE auditlog_entry SET fact = 'x'",
    "DELETE FROM auditlog_entry",
    "TRUNCATE auditlog_entry CASCADE",
    "ALTER TABLE auditlog_entry DISABLE TRIGGER ALL",
    "ALTER TABLE auditlog_entry ADD COLUMN x integer",
    "DROP TRIGGER auditlog_entry_append_only ON auditlog_entry",
    "DROP TABLE auditlog_entry CASCADE",
    "UPDATE auditlog_leaf SET hash = ''",
    "DELETE FROM auditlog_leaf",
    "TRUNCATE auditlog_leaf",
    "ALTER TABLE auditlog_leaf DISABLE TRIGGER ALL",
    "UPDATE auditlog_tile SET root = ''",
    "DELETE FROM auditlog_tile",
    "TRUNCATE auditlog_tile",
    "UPDATE auditlog_checkpoint SET size = 0",
    "DELETE FROM auditlog_checkpoint",
    "TRUNCATE auditlog_checkpoint",
    "TRUNCATE auditlog_job",
    "CREATE OR REPLACE FUNCTION auditlog_refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "DROP FUNCTION auditlog_refuse_change() CASCADE",
    "DROP TRIGGER auditlog_entry_queue ON auditlog_entry",
    "DROP FUNCTION auditlog_queue() CASCADE",
    "CREATE TRIGGER x BEFORE INSERT ON auditlog_entry EXECUTE FUNCTION auditlog_refuse_change()",
    "CREATE TABLE mine (id integer)",
    "INSERT INTO django_migrations (app, name, applied) VALUES ('auditlog', '9999', now())",
    "SET session_replication_role = replica",
    f"SET ROLE {OWNER}",
    f"ALTER ROLE {APP} SUPERUSER",
]


@pytest.mark.postgres
@pytest.mark.parametrize("statement", REFUSED)
def test_the_app_may_not(as_app: None, statement: str) -> None:
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        sql(statement)


@pytest.mark.postgres
def test_a_migration_by_the_app_fails_and_says_why(as_app: None) -> None:
    call_command("migrate", verbosity=0)  # nothing is pending: nothing is asked of it
    with pytest.raises(DatabaseError, match=r"must be owner|permission denied"):
        call_command("migrate", "auditlog", "0001", verbosity=0)


@pytest.mark.postgres
def test_for_the_owner_the_triggers_still_stand(installed: None, transactional_db: None) -> None:
    with connected(NAME=DATABASE, USER=OWNER), pytest.raises(DatabaseError, match="append-only"):
        sql("DELETE FROM auditlog_entry")


# --- and it is said when it is not so --------------------------------------------------------------------------


@pytest.mark.postgres
def test_of_the_apps_role_there_is_nothing_to_say(as_app: None) -> None:
    assert roles.excess(connection) == []
    assert said() == set()


@pytest.mark.postgres
def test_an_owner_is_named_with_all_it_owns(installed: None, transactional_db: None) -> None:
    with connected(NAME=DATABASE, USER=OWNER):
        owned = "\n".join(roles.excess(connection))
        assert said() == {"grace.W007"}
    functions = ("function auditlog_refuse_change", "function auditlog_queue")
    for what in ("table auditlog_entry", "table auditlog_tile", *functions, "schema public"):
        assert f"grace_owner owns the {what}" in owned


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("grant", "revoke", "words"),
    [
        ("GRANT UPDATE ON auditlog_leaf TO", "REVOKE UPDATE ON auditlog_leaf FROM", "may UPDATE on auditlog_leaf"),
        (
            "GRANT UPDATE (hash) ON auditlog_leaf TO",
            "REVOKE UPDATE (hash) ON auditlog_leaf FROM",
            "may UPDATE on auditlog_leaf",
        ),
        (
            "GRANT DELETE, TRUNCATE ON auditlog_entry TO",
            "REVOKE DELETE, TRUNCATE ON auditlog_entry FROM",
            "may DELETE, TRUNCATE on auditlog_entry",
        ),
        (f"GRANT {OWNER} TO", f"REVOKE {OWNER} FROM", "owns the table auditlog_entry"),
        ("GRANT pg_write_all_data TO", "REVOKE pg_write_all_data FROM", "may DELETE, UPDATE on auditlog_entry"),
        (
            "GRANT SET ON PARAMETER session_replication_role TO",
            "REVOKE SET ON PARAMETER session_replication_role FROM",
            "session_replication_role",
        ),
    ],
)
def test_whatever_lets_the_app_change_the_log_is_named(
    installed: None, transactional_db: None, grant: str, revoke: str, words: str
) -> None:
    with connected(NAME=DATABASE):
        sql(f"{grant} {APP}")
    try:
        with connected(NAME=DATABASE, USER=APP):
            found = "\n".join(roles.excess(connection))
    finally:
        with connected(NAME=DATABASE):
            sql(f"{revoke} {APP}")
    assert words in found


@pytest.mark.postgres
@pytest.mark.django_db
def test_a_superuser_is_a_finding_in_production_that_does_not_stop_signing(settings: Any) -> None:
    assert integrity.check_incrementally(timezone.now()).passed, "nobody minds in development"
    settings.PRODUCTION = True
    run = integrity.check_incrementally(timezone.now())
    assert run.findings == ["role_may_change_log"]
    assert "is a superuser" in Finding.objects.get().detail
    assert not findings.stop_signing()
    assert IntegrityRun.objects.filter(passed=False).count() == 1
    assert Entry.objects.filter(fact="auditlog.integrity_failed").count() == 1
    assert said() == {"grace.W007"}


@pytest.mark.postgres
def test_tables_that_are_not_there_are_said_to_be_unchecked(installed: None, transactional_db: None) -> None:
    with connected(NAME="template1", USER=APP):
        assert said() == {"grace.W008"}


def said() -> set[str | None]:
    """The ids of what the deployment's checks say of the database."""
    found = checks.run_checks(tags=[checks.Tags.database], include_deployment_checks=True, databases=["default"])
    return {message.id for message in found}
