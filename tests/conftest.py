"""Fixtures every test may ask for. The environment itself is made in tests/settings.py."""

import os
import shutil
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.conf import settings as django_settings
from django.core.management import CommandError
from django.db import OperationalError
from django.test import TransactionTestCase
from kombu import pools

from tests.harness import processes
from tests.harness.people import People

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


# What needs more than Python and pip, or takes minutes, runs only when it is asked for, with `-m`.
ON_REQUEST = ("browser", "screenshots", "foreign", "faults")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about the other database or was not asked for: deselected and counted so, never skipped."""
    vendor = "sqlite" if django_settings.DATABASES["default"]["ENGINE"].endswith("sqlite3") else "postgres"
    other = {"sqlite": "postgres", "postgres": "sqlite"}[vendor]
    unwanted = [other, *(marker for marker in ON_REQUEST if marker not in config.option.markexpr)]
    left_out = [item for item in items if any(item.get_closest_marker(marker) for marker in unwanted)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the real worker, another process, had to say."""
    report = yield
    log = Path(os.environ["VAR_DIR"]) / "worker.log"
    if report.failed and "worker" in getattr(item, "fixturenames", ()) and log.exists():
        report.sections.append(("The worker's log, its end", log.read_text(errors="replace")[-20_000:]))
    return report


class Deadlock(Exception):
    """PostgreSQL ended a transaction of ours so that another one could go on."""


@contextmanager
def _naming_deadlocks() -> Iterator[None]:
    try:
        yield
    except (CommandError, OperationalError) as error:
        if "deadlock detected" in f"{error} {error.__cause__}":
            raise Deadlock from error
        raise


@pytest.fixture(scope="session", autouse=True)
def _flush_lifts_the_triggers() -> Iterator[None]:
    """Transactional tests empty every table afterwards; the log's tables refuse that unless asked well."""
    original = TransactionTestCase._fixture_teardown

    def empty(self: TransactionTestCase) -> None:
        with _naming_deadlocks(), _flushable():
            original(self)

    def teardown(self: TransactionTestCase) -> None:
        # A real worker may be at work on the tables that are emptied: PostgreSQL then ends one of the two, perhaps us.
        for _ in range(5):
            with suppress(Deadlock):
                empty(self)
                return
        empty(self)

    TransactionTestCase._fixture_teardown = teardown
    yield
    TransactionTestCase._fixture_teardown = original


def _flushable() -> Any:
    if find_spec("auditlog.testing") is None:
        return nullcontext()
    return import_module("auditlog.testing").flushable()


@pytest.fixture(scope="session")
def session_var_dir() -> Path:
    """The VAR_DIR the session's real processes run in."""
    return Path(os.environ["VAR_DIR"])


@pytest.fixture(autouse=True)
def var_dir(request: pytest.FixtureRequest, settings: Any, tmp_path: Path, session_var_dir: Path) -> Path:
    """An empty VAR_DIR for this test, in force in the settings.

    A test which asks for `worker` gets the session's instead: a real worker keeps its keys and files there.
    """
    if "worker" in request.fixturenames:
        return session_var_dir
    home = tmp_path / "var"
    home.mkdir(mode=0o700)
    (home / "sandbox").mkdir()
    settings.VAR_DIR = home
    settings.CONFIG_ROOTS = [home / "sandbox"]
    return home


@pytest.fixture
def now() -> Iterator[datetime]:
    """Noon of a fixed day (aware, UTC). This process's clock is set to it and ticks on from there."""
    with time_machine.travel(NOON, tick=True):
        yield NOON


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """This process's clock, stopped at the same noon; `clock.shift(seconds)` and `move_to(when)` move it."""
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@pytest.fixture
def users(db: None) -> People:
    """Ada, Bea, Cem, Dee, Eve, Cleo and the administrator: `users.bea` makes her when first mentioned."""
    return People()


@pytest.fixture(scope="session")
def valkey(session_var_dir: Path) -> Iterator[str]:
    """A real Valkey on a unix socket; gives the broker URL of it."""
    from tests.harness import valkey as server

    home = session_var_dir / "valkey"
    home.mkdir(exist_ok=True)
    with server.running(home, env=os.environ) as socket:
        yield f"redis+socket://{socket}"


@pytest.fixture(scope="session")
def postgres_socket() -> str:
    """The directory of the socket of a real PostgreSQL that is somebody else's, whatever Grace runs on."""
    from tests.harness import postgres

    return postgres.start().split("@/", 1)[1].removesuffix("/postgres")


@pytest.fixture
def broker(valkey: str) -> Iterator[str]:
    """Celery in this process publishes to the real Valkey for the length of one test."""
    import redis
    from django.conf import settings

    from grace_site.celery import app

    redis.Redis(unix_socket_path=valkey.removeprefix("redis+socket://")).flushall()
    _point_celery_at(app, valkey)
    yield valkey
    _point_celery_at(app, settings.CELERY_BROKER_URL)


def _point_celery_at(app: Any, url: str) -> None:
    from auditlog import publishing

    # A nudge of the test before which is still to come would publish into what is taken away here, fail, and
    # silence this process for the seconds in which the next test expects to be heard.
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(5)
    publishing._paused_until = 0.0
    # The pools are kombu's own and shared by address: a closed one would be handed out again.
    pools.reset()
    app._pool = None
    app.amqp._producer_pool = None
    app.conf.broker_url = url
    app.conf.broker_read_url = app.conf.broker_write_url = url


@pytest.fixture(scope="session")
def database_url(django_db_setup: None) -> str:
    """The session's test database as a DATABASE_URL another process can be given."""
    from django.db import connection

    options = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{options['NAME']}"
    login = f"{options['USER']}:{options['PASSWORD']}@" if options["PASSWORD"] else f"{options['USER']}@"
    if options["HOST"].startswith("/"):
        return f"postgres://{login}/{options['HOST']}/{options['NAME']}"
    return f"postgres://{login}{options['HOST']}:{options['PORT'] or 5432}/{options['NAME']}"


@pytest.fixture(scope="session")
def worker_environment(database_url: str, valkey: str, session_var_dir: Path) -> dict[str, str]:
    """The environment of a real process that works on the session's database, broker and VAR_DIR."""
    ours = {
        "DJANGO_SETTINGS_MODULE": "grace_site.settings",
        "DATABASE_URL": database_url,
        "CELERY_BROKER_URL": valkey,
        "REDIS_URL": valkey.replace("redis+socket://", "unix://"),
        "VAR_DIR": str(session_var_dir),
        "TARGETS_FILE": str(session_var_dir / "targets.toml"),
    }
    return {**os.environ, **ours}


@pytest.fixture
def workforce(worker_environment: dict[str, str], var_dir: Path, settings: Any) -> Iterator[Any]:
    """A `tests.harness.workforce.Workforce`; Celery in this process publishes to its broker."""
    import redis

    from grace_site.celery import app
    from tests.harness import valkey
    from tests.harness.workforce import Workforce

    # A unix socket's name is short; tmp_path is not.
    home = Path(tempfile.mkdtemp(prefix="grace-work-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        socket = stack.enter_context(valkey.running(home, env=os.environ))
        url = f"redis+socket://{socket}"
        ours = {"CELERY_BROKER_URL": url, "REDIS_URL": f"unix://{socket}", "VAR_DIR": str(var_dir)}
        _point_celery_at(app, url)
        stack.callback(_point_celery_at, app, settings.CELERY_BROKER_URL)
        broker = stack.enter_context(redis.Redis(unix_socket_path=socket))
        yield Workforce(stack, {**worker_environment, **ours}, settings, home, broker)


@pytest.fixture(scope="session")
def _session_worker(worker_environment: dict[str, str], session_var_dir: Path) -> Iterator[None]:
    log = session_var_dir / "worker.log"
    with processes.process(processes.worker_argv(), env=worker_environment, log=log) as running:

        def ready() -> bool:
            assert running.poll() is None, log.read_text()
            return " ready." in log.read_text()

        processes.wait_until(ready, seconds=30, what="the worker is ready")
        yield


@pytest.fixture
def worker(transactional_db: None, broker: str, _session_worker: None) -> None:
    """A real Celery worker process on the session's database; the test itself must be transactional."""
