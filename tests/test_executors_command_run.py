"""command.run with real processes: limits on time, output and memory, and nothing that stays behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.harness.processes import parent_of, wait_until
from verification import executors
from verification.executors.base import Call, Reversibility, Run, SnapshotItem, Status
from verification.executors.command_run import processes, templates
from verification.executors.command_run.processes import Limits

FILE = '''
[commands.say]
argv = ["{python}", "-c", "import sys; print(sys.argv[1:])", "{{text}}", "--n={{count}}"]
reversibility = "read_only"
[commands.say.arguments]
text = {{ type = "string", maxLength = 100 }}
count = {{ type = "integer", minimum = -5, maximum = 5, default = 1 }}

[commands.sign]
argv = ["{python}", "-c", "import sys; print(sys.argv[1:])", "{{text}}"]
arguments = {{ text = {{ type = "string", pattern = "^-?[0-9]+$" }} }}

[commands.set]
argv = ["{shell}", "-c", "echo $1 > {state}", "x", "{{value}}"]
probe = ["{python}", "-c", """
import time; print('{{"value": %s, "volatile": %d}}' % (open('{state}').read(), time.time_ns()))"""]
undo = ["{python}", "-c", """
import json, sys; print(json.load(sys.stdin)['value'], file=open('{state}', 'w'))"""]
target = "state:{{value}}"
idempotent = true
timeout_seconds = 5
[commands.set.arguments]
properties = {{ value = {{ type = "integer" }} }}

[commands.slow]
argv = ["{shell}", "-c", "trap '' TERM; sleep 60"]
timeout_seconds = 0.3
reversibility = "reversible"

[commands.loud]
argv = ["{python}", "-c", "import sys; [sys.stdout.write('x' * 65536) for i in range(160)]"]

[commands.relative]
argv = ["python3"]

[commands.unknown_placeholder]
argv = ["/bin/true", "{{x}}"]

[commands.remote_schema]
argv = ["/bin/true", "{{x}}"]
arguments = {{ x = {{ "$ref" = "http://127.0.0.1:9/x" }} }}

[commands.gone]
argv = ["/nonexistent/program"]

[commands.environment]
argv = ["{python}", "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
environment = {{ TZ = "UTC" }}
'''


class Kept:
    """A snapshot in memory, for tests of one executor alone."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def add_bytes(self, name: str, data: bytes, meta: dict[str, Any] | None = None) -> SnapshotItem:
        self.kept[name] = data
        return SnapshotItem(name, "", len(data), meta or {})


@pytest.fixture
def executor(settings: Any, tmp_path: Path) -> executors.Executor:
    state = tmp_path / "state"
    state.write_text("1\n")
    settings.COMMANDS_FILE = tmp_path / "commands.toml"
    text = FILE.format(python=sys.executable, shell="/bin/sh", state=state)  # noqa: S604 - a name, not a shell
    settings.COMMANDS_FILE.write_text(text)
    return executors.get("command.run")


def call(command: str, *, target: str = "", token: int = 0, **arguments: Any) -> Call:
    return Call(
        "command.run", target or f"command:{command}", {"command": command, "arguments": arguments}, token=token
    )


def codes(executor: executors.Executor, asked: Call) -> list[tuple[str, str]]:
    return [(error.pointer, error.code) for error in executor.check(asked)]


def python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(program), *arguments]


def limits(seconds: float = 20, output: int = 100_000, memory: int = 0, leaves: bool = False) -> Limits:
    return Limits(seconds, output, memory, leaves)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, seconds: float = 5) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not alive(pid):
            return True
        time.sleep(0.02)
    return False


# --- what may be asked ---


def test_only_listed_commands_may_run(executor: executors.Executor, settings: Any) -> None:
    assert codes(executor, call("rm")) == [("/parameters/command", "command_not_allowed")]
    settings.COMMANDS_FILE = None
    assert codes(executor, call("say", text="a")) == [("/parameters/command", "command_not_allowed")]


@pytest.mark.parametrize("name", ["relative", "unknown_placeholder", "remote_schema"])
def test_a_listed_command_that_is_wrong_harms_no_other(executor: executors.Executor, name: str) -> None:
    assert codes(executor, call(name)) == [("/parameters/command", "command_unusable")]
    assert codes(executor, call("say", text="a")) == []
    assert name in templates.problems()
    assert name not in templates.names()


def test_a_file_that_cannot_be_read_allows_nothing(executor: executors.Executor, settings: Any) -> None:
    settings.COMMANDS_FILE.write_text("[commands")
    assert codes(executor, call("say", text="a")) == [("/parameters/command", "command_unusable")]
    assert templates.names() == []
    settings.COMMANDS_FILE.unlink()
    assert codes(executor, call("say", text="a")) == [("/parameters/command", "command_unusable")]


@pytest.mark.parametrize(
    ("arguments", "pointer", "code"),
    [
        ({}, "/parameters/arguments/text", "missing"),
        ({"text": 5}, "/parameters/arguments/text", "wrong_type"),
        ({"text": "x" * 101}, "/parameters/arguments/text", "too_long"),
        ({"text": "a", "count": 9}, "/parameters/arguments/count", "out_of_range"),
        ({"text": "a", "more": 1}, "/parameters/arguments/more", "unknown_member"),
        ({"text": "-rf"}, "/parameters/arguments/text", "looks_like_option"),
        ({"text": "--help"}, "/parameters/arguments/text", "looks_like_option"),
        ({"text": "a\x00b"}, "/parameters/arguments/text", "invalid"),
        ({"text": "\ud800"}, "/parameters/arguments/text", "invalid"),
    ],
)
def test_it_names_the_argument_that_is_wrong(
    executor: executors.Executor, arguments: dict[str, Any], pointer: str, code: str
) -> None:
    assert codes(executor, call("say", **arguments)) == [(pointer, code)]


def test_a_dash_is_fine_where_the_schema_says_so(executor: executors.Executor) -> None:
    assert codes(executor, call("sign", text="-5")) == []
    assert codes(executor, call("sign", text="-rf")) == [("/parameters/arguments/text", "no_match")]
    assert codes(executor, call("say", text="a", count=-5)) == []  # "--n=-5" is one argument


def test_a_command_may_name_its_target(executor: executors.Executor) -> None:
    assert codes(executor, call("set", target="state:5", value=5)) == []
    assert codes(executor, call("set", target="state:6", value=5)) == [("/target", "target_mismatch")]


@pytest.mark.parametrize("parameters", [{}, {"command": "../x"}, {"command": "say", "shell": True}, {"command": 1}])
def test_it_refuses_parameters_that_miss_the_schema(executor: executors.Executor, parameters: Any) -> None:
    assert executor.check(Call("command.run", "x:y", parameters))


def test_the_class_is_the_operators(executor: executors.Executor) -> None:
    assert executor.reversibility(call("say", text="a")) is Reversibility.READ_ONLY
    assert executor.reversibility(call("slow")) is Reversibility.REVERSIBLE
    assert executor.reversibility(call("set", value=1)) is Reversibility.EXTERNALLY_REVERSIBLE
    assert executor.reversibility(call("loud")) is Reversibility.IRREVERSIBLE
    assert executor.reversibility(call("unlisted")) is Reversibility.IRREVERSIBLE


# --- running ---


def test_an_argument_stays_one_argument(executor: executors.Executor) -> None:
    result = executor.execute(call("say", text="a b; $(id) `id` 'x' \"y\" *", count=2), Run())
    assert result.ok
    assert result.result["stdout"] == str(["a b; $(id) `id` 'x' \"y\" *", "--n=2"]) + "\n"


def test_the_environment_is_clean(executor: executors.Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "never seen")
    contract = uuid4()
    asked = Call("command.run", "x:y", {"command": "environment"}, token=7, contract_id=contract)
    seen = json.loads(executor.execute(asked, Run(token=7)).result["stdout"])
    seen.pop("LC_CTYPE", None)
    assert seen == {
        **processes.BASE_ENVIRONMENT,
        "TZ": "UTC",
        "GRACE_TOKEN": "7",
        "GRACE_CONTRACT_ID": str(contract),
    }


def test_it_goes_there_and_back(executor: executors.Executor) -> None:
    asked, kept = call("set", value=5), Kept()
    baseline = executor.observe(asked)
    executor.snapshot(asked, kept)
    assert kept.kept
    assert executor.execute(asked, Run()).ok
    after = executor.observe(asked)
    assert after.state["value"] == 5
    assert executor.fingerprint(after) != executor.fingerprint(baseline)
    assert executor.restore(asked, kept, baseline, Run()).ok
    assert executor.fingerprint(executor.observe(asked)) == executor.fingerprint(baseline)
    assert executor.tells_change(asked)


def test_without_a_probe_it_shows_the_last_exit_code(executor: executors.Executor) -> None:
    assert executor.observe(call("loud")).state == {"exit_code": None}
    assert not executor.tells_change(call("loud"))


def test_a_probe_that_fails_is_no_observation(executor: executors.Executor, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("not json\n")
    with pytest.raises(executors.ExecutorError):
        executor.observe(call("set", value=1))


def test_a_failure_says_how_it_ended(executor: executors.Executor, tmp_path: Path) -> None:
    result = executor.execute(call("gone"), Run())
    assert (result.status, result.retryable) == (Status.FAILED, True)
    result = executor.execute(call("slow"), Run())
    assert (result.status, result.retryable) == (Status.TIMEOUT, False)
    result = executor.execute(call("loud"), Run())
    assert not result.ok
    assert len(result.result["stdout"]) < 10_000


def test_the_preview_is_the_command_line(executor: executors.Executor) -> None:
    asked = call("say", text="a b")
    preview = executor.preview(asked, executor.observe(asked))
    assert "'a b' --n=1" in preview.body


def test_its_example_is_of_its_schema(executor: executors.Executor) -> None:
    parameters = executor.example["parameters"]
    errors = executor.check(Call("command.run", "log:app", parameters))
    assert [error.code for error in errors] == ["command_not_allowed"]


# --- limits, with real processes ---


def test_ten_megabytes_of_output_are_never_held() -> None:
    finished = processes.run(python("while True: print('x' * 100000)"), limits=limits(output=100_000))
    assert finished.stopped == "output"
    assert len(finished.stdout) <= 100_000


def test_output_on_both_streams_counts() -> None:
    program = "import sys\nfor i in range(50): print('x' * 1000); print('y' * 1000, file=sys.stderr)"
    assert processes.run(python(program), limits=limits(output=60_000)).stopped == "output"
    assert processes.run(python(program), limits=limits(output=200_000)).ok


def test_memory_is_limited() -> None:
    finished = processes.run(python("x = bytearray(400 * 1024 * 1024)"), limits=limits(memory=200))
    assert finished.exit_code == 1
    assert b"MemoryError" in finished.stderr


def test_a_command_that_ignores_term_is_killed() -> None:
    program = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print('on', flush=True)
        time.sleep(60)
    """
    started = time.monotonic()
    finished = processes.run(python(program), limits=limits(seconds=0.5))
    assert finished.stopped == "timeout"
    assert finished.stdout == b"on\n"
    assert time.monotonic() - started < 10


LINGER = """
    import os, sys, time
    if os.fork() == 0:
        if {leave}:
            os.setsid()
            if os.fork():
                os._exit(0)
        open(sys.argv[1], 'w').write(str(os.getpid()))
        time.sleep(60)
        os._exit(0)
    while not os.path.exists(sys.argv[1]) or not open(sys.argv[1]).read():
        time.sleep(0.01)
    print('parent done')
"""


@pytest.mark.parametrize("leave", [False, True], ids=["same group", "daemon"])
def test_a_command_that_forks_and_lingers_hangs_nobody(tmp_path: Path, leave: bool) -> None:
    pid_file = tmp_path / "pid"
    started = time.monotonic()
    finished = processes.run(python(LINGER.format(leave=leave), str(pid_file)), limits=limits(seconds=20))
    assert finished.ok
    assert finished.stdout == b"parent done\n"
    assert time.monotonic() - started < 10
    assert gone(int(pid_file.read_text()))


def test_a_daemon_stays_where_the_operator_wants_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    command = python(LINGER.format(leave=True), str(pid_file))
    assert processes.run(command, limits=limits(leaves=True)).ok
    pid = int(pid_file.read_text())
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_cancelled_it_ends_the_whole_group(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = """
        import os, sys, time
        if os.fork() == 0:
            open(sys.argv[1], 'w').write(str(os.getpid()))
        time.sleep(60)
    """
    started = time.monotonic()
    finished = processes.run(python(program, str(pid_file)), limits=limits(), cancelled=pid_file.exists)
    assert finished.stopped == "cancelled"
    assert time.monotonic() - started < 10
    assert gone(int(pid_file.read_text()))


def test_cancelled_before_it_began_it_starts_nothing(executor: executors.Executor, tmp_path: Path) -> None:
    result = executor.execute(call("set", value=5), Run(cancelled=lambda: True))
    assert (result.ok, result.retryable) == (False, True)
    assert (tmp_path / "state").read_text() == "1\n"


FAMILY = """
    import os, sys, time
    def stay(name):
        with open(os.path.join(sys.argv[1], name + '.new'), 'w') as file:
            file.write(str(os.getpid()))
        os.rename(file.name, os.path.join(sys.argv[1], name))
        time.sleep(60)
        os._exit(0)
    def daemon():
        os.setsid()
        os.fork() and os._exit(0)
        stay('daemon')
    os.fork() or stay('child')
    os.fork() or (os.setsid(), stay('leader'))
    os.fork() or daemon()
    stay('command')
"""


class Family:
    """A command with a child, one in a session of its own, and one that left everything; where each wrote its pid."""

    names = ("command", "child", "leader", "daemon")

    def __init__(self, home: Path) -> None:
        self.home = home
        self.argv = python(FAMILY, str(home))

    def pid(self, name: str) -> int:
        return int((self.home / name).read_text())

    def supervisor(self) -> int:
        """Who watches them, once all of them run."""
        wait_until(lambda: all((self.home / each).exists() for each in self.names), seconds=20, what="all of them run")
        return parent_of(self.pid("command"))

    def alive(self) -> list[str]:
        return [name for name in self.names if alive(self.pid(name))]


@pytest.mark.parametrize("leaves", [False, True], ids=["alone", "leaves_running"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_p_when_its_supervisor_is_lost_all_it_started_is_ended_and_nobody_knows_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, leaves: bool
) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 1.0)
    family, cancelled = Family(tmp_path), threading.Event()
    with ThreadPoolExecutor() as worker:
        its = limits(60, leaves=leaves)
        running = worker.submit(processes.run, family.argv, limits=its, cancelled=cancelled.is_set)
        os.kill(family.supervisor(), number)
        cancelled.set()
        with pytest.raises(processes.Lost):
            running.result(timeout=20)
    assert family.alive() == []


def test_p_when_its_guardian_is_killed_the_supervisor_ends_everything_and_says_so(tmp_path: Path) -> None:
    family = Family(tmp_path)
    with ThreadPoolExecutor() as worker:
        running = worker.submit(processes.run, family.argv, limits=limits(60))
        os.kill(parent_of(family.supervisor()), signal.SIGKILL)
        assert running.result(timeout=20).stopped == "unguarded"
    assert family.alive() == []


CALLER = """
    import importlib.util, sys
    spec = importlib.util.spec_from_file_location("processes", sys.argv[1])
    processes = sys.modules["processes"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(processes)
    processes.ORPHAN_SECONDS = 1.0
    processes.run([sys.executable, "-c", sys.argv[2], sys.argv[3]], limits=processes.Limits(60, 1000, 0))
"""


@pytest.mark.parametrize(("seconds", "finishes"), [(0.3, True), (30, False)])
def test_when_the_worker_is_killed_the_command_may_finish_shortly(
    tmp_path: Path, seconds: float, finishes: bool
) -> None:
    mark = tmp_path / "mark"
    command = textwrap.dedent(f"""
        import os, sys, time
        open(sys.argv[1], 'w').write(str(os.getpid()))
        print('nobody reads this', flush=True)
        time.sleep({seconds})
        open(sys.argv[1] + '.done', 'w').close()
    """)
    argv = python(CALLER, str(processes.__file__), command, str(mark))
    with subprocess.Popen(argv) as worker:
        until = time.monotonic() + 20
        while time.monotonic() < until and not (mark.exists() and mark.read_text()):
            time.sleep(0.01)
        worker.kill()
    assert gone(int(mark.read_text()), seconds=10)
    assert Path(f"{mark}.done").exists() is finishes


def test_descriptors_of_the_worker_are_not_inherited(tmp_path: Path) -> None:
    secret = os.open(tmp_path / "secret", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(secret, True)
    try:
        finished = processes.run(python("import os; print(sorted(os.listdir('/proc/self/fd')))"), limits=limits())
    finally:
        os.close(secret)
    assert finished.stdout.decode().strip() == str(["0", "1", "2", "3"])  # 3: the listing itself


def test_what_is_given_on_standard_input_can_be_read() -> None:
    finished = processes.run(["/bin/cat"], limits=limits(output=300_000), stdin="x" * 200_000)
    assert len(finished.stdout) == 200_000


def test_a_program_that_cannot_start_says_so() -> None:
    with pytest.raises(processes.NotStarted):
        processes.run(["/nonexistent"], limits=limits())
    with pytest.raises(processes.NotStarted):
        processes.run(["/bin/true"], limits=limits(), cwd="/nonexistent")


def test_the_example_file_is_usable(settings: Any) -> None:
    settings.COMMANDS_FILE = Path(__file__).parent.parent / "docs" / "commands.example.toml"
    assert templates.problems() == {}
    assert templates.names() == ["disk-usage", "rotate-log", "scale"]
