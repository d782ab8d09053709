"""`service.restart`: stop and start one listed program under supervisord, and wait until it is well."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from verification import outgoing
from verification.executors import observed
from verification.executors.base import (
    Call,
    ExecutionResult,
    ExecutorError,
    Observation,
    Preview,
    Reversibility,
    Run,
    SnapshotReader,
    SnapshotWriter,
    Status,
)
from verification.executors.service_restart import supervisors
from verification.executors.service_restart.listed import SERVICES, Service
from verification.executors.service_restart.schema import EXAMPLE, SCHEMA
from verification.executors.targets import ForTarget
from verification.json_schemas import Schema

HEALTH_SECONDS = 1.5
POLL_SECONDS = 0.1
MARGIN_SECONDS = 2 * supervisors.CALL_SECONDS
RUNNING = "RUNNING"
_ITEM = "state"


class _Late(Exception):
    """The time was up, or it was cancelled, before something came true; the text says what was waited for."""

    def __init__(self, detail: str, status: Status) -> None:
        super().__init__(detail)
        self.status = status


class ServiceRestart(ForTarget[Service]):
    """Restarts one program; the way back is the state it was in."""

    action_type = "service.restart"
    version = "1"
    title = "Restart a listed service"
    schema: dict[str, Any] = SCHEMA
    criteria = ("state_match", "health_check", "metric_threshold", "benchmark", "expression")
    example: dict[str, Any] = EXAMPLE
    retryable = True
    restore_is_repeatable = True
    table = SERVICES
    parameter = "service"
    compiled = Schema(SCHEMA)

    def reversibility(self, call: Call) -> Reversibility:
        """What ran can be run again, and what did not be stopped again."""
        return Reversibility.REVERSIBLE

    def deadline_seconds(self, call: Call) -> float:
        """The service's own time limit, and the call that may be under way at its end."""
        return self.entry(call).timeout_seconds + MARGIN_SECONDS

    def observe(self, call: Call) -> Observation:
        """Its state, process and last start in supervisord, and the answer of its health URL."""
        service = self.entry(call)
        process = supervisors.look(service)
        since = datetime.fromtimestamp(process.started, UTC).isoformat() if process.started else None
        return observed.now(
            {
                "state": process.state,
                "running": process.state == RUNNING,
                "pid": process.pid or None,
                "since": since,
                "health": _health(service),
            }
        )

    def fingerprint(self, observation: Observation) -> str:
        """Over the process while it runs: restarted meanwhile it is another. What does not run is all alike."""
        state = observation.state
        return observed.digest([state["pid"], state["since"]] if state["running"] else None)

    def untouched(self, call: Call, baseline: Observation, observation: Observation) -> bool:
        """It is the same process, or none and none was started since.

        Of a program that supervisord itself starts again and again nobody can tell: it is another each time.
        """
        return _incarnation(baseline.state) == _incarnation(observation.state)

    def is_back(
        self, call: Call, baseline: Observation, observation: Observation, snapshot: SnapshotReader | None
    ) -> bool:
        """It runs if it ran, and is well if it was well; the process may be another."""
        before, now = baseline.state, observation.state
        was_well = bool(before["health"] and before["health"]["ok"])
        is_well = bool(now["health"] and now["health"]["ok"])
        return before["running"] == now["running"] and (is_well or not was_well)

    def preview(self, call: Call, observation: Observation) -> Preview:
        """Which program, and how it is now."""
        service, state = self.entry(call), observation.state
        health = state["health"]
        lines = [
            f"supervisorctl restart {service.program}",
            "",
            f"now: {state['state']}" + (f" (process {state['pid']}, since {state['since']})" if state["pid"] else ""),
            f"health: {_said(health)}" if health else "health: no health URL is listed",
            f"way back: it is {'started' if state['running'] else 'stopped'} again",
        ]
        return Preview("text", "\n".join(lines), f"restart {service.name}")

    def snapshot(self, call: Call, store: SnapshotWriter) -> None:
        """The state it is in."""
        process = supervisors.look(self.entry(call))
        kept = {"state": process.state, "running": process.state in supervisors.ALIVE}
        store.add_bytes(_ITEM, json.dumps(kept, sort_keys=True).encode())

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Stop it if it runs, start it, wait until it runs and is healthy."""
        return self._act(call, run, stop=True, start=True)

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Start it if it ran, else stop it; what is so already is left alone."""
        try:
            ran = bool(json.loads(snapshot.read(_ITEM))["running"])
        except KeyError:
            return ExecutionResult.failure("The snapshot holds no state of a service.")
        return self._act(call, run, stop=not ran, start=ran)

    def _act(self, call: Call, run: Run, *, stop: bool, start: bool) -> ExecutionResult:
        began = time.monotonic()
        done: list[str] = []
        try:
            service = self.entry(call)
            limit = min(service.timeout_seconds, run.deadline_seconds - MARGIN_SECONDS)
            waiting = _Waiting(began + max(limit, 1.0), run)
            waiting.give_up_if_cancelled("anything was done")
            if stop:
                _stop(service, waiting, done)
            if start:
                _start(service, waiting, done)
        except _Late as late:
            status, error = late.status, str(late)
        except ExecutorError as problem:
            status, error = Status.FAILED, str(problem)
        else:
            return ExecutionResult.success({"done": done}, duration_ms=_since(began))
        return ExecutionResult.failure(
            error, result={"done": done}, duration_ms=_since(began), status=status, retryable=not done
        )


class _Waiting:
    """Waits for something in the world until a moment of the monotonic clock, or until it is cancelled."""

    def __init__(self, ends: float, run: Run) -> None:
        self.ends, self.run = ends, run

    def give_up_if_cancelled(self, what: str) -> None:
        if self.run.cancelled():
            raise _Late(f"Cancelled before {what}.", Status.FAILED)

    def until(self, true: Callable[[], bool], what: str) -> None:
        while not true():
            self.give_up_if_cancelled(what)
            if supervisors.seconds_left(self.ends) <= 0:
                raise _Late(f"Not in time: {what}.", Status.TIMEOUT)
            time.sleep(POLL_SECONDS)


def _stop(service: Service, waiting: _Waiting, done: list[str]) -> None:
    if supervisors.look(service).state in supervisors.ALIVE:
        done.append("stopped")  # before it is asked for: an answer that never comes does not mean that nothing happened
        supervisors.stop(service)
    waiting.until(lambda: supervisors.look(service).state not in {*supervisors.ALIVE, "STOPPING"}, "it stopped")
    waiting.run.progress(50, f"{service.name} is stopped")


def _start(service: Service, waiting: _Waiting, done: list[str]) -> None:
    done.append("started")
    supervisors.start(service)
    waiting.until(lambda: _runs(service), "it ran")
    waiting.run.progress(80, f"{service.name} runs")
    if service.health_url:
        waiting.until(lambda: _runs(service) and bool(_well(service)), "it was healthy")


def _runs(service: Service) -> bool:
    """Whether it runs; raises ExecutorError once supervisord has given up on it."""
    process = supervisors.look(service)
    if process.state in {"FATAL", "EXITED", "STOPPED", "UNKNOWN"}:
        raise ExecutorError(f"It did not stay up: {process.state} {process.error}".strip())
    return process.state == RUNNING


def _well(service: Service) -> bool:
    health = _health(service)
    return bool(health and health["ok"])


def _incarnation(state: dict[str, Any]) -> tuple[Any, ...]:
    """Which start of the program this is, and whether it counts as started."""
    return state["pid"], state["since"], state["state"] in supervisors.ALIVE


def _health(service: Service) -> dict[str, Any] | None:
    """The answer of its health URL: `{"ok", "status"}`; None where none is listed."""
    if not service.health_url:
        return None
    try:
        url = service.health_url
        answer = outgoing.request("GET", url, deadline_seconds=HEALTH_SECONDS, trusted=True, prefixes=[url])
    except (outgoing.NoAnswer, outgoing.UrlNotAllowed):
        return {"ok": False, "status": None}
    return {"ok": 200 <= answer.status < 300, "status": answer.status}


def _said(health: dict[str, Any]) -> str:
    if health["status"] is None:
        return "no answer"
    return f"{health['status']}" + ("" if health["ok"] else ", not healthy")


def _since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
