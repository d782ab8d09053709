"""`database.migrate`: one script, one transaction, once; the way back is the database as it was before."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

from auditlog.refusals import FieldError
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
from verification.executors.database_migrate import listed, on_postgres, on_sqlite
from verification.executors.database_migrate.listed import DATABASES, Database, NotDone, Side, Work
from verification.executors.database_migrate.schema import EXAMPLE, SCHEMA
from verification.executors.targets import ForTarget
from verification.json_schemas import Schema

MARGIN_SECONDS = 10.0


class DatabaseMigrate(ForTarget[Database]):
    """Applies a script, all of it or none of it; a table of its own in the database says whether it did."""

    action_type = "database.migrate"
    version = "1"
    title = "Change a listed database"
    schema: dict[str, Any] = SCHEMA
    criteria = ("state_match", "health_check", "metric_threshold", "benchmark", "expression")
    example: dict[str, Any] = EXAMPLE
    retryable = True
    restore_is_repeatable = True
    table = DATABASES
    parameter = "database"
    compiled = Schema(SCHEMA)

    def check_more(self, call: Call, entry: Database) -> list[FieldError]:
        """A script does not name Grace's own table; one that reaches it otherwise is found out before the commit."""
        if listed.LEDGER in call.parameters["script"].lower():
            detail = f"{listed.LEDGER} is Grace's own table, and no script names it."
            return [FieldError("/parameters/script", "table_not_allowed", detail)]
        return []

    def reversibility(self, call: Call) -> Reversibility:
        """Reversible, unless the operator wants no automatic way back for this database."""
        try:
            kept = self.entry(call).way_back == "restore"
        except ExecutorError:
            kept = False
        return Reversibility.REVERSIBLE if kept else Reversibility.IRREVERSIBLE

    def deadline_seconds(self, call: Call) -> float:
        """The database's own time limit for dumping, and the same for the script."""
        return 2 * self.entry(call).timeout_seconds + MARGIN_SECONDS

    def observe(self, call: Call) -> Observation:
        """Whether this contract's script was applied, the schema, and the answers of the listed queries."""
        database, contract_id = self.entry(call), str(call.contract_id or "")
        return observed.now(_on(database).look(database, contract_id).as_state())

    def fingerprint(self, observation: Observation) -> str:
        """Over the schema: data changes all the time."""
        return observed.digest([observation.state["schema_sha256"], observation.state["applied"]])

    def untouched(self, call: Call, baseline: Observation, observation: Observation) -> bool:
        """Neither applied nor brought back by this contract: both are noted in the transaction that does them."""
        return not observation.state["applied"] and not observation.state["restored"]

    def preview(self, call: Call, observation: Observation) -> Preview:
        """The whole script, and what going back would cost."""
        database = self.entry(call)
        if database.way_back == "restore":
            back = "the whole database as it was before, without what others write meanwhile"
        else:
            back = "none"
        lines = [f"-- in one transaction on {database.name}; way back: {back}", call.parameters["script"]]
        return Preview("text", observed.storable("\n".join(lines)), f"change the database {database.name}")

    def snapshot(self, call: Call, store: SnapshotWriter) -> None:
        """The whole database; nothing when the operator wants no way back."""
        database = self.entry(call)
        if database.way_back == "restore":
            _on(database).keep(database, store)

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Apply the script."""
        script = call.parameters["script"]

        def act(database: Database, work: Work) -> dict[str, Any]:
            return {"applied": True, "before": not _on(database).apply(database, script, work)}

        return self._act(call, run, "apply", listed.script_sha256(script), act)

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Put the whole database back."""

        def act(database: Database, work: Work) -> dict[str, Any]:
            _on(database).bring_back(database, snapshot, work)
            return {"restored": True}

        return self._act(call, run, "restore", "", act)

    def _act(
        self,
        call: Call,
        run: Run,
        what: Literal["apply", "restore"],
        sha256: str,
        act: Callable[[Database, Work], dict[str, Any]],
    ) -> ExecutionResult:
        began = time.monotonic()
        status, retryable = Status.FAILED, False
        try:
            database = self.entry(call)
            seconds = min(database.timeout_seconds, run.deadline_seconds - MARGIN_SECONDS)
            if seconds <= 0 or run.cancelled():
                raise NotDone(
                    "Cancelled before anything was done." if seconds > 0 else "No time is left.", transient=True
                )
            work = Work(
                str(call.contract_id or ""), what, sha256, seconds, lambda: "Cancelled." if run.cancelled() else ""
            )
            return ExecutionResult.success(act(database, work), duration_ms=_since(began))
        except KeyError:
            error = "The snapshot holds no database."
        except NotDone as problem:
            error, retryable = str(problem), problem.transient
            status = Status.TIMEOUT if problem.late else Status.FAILED
        except ExecutorError as problem:
            error = str(problem)
        return ExecutionResult.failure(error, duration_ms=_since(began), status=status, retryable=retryable)


def _on(database: Database) -> Side:
    return on_sqlite if database.address.startswith("sqlite:") else on_postgres


def _since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
