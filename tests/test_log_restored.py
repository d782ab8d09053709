"""What docs/operating.md says of dumps: which of them bring the log back as it was."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from auditlog import integrity, signer
from auditlog.models import Entry, Pending
from tests.harness import postgres
from tests.test_database_roles import connected, sql
from tests.test_verify_log import NOW, write

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of PostgreSQL's own programs, at the server of the tests."""
    options = connection.settings_dict
    argv = [str(postgres.programs() / program), "--host", options["HOST"], "--username", options["USER"], *arguments]
    env = {**os.environ, "PGPASSWORD": options["PASSWORD"]}
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env)


@pytest.fixture
def dumped(tmp_path: Path) -> Path:
    """A log that was signed, and then written to once more: its last entries wait for their place."""
    write(3)
    signer.sign(NOW)
    assert Pending.objects.count() == 1
    done = run("pg_dump", "--format=custom", f"--file={tmp_path / 'dump'}", str(connection.settings_dict["NAME"]))
    assert done.returncode == 0, done.stderr
    return tmp_path / "dump"


@pytest.fixture
def empty() -> Iterator[str]:
    """Another database of the server, by its name."""
    name = f"{connection.settings_dict['NAME']}_restored"
    sql(f"CREATE DATABASE {name}")
    yield name
    sql(f"DROP DATABASE {name}")


def restored(dump: Path, into: str, *options: str) -> str:
    """What `pg_restore` had to complain of."""
    return run("pg_restore", f"--dbname={into}", *options, str(dump)).stderr


def counted() -> tuple[int, int]:
    return Entry.objects.count(), Pending.objects.count()


def test_a_whole_dump_brings_the_log_back_as_it_was(dumped: Path, empty: str) -> None:
    before = counted()
    assert restored(dumped, empty) == ""
    with connected(NAME=empty):
        assert counted() == before
        assert integrity.check(NOW, full=True).found == []


def test_rows_alone_come_back_only_while_no_trigger_fires(dumped: Path, empty: str) -> None:
    before = counted()
    assert restored(dumped, empty, "--schema-only") == ""
    assert 'relation "auditlog_pending" does not exist' in restored(
        dumped, empty, "--data-only", "--table=auditlog_entry"
    )
    with connected(NAME=empty):
        assert counted() == (0, 0)
    assert restored(dumped, empty, "--data-only", "--disable-triggers") == ""
    with connected(NAME=empty):
        assert counted() == before
        assert integrity.check(NOW, full=True).found == []
