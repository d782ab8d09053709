"""The environment the tests run in. Imported before Django's settings are read; it is idempotent.

`DATABASE_URL` is respected when it is set. `GRACE_TEST_DATABASE=postgres` starts a private PostgreSQL from
a wheel instead. Otherwise the tests run on SQLite, on a file, because real workers must see it too.
"""

import os
import tempfile
from pathlib import Path

from tests.harness import guard

OWNER = "GRACE_TEST_SESSION_PID"
"""Set by the process that made the session's directory; xdist's workers inherit the environment and leave
the directory and the server alone."""


def prepare() -> Path:
    """Set every variable the settings read, and return the session's VAR_DIR (an absolute path)."""
    if OWNER in os.environ:
        return _own_var_dir()
    # A short path: a unix socket's name may not be longer than about a hundred characters.
    session = Path(tempfile.mkdtemp(prefix="grace-test-"))
    os.environ[OWNER] = str(os.getpid())
    guard.watch(session)
    os.environ.update(
        GRACE_TEST_SESSION_DIR=str(session),
        GRACE_ENV="development",
        GRACE_ENV_FILE="",
        SECRET_KEY="only-for-tests-" + "0123456789abcdef" * 3,
        CELERY_BROKER_URL="memory://",
    )
    for name in ("REDIS_URL", "HOST", "PORT", "CONFIG_ROOTS", "COMMANDS_FILE", "TARGETS_FILE", "HTTP_ALLOWED_URLS"):
        os.environ.pop(name, None)
    if os.environ.get("GRACE_TEST_DATABASE") == "postgres":
        from tests.harness import postgres

        os.environ["DATABASE_URL"] = postgres.start()
    return _own_var_dir()


def postgres_url() -> str:
    """The URL of a database of the PostgreSQL the tests run on; empty when they run on SQLite."""
    url = os.environ.get("DATABASE_URL", "")
    return url if url.startswith("postgres") else ""


def _own_var_dir() -> Path:
    """A VAR_DIR for each process that runs tests, so that two of them never share a database file."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    var_dir = Path(os.environ["GRACE_TEST_SESSION_DIR"]) / worker
    var_dir.mkdir(mode=0o700, exist_ok=True)
    os.environ["VAR_DIR"] = str(var_dir)
    return var_dir
