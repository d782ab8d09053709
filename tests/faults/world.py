"""The world a fault campaign acts on. Each kind of act can count its own effects, so that "not twice" is seen there."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

JsonDict = dict[str, Any]

SCRIPT = """
import json, pathlib, random, sys, time

what, ledger, name = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
longest = float((ledger.parent / "longest").read_text())
lines = ledger.read_text().split() if ledger.exists() else []
if what == "probe":
    print(json.dumps({"done": lines.count(name)}))
elif what == "append":
    time.sleep(random.uniform(longest / 2, longest))
    with ledger.open("a") as file:
        file.write(name + "\\n")
    time.sleep(random.uniform(longest / 2, longest))
elif what == "undo":
    kept = [line for line in lines if line != name]
    ledger.write_text("".join(line + "\\n" for line in kept))
"""


class Act(Protocol):
    """One kind of action: what is proposed under a name of its own, and how often that had its effect."""

    def proposal(self, name: str) -> JsonDict:
        """The body of a proposal."""
        ...

    def effects(self, name: str) -> int:
        """How often the world shows the effect of what was proposed under this name."""
        ...

    def forget(self, name: str) -> None:
        """Make the world look as if that had never had an effect, so that another one shows."""
        ...


class Lines:
    """`command.run`: appends a line to a ledger; not idempotent, and it lingers before and after."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.linger(0.3)
        self.ledgers = [home / f"ledger-{number}.txt" for number in range(3)]
        script = home / "act.py"
        script.write_text(SCRIPT)
        self.commands_file = home / "commands.toml"
        self.commands_file.write_text("\n".join(self._command(script, ledger) for ledger in self.ledgers))

    def linger(self, seconds: float) -> None:
        """How long an action stays, at most, before its effect and after it."""
        (self.home / "longest").write_text(str(seconds))

    def _command(self, script: Path, ledger: Path) -> str:
        def argv(what: str) -> str:
            return json.dumps([sys.executable, "-I", "-S", str(script), what, str(ledger), "{name}"])

        return f"""
[commands.{ledger.stem}]
argv = {argv("append")}
probe = {argv("probe")}
undo = {argv("undo")}
target = "{ledger.stem}:all"
reversibility = "reversible"
timeout_seconds = 5

[commands.{ledger.stem}.arguments]
name = {{ type = "string", pattern = "^[a-z0-9-]+$" }}
"""

    def _ledger(self, name: str) -> Path:
        return self.ledgers[hash_of(name) % len(self.ledgers)]

    def proposal(self, name: str) -> JsonDict:
        ledger = self._ledger(name)
        return {
            "action_type": "command.run",
            "target": f"{ledger.stem}:all",
            "parameters": {"command": ledger.stem, "arguments": {"name": name}},
            "expected_effect": {"target_state": {"done": 1}},
        }

    def effects(self, name: str) -> int:
        ledger = self._ledger(name)
        return ledger.read_text().split().count(name) if ledger.exists() else 0

    def forget(self, name: str) -> None:
        if (ledger := self._ledger(name)).exists():
            kept = [line for line in ledger.read_text().split() if line != name]
            ledger.write_text("".join(f"{line}\n" for line in kept))


class Keys:
    """`config.update`: sets a key in one of a few files that it shares with others."""

    def __init__(self, sandbox: Path) -> None:
        self.files = [sandbox / f"campaign-{number}.json" for number in range(4)]
        for file in self.files:
            file.write_text("{}\n")

    def _file(self, name: str) -> Path:
        return self.files[hash_of(name) % len(self.files)]

    def proposal(self, name: str) -> JsonDict:
        file = self._file(name).name
        return {
            "action_type": "config.update",
            "target": f"file:{file}",
            "parameters": {"path": file, "merge": {_key(name): 1}},
            "expected_effect": {
                "success_criteria": [
                    {"type": "state_match", "path": f"content.{_key(name)}", "equals": 1, "required": True}
                ]
            },
        }

    def effects(self, name: str) -> int:
        return int(json.loads(self._file(name).read_text()).get(_key(name), 0))

    def forget(self, name: str) -> None:
        kept = json.loads(self._file(name).read_text())
        kept.pop(_key(name), None)
        self._file(name).write_text(json.dumps(kept))


class Counts:
    """`http.request`: a POST that counts, to a server which is slow before and after it has counted."""

    def __init__(self, url: str, counted: Counter[str]) -> None:
        self.url, self.counted = url, counted

    def proposal(self, name: str) -> JsonDict:
        url = f"{self.url}/counts/{name}"
        return {
            "action_type": "http.request",
            "target": url,
            "parameters": {
                "method": "POST",
                "url": url,
                "observe": {"url": url},
                "compensate": {"method": "DELETE", "url": url},
            },
            "expected_effect": {
                "success_criteria": [{"type": "state_match", "path": "json.count", "equals": 1, "required": True}]
            },
        }

    def effects(self, name: str) -> int:
        return self.counted[name]

    def forget(self, name: str) -> None:
        self.counted.pop(name, None)


class Handed(Counts):
    """`remote`: the same count, made by an external agent which holds a permit."""

    targets: JsonDict = {
        "remotes": {
            "count": {"agents": ["sandbox-agent"], "claim_seconds": 60, "heartbeat_seconds": 5, "timeout_seconds": 12}
        }
    }

    def proposal(self, name: str) -> JsonDict:
        url = f"{self.url}/counts/{name}"
        return {
            "action_type": "remote",
            "target": "remote:count",
            "parameters": {
                "remote": "count",
                "arguments": {"url": url},
                "observe": {"url": url},
                "compensate": {"method": "DELETE", "url": url},
            },
            "expected_effect": {
                "success_criteria": [{"type": "state_match", "path": "json.count", "equals": 1, "required": True}]
            },
        }


@contextmanager
def counting_server() -> Iterator[Counts]:
    """A server in this process that the campaign leaves alone, on loopback."""
    counted: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            time.sleep(random.uniform(0, 0.3))
            counted[self._name] += 1
            time.sleep(random.uniform(0, 0.3))
            self._answer()

        def do_DELETE(self) -> None:
            counted.pop(self._name, None)
            self._answer()

        @property
        def _name(self) -> str:
            return self.path.rsplit("/", 1)[-1]

        def _answer(self) -> None:
            body = json.dumps({"count": counted[self._name]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that was killed hangs up; that is what the campaign is for."""

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Counts(f"http://127.0.0.1:{server.server_address[1]}", counted)
    finally:
        server.shutdown()
        server.server_close()


def hash_of(name: str) -> int:
    """A number for a name, the same in every process."""
    return sum(name.encode())


def _key(name: str) -> str:
    return "k_" + name.replace("-", "_")
