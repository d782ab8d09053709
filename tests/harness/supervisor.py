"""A real supervisord with a few programs: well, slow to stop, never up."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import xmlrpc.client
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from tests.harness import processes
from tests.harness.installation import free_port
from tests.harness.processes import wait_until

WEB = """
import http.server, pathlib, sys
sick = pathlib.Path(sys.argv[2])
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if sick.exists() else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""
SLOW = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    time.sleep(60)
"""
CONFIG = """
[supervisord]
nodaemon = true
logfile = {home}/supervisord.log
pidfile = {home}/supervisord.pid
childlogdir = {home}
user = {user}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[unix_http_server]
file = {home}/s.sock

[inet_http_server]
port = 127.0.0.1:{port}
username = grace
password = {password}

[program:web]
command = {python} -I -S {home}/web.py {web_port} {home}/sick
startsecs = 1

[program:slow]
command = {python} -I -S {home}/slow.py
startsecs = 0
stopwaitsecs = 3

[program:broken]
command = {python} -I -S -c "raise SystemExit(3)"
autostart = false
startsecs = 1
startretries = 0
"""
PASSWORD = "a password for supervisord"


class Supervisord:
    """The running server, and the tests' own way to ask it: not Grace's."""

    def __init__(self, home: Path) -> None:
        self.home, self.port, self.web_port = home, free_port(), free_port()
        self.socket = home / "s.sock"
        for name, text in (("web", WEB), ("slow", SLOW)):
            (home / f"{name}.py").write_text(text)
        self.config = home / "supervisord.conf"
        self.config.write_text(
            CONFIG.format(
                home=home,
                port=self.port,
                web_port=self.web_port,
                python=sys.executable,
                password=PASSWORD,
                user=_name(),
            )
        )

    def ask(self, method: str, *arguments: Any) -> Any:
        """One call, through supervisord's own client."""
        with closing(SupervisorTransport(None, None, f"unix://{self.socket}")) as transport:
            proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
            return getattr(proxy.supervisor, method)(*arguments)

    def process(self, program: str) -> dict[str, Any]:
        """What it says of a program."""
        about: dict[str, Any] = self.ask("getProcessInfo", program)
        return about

    def state(self, program: str) -> str:
        """The name of a program's state."""
        return str(self.process(program)["statename"])

    def bring(self, program: str, state: str) -> None:
        """Start or stop a program, and wait until it is so."""
        if self.state(program) != state:
            self.ask("startProcess" if state == "RUNNING" else "stopProcess", program)
        wait_until(lambda: self.state(program) == state, seconds=15, what=f"{program} is {state}")

    def sicken(self, sick: bool = True) -> None:
        """Let the health of `web` fail, also after a restart."""
        (self.home / "sick").touch() if sick else (self.home / "sick").unlink(missing_ok=True)

    def services(self) -> dict[str, dict[str, Any]]:
        """These programs as TARGETS_FILE lists them."""
        here = {"supervisor": f"unix://{self.socket}"}
        over_tcp = {"supervisor": f"http://127.0.0.1:{self.port}", "username": "grace"}
        health = {"health_url": f"http://127.0.0.1:{self.web_port}/health", "timeout_seconds": 8}
        return {
            "web": {**here, "program": "web", **health},
            "web-over-tcp": {**over_tcp, "program": "web", "password": PASSWORD, **health},
            "web-locked-out": {**over_tcp, "program": "web", "password": "wrong"},
            "slow": {**here, "program": "slow", "timeout_seconds": 20},
            "broken": {**here, "program": "broken", "timeout_seconds": 5},
            "missing": {**here, "program": "nobody:nothing"},
        }


@contextmanager
def running() -> Iterator[Supervisord]:
    """The server with its programs up, for as long as the block lasts."""
    home = Path(tempfile.mkdtemp(prefix="grace-sup-"))
    made = Supervisord(home)
    argv = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(made.config)]
    try:
        with processes.process(argv, env={"PATH": "/usr/bin:/bin"}, log=home / "out.log") as server:
            wait_until(lambda: _up(made, server), seconds=20, what="supervisord runs its programs")
            yield made
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _up(made: Supervisord, server: subprocess.Popen[bytes]) -> bool:
    assert server.poll() is None, (made.home / "out.log").read_text()
    return made.socket.exists() and {made.state("web"), made.state("slow")} == {"RUNNING"}


def _name() -> str:
    import getpass

    return getpass.getuser()
