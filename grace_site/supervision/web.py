"""The web process under `up`: uvicorn with Grace's own logging."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

import uvicorn

from grace_site.supervision import leash

if TYPE_CHECKING:
    from grace_site.asgi import Application


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "grace_site.settings")
    uvicorn.run(
        "grace_site.supervision.web:application",
        factory=True,
        host=arguments.host,
        port=arguments.port,
        workers=arguments.processes,
        # Event streams never end by themselves; nobody waits for them longer than this.
        timeout_graceful_shutdown=2,
        lifespan="off",
        log_config=None,
        access_log=False,
        # Whose address to believe is decided in one place, by TRUSTED_PROXIES.
        proxy_headers=False,
        server_header=False,
    )


def application() -> Application:
    """The application, in a process that does not outlive the one that started it."""
    leash.die_with_parent(os.getppid())
    from grace_site import asgi

    return asgi.application


if __name__ == "__main__":
    main()
