"""service.restart against a real supervisord."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from tests.harness import supervisor, targets, web_server
from tests.harness.people import People
from tests.harness.story import Story, told
from tests.harness.supervisor import Supervisord
from tests.harness.targets import Kept
from verification import executors
from verification.executors.base import Call, ExecutorError, Observation, Reversibility, Run, Status
from verification.json_schemas import Schema
from verification.models import Execution

pytestmark = pytest.mark.xdist_group("supervisord")


@pytest.fixture(scope="module")
def running() -> Iterator[Supervisord]:
    with supervisor.running() as made:
        yield made


@pytest.fixture
def daemon(running: Supervisord, settings: Any, var_dir: Path) -> Supervisord:
    running.sicken(False)
    running.bring("web", "RUNNING")
    running.bring("slow", "RUNNING")
    settings.TARGETS_FILE = targets.write(var_dir / "targets.toml", services=running.services())
    return running


@pytest.fixture
def executor() -> executors.Executor:
    return executors.get("service.restart")


def call(service: str, **more: Any) -> Call:
    return Call("service.restart", f"service:{service}", {"service": service}, **more)


def codes(executor: executors.Executor, asked: Call) -> list[tuple[str, str]]:
    return [(error.pointer, error.code) for error in executor.check(asked)]


# --- what is refused before anything is touched ---


def test_nothing_is_listed_by_default(executor: executors.Executor, settings: Any) -> None:
    settings.TARGETS_FILE = None
    assert codes(executor, call("web")) == [("/parameters/service", "service_not_allowed")]


def test_a_file_that_cannot_be_read_allows_nothing(executor: executors.Executor, settings: Any, var_dir: Path) -> None:
    for text in ("not toml", None):
        settings.TARGETS_FILE = var_dir / "targets.toml"
        settings.TARGETS_FILE.unlink(missing_ok=True)
        if text:
            settings.TARGETS_FILE.write_text(text)
        assert codes(executor, call("web")) == [("/parameters/service", "service_unusable")]


@pytest.mark.parametrize(
    ("name", "code"),
    [("nobody", "service_not_allowed"), ("../web", "no_match"), ("web*", "no_match"), ("", "no_match")],
)
def test_only_listed_services_may_be_restarted(
    executor: executors.Executor, daemon: Supervisord, name: str, code: str
) -> None:
    assert codes(executor, call(name)) == [("/parameters/service", code)]


@pytest.mark.parametrize(
    "members",
    [
        {"program": "all"},
        {"program": "shop:"},
        {"program": "shop:*"},
        {"supervisor": "file:///etc/passwd"},
        {"supervisor": "http://user:pass@127.0.0.1:9001"},
        {"health_url": "http://127.0.0.1:9000/#x"},
        {"surprise": True},
        {"timeout_seconds": 0},
    ],
)
def test_a_definition_that_is_wrong_allows_nothing(
    executor: executors.Executor, settings: Any, var_dir: Path, members: dict[str, Any]
) -> None:
    sound = {"supervisor": "unix:///run/s.sock", "program": "web"}
    settings.TARGETS_FILE = targets.write(var_dir / "targets.toml", services={"web": {**sound, **members}, "b": sound})
    assert codes(executor, call("web")) == [("/parameters/service", "service_unusable")]
    assert codes(executor, call("b")) == []


def test_the_target_is_not_the_proposers_to_choose(executor: executors.Executor, daemon: Supervisord) -> None:
    asked = Call("service.restart", "service:slow", {"service": "web"})
    assert codes(executor, asked) == [("/target", "target_mismatch")]


def test_a_program_supervisord_does_not_know_is_not_observed(executor: executors.Executor, daemon: Supervisord) -> None:
    with pytest.raises(ExecutorError, match="knows no program"):
        executor.observe(call("missing"))
    result = executor.execute(call("missing"), Run())
    assert (result.ok, result.retryable) == (False, True)


def test_a_wrong_password_opens_nothing(executor: executors.Executor, daemon: Supervisord) -> None:
    before = daemon.process("web")["pid"]
    with pytest.raises(ExecutorError, match="401"):
        executor.observe(call("web-locked-out"))
    assert not executor.execute(call("web-locked-out"), Run()).ok
    assert daemon.process("web")["pid"] == before


def test_a_service_redefined_since_it_was_authorized_is_not_restarted(
    executor: executors.Executor, daemon: Supervisord, settings: Any
) -> None:
    edition = executor.edition(call("web"))
    services = daemon.services()
    targets.write(settings.TARGETS_FILE, services={"web": {**services["web"], "program": "slow"}})
    before = daemon.process("slow")["pid"]
    result = executor.execute(call("web", edition=edition), Run())
    assert "redefined" in str(result.error)
    assert daemon.process("slow")["pid"] == before


def test_another_password_is_no_other_service(executor: executors.Executor, daemon: Supervisord, settings: Any) -> None:
    edition = executor.edition(call("web-over-tcp"))
    services = daemon.services()
    services["web-over-tcp"]["password"] = "another"
    targets.write(settings.TARGETS_FILE, services=services)
    assert executor.edition(call("web-over-tcp")) == edition


# --- observing ---


def test_it_observes_state_process_and_health(executor: executors.Executor, daemon: Supervisord) -> None:
    about = daemon.process("web")
    state = executor.observe(call("web")).state
    assert (state["state"], state["running"], state["pid"]) == ("RUNNING", True, about["pid"])
    assert state["health"] == {"ok": True, "status": 200}
    daemon.sicken()
    assert executor.observe(call("web")).state["health"] == {"ok": False, "status": 500}
    assert executor.observe(call("slow")).state["health"] is None


def test_a_restart_by_somebody_else_is_drift_and_health_is_not(
    executor: executors.Executor, daemon: Supervisord
) -> None:
    before = executor.fingerprint(executor.observe(call("web")))
    daemon.sicken()
    assert executor.fingerprint(executor.observe(call("web"))) == before
    daemon.sicken(False)
    daemon.bring("web", "STOPPED")
    daemon.bring("web", "RUNNING")
    assert executor.fingerprint(executor.observe(call("web"))) != before


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_000_000, b"HTTP/1.1 200 OK\r\n\r\n<?xml"])
def test_a_supervisord_that_never_answers_or_talks_nonsense_is_not_believed(
    executor: executors.Executor, settings: Any, var_dir: Path, said: bytes
) -> None:
    path = var_dir / "s.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        held: list[socket.socket] = []

        def answer() -> None:
            client, _ = listening.accept()
            held.append(client)
            if said:
                client.recv(65536)
                with suppress(OSError):
                    client.sendall(said)
                client.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        services = {"web": {"supervisor": f"unix://{path}", "program": "web"}}
        settings.TARGETS_FILE = targets.write(var_dir / "targets.toml", services=services)
        began = timezone.now()
        with pytest.raises(ExecutorError):
            executor.observe(call("web"))
        assert (timezone.now() - began).total_seconds() < 5
        thread.join(5)
        for client in held:
            client.close()


def test_an_answer_with_a_document_type_is_not_read(
    executor: executors.Executor, settings: Any, var_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">]><methodResponse/>'
    monkeypatch.setattr(web_server._Answers, "_at_RPC2", lambda self, body: self._send(200, bomb), raising=False)
    with web_server.running() as server:
        services = {"web": {"supervisor": server.url, "program": "web"}}
        settings.TARGETS_FILE = targets.write(var_dir / "targets.toml", services=services)
        with pytest.raises(ExecutorError, match="answered 200"):
            executor.observe(call("web"))


# --- doing ---


@pytest.mark.parametrize("service", ["web", "web-over-tcp"])
def test_it_restarts_and_waits_until_it_is_well(
    executor: executors.Executor, daemon: Supervisord, service: str
) -> None:
    before = executor.observe(call(service))
    result = executor.execute(call(service), Run())
    assert result.as_dict()["result"] == {"done": ["stopped", "started"]}
    after = executor.observe(call(service))
    assert after.state["health"]["ok"]
    assert after.state["pid"] != before.state["pid"]
    assert not executor.untouched(call(service), before, after)
    assert executor.is_back(call(service), before, after, None)


def test_what_does_not_stay_up_is_a_failure_that_says_so(executor: executors.Executor, daemon: Supervisord) -> None:
    result = executor.execute(call("broken"), Run())
    assert (result.ok, result.retryable) == (False, False)
    assert "did not stay up" in str(result.error)


def test_what_was_started_and_ended_was_not_left_alone(executor: executors.Executor, daemon: Supervisord) -> None:
    before = executor.observe(call("broken"))
    assert executor.untouched(call("broken"), before, executor.observe(call("broken")))
    # Another test may have started it, and supervisord counts in whole seconds.
    targets.wait_until(lambda: _seconds_ago(daemon, "broken") > 1, seconds=5, what="its next start is another")
    executor.execute(call("broken"), Run())
    after = executor.observe(call("broken"))
    assert (after.state["state"], after.state["pid"]) == ("FATAL", None)
    assert not executor.untouched(call("broken"), before, after)
    assert executor.fingerprint(before) == executor.fingerprint(after), "how a program fails is no drift"
    assert executor.is_back(call("broken"), before, after, None)


def _seconds_ago(daemon: Supervisord, program: str) -> int:
    about = daemon.process(program)
    return int(about["now"]) - int(about["start"])


def test_what_was_stopped_between_two_tries_to_start_was_not_left_alone(executor: executors.Executor) -> None:
    seen = {"pid": None, "since": "2026-01-01T00:00:00+00:00", "health": None, "running": False}
    crashing, stopped = ({**seen, "state": state} for state in ("BACKOFF", "STOPPED"))
    at = timezone.now()
    assert executor.untouched(call("web"), Observation(crashing, at), Observation({**crashing}, at))
    assert not executor.untouched(call("web"), Observation(crashing, at), Observation(stopped, at))


def test_what_never_gets_well_is_late(executor: executors.Executor, daemon: Supervisord) -> None:
    daemon.sicken()
    result = executor.execute(call("web"), Run(deadline_seconds=9))
    assert (result.status, result.retryable) == (Status.TIMEOUT, False)
    assert "healthy" in str(result.error)


def test_cancelled_it_does_nothing(executor: executors.Executor, daemon: Supervisord) -> None:
    before = daemon.process("web")["pid"]
    result = executor.execute(call("web"), Run(cancelled=lambda: True))
    assert (result.ok, result.retryable) == (False, True)
    assert daemon.process("web")["pid"] == before


def test_it_goes_back_to_running_and_to_stopped(executor: executors.Executor, daemon: Supervisord) -> None:
    for state in ("RUNNING", "STOPPED"):
        daemon.bring("web", state)
        kept, before = Kept(), executor.observe(call("web"))
        executor.snapshot(call("web"), kept)
        daemon.bring("web", "STOPPED" if state == "RUNNING" else "RUNNING")
        assert not executor.is_back(call("web"), before, executor.observe(call("web")), kept)
        for _ in range(2):  # twice ends where once does
            assert executor.restore(call("web"), kept, before, Run()).ok
        assert daemon.state("web") == state
        assert executor.is_back(call("web"), before, executor.observe(call("web")), kept)


def test_it_is_not_back_when_it_runs_and_is_not_well(executor: executors.Executor, daemon: Supervisord) -> None:
    before = executor.observe(call("web"))
    daemon.sicken()
    assert not executor.is_back(call("web"), before, executor.observe(call("web")), None)


def test_the_preview_says_what_and_how_it_is_now(executor: executors.Executor, daemon: Supervisord) -> None:
    shown = executor.preview(call("web"), executor.observe(call("web")))
    assert shown.body.startswith("supervisorctl restart web\n\nnow: RUNNING (process ")
    assert "health: 200" in shown.body


def test_its_example_is_of_its_schema(executor: executors.Executor) -> None:
    assert Schema(executor.schema).errors(executor.example["parameters"]) == []
    assert executor.reversibility(call("web")) == Reversibility.REVERSIBLE


def test_it_says_nothing_of_a_password(executor: executors.Executor, daemon: Supervisord) -> None:
    entry = executor.entry(call("web-over-tcp"))  # type: ignore[attr-defined]  # of executors for listed targets
    assert supervisor.PASSWORD not in repr(entry)
    assert isinstance(executor.observe(call("web-over-tcp")), Observation)


# --- a whole life ---

WELL = [{"type": "expression", "expression": "observed.pid != baseline.pid", "required": True}]


def body(service: str, **state: Any) -> dict[str, Any]:
    return {
        "action_type": "service.restart",
        "target": f"service:{service}",
        "parameters": {"service": service},
        "expected_effect": {"target_state": {"state": "RUNNING", **state}, "success_criteria": WELL},
    }


@pytest.mark.django_db(transaction=True)
def test_it_runs_by_itself_and_is_verified(worker: None, var_dir: Path, users: People, daemon: Supervisord) -> None:
    story = Story(var_dir, users)
    before = daemon.process("web")["pid"]
    asked = story.propose(body("web", health={"ok": True, "status": 200}))
    assert (asked["tier"], asked["state"]) == ("tier_1", "authorized")
    assert story.wait(asked)["state"] == "verified"
    assert daemon.process("web")["pid"] != before


@pytest.mark.django_db(transaction=True)
def test_a_violation_is_rolled_back_to_the_state_before(
    worker: None, var_dir: Path, users: People, daemon: Supervisord
) -> None:
    story = Story(var_dir, users)
    daemon.bring("web", "STOPPED")
    asked = story.propose(body("web", health={"ok": True, "status": 204}))
    contract = story.wait(asked)
    assert contract["state"] == "rolled_back"
    assert daemon.state("web") == "STOPPED"
    assert "snapshot.restored" in [each.fact for each in told(asked["id"])]


@pytest.fixture
def killable(worker_environment: dict[str, str], var_dir: Path, daemon: Supervisord, settings: Any) -> dict[str, str]:
    """The environment of a process that can be killed."""
    return {**worker_environment, "VAR_DIR": str(var_dir), "TARGETS_FILE": str(settings.TARGETS_FILE)}


@pytest.mark.django_db(transaction=True)
def test_p_killed_between_stop_and_start_it_is_found_out_and_started_again(
    killable: dict[str, str], var_dir: Path, tmp_path: Path, users: People, daemon: Supervisord
) -> None:
    asked = Story(var_dir, users).propose(body("slow"))
    stopping = targets.killed_when(
        lambda: daemon.state("slow") == "STOPPING", env=killable, log=tmp_path / "worker.log", what="it was stopping"
    )
    with stopping:
        assert Execution.objects.get(contract_id=asked["id"]).state == Execution.State.EXECUTING
    targets.wait_until(lambda: daemon.state("slow") == "STOPPED", seconds=10, what="it stopped")
    contract = targets.settle(asked["id"])
    assert contract.state == "rolled_back"
    assert daemon.state("slow") == "RUNNING"
    assert "contract.in_doubt" in [each.fact for each in told(asked["id"])]


@pytest.mark.django_db(transaction=True)
def test_p_killed_before_anything_it_is_not_taken_for_restarted(
    killable: dict[str, str], var_dir: Path, tmp_path: Path, users: People, daemon: Supervisord
) -> None:
    """It runs, as promised, and was never restarted: it is tried again."""
    effect = {"target_state": {"state": "RUNNING"}}
    before = daemon.process("web")["pid"]
    asked = Story(var_dir, users).propose({**body("web"), "expected_effect": effect})
    begun = Execution.objects.filter(contract_id=asked["id"], state=Execution.State.EXECUTING)
    with targets.killed_when(begun.exists, env=killable, log=tmp_path / "worker.log", what="it had begun"):
        untouched = daemon.process("web")["pid"] == before
    contract = targets.settle(asked["id"])
    assert contract.state == "verified"
    assert daemon.process("web")["pid"] != before
    assert contract.executions.count() == (2 if untouched else 1)
