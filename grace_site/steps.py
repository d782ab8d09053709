"""One line in a process's log for each step of a contract's life, and of jobs and holds, once it is committed.

The entry in the log says the same, for good and with a proof; the line is for whoever watches processes. It carries the
entry's own ids, so that one `correlation_id` finds it from proposal to end, and beside it, as `request_id`, the request
in which the step was taken: an approver's, say.
"""

from collections.abc import Sequence

import structlog

from auditlog import observers
from auditlog.models import Entry

logger = structlog.get_logger(__name__)

TOLD = ("contract.", "approval.decided", "permit.", "job.", "hold.")
# It comes with `contract.proposed`, and is long.
UNTOLD = ("contract.created",)
SHOWN = (
    *("action_type", "target", "tier", "attempt", "confidence", "code", "reason", "error"),
    *("job_id", "kind", "scope", "pattern"),
)
TEXT_CHARS = 300


def watch() -> None:
    """Have lines written in this process: one that serves, since who runs a command reads what that prints."""
    observers.watch(tell)


def tell(entries: Sequence[Entry]) -> None:
    """Write a line for every committed entry that is a step."""
    for entry in entries:
        if entry.fact.startswith(TOLD) and entry.fact not in UNTOLD:
            _line(entry)


def _line(entry: Entry) -> None:
    data = entry.data
    ids = {name: getattr(entry, name) for name in ("correlation_id", "contract_id", "mission_id")}
    about = {
        **{name: str(value) for name, value in ids.items() if value},
        # People by id, as the log names them: a name in a file could not be erased.
        "actor": entry.actor_id if entry.actor_kind == "system" else f"{entry.actor_kind}:{entry.actor_id}",
        "status": data.get("to_state") or data.get("status") or data.get("verdict") or entry.fact.partition(".")[2],
        **{name: _short(data[name]) for name in SHOWN if data.get(name)},
    }
    (logger.info if entry.outcome == "success" else logger.warning)(entry.fact, **about)


def _short(value: object) -> object:
    return value[:TEXT_CHARS] if isinstance(value, str) else value
