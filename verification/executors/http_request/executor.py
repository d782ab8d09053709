"""`http.request`: one call to an allow-listed API, bounded, never redirected."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from auditlog.refusals import FieldError
from verification import outgoing
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
from verification.executors.http_request.schema import EXAMPLE, SCHEMA
from verification.json_schemas import Schema, pointer
from verification.models import Execution

MAX_TARGET_CHARS = 500
REQUEST_SECONDS = 30.0
OBSERVE_SECONDS = 10.0
SHOWN_CHARS = 8_000
READING = ("GET", "HEAD")
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_OURS = {
    "connection",
    "content-length",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-grace-token",
}
_SECRET = re.compile(r"auth|cookie|token|secret|passw|api-?key|credential|session", re.IGNORECASE)
_ITEM = "compensate"


class HttpRequest(Executor):
    """Calls an API; the way back is the compensating request that the proposal declares."""

    action_type = "http.request"
    version = "1"
    title = "Call an allow-listed API"
    schema: dict[str, Any] = SCHEMA
    criteria = ("state_match", "health_check", "metric_threshold", "benchmark", "expression")
    example: dict[str, Any] = EXAMPLE
    retryable = True

    def __init__(self) -> None:
        """Compile the schema once."""
        self._schema = Schema(SCHEMA)

    def check(self, call: Call) -> list[FieldError]:
        """Schema, every URL, every header."""
        errors = self._schema.errors(dict(call.parameters), "/parameters")
        if errors:
            return errors
        if call.parameters["method"] in READING and "json" in call.parameters:
            errors.append(FieldError("/parameters/json", "unknown_member", "GET and HEAD have no body."))
        errors.extend(outgoing.check(call.parameters["url"], "/parameters/url"))
        for member in ("observe", "compensate"):
            if member in call.parameters:
                errors.extend(outgoing.check(call.parameters[member]["url"], f"/parameters/{member}/url"))
        for name, value in call.parameters.get("headers", {}).items():
            errors.extend(_header_errors(name, value))
        return errors or _target_errors(call)

    def reversibility(self, call: Call) -> Reversibility:
        """GET and HEAD read; a compensating request makes the others reversible from outside."""
        if call.parameters.get("method") in READING:
            return Reversibility.READ_ONLY
        if "compensate" in call.parameters:
            return Reversibility.EXTERNALLY_REVERSIBLE
        return Reversibility.IRREVERSIBLE

    def deadline_seconds(self, call: Call) -> float:
        """One request, and a little."""
        return REQUEST_SECONDS + 5.0

    def tells_change(self, call: Call) -> bool:
        """Only a declared GET shows what another request did."""
        return "observe" in call.parameters or call.parameters["method"] in READING

    def observe(self, call: Call) -> Observation:
        """Status and JSON of the declared GET (of the URL itself when the action reads).

        Without one: what the server answered to the last attempt, null before.
        """
        url = _observed_url(call)
        return observed.now(_last_answer(call)) if url is None else look(url)

    def fingerprint(self, observation: Observation) -> str:
        """Over status and JSON."""
        return observed.digest([observation.state.get("status"), observation.state.get("json")])

    def preview(self, call: Call, observation: Observation) -> Preview:
        """The request as it will be sent, and the one that takes it back."""
        lines = shown_request(call.parameters)
        for name, value in call.parameters.get("headers", {}).items():
            lines.insert(1, f"{name}: {value}")
        if "compensate" in call.parameters:
            lines += ["", "to undo:", *shown_request(call.parameters["compensate"])]
        summary = f"{call.parameters['method']} {call.parameters['url']}"
        return Preview("text", observed.storable("\n".join(lines)), observed.storable(summary))

    def snapshot(self, call: Call, store: SnapshotWriter) -> None:
        """The compensating request; nothing when there is none."""
        if "compensate" in call.parameters:
            kept = json.dumps(call.parameters["compensate"], sort_keys=True)
            store.add_bytes(_ITEM, kept.encode(), {"method": call.parameters["compensate"]["method"]})

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Send it once; an answer below 300 is success, as far as the server says."""
        if run.cancelled():
            return ExecutionResult.failure("Cancelled before anything was sent.", retryable=True)
        return send(call.parameters, call, run, key=str(call.contract_id or ""))

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Send the compensating request."""
        try:
            request = json.loads(snapshot.read(_ITEM))
        except KeyError:
            return ExecutionResult.failure("The snapshot holds no compensating request.")
        return send(request, call, run, key=f"{call.contract_id or ''}:compensate")


def look(url: str) -> Observation:
    """What GET answers at an allow-listed URL, as `{"status", "json"}`; raises ExecutorError."""
    try:
        answer = outgoing.request("GET", url, deadline_seconds=OBSERVE_SECONDS)
    except (outgoing.UrlNotAllowed, outgoing.NoAnswer) as exc:
        raise ExecutorError(f"{url} could not be observed: {exc}") from exc
    return observed.now({"status": answer.status, "json": answer.json()})


def send(request: Mapping[str, Any], call: Call, run: Run, *, key: str) -> ExecutionResult:
    """Send `{"method", "url", "headers"?, "json"?}` once, under an idempotency key and the fencing token."""
    reads = request["method"] in READING
    ours = {"Idempotency-Key": key, "X-Grace-Token": str(run.token or call.token)}
    try:
        answer = outgoing.request(
            request["method"],
            request["url"],
            headers={**request.get("headers", {}), **ours},
            json=request.get("json"),
            body=b"null" if "json" in request and request["json"] is None else None,
            deadline_seconds=max(0.1, min(REQUEST_SECONDS, run.deadline_seconds)),
        )
    except outgoing.UrlNotAllowed as exc:
        return ExecutionResult.failure(str(exc))
    except outgoing.NoAnswer as exc:
        return ExecutionResult.failure(
            str(exc),
            status=Status.TIMEOUT if exc.late else Status.FAILED,
            retryable=reads or not exc.may_have_arrived,
        )
    return _reported(answer, reads)


def _reported(answer: outgoing.Answer, reads: bool) -> ExecutionResult:
    result = _shown_answer(answer)
    metrics = {"latency_ms": round(answer.latency_ms, 3), "response_bytes": len(answer.body)}
    duration_ms = int(answer.latency_ms)
    if 200 <= answer.status < 300:
        return ExecutionResult.success(result, metrics=metrics, duration_ms=duration_ms)
    redirected = 300 <= answer.status < 400
    error = f"answered {answer.status}" + (", and redirects are not followed" if redirected else "")
    return ExecutionResult.failure(error, result=result, metrics=metrics, duration_ms=duration_ms, retryable=reads)


def _shown_answer(answer: outgoing.Answer) -> dict[str, Any]:
    document = observed.json_safe(answer.json())
    shown: dict[str, Any] = {"status": answer.status, "json": document, "truncated": answer.truncated}
    if document is None and answer.body:
        shown["text"] = observed.storable(answer.text[:SHOWN_CHARS])
    elif len(answer.body) > SHOWN_CHARS:
        shown["json"] = None
        shown["sha256"] = observed.digest(document)
    return shown


def _observed_url(call: Call) -> str | None:
    if "observe" in call.parameters:
        return str(call.parameters["observe"]["url"])
    return str(call.parameters["url"]) if call.parameters["method"] in READING else None


def _last_answer(call: Call) -> dict[str, Any]:
    nothing = {"status": None, "json": None}
    if call.contract_id is None:
        return nothing
    last = Execution.objects.filter(contract_id=call.contract_id).order_by("-attempt").first()
    result = (last.result or {}).get("result", {}) if last else {}
    return {name: result.get(name) for name in nothing}


def _target_errors(call: Call) -> list[FieldError]:
    """Locks, holds and rules go by the target, so it is not the proposer's to choose."""
    wanted = outgoing.parse(call.parameters["url"]).place
    if len(wanted) > MAX_TARGET_CHARS:
        detail = f"Without its query a URL has at most {MAX_TARGET_CHARS} characters."
        return [FieldError("/parameters/url", "too_long", detail)]
    if call.target != wanted:
        return [FieldError("/target", "target_mismatch", f"The target of this request is {wanted!r}.")]
    return []


def _header_errors(name: str, value: str) -> list[FieldError]:
    at = "/parameters/headers" + pointer([name])
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        return [FieldError(at, "malformed_header", "A header is one line of printable ASCII.")]
    if name.lower() in _OURS:
        return [FieldError(at, "reserved_header", "This header is set by Grace.")]
    if _SECRET.search(name):
        detail = "Credentials do not belong in a proposal: it is stored, shown and logged."
        return [FieldError(at, "secret_header", detail)]
    return []


def shown_request(request: Mapping[str, Any]) -> list[str]:
    """The lines of a request, for a preview."""
    lines = [f"{request['method']} {request['url']}"]
    if "json" in request:
        lines += ["", json.dumps(request["json"], indent=2, ensure_ascii=False)]
    return lines
