"""The supervisor: starts the parts, restarts what dies, and ends them all."""

import os
import selectors
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grace_site.supervision import broker, leash, lines, preparing, state, welcome
from grace_site.supervision.children import Child, Spec, left_over
from grace_site.supervision.preparing import CannotStart
from grace_site.supervision.workers import Crew

READY_SECONDS = 60
# The parts get this long to end by themselves, the broker and what is left over a second each. Ten seconds are
# promised, and on a busy machine each step takes longer than it should.
POLITE_SECONDS = 4.0
BROKER_SECONDS = 1.0
ORPHANS_SECONDS = 1.0


@dataclass(frozen=True)
class Plan:
    """What to run and where; all of it decided by the settings."""

    root: Path
    var_dir: Path
    host: str
    port: int
    public_url: str
    private_broker: bool
    pool_size: int
    web_processes: int
    workers: tuple[Crew, ...]
    beat: bool
    structured: bool

    @property
    def local_url(self) -> str:
        """Where the web process is reached from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        return f"http://{host}:{self.port}"


class Supervisor:
    """Runs a plan until a signal arrives. One thread, one loop; its children's output passes through it."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.say = say
        self.children: list[Child] = []
        self.env: dict[str, str] = {
            **os.environ,
            "VAR_DIR": str(plan.var_dir),
            "PYTHONUNBUFFERED": "1",
            "PROMETHEUS_MULTIPROC_DIR": str(plan.var_dir / "run" / "metrics"),
        }
        self.stopping = False
        self.impatient = False
        self.ask_again_at = 0.0

    def run(self) -> int:
        """Start, keep running, end. Returns the exit status.

        Raises:
            CannotStart: something must be changed first.
        """
        preparing.folders(self.plan.var_dir)
        with preparing.lock(self.plan.var_dir):
            preparing.port_is_free(self.plan.host, self.plan.port)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, self._asked_to_stop)
            leash.adopt_orphans()
            try:
                self._start()
                self._supervise()
            finally:
                self._end()
        return 0

    # --- starting --------------------------------------------------------------------------------

    def _start(self) -> None:
        self._tidy()
        if self.plan.private_broker:
            self._start_broker()
        state.record(self.plan.var_dir, state.Part("up", os.getpid(), self.plan.local_url))
        self._tell("Preparing ...")
        told = preparing.bootstrap(self.plan.root, self.env, lambda: self.stopping)
        try:
            for spec in self.parts() if not self.stopping else ():
                self._launch(spec)
            self._until(self._ready, seconds=READY_SECONDS, what=f"{self.plan.local_url}/readyz does not say ready")
        except BaseException:
            self._show(told, running=False)
            raise
        self._show(told, running=not self.stopping)

    def _show(self, told: Mapping[str, Any], *, running: bool) -> None:
        """Where to go once it is `running`, and in any case what bootstrap `told`: it says it once."""
        secret = welcome.secrets(told)
        if self.plan.structured:
            logins = {name: told.get(name) for name in ("users", "agent")} if secret else {}
            self._tell("Grace is running" if running else "Not running", url=self.plan.public_url, **logins)
        elif running:
            self.say(welcome.screen(url=self.plan.public_url, var_dir=str(self.plan.var_dir), told=told))
        else:
            self.say(secret)

    def _tidy(self) -> None:
        run_dir = state.run_dir(self.plan.var_dir)
        for path in run_dir.glob("*.json"):
            path.unlink()
        # Counters of earlier processes: a scrape would read every one of their files for ever.
        shutil.rmtree(run_dir / "metrics", ignore_errors=True)
        (run_dir / "metrics").mkdir()

    def _start_broker(self) -> None:
        try:
            spec = broker.spec(self.plan.var_dir, self.env)
        except broker.NoServer as error:
            raise CannotStart(str(error)) from error
        self.env["REDIS_URL"] = spec.url
        self._launch(spec)
        self._until(lambda: pings(spec.url), seconds=15, what="the broker does not answer")

    def parts(self) -> list[Spec]:
        """What is started, besides a broker."""
        python, plan = sys.executable, self.plan
        celery = (python, "-m", "celery", "-A", "grace_site", "--quiet")
        web = (python, "-m", "grace_site.supervision.web", "--host", plan.host, "--port", str(plan.port))
        return [
            Spec(
                "web",
                (*web, "--processes", str(plan.web_processes)),
                {**self.env, "DATABASE_POOL_SIZE": str(plan.pool_size)},
                url=plan.public_url,
            ),
            *(Spec(crew.name, (*celery, *crew.argv), self.env) for crew in plan.workers),
            *([Spec("beat", (*celery, "beat", "--pidfile=", "-l", "INFO"), self.env)] if plan.beat else []),
        ]

    def _launch(self, spec: Spec) -> None:
        child = Child(spec, self.plan.var_dir / "logs", self.plan.structured)
        self.children.append(child)
        self._run_child(child)

    def _run_child(self, child: Child) -> None:
        child.start()
        assert child.pid is not None
        state.record(self.plan.var_dir, state.Part(child.name, child.pid, child.spec.url))

    def _until(self, true: Callable[[], bool], *, seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not self.stopping and not true():
            self._turn()
            failing = next((child for child in self.children if child.deaths >= 3), None)
            if failing or time.monotonic() > deadline:
                culprit = failing or self.children[-1]
                why = f"{failing.name} does not stay up" if failing else what
                raise CannotStart(f"{why}.\n{culprit.last_lines()}\nThe logs are in {culprit.log_dir}.")

    def _ready(self) -> bool:
        if time.monotonic() < self.ask_again_at:
            return False
        self.ask_again_at = time.monotonic() + 0.3
        # The URL is made of our own host and port.
        with suppress(OSError), urllib.request.urlopen(f"{self.plan.local_url}/readyz", timeout=3) as answer:  # noqa: S310
            return bool(answer.status == 200)
        return False

    # --- running ---------------------------------------------------------------------------------

    def _supervise(self) -> None:
        while not self.stopping:
            self._turn()

    def _turn(self) -> None:
        """One turn of the loop: wait a moment for output, pass it on, bury and revive."""
        with selectors.DefaultSelector() as selector:
            for child in self.children:
                if child.process and child.process.stdout:
                    selector.register(child.process.stdout, selectors.EVENT_READ)
            if selector.get_map():
                selector.select(timeout=0.2)
            else:
                time.sleep(0.2)
        for child in self.children:
            self._pass_on(child)
        self._bury()
        if not self.stopping:
            for child in self.children:
                if child.process is None and time.monotonic() >= child.restart_at:
                    self._run_child(child)

    def _pass_on(self, child: Child) -> None:
        for line in child.lines():
            if child.spec.quiet or not line.strip():
                continue
            self.say(line if self.plan.structured else f"{child.name:<17} | {line}")

    def _bury(self) -> None:
        """Take leave of every process that ended, ours or adopted."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = next((child for child in self.children if child.pid == pid), None)
            if child is None:
                continue
            self._pass_on(child)
            assert child.process is not None
            child.process.returncode = os.waitstatus_to_exitcode(status)
            how = _described(child.process.returncode)
            pause = child.died()
            state.forget(self.plan.var_dir, child.name)
            if not self.stopping:
                self._tell(f"{child.name} {how}; starting it again in {pause:g} s.")

    # --- ending ----------------------------------------------------------------------------------

    def _asked_to_stop(self, number: int, frame: object) -> None:
        # The second time, waiting is over.
        self.impatient = self.stopping
        self.stopping = True

    def _end(self) -> None:
        self.stopping = True
        self._tell("Stopping ...")
        private = [child for child in self.children if child.name == "broker"]
        self._end_these([child for child in self.children if child not in private], POLITE_SECONDS)
        # Last, so that workers could still hand back what they had taken.
        self._end_these(private, BROKER_SECONDS)
        deadline = time.monotonic() + ORPHANS_SECONDS
        while (orphans := left_over()) and time.monotonic() < deadline:
            for pid in orphans:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
            self._bury()
        for child in self.children:
            child.close()
        for path in state.run_dir(self.plan.var_dir).glob("*.json"):
            path.unlink(missing_ok=True)
        self._tell("Stopped.")

    def _end_these(self, children: list[Child], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for child in children:
            child.ask_to_end()
        while any(child.process for child in children) and time.monotonic() < deadline and not self.impatient:
            self._turn()
        if late := [child.name for child in children if child.process]:
            names = ", ".join(late)
            self._tell(f"Not waiting any longer for {names}. What was begun is gone on with at the next start.")
        while any(child.process for child in children):
            for child in children:
                child.signal(signal.SIGKILL)
            self._turn()

    # --- speaking ----------------------------------------------------------------------------------

    def _tell(self, event: str, **more: object) -> None:
        """A line of our own: plain in a terminal, or one JSON object, where alone there is room for `more`."""
        self.say(lines.written("up", event, **more) if self.plan.structured else event)


def pings(url: str) -> bool:
    """Whether a Redis or Valkey answers at this address."""
    import redis

    with suppress(redis.RedisError), redis.Redis.from_url(url, socket_timeout=1) as client:
        return bool(client.ping())
    return False


def _described(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    return f"was killed by {signal.Signals(-code).name}"
