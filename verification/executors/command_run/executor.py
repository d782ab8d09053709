"""`command.run`: one of the operator's commands, without a shell, in a clean environment, within limits."""

from __future__ import annotations

import json
import shlex
from typing import Any

from auditlog.refusals import FieldError
from verification.executors import observed
from verification.executors.base import (
    Call,
    ExecutionResult,
    Executor,
    ExecutorError,
    Observation,
    Preview,
    Reversibility,
    Run,
    SnapshotReader,
    SnapshotWriter,
    Status,
)
from verification.executors.command_run import processes, templates
from verification.executors.command_run.processes import Finished, Limits
from verification.executors.command_run.schema import EXAMPLE, SCHEMA
from verification.executors.command_run.templates import Command
from verification.json_schemas import Schema
from verification.models import Execution

PROBE_OUTPUT_BYTES = 256 * 1024
SHOWN_CHARS = 8_000
ENDING_SECONDS = 2 * processes.STOP_SECONDS
VOLATILE = "volatile"
_ITEM = "command"


class CommandRun(Executor):
    """Runs a listed command; the way back is the undo command that it declares."""

    action_type = "command.run"
    version = "1"
    title = "Run a listed command"
    schema: dict[str, Any] = SCHEMA
    criteria = ("state_match", "health_check", "metric_threshold", "benchmark", "expression")
    example: dict[str, Any] = EXAMPLE
    retryable = True

    def __init__(self) -> None:
        """Compile the schema once."""
        self._schema = Schema(SCHEMA)

    def check(self, call: Call) -> list[FieldError]:
        """Schema, the list of commands, the arguments as that command declares them, and the target."""
        errors = self._schema.errors(dict(call.parameters), "/parameters")
        if errors:
            return errors
        try:
            command = templates.get(call.parameters["command"])
        except templates.UnknownCommand as exc:
            return [FieldError("/parameters/command", "command_not_allowed", str(exc))]
        except templates.CommandsUnusable as exc:
            return [FieldError("/parameters/command", "command_unusable", str(exc))]
        errors = command.check(_arguments(call), "/parameters/arguments")
        if not errors:
            template = command.target or f"command:{command.name}"
            wanted = command.filled((template,), _arguments(call))[0]
            if call.target != wanted:
                detail = f"The target of this command is {wanted!r}."
                errors.append(FieldError("/target", "target_mismatch", detail))
        return errors

    def reversibility(self, call: Call) -> Reversibility:
        """What the operator declared for this command; a command that cannot be read is irreversible."""
        try:
            return _command(call).reversibility
        except ExecutorError:
            return Reversibility.IRREVERSIBLE

    def edition(self, call: Call) -> str:
        """The version, and the digest of the command as the operator wrote it: an edited command is another one."""
        try:
            return f"{self.version}+{templates.get(call.parameters['command']).digest[:32]}"
        except (KeyError, templates.UnknownCommand, templates.CommandsUnusable):
            return f"{self.version}+none"

    def deadline_seconds(self, call: Call) -> float:
        """The command's own time limit, and the time it takes to end it."""
        return _command(call).timeout_seconds + ENDING_SECONDS

    def tells_change(self, call: Call) -> bool:
        """Only a probe shows what the command did."""
        return _command(call).probe is not None

    def observe(self, call: Call) -> Observation:
        """What the probe prints; without a probe the exit code of the last attempt (null before)."""
        command = _command(call)
        if command.probe is None:
            return observed.now({"exit_code": _last_exit_code(call)})
        limits = Limits(command.probe_timeout_seconds, PROBE_OUTPUT_BYTES, command.memory_limit_mb)
        finished = _run(command, command.probe, call, limits)
        if not finished.ok:
            raise ExecutorError(f"The probe of {command.name} did not succeed: {_ending(finished)}.")
        try:
            state = json.loads(finished.stdout)
        except (ValueError, RecursionError) as exc:
            raise ExecutorError(f"The probe of {command.name} printed no JSON.") from exc
        return observed.now(state if isinstance(state, dict) else {"value": state})

    def fingerprint(self, observation: Observation) -> str:
        """Over all that was observed except the exit code and the member `volatile`."""
        stable = {n: v for n, v in observation.state.items() if n not in (VOLATILE, "exit_code")}
        return observed.digest(stable)

    def preview(self, call: Call, observation: Observation) -> Preview:
        """The command line as it will run, and the one that takes it back."""
        command = _command(call)
        lines = ["$ " + shlex.join(command.filled(command.argv, _arguments(call)))]
        if command.undo:
            lines.append("to undo: $ " + shlex.join(command.filled(command.undo, _arguments(call))))
        return Preview("text", observed.storable("\n".join(lines)), f"run {command.name}")

    def snapshot(self, call: Call, store: SnapshotWriter) -> None:
        """What the undo command is given; nothing when there is none."""
        command = _command(call)
        if command.undo:
            kept = {"command": command.name, "arguments": _arguments(call)}
            store.add_bytes(_ITEM, json.dumps(kept, sort_keys=True).encode(), {"command": command.name})

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Run it; exit code 0 is success, as far as the command itself can tell."""
        try:
            command = self._authorized(call)
        except ExecutorError as exc:
            return ExecutionResult.failure(str(exc))
        return self._perform(command, command.argv, call, run)

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Run the undo command; the state before the action is on its standard input."""
        try:
            command = self._authorized(call)
        except ExecutorError as exc:
            return ExecutionResult.failure(str(exc))
        if command.undo is None:
            return ExecutionResult.failure(f"{command.name} declares no undo.")
        return self._perform(command, command.undo, call, run, stdin=json.dumps(baseline.state))

    def _authorized(self, call: Call) -> Command:
        """The command as it was authorized; raises ExecutorError when it has been edited since."""
        command = _command(call)
        if call.edition and call.edition != f"{self.version}+{command.digest[:32]}":
            raise ExecutorError(f"The command {command.name} was changed after this was authorized.")
        return command

    def _perform(
        self, command: Command, template: tuple[str, ...], call: Call, run: Run, stdin: str = ""
    ) -> ExecutionResult:
        seconds = max(0.1, min(command.timeout_seconds, run.deadline_seconds - ENDING_SECONDS / 2))
        limits = Limits(seconds, command.output_limit_bytes, command.memory_limit_mb, command.leaves_running)
        if run.cancelled():
            return ExecutionResult.failure(f"{command.name} was cancelled before it was started.", retryable=True)
        run.progress(0, f"running {command.name}")
        try:
            finished = _run(command, template, call, limits, run=run, stdin=stdin)
        except processes.NotStarted as exc:
            return ExecutionResult.failure(f"{command.name} could not be started: {exc}", retryable=True)
        except processes.Lost as exc:
            return ExecutionResult.unknown(str(exc))
        return _reported(command, finished)


def _command(call: Call) -> Command:
    try:
        return templates.get(call.parameters["command"])
    except (templates.UnknownCommand, templates.CommandsUnusable) as exc:
        raise ExecutorError(str(exc)) from exc


def _arguments(call: Call) -> dict[str, Any]:
    return dict(call.parameters.get("arguments", {}))


def _run(
    command: Command,
    template: tuple[str, ...],
    call: Call,
    limits: Limits,
    *,
    run: Run | None = None,
    stdin: str = "",
) -> Finished:
    """Raises NotStarted and Lost while running, ExecutorError while observing."""
    ours = {
        "GRACE_TOKEN": str(run.token if run and run.token else call.token),
        "GRACE_CONTRACT_ID": str(call.contract_id or ""),
    }
    try:
        return processes.run(
            command.filled(template, _arguments(call)),
            limits=limits,
            environment={**command.environment, **ours},
            cwd=command.cwd,
            stdin=stdin,
            cancelled=run.cancelled if run else processes.never,
        )
    except (processes.NotStarted, processes.Lost) as exc:
        if run is not None:
            raise
        raise ExecutorError(f"The probe of {command.name} did not run: {exc}") from exc


def _reported(command: Command, finished: Finished) -> ExecutionResult:
    result = {
        "exit_code": finished.exit_code,
        "signal": finished.signal,
        "stdout": _shown(finished.stdout),
        "stderr": _shown(finished.stderr),
    }
    metrics = {
        "stdout_bytes": len(finished.stdout),
        "stderr_bytes": len(finished.stderr),
        "seconds": round(finished.seconds, 3),
    }
    duration_ms = int(finished.seconds * 1000)
    if finished.ok:
        return ExecutionResult.success(result, metrics=metrics, duration_ms=duration_ms)
    return ExecutionResult.failure(
        f"{command.name}: {_ending(finished)}",
        result=result,
        metrics=metrics,
        duration_ms=duration_ms,
        status=Status.TIMEOUT if finished.stopped == "timeout" else Status.FAILED,
        retryable=command.idempotent and finished.stopped != "cancelled",
    )


def _ending(finished: Finished) -> str:
    if finished.stopped:
        return {
            "timeout": "ended because its time was up",
            "output": "ended because it wrote more than allowed",
            "cancelled": "ended because it was cancelled",
            "unguarded": "ended because the process that guarded it was killed",
        }[finished.stopped]
    if finished.signal is not None:
        return f"ended by signal {finished.signal}"
    return f"exit code {finished.exit_code}"


def _shown(data: bytes) -> str:
    """The end of the output, where programs say what went wrong."""
    text = observed.storable(data.decode("utf-8", "replace"))
    return text if len(text) <= SHOWN_CHARS else "(...)" + text[-SHOWN_CHARS:]


def _last_exit_code(call: Call) -> int | None:
    if call.contract_id is None:
        return None
    last = Execution.objects.filter(contract_id=call.contract_id).order_by("-attempt").first()
    if last is None or not last.result:
        return None
    code = last.result.get("result", {}).get("exit_code")
    return code if isinstance(code, int) else None
