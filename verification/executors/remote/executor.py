"""`remote`: work an external agent does, holding a permit of Grace's."""

from __future__ import annotations

import json
from typing import Any

from auditlog.refusals import FieldError
from verification import outgoing
from verification.executors import observed
from verification.executors.base import (
    Call,
    ExecutionResult,
    ExecutorError,
    Observation,
    Offer,
    Preview,
    Reversibility,
    Run,
    SnapshotReader,
    SnapshotWriter,
)
from verification.executors.http_request import executor as requests
from verification.executors.remote.remotes import REMOTES, Work
from verification.executors.remote.schema import EXAMPLE, SCHEMA
from verification.executors.targets import ForTarget
from verification.json_schemas import Schema

MARGIN_SECONDS = 10.0
"""For the snapshot between the start of the attempt and the offer."""
MAX_ARGUMENT_CHARS = 32_000
_ITEM = "compensate"


class Remote(ForTarget[Work]):
    """Offers a permit; the way back is the compensating request that the proposal declares, sent by Grace."""

    action_type = "remote"
    version = "1"
    title = "Hand work to an external agent"
    schema: dict[str, Any] = SCHEMA
    criteria = ("state_match", "health_check", "metric_threshold", "benchmark", "expression")
    example: dict[str, Any] = EXAMPLE
    retryable = True
    table = REMOTES
    parameter = "remote"
    compiled = Schema(SCHEMA)

    def check_more(self, call: Call, entry: Work) -> list[FieldError]:
        """Its arguments, that it can be observed in exactly one way, and every URL."""
        given, arguments = call.parameters, dict(call.parameters.get("arguments", {}))
        if len(json.dumps(arguments)) > MAX_ARGUMENT_CHARS:
            return [
                FieldError("/parameters/arguments", "too_long", f"At most {MAX_ARGUMENT_CHARS} characters of JSON.")
            ]
        errors = entry.accepted.errors(arguments, "/parameters/arguments")
        at = "/parameters/observe"
        if entry.observe and "observe" in given:
            errors.append(FieldError(at, "unknown_member", "The operator says how this work is observed."))
        elif entry.observe:
            errors.extend(outgoing.check(entry.observe, "/parameters/remote"))
        elif "observe" in given:
            errors.extend(outgoing.check(given["observe"]["url"], f"{at}/url"))
        else:
            errors.append(FieldError(at, "missing", "What nobody can observe cannot be verified."))
        if "compensate" in given:
            errors.extend(outgoing.check(given["compensate"]["url"], "/parameters/compensate/url"))
        return errors

    def reversibility(self, call: Call) -> Reversibility:
        """A compensating request makes it reversible from outside."""
        declared = "compensate" in call.parameters
        return Reversibility.EXTERNALLY_REVERSIBLE if declared else Reversibility.IRREVERSIBLE

    def deadline_seconds(self, call: Call) -> float:
        """The time to be claimed, and the time for the work."""
        entry = self.entry(call)
        return entry.claim_seconds + entry.timeout_seconds + MARGIN_SECONDS

    def observe(self, call: Call) -> Observation:
        """`{"status", "json"}` of the listed or declared URL."""
        return requests.look(self._url(call, self.entry(call)))

    def fingerprint(self, observation: Observation) -> str:
        """Over status and JSON."""
        return observed.digest([observation.state.get("status"), observation.state.get("json")])

    def preview(self, call: Call, observation: Observation) -> Preview:
        """What is handed over, to whom, and the request that takes it back."""
        entry = self.entry(call)
        lines = [f"{entry.name}: {entry.title}" if entry.title else entry.name]
        lines.append(f"by one of: {', '.join(entry.agents)}")
        lines.append(f"within {entry.timeout_seconds:g} s, observed at {self._url(call, entry)}")
        lines += ["", json.dumps(call.parameters.get("arguments", {}), indent=2, ensure_ascii=False)]
        if "compensate" in call.parameters:
            lines += ["", "to undo:", *requests.shown_request(call.parameters["compensate"])]
        return Preview("text", observed.storable("\n".join(lines)), f"hand {entry.name} to an agent")

    def snapshot(self, call: Call, store: SnapshotWriter) -> None:
        """The compensating request; nothing when there is none."""
        if "compensate" in call.parameters:
            kept = json.dumps(call.parameters["compensate"], sort_keys=True)
            store.add_bytes(_ITEM, kept.encode(), {"method": call.parameters["compensate"]["method"]})

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Nothing by itself: the offer of a permit."""
        try:
            entry = self.entry(call)
        except ExecutorError as problem:
            return ExecutionResult.failure(str(problem), retryable=True)
        if run.cancelled():
            return ExecutionResult.failure("Cancelled before it was handed over.", retryable=True)
        arguments = dict(call.parameters.get("arguments", {}))
        times = {"claim_seconds": entry.claim_seconds, "heartbeat_seconds": entry.heartbeat_seconds}
        return ExecutionResult.pending(Offer(entry.name, arguments, tuple(entry.agents), **times))

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Send the compensating request."""
        try:
            request = json.loads(snapshot.read(_ITEM))
        except KeyError:
            return ExecutionResult.failure("The snapshot holds no compensating request.")
        return requests.send(request, call, run, key=f"{call.contract_id or ''}:compensate")

    def _url(self, call: Call, entry: Work) -> str:
        return entry.observe or str(call.parameters["observe"]["url"])
