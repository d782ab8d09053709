"""An executor of one's own: `release.switch` points the link `current` of an application at another release.

RELEASES_ROOT is a directory that holds `releases/<name>/` and the link `current`. It is the operator's to set; without
it nothing may be switched.
"""

from __future__ import annotations

import os
from pathlib import Path
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
)
from verification.json_schemas import Schema

TARGET = "release:current"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"release": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}},
    "required": ["release"],
    "additionalProperties": False,
}


class ReleaseSwitch(Executor):
    """Every method of the Protocol that has no default, in the order in which Grace calls them."""

    action_type = "release.switch"
    version = "1"
    title = "Switch to another release"
    schema = SCHEMA
    criteria = ("state_match", "health_check", "expression")
    example: dict[str, Any] = {
        "action_type": "release.switch",
        "target": TARGET,
        "parameters": {"release": "1.1"},
        "expected_effect": {"target_state": {"release": "1.1"}},
    }
    retryable = True
    restore_is_repeatable = True

    def __init__(self) -> None:
        self._schema = Schema(SCHEMA)

    def check(self, call: Call) -> list[FieldError]:
        """Refuse all that can be refused without touching anything; this runs in the proposer's request."""
        if errors := self._schema.errors(dict(call.parameters), "/parameters"):
            return errors
        if call.target != TARGET:
            return [FieldError("/target", "target_mismatch", f"The target is {TARGET!r}.")]
        try:
            folder = _root() / "releases" / call.parameters["release"]
        except ExecutorError as error:
            return [FieldError("/parameters/release", "release_not_allowed", str(error))]
        if folder.is_symlink() or not folder.is_dir():
            return [FieldError("/parameters/release", "release_not_allowed", "There is no such release.")]
        return []

    def reversibility(self, call: Call) -> Reversibility:
        """Trusted: policies go by it. What cannot be taken back is never done without asking people."""
        return Reversibility.REVERSIBLE

    def observe(self, call: Call) -> Observation:
        """The target as it is, read anew each time. Criteria are measured against this, never against the result."""
        return observed.now({"release": _current()})

    def fingerprint(self, observation: Observation) -> str:
        """Over what approvers must not see change behind their backs. Equal before and after: nothing was done."""
        return observed.digest(observation.state["release"])

    def preview(self, call: Call, observation: Observation) -> Preview:
        """What reviewers are shown."""
        before, after = observation.state["release"], call.parameters["release"]
        return Preview("diff", f"-{before}\n+{after}", f"switch from {before} to {after}")

    def snapshot(self, call: Call, store: SnapshotWriter) -> None:
        """Keep what `restore` will need."""
        store.add_bytes("release", (_current() or "").encode())

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Do it, in one step that a killed worker has either taken or not. Failures are results, not exceptions."""
        if run.cancelled():
            return ExecutionResult.failure("Cancelled before anything was done.", retryable=True)
        return _switched(call.parameters["release"])

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Undo it. Run twice, it ends where running it once does: so `restore_is_repeatable`."""
        return _switched(snapshot.read("release").decode())


def _root() -> Path:
    root = os.environ.get("RELEASES_ROOT", "")
    if not root:
        raise ExecutorError("RELEASES_ROOT is not set.")
    return Path(root)


def _current() -> str | None:
    """The release the link names, None when there is no link; raises ExecutorError."""
    try:
        return (_root() / "current").readlink().name
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ExecutorError(f"The link cannot be read: {error.strerror}") from error


def _switched(release: str) -> ExecutionResult:
    try:
        link, new = _root() / "current", _root() / ".current.new"
        if not release:
            link.unlink(missing_ok=True)
        else:
            new.unlink(missing_ok=True)
            new.symlink_to(Path("releases") / release)
            new.replace(link)
    except OSError as error:
        return ExecutionResult.failure(f"The link could not be switched: {error.strerror}", retryable=True)
    return ExecutionResult.success({"release": release})
