"""Settings come from the environment, typed; nonsense stops the start and names its cure."""

import ipaddress
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from grace_site.env import Environment, stored_key
from tests.harness.processes import ROOT

GOOD_KEY = "k" * 60
PRODUCTION = {
    "GRACE_ENV": "production",
    "SECRET_KEY": GOOD_KEY,
    "PUBLIC_URL": "https://grace.example.org",
    "DATABASE_URL": "postgres://grace@localhost/grace",
    "REDIS_URL": "redis://localhost:6379/0",
}

READS: list[tuple[Callable[[Environment], Any], str, Any]] = [
    (lambda env: env.text("X", "default"), "", "default"),
    (lambda env: env.text("X", "default"), " spaces go ", "spaces go"),
    (lambda env: env.flag("X", False), "yes", True),
    (lambda env: env.flag("X", True), "FALSE", False),
    (lambda env: env.integer("X", 5, at_least=1, at_most=9), "7", 7),
    (lambda env: env.choice("X", ("a", "b"), "a"), "b", "b"),
    (lambda env: env.words("X", []), "a, b,,c ", ["a", "b", "c"]),
    (lambda env: env.paths("X", []), "/a,/b/c", [Path("/a"), Path("/b/c")]),
    (lambda env: env.url("X", ""), "https://a.example/x/", "https://a.example/x"),
    (lambda env: env.urls("X", []), "http://a/,https://b/v1/", ["http://a/", "https://b/v1/"]),
    (
        lambda env: env.networks("X"),
        "10.0.0.0/8,::1",
        [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1")],
    ),
    (lambda env: env.database("X", "sqlite:///a")["NAME"], "postgres://u:p@h:5/grace", "grace"),
    (lambda env: env.database("X", "sqlite:///a")["HOST"], "postgres://u@%2Frun%2Fpg/grace", "/run/pg"),
]


@pytest.mark.parametrize(("read", "value", "expected"), READS)
def test_it_reads_by_type(read: Callable[[Environment], Any], value: str, expected: Any) -> None:
    env = Environment({"X": value})
    assert read(env) == expected
    env.finish()


NONSENSE: list[tuple[Callable[[Environment], Any], str, str]] = [
    (lambda env: env.flag("X", False), "maybe", "true or false"),
    (lambda env: env.integer("X", 5, at_least=1, at_most=9), "10", "from 1 to 9"),
    (lambda env: env.integer("X", 5, at_least=1, at_most=9), "five", "whole number"),
    (lambda env: env.integer("X", 5, at_least=1, at_most=9), "\u0665", "whole number"),
    (lambda env: env.choice("X", ("a", "b"), "a"), "c", "one of a, b"),
    (lambda env: env.paths("X", []), "relative/path", "absolute paths"),
    (lambda env: env.url("X", ""), "ftp://a", "http:// or https://"),
    (lambda env: env.url("X", ""), "a.example", "http:// or https://"),
    (lambda env: env.networks("X"), "10.0.0.1/8", "networks such as"),
    (lambda env: env.database("X", "sqlite:///a"), "mysql://h/x", "sqlite:/// or postgres://"),
    (lambda env: env.database("X", "sqlite:///a"), "postgres://host", "name a database"),
]


@pytest.mark.parametrize(("read", "value", "cure"), NONSENSE)
def test_nonsense_names_the_variable_and_the_cure(read: Callable[[Environment], Any], value: str, cure: str) -> None:
    env = Environment({"X": value})
    read(env)
    with pytest.raises(ImproperlyConfigured, match="X ") as refused:
        env.finish()
    assert cure in str(refused.value)


def test_all_complaints_come_at_once() -> None:
    env = Environment({"A": "maybe", "B": "many"})
    env.flag("A", True)
    env.integer("B", 1, at_least=0, at_most=2)
    with pytest.raises(ImproperlyConfigured, match=r"(?s)A must.*B must"):
        env.finish()


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from the file\n")
    assert Environment({"X_FILE": str(tmp_path / "key")}).secret("X") == "from the file"


def test_a_secret_is_never_shown() -> None:
    env = Environment({"X": "mysql://user:hunter2@h/x"})
    env.database("X", "sqlite:///a")
    assert "hunter2" not in " ".join(env.complaints)


@pytest.mark.parametrize(
    ("source", "cure"),
    [({"X": "a", "X_FILE": "/b"}, "keep one"), ({"X_FILE": "/nowhere/at/all"}, "correct the path")],
)
def test_a_secret_file_that_makes_no_sense_is_refused(source: dict[str, str], cure: str) -> None:
    env = Environment(source)
    env.secret("X")
    with pytest.raises(ImproperlyConfigured, match=cure):
        env.finish()


def test_the_secret_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    key = stored_key(tmp_path)
    assert len(key) >= 64
    assert stored_key(tmp_path) == key
    assert (tmp_path / "keys" / "secret_key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["secret_key"]


def test_a_secret_key_others_can_read_is_refused(tmp_path: Path) -> None:
    stored_key(tmp_path)
    (tmp_path / "keys" / "secret_key").chmod(0o644)
    with pytest.raises(ImproperlyConfigured, match="chmod 600"):
        stored_key(tmp_path)


def test_without_a_var_dir_nothing_is_written(tmp_path: Path) -> None:
    assert stored_key(tmp_path / "elsewhere") == ""
    assert not (tmp_path / "elsewhere").exists()


def started(tmp_path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """What a new process says that reads the settings in this environment."""
    code = (
        "import django; django.setup()\n"
        "from django.conf import settings\n"
        "print('started', settings.SECURE_SSL_REDIRECT)"
    )
    basic = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    basic |= {"DJANGO_SETTINGS_MODULE": "grace_site.settings", "GRACE_ENV_FILE": "", "VAR_DIR": str(tmp_path)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=basic | env, capture_output=True, text=True, check=False
    )


def test_it_starts_with_nothing_set(tmp_path: Path) -> None:
    assert "started False" in started(tmp_path / "var").stdout


def test_production_starts_with_what_it_needs(tmp_path: Path) -> None:
    answer = started(tmp_path, **PRODUCTION)
    assert "started True" in answer.stdout, answer.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"SECRET_KEY": "short"}, "SECRET_KEY must be a secret"),
        ({"SECRET_KEY": "django-insecure-" + GOOD_KEY}, "SECRET_KEY must be a secret"),
        ({"SECRET_KEY": "only-for-tests-" + GOOD_KEY}, "SECRET_KEY must be a secret"),
        ({"PUBLIC_URL": "http://grace.example.org"}, "PUBLIC_URL must be the https://"),
        ({"REDIS_URL": "amqp://localhost"}, "REDIS_URL must begin with"),
        ({"PORT": "0"}, "PORT must be a whole number"),
        ({"GRACE_ENV": "prod"}, "GRACE_ENV must be one of"),
        ({"METRICS_ALLOWED_ADDRESSES": "everybody"}, "METRICS_ALLOWED_ADDRESSES must be"),
    ],
)
def test_production_refuses(tmp_path: Path, change: dict[str, str], said: str) -> None:
    answer = started(tmp_path, **(PRODUCTION | change))
    assert answer.returncode != 0
    assert said in answer.stderr


def test_a_file_of_settings_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("PORT=nonsense\nLOG_LEVEL=LOUD\n")
    answer = started(tmp_path, GRACE_ENV_FILE=str(tmp_path / "env"), PORT="8001")
    assert "LOG_LEVEL must be one of" in answer.stderr
    assert "PORT must" not in answer.stderr


@pytest.mark.sqlite
@pytest.mark.django_db
def test_sqlite_is_set_up_for_many_writers_and_a_log() -> None:
    from django.db import connection

    def pragma(name: str) -> Any:
        with connection.cursor() as cursor:
            return cursor.execute(f"PRAGMA {name}").fetchone()[0]

    assert connection.transaction_mode == "IMMEDIATE"  # type: ignore[attr-defined]
    assert (pragma("journal_mode"), pragma("synchronous"), pragma("foreign_keys")) == ("wal", 2, 1)
    assert pragma("busy_timeout") == 20_000
