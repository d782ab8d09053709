"""What every executor refuses: at the door, before anything is touched; and later, when what was fine turns bad."""

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from governance.models import ApprovalRequest
from tests.harness import targets, web_server
from tests.harness.clients import Api
from tests.harness.governed import Governed
from tests.harness.people import People
from tests.harness.processes import wait_until
from tests.harness.story import CONTRACTS
from tests.harness.web_server import WebServer
from tests.test_outgoing import resolver
from verification import executors, outgoing
from verification.executors.base import Call, Run
from verification.models import Contract, Execution

EFFECT = {"target_state": {"x": 1}}


class Trap:
    """Listens, and remembers that somebody came."""

    def __init__(self) -> None:
        self.came = 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                self.came += 1
                client.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    made = Trap()
    thread = threading.Thread(target=made.serve, daemon=True)
    thread.start()
    yield made
    made.listening.shutdown(socket.SHUT_RDWR)
    made.listening.close()
    thread.join(5)


@pytest.fixture
def world(var_dir: Path, users: People, settings: Any, trap: Trap) -> Governed:
    """Everything that may be touched leads into the trap, or into an empty directory."""
    here = f"127.0.0.1:{trap.port}"
    settings.HTTP_ALLOWED_URLS = [f"http://{here}/api/"]
    settings.COMMANDS_FILE = var_dir / "commands.toml"
    settings.COMMANDS_FILE.write_text(
        '[commands.list]\nargv = ["/bin/ls", "{name}"]\narguments = { name = "string" }\n'
    )
    settings.TARGETS_FILE = targets.write(
        var_dir / "targets.toml",
        services={"web": {"supervisor": f"http://{here}", "program": "web"}},
        caches={"pages": {"url": f"redis://{here}/0", "prefixes": ["page:"]}},
        databases={"shop": {"url": f"postgresql://x@{here}/shop"}},
    )
    return Governed(var_dir / "sandbox", users)


def http(url: str, **more: Any) -> tuple[str, str, dict[str, Any]]:
    return "http.request", url, {"method": "POST", "url": url, **more}


OK = "http://127.0.0.1:{port}/api/x"
BAD = [
    ("config.update", "file:../app.json", {"path": "../app.json", "merge": {}}, "/parameters/path"),
    ("config.update", "file:/etc/passwd", {"path": "/etc/passwd", "content": ""}, "/parameters/path"),
    ("config.update", "file:a/../../b", {"path": "a/../../b", "content": ""}, "/parameters/path"),
    ("config.update", "file:link", {"path": "link", "content": ""}, "/parameters/path"),
    ("config.update", "file:folder/x", {"path": "folder/x", "content": ""}, "/parameters/path"),
    ("config.update", "file:other", {"path": "app.json", "merge": {}}, "/target"),
    ("command.run", "command:sh", {"command": "sh"}, "/parameters/command"),
    ("command.run", "command:../../bin/sh", {"command": "../../bin/sh"}, "/parameters/command"),
    ("command.run", "command:list", {"command": "list", "arguments": {"name": "-rf"}}, "/parameters/arguments/name"),
    (
        "command.run",
        "command:list",
        {"command": "list", "arguments": {"name": ["/", "/etc"]}},
        "/parameters/arguments/name",
    ),
    (*http("http://169.254.169.254/latest/meta-data"), "/parameters/url"),
    (*http("http://127.0.0.1:{port}/api/../secret"), "/parameters/url"),
    (*http("http://127.0.0.1:{port}/api/%2e%2e/secret"), "/parameters/url"),
    (*http("http://user:pass@127.0.0.1:{port}/api/x"), "/parameters/url"),
    (*http("file:///etc/passwd"), "/parameters/url"),
    (*http(OK, observe={"url": "http://10.0.0.1/"}), "/parameters/observe/url"),
    (*http(OK, compensate={"method": "PUT", "url": "http://[::1]/"}), "/parameters/compensate/url"),
    (*http(OK, headers={"Host": "elsewhere"}), "/parameters/headers/Host"),
    (*http(OK, headers={"X-A": "a\r\nX-B: b"}), "/parameters/headers/X-A"),
    ("service.restart", "service:init", {"service": "init"}, "/parameters/service"),
    ("service.restart", "service:web", {"service": "web", "program": "all"}, "/parameters/program"),
    ("service.restart", "service:init", {"service": "web"}, "/target"),
    ("cache.clear", "cache:pages", {"cache": "pages", "prefix": ""}, "/parameters/prefix"),
    ("cache.clear", "cache:pages", {"cache": "pages", "prefix": "*"}, "/parameters/prefix"),
    ("cache.clear", "cache:pages", {"cache": "pages", "prefix": "page:[a-z]"}, "/parameters/prefix"),
    ("cache.clear", "cache:pages", {"cache": "pages", "prefix": "session:"}, "/parameters/prefix"),
    ("cache.clear", "cache:others", {"cache": "others", "prefix": "page:"}, "/parameters/cache"),
    ("database.migrate", "database:postgres", {"database": "postgres", "script": "SELECT 1"}, "/parameters/database"),
    ("database.migrate", "database:shop", {"database": "shop", "script": " ;; "}, "/parameters/script"),
    ("database.migrate", "database:shop", {"database": "shop", "script": "x" * 200_001}, "/parameters/script"),
    ("database.migrate", "database:shop", {"database": "shop", "url": "sqlite:////etc/x"}, "/parameters/script"),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("action_type", "target", "parameters", "pointer"), BAD)
def test_it_is_refused_at_the_door_and_nothing_is_touched(
    world: Governed, trap: Trap, *, action_type: str, target: str, parameters: dict[str, Any], pointer: str
) -> None:
    outside = world.file.parent.parent / "outside"
    outside.mkdir()
    (world.file.parent / "link").symlink_to(outside / "x")
    (world.file.parent / "folder").symlink_to(outside)
    text = json.dumps(
        {"action_type": action_type, "target": target, "parameters": parameters, "expected_effect": EFFECT}
    )
    answer = Api(key=world.key).post(CONTRACTS, json.loads(text.replace("{port}", str(trap.port))))
    assert answer.status_code == 422, answer.content
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert not Contract.objects.exists()
    assert trap.came == 0
    assert list(outside.iterdir()) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("action_type", "target", "parameters"),
    [
        ("service.restart", "service:web", {"service": "web"}),
        ("cache.clear", "cache:pages", {"cache": "pages", "prefix": "page:"}),
        ("database.migrate", "database:shop", {"database": "shop", "script": "SELECT 1"}),
    ],
)
def test_a_system_that_hangs_up_is_not_proposed_to(
    world: Governed, trap: Trap, action_type: str, target: str, parameters: dict[str, Any]
) -> None:
    body = {"action_type": action_type, "target": target, "parameters": parameters, "expected_effect": EFFECT}
    answer = Api(key=world.key).post(CONTRACTS, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "target_not_observable")
    assert trap.came
    assert not Contract.objects.exists()


# --- what turns bad later ---


@pytest.mark.django_db(transaction=True)
def test_a_file_that_became_a_link_after_the_approval_is_not_written_through(world: Governed, tmp_path: Path) -> None:
    request = world.ask()
    outside = tmp_path / "outside.json"
    outside.write_text('{"port": 8000}')
    world.file.unlink()
    world.file.symlink_to(outside)
    world.decide(request, world.people.bea)
    world.settle()
    assert Contract.objects.get(pk=request.contract_id).state != "verified"
    assert outside.read_text() == '{"port": 8000}'
    assert not Execution.objects.exclude(started_at=None).exists()


SCRIPTS = {
    "floods": "import sys; sys.stdout.write('x' * 10_000_000)",
    "eats": "x = bytearray(2 * 2**30)",
    "never-ends": "import time; time.sleep(60)",
    "lingers": (
        "import os, sys, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "        time.sleep(60)\n"
        "    os._exit(0)\n"
        "while not (os.path.exists(sys.argv[1]) and os.path.getsize(sys.argv[1])):\n"
        "    time.sleep(0.01)\n"
        "sys.exit(3)\n"
    ),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_command_that_misbehaves_is_ended_and_its_contract_fails(
    world: Governed, settings: Any, tmp_path: Path, name: str
) -> None:
    pid = tmp_path / "pid"
    argv = json.dumps([sys.executable, "-I", "-S", "-c", SCRIPTS[name], str(pid)])
    probe = json.dumps([sys.executable, "-I", "-S", "-c", "print('{\"x\": 0}')"])
    limits = 'timeout_seconds = 3\nmemory_limit_mb = 256\nreversibility = "reversible"'
    settings.COMMANDS_FILE.write_text(f'[commands."{name}"]\nargv = {argv}\nprobe = {probe}\n{limits}\n')
    parameters = {"command": name}
    body = {
        "action_type": "command.run",
        "target": f"command:{name}",
        "parameters": parameters,
        "expected_effect": EFFECT,
    }
    contract = world.submit(body).contract
    assert contract is not None
    world.settle()
    contract.refresh_from_db()
    assert contract.state == "failed"
    result = contract.executions.get().result
    assert len(json.dumps(result)) < 20_000
    if name == "lingers":
        wait_until(lambda: not alive(int(pid.read_text())), seconds=5, what="what it left is gone")


def alive(pid: int) -> bool:
    """Whether the process runs; one that waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


# --- http.request: redirects and names ---


@pytest.fixture
def server(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """It sends everybody who asks for /away to an address nobody may call."""

    def away(self: Any, body: bytes) -> None:
        self._send(307, b"", Location=f"http://localhost:{self.server.server_port}/secret")

    monkeypatch.setattr(web_server._Answers, "_at_away", away, raising=False)
    with web_server.running() as running:
        settings.HTTP_ALLOWED_URLS = [f"{running.url}/away", f"{running.url}/document"]
        yield running


@pytest.mark.django_db(transaction=True)
def test_a_redirect_to_a_private_address_is_followed_nowhere(world: Governed, server: WebServer, settings: Any) -> None:
    settings.HTTP_ALLOWED_URLS = [f"{server.url}/away", f"{server.url}/document"]
    away, document = f"{server.url}/away", f"{server.url}/document"
    check = {"type": "health_check", "url": away, "required": True}
    body = {
        "action_type": "http.request",
        "target": document,
        "parameters": {
            "method": "PUT",
            "url": document,
            "json": {"enabled": True},
            "observe": {"url": document},
            "compensate": {"method": "PUT", "url": away, "json": {"enabled": False}},
        },
        "expected_effect": {"target_state": {"status": 200}, "success_criteria": [check]},
    }
    submitted = world.submit(body)
    assert submitted.approval is not None
    world.decide(ApprovalRequest.objects.get(pk=submitted.approval.pk), world.people.bea)
    world.settle()
    assert submitted.contract is not None
    # The criterion was answered with a redirect, and so was the compensation: it is held, and nobody was asked further.
    assert Contract.objects.get(pk=submitted.contract.pk).state == "held"
    assert {request["path"] for request in server.requests} == {"/document", "/away"}


def test_a_name_that_leads_elsewhere_after_the_check_is_not_called(
    settings: Any, monkeypatch: pytest.MonkeyPatch, trap: Trap
) -> None:
    settings.HTTP_ALLOWED_URLS = ["http://name.example/"]
    public, local = ["93.184.215.14"], ["127.0.0.1"]
    # The check asks for both of its URLs.
    resolver(monkeypatch, public, public, local, local, [*public, "10.0.0.1"])
    executor = executors.get("http.request")
    url = "http://name.example/"
    asked = Call("http.request", url, {"method": "POST", "url": url, "observe": {"url": url}})
    assert executor.check(asked) == []
    result = executor.execute(asked, Run())
    assert (result.ok, "not public" in str(result.error)) == (False, True)
    with pytest.raises(executors.ExecutorError, match="not public"):
        executor.observe(asked)
    with pytest.raises(outgoing.UrlNotAllowed):
        outgoing.request("GET", url)
    assert trap.came == 0
