"""database.migrate against SQLite and a real PostgreSQL."""

import socket
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.harness import gate, postgres, targets
from tests.harness.people import People
from tests.harness.shop import ROLE, OnPostgres, OnSqlite, Shop
from tests.harness.story import Story, told
from tests.harness.targets import Kept
from verification import executors
from verification.executors.base import Call, ExecutorError, Reversibility, Run, Status
from verification.json_schemas import Schema
from verification.models import Execution, Snapshot

CONTRACT = uuid4()
MORE = "UPDATE orders SET total = total + 1;"
ZERO = "UPDATE orders SET total = 0;"
ADD_NOTE = "ALTER TABLE orders ADD COLUMN note text;\nUPDATE orders SET note = 'none';\n"


@pytest.fixture(params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    if request.param == "sqlite":
        return OnSqlite(tmp_path)
    return OnPostgres(request.getfixturevalue("postgres_socket"), postgres.programs())


@pytest.fixture
def on_postgres(postgres_socket: str) -> OnPostgres:
    return OnPostgres(postgres_socket, postgres.programs())


@pytest.fixture
def on_sqlite(tmp_path: Path) -> OnSqlite:
    return OnSqlite(tmp_path)


@pytest.fixture
def listed(settings: Any, var_dir: Path) -> Any:
    """List a shop, with members of its definition changed."""

    def write(shop: Shop, **members: Any) -> None:
        entry = {**shop.members(), **members}
        settings.TARGETS_FILE = targets.write(var_dir / "targets.toml", databases={"shop": entry})

    return write


@pytest.fixture
def executor() -> executors.Executor:
    return executors.get("database.migrate")


def call(script: str = ADD_NOTE, **more: Any) -> Call:
    more.setdefault("contract_id", CONTRACT)
    return Call("database.migrate", "database:shop", {"database": "shop", "script": script}, **more)


def codes(executor: executors.Executor, asked: Call) -> list[tuple[str, str]]:
    return [(error.pointer, error.code) for error in executor.check(asked)]


# --- what is refused before anything is touched ---


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"database": "others"}, "database_not_allowed"),
        ({"database": "../shop"}, "no_match"),
        ({"database": "/etc/passwd"}, "no_match"),
        ({"script": ""}, "too_short"),
        ({"script": " ;\n; "}, "no_match"),
        ({"script": "x" * 200_001}, "too_long"),
        ({"script": ["SELECT 1"]}, "wrong_type"),
        ({"url": "sqlite:////etc/x"}, "unknown_member"),
    ],
)
def test_it_refuses_parameters_it_does_not_know(
    executor: executors.Executor, on_sqlite: OnSqlite, listed: Any, parameters: dict[str, Any], code: str
) -> None:
    listed(on_sqlite)
    asked = Call("database.migrate", "database:shop", {"database": "shop", "script": "SELECT 1", **parameters})
    assert [found for _, found in codes(executor, asked)][:1] == [code]


def test_nothing_is_listed_by_default(executor: executors.Executor, settings: Any) -> None:
    settings.TARGETS_FILE = None
    assert codes(executor, call()) == [("/parameters/database", "database_not_allowed")]
    assert executor.reversibility(call()) == Reversibility.IRREVERSIBLE


@pytest.mark.parametrize(
    "members",
    [
        {"url": "mysql://localhost/x"},
        {"url": "sqlite:///relative.sqlite3"},
        {"url_file": "/run/url"},
        {"way_back": "maybe"},
        {"queries": {"a": "delete from orders"}},
        {"queries": {"a": "select 1; drop table orders"}},
        {"surprise": 1},
    ],
)
def test_a_definition_that_is_wrong_allows_nothing(
    executor: executors.Executor, on_sqlite: OnSqlite, listed: Any, members: dict[str, Any]
) -> None:
    listed(on_sqlite, **members)
    assert codes(executor, call()) == [("/parameters/database", "database_unusable")]


def test_a_database_redefined_since_it_was_authorized_is_left_alone(
    executor: executors.Executor, shop: Shop, listed: Any
) -> None:
    listed(shop)
    edition = executor.edition(call())
    listed(shop, way_back="none")
    result = executor.execute(call(edition=edition), Run())
    assert "redefined" in str(result.error)
    assert shop.rows("SELECT count(*) FROM orders WHERE total > 0") == [(2,)]


def test_a_file_that_is_not_there_is_not_made(executor: executors.Executor, on_sqlite: OnSqlite, listed: Any) -> None:
    listed(on_sqlite)
    on_sqlite.file.unlink()
    with pytest.raises(ExecutorError, match="unable to open"):
        executor.observe(call())
    assert not executor.execute(call(), Run()).ok
    assert not on_sqlite.file.exists()


def test_a_role_that_reaches_beyond_its_database_is_refused(
    executor: executors.Executor, on_postgres: OnPostgres, listed: Any
) -> None:
    mighty = on_postgres.url.replace(ROLE, "postgres")
    listed(on_postgres, url=mighty)
    with pytest.raises(ExecutorError, match="may run programs"):
        executor.observe(call())
    assert not executor.execute(call(), Run()).ok
    listed(on_postgres, url=mighty, allow_superuser=True)
    assert executor.observe(call()).state["applied"] is False


ESCAPES = [
    "UPDATE orders SET total = 0; COMMIT; DROP TABLE orders",
    "UPDATE orders SET total = 0; /* x */ cOmMiT /* y */; SELECT 1",
    "UPDATE orders SET total = 0; END",
    "UPDATE orders SET total = 0; ROLLBACK; CREATE TABLE outside (a int)",
    "BEGIN; UPDATE orders SET total = 0; COMMIT",
    "UPDATE orders SET total = 0; SAVEPOINT a; RELEASE a",
]


@pytest.mark.parametrize("script", ESCAPES)
def test_a_script_cannot_end_the_transaction(
    executor: executors.Executor, shop: Shop, listed: Any, script: str
) -> None:
    listed(shop)
    before = executor.observe(call(script))
    result = executor.execute(call(script), Run())
    assert (result.ok, result.retryable) == (False, False)
    assert shop.rows("SELECT id, total FROM orders ORDER BY id") == [(1, 100), (2, 250)]
    after = executor.observe(call(script))
    assert after.state == before.state
    assert executor.untouched(call(script), before, after)


@pytest.mark.parametrize(
    "script",
    [
        "ATTACH '{elsewhere}' AS elsewhere; CREATE TABLE elsewhere.x (a)",
        "VACUUM INTO '{elsewhere}'",
        "VACUUM",
        "PRAGMA writable_schema = ON",
        "PRAGMA journal_mode = OFF",
        "SELECT load_extension('{elsewhere}')",
        "DETACH main",
        "CREATE TABLE x (",
        "CREATE TABLE x (a); SELECT 'unterminated",
        "SELECT 1\x00; DROP TABLE orders",
        "INSERT INTO orders VALUES (3, zeroblob(1000000000))",
        "INSERT OR ROLLBACK INTO orders VALUES (1, 1)",
    ],
)
def test_a_script_reaches_nothing_but_its_sqlite_database(
    executor: executors.Executor, on_sqlite: OnSqlite, listed: Any, tmp_path: Path, script: str
) -> None:
    listed(on_sqlite)
    elsewhere = tmp_path / "elsewhere"
    result = executor.execute(call(script.format(elsewhere=elsewhere)), Run())
    assert not result.ok
    assert not elsewhere.exists()
    assert on_sqlite.rows("SELECT name FROM sqlite_schema") == [("orders",)]


@pytest.mark.parametrize(
    "script",
    [
        "COPY orders TO PROGRAM 'cat > /tmp/x'",
        "COPY orders TO '/tmp/x'",
        "COPY orders FROM STDIN",
        "SELECT pg_read_file('/etc/passwd')",
        "CREATE INDEX CONCURRENTLY i ON orders (total)",
        "UPDATE orders SET total = 0; PREPARE TRANSACTION 'x'",
        "UPDATE orders SET total = 0; ABORT; START TRANSACTION",
        "UPDATE orders SET total = 0; SELECT 'it''s; not over'; COMMIT AND CHAIN",
        "VACUUM",
        "CREATE TABLE x (a int); SELECT 1\x00",
        "DO $x$ BEGIN UPDATE orders SET total = 0; COMMIT; END $x$",
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS $x$ BEGIN COMMIT; END $x$; CALL p()",
        "CREATE TABLE x (",
    ],
)
def test_a_script_reaches_nothing_but_its_postgresql_database(
    executor: executors.Executor, on_postgres: OnPostgres, listed: Any, script: str
) -> None:
    listed(on_postgres)
    before = executor.observe(call(script)).state
    assert not executor.execute(call(script), Run()).ok
    assert executor.observe(call(script)).state == before


# --- Grace's own table ---


NOTES_GONE = [
    "DELETE FROM grace_migrations",
    "DROP TABLE grace_migrations",
    "UPDATE grace_migrations SET what = 'x'",
    "INSERT INTO grace_migrations VALUES ('another', 'apply', '', '')",
    "ALTER TABLE grace_migrations RENAME TO x",
    "ALTER TABLE grace_migrations RENAME TO x; CREATE VIEW grace_migrations AS SELECT * FROM x",
    'DROP TABLE "GRACE_MIGRATIONS"',
]
FIRED = {
    "sqlite": ["CREATE TRIGGER t AFTER INSERT ON {on} BEGIN DELETE FROM grace_migrations; END"],
    "postgres": [
        "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS "
        "$f$ BEGIN DELETE FROM grace_migrations; RETURN NULL; END $f$",
        "CREATE TRIGGER t AFTER INSERT ON {on} EXECUTE FUNCTION forget()",
    ],
}
DECOY = "CREATE TEMP TABLE grace_migrations AS SELECT * FROM main.grace_migrations; DELETE FROM main.grace_migrations"
DYNAMIC = "EXECUTE 'DELETE FROM public.grace_' || 'migrations'"
DEFINE = "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN DYNAMIC; RETURN NULL; END $f$"
HIDDEN = [
    "DO $x$ BEGIN DYNAMIC; END $x$",
    "DEFINE; CREATE TRIGGER t AFTER UPDATE ON orders EXECUTE FUNCTION forget(); UPDATE orders SET total = 0",
    "DEFINE; CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON orders DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION forget(); UPDATE orders SET total = 0",
    # What is put off until the commit puts it off once more.
    """
    DEFINE;
    CREATE FUNCTION put_off() RETURNS trigger LANGUAGE plpgsql AS $f$
        BEGIN SET CONSTRAINTS ALL DEFERRED; INSERT INTO later VALUES (1); RETURN NULL; END $f$;
    CREATE TABLE later (a int);
    CREATE CONSTRAINT TRIGGER t AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION forget();
    CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON orders DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION put_off();
    UPDATE orders SET total = 0;
    """,
    # A cursor that is held runs its query at the commit.
    """
    CREATE FUNCTION forget() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN DYNAMIC; RETURN 1; END $f$;
    DECLARE held CURSOR WITH HOLD FOR SELECT forget();
    """,
    "DO $x$ BEGIN EXECUTE 'ALTER TABLE public.grace_' || 'migrations ENABLE ROW LEVEL SECURITY'; END $x$",
]
LED_ASTRAY = """
CREATE SCHEMA {role};
CREATE SCHEMA elsewhere;
DO $x$ BEGIN
    EXECUTE 'CREATE TABLE {role}.grace_' || 'migrations (contract_id text, what text, sha256 text, at text)';
END $x$;
ALTER ROLE {role} IN DATABASE shop SET search_path = elsewhere;
SET search_path = elsewhere;
"""


@pytest.mark.parametrize("forgetting", NOTES_GONE)
def test_a_script_does_not_name_graces_own_table(
    executor: executors.Executor, shop: Shop, listed: Any, forgetting: str
) -> None:
    listed(shop)
    assert codes(executor, call(f"{MORE} {forgetting}")) == [("/parameters/script", "table_not_allowed")]


@pytest.mark.parametrize("forgetting", NOTES_GONE)
def test_what_alters_graces_own_table_is_not_committed(
    executor: executors.Executor, shop: Shop, listed: Any, forgetting: str
) -> None:
    listed(shop)
    assert executor.execute(call("SELECT 1", contract_id=uuid4()), Run()).ok
    if shop.kind == "postgres":
        forgetting = forgetting.replace("GRACE_MIGRATIONS", "grace_migrations")
    left_alone(executor, shop, call(f"{MORE} {forgetting}"))


@pytest.mark.parametrize("on", ["orders", "grace_migrations"])
def test_a_trigger_that_was_there_before_does_not_alter_it_either(
    executor: executors.Executor, shop: Shop, listed: Any, on: str
) -> None:
    listed(shop)
    assert executor.execute(call("SELECT 1", contract_id=uuid4()), Run()).ok
    with shop.connected() as connection:
        for statement in FIRED[shop.kind]:
            connection.execute(statement.format(on=on))
    left_alone(executor, shop, call("INSERT INTO orders VALUES (3, 1)"))


@pytest.mark.parametrize("script", HIDDEN)
def test_what_alters_it_unseen_or_at_the_commit_is_not_committed(
    executor: executors.Executor, on_postgres: OnPostgres, listed: Any, script: str
) -> None:
    listed(on_postgres)
    asked = call(f"{MORE} {script.replace('DEFINE', DEFINE).replace('DYNAMIC', DYNAMIC)}")
    assert executor.check(asked) == []
    left_alone(executor, on_postgres, asked)


def left_alone(executor: executors.Executor, shop: Shop, asked: Call) -> None:
    """A script is not kept, and what was noted before stands."""
    before = executor.observe(asked)
    result = executor.execute(asked, Run())
    assert (result.ok, result.retryable) == (False, False)
    assert "grace_migrations" in str(result.error) or "read-only transaction" in str(result.error)
    assert shop.rows("SELECT id, total FROM orders ORDER BY id") == [(1, 100), (2, 250)]
    after = executor.observe(asked)
    assert after.state == before.state
    assert executor.untouched(asked, before, after)


def test_no_other_search_path_leads_to_another_table(
    executor: executors.Executor, on_postgres: OnPostgres, listed: Any
) -> None:
    listed(on_postgres)
    asked = call(LED_ASTRAY.format(role=ROLE))
    assert executor.execute(asked, Run()).error is None
    assert executor.observe(asked).state["applied"]


def test_what_honestly_waits_for_the_commit_is_committed(
    executor: executors.Executor, on_postgres: OnPostgres, listed: Any
) -> None:
    listed(on_postgres)
    asked = call(
        "CREATE TABLE lines (o integer REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED);"
        "INSERT INTO lines VALUES (7); INSERT INTO orders VALUES (7, 1);"
        "CREATE TEMP TABLE brief ON COMMIT DROP AS SELECT 1 AS a; NOTIFY shop; ANALYZE;"
    )
    assert executor.execute(asked, Run()).error is None
    assert on_postgres.rows("SELECT o FROM lines") == [(7,)]


def test_a_temporary_table_is_not_taken_for_it(executor: executors.Executor, on_sqlite: OnSqlite, listed: Any) -> None:
    listed(on_sqlite)
    left_alone(executor, on_sqlite, call(f"{MORE} {DECOY}"))


# --- observing ---


def test_it_observes_schema_ledger_and_queries(executor: executors.Executor, shop: Shop, listed: Any) -> None:
    listed(shop)
    state = executor.observe(call()).state
    assert state["tables"] == {"orders": {"id": "integer", "total": "integer"}}
    assert state["queries"] == {"orders": 2, "sum": 350, "notes": None, "rows": [[1, 100], [2, 250]]}
    assert (state["applied"], state["restored"]) == (False, False)


def test_data_is_no_drift_and_schema_is(executor: executors.Executor, shop: Shop, listed: Any) -> None:
    listed(shop)
    before = executor.fingerprint(executor.observe(call()))
    with shop.connected() as connection:
        connection.execute("INSERT INTO orders VALUES (3, 1)")
        assert executor.fingerprint(executor.observe(call())) == before
        connection.execute("CREATE INDEX by_total ON orders (total)")
    assert executor.fingerprint(executor.observe(call())) != before


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE orders ALTER COLUMN total SET DEFAULT 1",
        "ALTER TABLE orders ADD CONSTRAINT positive CHECK (total > 0)",
        "CREATE VIEW large AS SELECT * FROM orders WHERE total > 200",
        "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE mood AS ENUM ('well', 'not')",
        "CREATE SCHEMA more",
        "CREATE SEQUENCE numbers",
        "ALTER TABLE orders ALTER COLUMN total TYPE bigint",
    ],
)
def test_every_part_of_a_postgresql_schema_counts(
    executor: executors.Executor, on_postgres: OnPostgres, listed: Any, statement: str
) -> None:
    listed(on_postgres)
    before = executor.observe(call()).state["schema_sha256"]
    with on_postgres.connected() as connection:
        connection.execute(statement)
    assert executor.observe(call()).state["schema_sha256"] != before


def test_ten_megabytes_of_an_answer_are_cut(executor: executors.Executor, shop: Shop, listed: Any) -> None:
    many = "with recursive c(x) as (select 1 union all select x + 1 from c where x < 5000) select x from c"
    long = "select replace(hex(zeroblob(1000000)), '00', 'x' || 'y')" if shop.kind == "sqlite" else ""
    listed(shop, queries={"many": many, "long": long or "select repeat('xy', 5000000)"})
    queries = executor.observe(call()).state["queries"]
    assert (len(queries["many"]), len(queries["long"])) == (100, 1000)


def test_a_query_that_writes_is_not_answered(
    executor: executors.Executor, on_postgres: OnPostgres, listed: Any
) -> None:
    with on_postgres.connected() as connection:
        connection.execute("CREATE SEQUENCE numbers")
    listed(on_postgres, queries={"next": "select nextval('numbers')"})
    with pytest.raises(ExecutorError, match="read-only"):
        executor.observe(call())


def test_a_server_that_never_answers_holds_nobody(
    executor: executors.Executor, on_postgres: OnPostgres, listed: Any
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        listed(on_postgres, url=f"postgresql://x:a-password@127.0.0.1:{silent.getsockname()[1]}/shop")
        began = time.monotonic()
        with pytest.raises(ExecutorError) as refused:
            executor.observe(call())
        assert "a-password" not in str(refused.value)
        result = executor.execute(call(), Run())
        assert (result.ok, result.retryable) == (False, True)
        assert time.monotonic() - began < 15


# --- doing, and the way back ---


def test_it_applies_a_script_once(executor: executors.Executor, shop: Shop, listed: Any) -> None:
    listed(shop)
    script = "INSERT INTO orders VALUES (3, 1);"
    before = executor.observe(call(script))
    assert executor.execute(call(script), Run()).result == {"applied": True, "before": False}
    after = executor.observe(call(script))
    assert after.state["applied"]
    assert after.state["schema_sha256"] == before.state["schema_sha256"]
    assert not executor.untouched(call(script), before, after)
    assert executor.execute(call(script), Run()).result == {"applied": True, "before": True}
    assert shop.rows("SELECT count(*) FROM orders") == [(3,)]
    assert executor.execute(call("INSERT INTO orders VALUES (4, 1)", contract_id=uuid4()), Run()).ok


def test_what_only_reads_or_defines_in_many_statements_is_fine(
    executor: executors.Executor, shop: Shop, listed: Any
) -> None:
    listed(shop)
    trigger = (
        "CREATE TRIGGER t AFTER INSERT ON orders BEGIN UPDATE orders SET total = 1 WHERE id = 1; SELECT 2; END;"
        if shop.kind == "sqlite"
        else "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN RETURN NULL; END; $f$;"
    )
    script = f"-- a comment; with a semicolon\n{trigger}\nSELECT 'it''s; fine';\nCREATE TABLE more (a int);\n-- the end"
    result = executor.execute(call(script), Run())
    assert result.error is None
    assert "more" in executor.observe(call()).state["tables"]


def test_a_failing_statement_undoes_those_before_it(executor: executors.Executor, shop: Shop, listed: Any) -> None:
    listed(shop)
    script = "\n".join([ADD_NOTE, "INSERT INTO orders VALUES (1, 1, 'a duplicate')"])
    before = executor.observe(call(script))
    result = executor.execute(call(script), Run())
    assert (result.status, result.retryable) == (Status.FAILED, False)
    assert "The script failed" in str(result.error)
    assert executor.observe(call(script)).state == before.state


def test_a_reference_to_nothing_is_not_committed(
    executor: executors.Executor, on_sqlite: OnSqlite, listed: Any
) -> None:
    listed(on_sqlite)
    script = "CREATE TABLE lines (id, o integer REFERENCES orders (id)); INSERT INTO lines VALUES (1, 99)"
    assert "foreign_key_check" in str(executor.execute(call(script), Run()).error)
    assert "lines" not in executor.observe(call()).state["tables"]


def endless(shop: Shop) -> str:
    if shop.kind == "sqlite":
        return "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c"
    return "SET LOCAL statement_timeout = 0; SELECT pg_sleep(60)"


def test_a_script_without_end_is_ended(executor: executors.Executor, shop: Shop, listed: Any) -> None:
    listed(shop, timeout_seconds=1)
    began = time.monotonic()
    result = executor.execute(call(f"{ZERO} {endless(shop)}"), Run())
    assert (result.ok, time.monotonic() - began < 6) == (False, True)
    assert shop.rows("SELECT sum(total) FROM orders") == [(350,)]


def test_cancelled_it_changes_nothing(executor: executors.Executor, shop: Shop, listed: Any) -> None:
    listed(shop)
    result = executor.execute(call(), Run(cancelled=lambda: True))
    assert (result.ok, result.retryable) == (False, True)
    until = time.monotonic() + 1
    script = f"{ZERO} {endless(shop)}"
    result = executor.execute(call(script), Run(cancelled=lambda: time.monotonic() > until))
    assert (result.ok, result.error) == (False, "Cancelled.")
    assert shop.rows("SELECT sum(total) FROM orders") == [(350,)]


def test_a_lock_is_not_waited_for_for_long(executor: executors.Executor, shop: Shop, listed: Any) -> None:
    listed(shop, timeout_seconds=1)
    with shop.connected() as other:
        other.execute("BEGIN IMMEDIATE" if shop.kind == "sqlite" else "BEGIN")
        other.execute("UPDATE orders SET total = 1")
        result = executor.execute(call(), Run())
        other.execute("ROLLBACK")
    assert (result.ok, result.retryable) == (False, True)


LATER = """
CREATE TABLE later (id integer PRIMARY KEY, o integer REFERENCES orders (id));
CREATE INDEX by_o ON later (o);
DELETE FROM orders WHERE id = 2;
CREATE VIEW large AS SELECT * FROM orders WHERE total > 200;
"""


def test_it_brings_everything_back_and_drops_what_came_after(
    executor: executors.Executor, shop: Shop, listed: Any
) -> None:
    listed(shop)
    kept, before = Kept(), executor.observe(call(LATER))
    executor.snapshot(call(LATER), kept)
    assert executor.execute(call(LATER), Run()).error is None
    changed = executor.observe(call(LATER))
    assert not executor.is_back(call(LATER), before, changed, kept)
    for _ in range(2):  # twice ends where once does
        assert executor.restore(call(LATER), kept, before, Run()).error is None
    after = executor.observe(call(LATER))
    assert executor.is_back(call(LATER), before, after, kept)
    assert not executor.untouched(call(LATER), before, after)
    assert {**after.state, "restored": False} == before.state


def test_it_brings_back_what_postgresql_knows_beside_tables(
    executor: executors.Executor, on_postgres: OnPostgres, listed: Any
) -> None:
    listed(on_postgres)
    with on_postgres.connected() as connection:
        for statement in (
            "CREATE SCHEMA more",
            "CREATE TYPE more.mood AS ENUM ('well', 'not')",
            "CREATE TABLE more.people (id serial PRIMARY KEY, mood more.mood DEFAULT 'well', big bigint)",
            "INSERT INTO more.people (big) SELECT generate_series(1, 1000)",
            "CREATE FUNCTION twice(x int) RETURNS int LANGUAGE sql AS 'SELECT x * 2'",
            "CREATE MATERIALIZED VIEW sums AS SELECT sum(total) FROM orders",
            "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
            "GRANT SELECT ON orders TO PUBLIC",
        ):
            connection.execute(statement)
    script = "DROP SCHEMA more CASCADE; DROP FUNCTION twice(int); DROP DOMAIN positive; CREATE SCHEMA other; \
              CREATE TYPE public.kind AS ENUM ('a'); CREATE TABLE public.kinds (kind kind); DROP MATERIALIZED VIEW sums"
    kept, before = Kept(), executor.observe(call(script))
    executor.snapshot(call(script), kept)
    assert executor.execute(call(script), Run()).error is None
    assert executor.restore(call(script), kept, before, Run()).error is None
    assert executor.is_back(call(script), before, executor.observe(call(script)), kept)
    assert on_postgres.rows("SELECT count(*), max(id), min(mood)::text FROM more.people") == [(1000, 1000, "well")]
    assert on_postgres.rows("SELECT nextval('more.people_id_seq'), twice(4)") == [(1001, 8)]
    assert on_postgres.rows("SELECT has_table_privilege('public', 'orders', 'select')") == [(True,)]


def test_a_dump_that_cannot_be_written_back_changes_nothing(
    executor: executors.Executor, on_postgres: OnPostgres, listed: Any
) -> None:
    listed(on_postgres)
    before, kept = executor.observe(call()), Kept()
    kept.add_bytes("database.sql", b"CREATE TABLE half (a int);\nSELECT no_such_function();\n")
    result = executor.restore(call(), kept, before, Run())
    assert "no_such_function" in str(result.error)
    assert executor.observe(call()).state == before.state


def test_what_is_too_large_or_not_its_own_is_not_kept(
    executor: executors.Executor, on_postgres: OnPostgres, listed: Any
) -> None:
    listed(on_postgres, max_dump_mb=1)
    with pytest.raises(ExecutorError, match="more than 1 MB"):
        executor.snapshot(call(), Kept())
    listed(on_postgres)
    admin = on_postgres.admin.replace("/postgres?", "/shop?")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("CREATE TABLE of_others (a int)")
    with pytest.raises(ExecutorError, match="does not own all"):
        executor.snapshot(call(), Kept())


def test_a_large_file_is_not_kept(executor: executors.Executor, on_sqlite: OnSqlite, listed: Any) -> None:
    listed(on_sqlite, max_dump_mb=1)
    with on_sqlite.connected() as connection:
        connection.execute("CREATE TABLE large AS SELECT zeroblob(2000000) AS x")
    with pytest.raises(ExecutorError, match="more than 1 MB"):
        executor.snapshot(call(), Kept())


def test_programs_that_are_not_there_keep_nothing(
    executor: executors.Executor, on_postgres: OnPostgres, listed: Any
) -> None:
    listed(on_postgres, programs="/nowhere")
    with pytest.raises(ExecutorError, match="pg_dump is not in /nowhere"):
        executor.snapshot(call(), Kept())


def test_a_locked_sqlite_database_is_brought_back_in_time_or_not_at_all(
    executor: executors.Executor, on_sqlite: OnSqlite, listed: Any
) -> None:
    listed(on_sqlite, timeout_seconds=1)
    kept, before = Kept(), executor.observe(call())
    executor.snapshot(call(), kept)
    executor.execute(call(), Run())
    with on_sqlite.connected() as other:
        other.execute("BEGIN EXCLUSIVE")
        result = executor.restore(call(), kept, before, Run())
        other.execute("ROLLBACK")
    assert (result.ok, result.retryable) == (False, True)
    assert executor.restore(call(), kept, before, Run()).ok


def test_without_a_way_back_it_is_irreversible(executor: executors.Executor, shop: Shop, listed: Any) -> None:
    listed(shop)
    assert executor.reversibility(call()) == Reversibility.REVERSIBLE
    listed(shop, way_back="none")
    assert executor.reversibility(call()) == Reversibility.IRREVERSIBLE
    kept = Kept()
    executor.snapshot(call(), kept)
    assert kept.kept == {}
    assert not executor.restore(call(), kept, executor.observe(call()), Run()).ok


def test_the_preview_is_the_whole_script(executor: executors.Executor, on_sqlite: OnSqlite, listed: Any) -> None:
    listed(on_sqlite)
    script = "SELECT 1;\n" * 10_000 + "-- the end"
    shown = executor.preview(call(script), executor.observe(call(script)))
    assert shown.body.endswith(script)


def test_its_example_is_of_its_schema(executor: executors.Executor) -> None:
    assert Schema(executor.schema).errors(executor.example["parameters"]) == []


# --- a whole life ---


def body(script: str = ADD_NOTE, **state: Any) -> dict[str, Any]:
    return {
        "action_type": "database.migrate",
        "target": "database:shop",
        "parameters": {"database": "shop", "script": script},
        "expected_effect": {"target_state": {"applied": True, **state}},
    }


def approved(story: Story, asked: dict[str, Any]) -> dict[str, Any]:
    """Two reviewers say yes."""
    assert (asked["tier"], asked["state"]) == ("tier_3", "awaiting_approval")
    for reviewer in (story.people.bea, story.people.cem):
        assert story.decide(asked, reviewer).status_code == 200
    return asked


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("worker")
def test_two_people_approve_it_and_it_is_verified(
    worker: None, var_dir: Path, users: People, shop: Shop, listed: Any
) -> None:
    listed(shop)
    story = Story(var_dir, users)
    asked = story.propose(body(queries={"orders": 2, "sum": 350, "notes": 2, "rows": [[1, 100], [2, 250]]}))
    shown = story.person(users.bea).data(f"/api/governance/approvals/{asked['approval_id']}")
    assert ADD_NOTE in shown["preview"]["body"]
    assert story.wait(approved(story, asked))["state"] == "verified"
    assert shop.rows("SELECT note FROM orders") == [("none",), ("none",)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("worker")
def test_a_violation_brings_the_database_back(
    worker: None, var_dir: Path, users: People, shop: Shop, listed: Any
) -> None:
    listed(shop)
    story = Story(var_dir, users)
    contract = story.wait(approved(story, story.propose(body(LATER, queries={"orders": 2}))))
    assert contract["state"] == "rolled_back"
    assert shop.rows("SELECT id, total FROM orders ORDER BY id") == [(1, 100), (2, 250)]
    assert Snapshot.objects.get(contract_id=contract["id"]).state == Snapshot.State.RESTORED


@pytest.fixture
def killable(worker_environment: dict[str, str], var_dir: Path) -> dict[str, str]:
    """The environment of a process that can be killed."""
    return {**worker_environment, "VAR_DIR": str(var_dir), "TARGETS_FILE": str(var_dir / "targets.toml")}


@pytest.mark.django_db(transaction=True)
def test_p_killed_in_the_middle_of_a_script_it_is_applied_once(
    killable: dict[str, str], tmp_path: Path, users: People, on_postgres: OnPostgres, listed: Any
) -> None:
    listed(on_postgres)
    story = Story(tmp_path / "var", users)
    script = "INSERT INTO orders VALUES (3, 1); UPDATE orders SET total = total + 1 WHERE id = 1;"
    with on_postgres.connected() as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM orders WHERE id = 1 FOR UPDATE")
        asked = approved(story, story.propose(body(script)))
        waits = "SELECT 1 FROM pg_stat_activity WHERE datname = 'shop' AND wait_event_type = 'Lock'"
        with targets.killed_when(
            lambda: on_postgres.rows(waits), env=killable, log=tmp_path / "worker.log", what="the script waited"
        ):
            other.execute("ROLLBACK")
    contract = targets.settle(asked["id"])
    assert contract.state == "verified"
    assert on_postgres.rows("SELECT id, total FROM orders ORDER BY id") == [(1, 101), (2, 250), (3, 1)]
    assert contract.executions.count() == 2


@pytest.mark.django_db(transaction=True)
def test_q_a_worker_that_sleeps_in_the_transaction_never_commits(
    killable: dict[str, str], tmp_path: Path, users: People, on_postgres: OnPostgres, listed: Any
) -> None:
    listed(on_postgres)
    story = Story(tmp_path / "var", users)
    with on_postgres.connected() as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM orders WHERE id = 1 FOR UPDATE")
        asked = approved(story, story.propose(body("UPDATE orders SET total = total + 1")))
        waits = "SELECT 1 FROM pg_stat_activity WHERE datname = 'shop' AND wait_event_type = 'Lock'"
        with targets.stopped_when(
            lambda: on_postgres.rows(waits), env=killable, log=tmp_path / "worker.log", what="the script waited"
        ) as worker:
            other.execute("ROLLBACK")
            idles = "SELECT 1 FROM pg_stat_activity WHERE datname = 'shop' AND state LIKE 'idle in transaction%'"
            targets.wait_until(lambda: on_postgres.rows(idles), seconds=10, what="the transaction waits for its end")
            targets.wait_until(lambda: not on_postgres.rows(idles), seconds=20, what="the server gives it up")
            assert on_postgres.rows("SELECT sum(total) FROM orders") == [(350,)]
            contract = targets.settle(asked["id"])
            targets.wake(worker)
    assert contract.state == "verified"
    assert on_postgres.rows("SELECT sum(total) FROM orders") == [(352,)]
    assert Execution.objects.filter(contract_id=asked["id"]).count() == 2


@pytest.mark.django_db(transaction=True)
def test_p_killed_while_sqlite_writes_it_is_applied_once(
    killable: dict[str, str], tmp_path: Path, users: People, on_sqlite: OnSqlite, listed: Any
) -> None:
    listed(on_sqlite, timeout_seconds=60)
    story = Story(tmp_path / "var", users)
    long = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 9000000) SELECT 3, max(x) FROM c"
    asked = approved(story, story.propose(body(f"{MORE} INSERT INTO orders {long};")))
    journal = on_sqlite.file.with_name(on_sqlite.file.name + "-journal")
    with targets.killed_when(journal.exists, env=killable, log=tmp_path / "worker.log", what="SQLite wrote"):
        assert Execution.objects.get(contract_id=asked["id"]).result is None
    contract = targets.settle(asked["id"], seconds=200)
    assert contract.state == "verified"
    assert on_sqlite.rows("SELECT id, total FROM orders ORDER BY id") == [(1, 101), (2, 251), (3, 9000000)]
    assert contract.executions.count() == 2


@pytest.mark.django_db(transaction=True)
def test_p_killed_after_the_commit_it_is_found_applied(
    killable: dict[str, str], tmp_path: Path, users: People, on_postgres: OnPostgres, listed: Any
) -> None:
    """A change of data alone, which neither schema nor criteria would show."""
    story = Story(tmp_path / "var", users)
    with gate.before(f"{on_postgres.socket_dir}/.s.PGSQL.5432", at=b"COMMIT", after=b"grace.script") as door:
        listed(on_postgres, url=f"postgresql://{ROLE}@127.0.0.1:{door.port}/shop?sslmode=disable&gssencmode=disable")
        asked = approved(story, story.propose(body("UPDATE orders SET total = total + 1 WHERE id = 1")))
        with targets.killed_when(
            lambda: on_postgres.rows("SELECT total FROM orders WHERE id = 1") == [(101,)],
            env=killable,
            log=tmp_path / "worker.log",
            what="it was committed",
        ):
            door.open.set()
        assert Execution.objects.get(contract_id=asked["id"]).result is None
        contract = targets.settle(asked["id"])
    assert contract.state == "verified"
    assert contract.executions.get().recovered
    assert on_postgres.rows("SELECT total FROM orders WHERE id = 1") == [(101,)]
    assert "contract.in_doubt" in [each.fact for each in told(asked["id"])]
