"""`manage.py up`, the real thing: it starts everything, revives what dies, and leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from grace_site.supervision import running, state
from grace_site.supervision.children import Child, Spec
from tests.harness.processes import ROOT, wait_until

# They start several processes each, and share the machine badly. They are about processes, not about the database: on
# PostgreSQL `up` runs in the tests of restarts, of the demo, of documents and of bootstrap.
pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.sqlite]

READY_SECONDS = 60
GONE_SECONDS = 10
PARTS = {"broker", "web", "worker-default", "worker-executions", "worker-log", "beat"}


class Up:
    """A running `manage.py up` on a VAR_DIR of its own."""

    def __init__(self, var_dir: Path, **env: str) -> None:
        self.var_dir = var_dir
        self.port = free_port()
        self.output = var_dir.with_suffix(".out")
        ours = {
            "VAR_DIR": str(var_dir),
            "PORT": str(self.port),
            "GRACE_ENV_FILE": "",
            "PYTHONWARNINGS": "default",
        }
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=ROOT,
                env=inherited | ours | env,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.descendants: dict[int, psutil.Process] = {}

    def get(self, path: str) -> tuple[int, Any]:
        """Status and body of an answer, or 0 and "" when there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.said()
        return self.get("/readyz")[0] == 200

    def said(self) -> str:
        """What it printed so far."""
        return self.output.read_text(errors="replace")

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The structured lines it printed so far that tell of an event."""
        told = [json.loads(line) for line in self.said().splitlines() if is_object(line)]
        return [line for line in told if line["event"] == event]

    def has(self, program: str) -> bool:
        """Whether this program runs among its descendants."""
        self.remember()
        return any(line.startswith(program) for line in self.left())

    def propose(self, body: dict[str, Any], *, key: str, request_id: str) -> str:
        """Propose a contract as an agent; its id."""
        headers = {"Authorization": f"Bearer {key}", "X-Request-ID": request_id}
        with self._opened("/api/verification/contracts", body, urllib.request.build_opener(), headers) as answer:
            return str(json.load(answer)["data"]["id"])

    def listen(self, users: list[dict[str, Any]]) -> Any:
        """An event stream that a reviewer follows, open."""
        [bea] = [user for user in users if user["username"] == "bea"]
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        login = {"username": "bea", "password": bea["password"]}
        self._opened("/api/governance/session", login, browser, {}).close()
        stream = browser.open(f"http://127.0.0.1:{self.port}/api/governance/stream", timeout=20)
        assert stream.readline()
        return stream

    def _opened(self, path: str, body: Any, opener: urllib.request.OpenerDirector, headers: dict[str, str]) -> Any:
        headers = {"Content-Type": "application/json", **headers}
        address = f"http://127.0.0.1:{self.port}{path}"
        return opener.open(urllib.request.Request(address, json.dumps(body).encode(), headers), timeout=20)

    def pid(self, part: str) -> int:
        """The process id of a part, 0 while it has none."""
        found = state.recorded(self.var_dir, part)
        return found.pid if found else 0

    def remember(self) -> None:
        """Note every process that descends from it now."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                self.descendants[child.pid] = child

    def left(self) -> list[str]:
        """Descendants that are still there."""
        alive = []
        for child in self.descendants.values():
            with suppress(psutil.NoSuchProcess):
                if child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
                    alive.append(" ".join(child.cmdline()))
        return alive

    def end(self) -> None:
        """Whatever happened in the test: nothing stays."""
        self.remember()
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
        self.process.kill()
        self.process.wait()
        for child in self.descendants.values():
            with suppress(psutil.NoSuchProcess):
                child.kill()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One installation, started once for this module and ready."""
    started = Up(tmp_path_factory.mktemp("up") / "var")
    try:
        began = time.monotonic()
        wait_until(started.is_ready, seconds=READY_SECONDS, what=f"ready; it said:\n{started.said()}")
        assert time.monotonic() - began < READY_SECONDS
        wait_until(lambda: "Grace is running" in started.said(), seconds=5, what="the screen")
        started.remember()
        yield started
    finally:
        started.end()


def test_it_says_where_to_go_and_how_to_log_in(up: Up) -> None:
    assert f"http://127.0.0.1:{up.port}/" in up.said()
    assert "Log in as" in up.said()
    assert "Agent key" in up.said()


def test_secrets_are_kept_nowhere_in_the_clear(up: Up) -> None:
    key = next(word for word in up.said().split() if word.startswith("grace_"))
    holders = [path for path in up.var_dir.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]
    assert holders == []


def test_its_state_can_be_found(up: Up) -> None:
    found = running(up.var_dir)
    assert found is not None
    assert found.pid == up.process.pid
    assert set(found.parts) == PARTS


def test_what_it_writes_is_for_its_owner_only(up: Up) -> None:
    assert up.var_dir.stat().st_mode & 0o077 == 0
    for path in [
        *up.var_dir.glob("run/*.json"),
        *up.var_dir.glob("keys/*"),
        up.var_dir / "valkey/valkey.conf",
    ]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_private_broker_wants_a_password(up: Up) -> None:
    import redis

    url = state.broker_url(up.var_dir)
    with redis.Redis.from_url(url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        port = client.connection_pool.connection_kwargs["port"]
    with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_metrics_are_counted_over_all_processes(up: Up) -> None:
    status, page = up.get("/metrics")
    assert status == 200
    assert "grace_audit_entries_total" in page


def test_a_second_one_refuses_to_start(up: Up) -> None:
    second = Up(up.var_dir)
    try:
        assert second.process.wait(30) != 0
        assert "already running" in second.said()
        assert str(up.process.pid) in second.said()
    finally:
        second.process.kill()
    assert up.is_ready()


def test_a_taken_port_is_named(up: Up, tmp_path: Path) -> None:
    other = Up(tmp_path / "other", PORT=str(up.port))
    try:
        assert other.process.wait(30) != 0
        assert f"port {up.port}" in other.said()
        assert f"PORT={up.port + 1}" in other.said()
    finally:
        other.process.kill()


@pytest.mark.parametrize("part", ["web", "worker-executions", "worker-log", "beat", "broker"])
def test_what_is_killed_comes_back(up: Up, part: str) -> None:
    up.remember()
    before = up.pid(part)
    assert before
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: up.pid(part) not in (0, before), seconds=20, what=f"{part} is started again")
    wait_until(up.is_ready, seconds=40, what=f"ready again after {part} was killed")
    up.remember()


def test_a_worker_that_is_killed_leaves_no_pool_behind(up: Up) -> None:
    main = psutil.Process(up.pid("worker-default"))
    pool = main.children(recursive=True)
    assert pool
    main.kill()
    wait_until(lambda: not any(_lives(one) for one in pool), seconds=5, what="its pool is gone")
    wait_until(up.is_ready, seconds=40, what="ready again")
    up.remember()


def test_interrupting_it_ends_everything(up: Up) -> None:
    """The last test of this installation."""
    up.remember()
    began = time.monotonic()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(GONE_SECONDS) == 0, up.said()
    assert time.monotonic() - began < GONE_SECONDS
    assert up.left() == []
    assert "Stopped." in up.said()
    assert running(up.var_dir) is None
    assert list(up.var_dir.glob("run/*.json")) == []


COMMANDS = """
[commands.linger]
argv = ["/bin/sleep", "60"]
reversibility = "read_only"
idempotent = true
target = "linger:here"
timeout_seconds = 120
"""
LINGER = {
    "action_type": "command.run",
    "target": "linger:here",
    "parameters": {"command": "linger", "arguments": {}},
    "expected_effect": {"success_criteria": [{"type": "state_match", "path": "exit_code", "equals": 0}]},
}
CALM_LINES = 15


def test_interrupting_it_in_the_middle_of_a_command(tmp_path: Path) -> None:
    """With somebody at the event stream too. Whatever is written is JSON, and tells the command's story by its id."""
    (tmp_path / "commands.toml").write_text(COMMANDS)
    up = Up(tmp_path / "var", STRUCTURED_LOGGING="true", COMMANDS_FILE=str(tmp_path / "commands.toml"))
    try:
        wait_until(lambda: up.is_ready() and up.lines("Grace is running"), seconds=3 * READY_SECONDS, what="ready")
        [running_line] = up.lines("Grace is running")
        stream = up.listen(running_line["users"])
        contract = up.propose(LINGER, key=running_line["agent"]["key"], request_id="crit-corr-1")
        wait_until(lambda: up.has("/bin/sleep"), seconds=20, what="the command is under way")
        up.remember()
        began = time.monotonic()
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(GONE_SECONDS) == 0, up.said()
        assert time.monotonic() - began < GONE_SECONDS
        assert up.left() == []
        stream.close()
    finally:
        up.end()
    after = up.said().partition('"Stopping ..."')[2].splitlines()[1:]
    assert len(after) < CALM_LINES, after
    assert any("Not waiting any longer for worker-executions" in line for line in after), after
    assert "Traceback" not in up.said()
    for path in [up.output, *(up.var_dir / "logs").glob("*.log")]:
        assert [line for line in path.read_text().splitlines() if not is_object(line)] == [], path
    worker = [json.loads(line) for line in (up.var_dir / "logs/worker-executions.log").read_text().splitlines()]
    [begun] = [line for line in worker if line["event"] == "contract.executing"]
    assert (begun["correlation_id"], begun["contract_id"]) == ("crit-corr-1", contract)
    assert (begun["action_type"], begun["tier"]) == ("command.run", "tier_1")
    assert (begun["status"], begun["actor"]) == ("executing", "system")


def test_killing_it_leaves_nothing_behind(tmp_path: Path) -> None:
    """SIGKILL cannot be caught: the kernel ends the parts. What was written survives a second start."""
    first = Up(tmp_path / "var")
    try:
        wait_until(first.is_ready, seconds=READY_SECONDS, what="ready")
        first.remember()
        first.process.kill()
        first.process.wait()
        wait_until(lambda: not first.left(), seconds=5, what=f"nothing is left, but {first.left()}")
    finally:
        first.end()
    second = Up(tmp_path / "var")
    try:
        wait_until(second.is_ready, seconds=READY_SECONDS, what="ready again")
        second.remember()
        second.process.send_signal(signal.SIGTERM)
        assert second.process.wait(GONE_SECONDS) == 0
        assert second.left() == []
    finally:
        second.end()


def test_the_pause_before_a_restart_grows(tmp_path: Path) -> None:
    child = Child(Spec("crasher", (sys.executable, "-c", "print('dying')"), {}), tmp_path)
    pauses = []
    for _ in range(4):
        child.start()
        assert child.process is not None
        child.process.wait(20)
        assert list(child.lines()) == ["dying"]
        pauses.append(child.died())
    assert pauses == sorted(pauses)
    assert len(set(pauses)) == 4
    child.close()
    assert child.last_lines() == "dying\n" * 3 + "dying"


def is_object(line: str) -> bool:
    """Whether a line is one JSON object that says what it tells of."""
    try:
        found = json.loads(line)
    except ValueError:
        return False
    return isinstance(found, dict) and "event" in found


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
