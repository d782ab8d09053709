"""Looking before asking: the target as it is, and what the action would do to it, within a few seconds."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import connections

from auditlog.refusals import FieldError, Refused
from verification.executors.base import Call, Executor, ExecutorError, Observation, Preview
from verification.running import outside_transaction

DEADLINE_SECONDS = 5.0

Answer = TypeVar("Answer")


class NotObservable(Refused):
    """The target cannot be read, so nobody could be shown what the action would do."""

    code = "target_not_observable"
    kind = Refused.Kind.INVALID

    def __init__(self, detail: str) -> None:
        super().__init__(detail, errors=[FieldError("/target", self.code, detail)])


@dataclass(frozen=True)
class Look:
    """What was seen, its fingerprint, and what the action would do to it."""

    observation: Observation
    fingerprint: str
    preview: Preview


def look(executor: Executor, call: Call, *, seconds: float = DEADLINE_SECONDS) -> Look:
    """Observe and preview, outside any transaction. Raises NotObservable, also when it takes too long.

    An executor that reads Grace's own database (`reads_database`) is asked here; any other in a thread of its own,
    which is left behind at the deadline.
    """
    outside_transaction()

    def ask() -> Look:
        observation = executor.observe(call)
        return Look(observation, executor.fingerprint(observation), executor.preview(call, observation))

    try:
        return ask() if getattr(executor, "reads_database", False) else _within(seconds, ask)
    except ExecutorError as error:
        raise NotObservable(f"The target cannot be read now: {error}") from error


def _within(seconds: float, ask: Callable[[], Answer]) -> Answer:
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append((True, ask()))
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits
            answers.append((False, error))
        finally:
            connections.close_all()

    around = contextvars.copy_context()
    thread = threading.Thread(target=around.run, args=(run,), name="look", daemon=True)
    thread.start()
    thread.join(seconds)
    if not answers:
        raise NotObservable(f"The target did not answer within {seconds:g} s.")
    ok, answer = answers[0]
    if not ok:
        raise answer
    return answer  # type: ignore[no-any-return]  # what `ask` gave
