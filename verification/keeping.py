"""Snapshots on request: what is there now, kept without anything being done to it."""

from __future__ import annotations

from datetime import datetime

from auditlog.actors import Actor
from auditlog.refusals import FieldError, Kind, Refused

from . import executors, snapshotting
from .executors.base import Call, ExecutorError
from .models import Snapshot


class CannotKeep(Refused):
    """The target cannot be kept like this; `errors` names the fields."""

    code = "cannot_be_kept"
    kind = Kind.INVALID


def keep(*, call: Call, by: Actor, now: datetime) -> Snapshot:
    """Keep a target as the executor of this call would before acting. Outside any transaction.

    Raises executors.UnknownActionType and CannotKeep.
    """
    executor = executors.get(call.action_type)
    if errors := executor.check(call):
        raise CannotKeep(errors[0].detail, errors=errors)
    try:
        baseline = executor.observe(call).state
        return snapshotting.take(call=call, kind=Snapshot.Kind.MANUAL, baseline=baseline, by=by, now=now)
    except ExecutorError as error:
        detail = f"The target cannot be read now: {error}"
        raise CannotKeep(detail, errors=[FieldError("/target", CannotKeep.code, detail)]) from None
