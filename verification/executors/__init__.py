"""The registry of executors: who can carry out which action type.

Ours are registered when first asked for; other packages add theirs through the entry point group
`grace.executors` (each entry point is an executor, or a callable that makes one) or by calling `register()`
from an AppConfig.
"""

from __future__ import annotations

from importlib import metadata
from threading import RLock

from auditlog.refusals import FieldError, Refused
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
from verification.executors.cache_clear.executor import CacheClear
from verification.executors.command_run.executor import CommandRun
from verification.executors.config_update.executor import ConfigUpdate
from verification.executors.database_migrate.executor import DatabaseMigrate
from verification.executors.http_request.executor import HttpRequest
from verification.executors.remote.executor import Remote
from verification.executors.service_restart.executor import ServiceRestart

ENTRY_POINT_GROUP = "grace.executors"

_OWN: tuple[type[Executor], ...] = (
    CacheClear,
    CommandRun,
    ConfigUpdate,
    DatabaseMigrate,
    HttpRequest,
    Remote,
    ServiceRestart,
)

_registry: dict[str, Executor] = {}
_lock = RLock()
_discovered = False


class UnknownActionType(Refused):
    """No executor carries out this action type."""

    code = "unknown_action_type"
    kind = Refused.Kind.INVALID


class AlreadyRegistered(Exception):
    """Two executors claim one action type; whichever was meant, starting would be a guess."""


def register(executor: Executor) -> Executor:
    """Add an executor; another one for a taken action type raises AlreadyRegistered."""
    with _lock:
        known = _registry.setdefault(executor.action_type, executor)
    if known is not executor:
        raise AlreadyRegistered(f"{executor.action_type} is carried out by {type(known).__name__} already")
    return executor


def unregister(action_type: str) -> None:
    """Take an executor out again (tests, and apps that are unloaded)."""
    with _lock:
        _registry.pop(action_type, None)


def get(action_type: str) -> Executor:
    """The executor of an action type; raises UnknownActionType."""
    _discover()
    executor = _registry.get(action_type)
    if executor is None:
        detail = f"There is no executor for {action_type[:80]!r}; see /api/verification/action-types."
        raise UnknownActionType(detail, errors=[FieldError("/action_type", UnknownActionType.code, detail)])
    return executor


def all() -> list[Executor]:
    """Every executor, by action type."""
    _discover()
    return [_registry[name] for name in sorted(_registry)]


def _discover() -> None:
    global _discovered  # noqa: PLW0603 - discovery happens once in a process
    with _lock:
        if _discovered:
            return
        for executor_class in _OWN:
            _registry.setdefault(executor_class.action_type, executor_class())
        for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
            loaded = point.load()
            register(loaded() if callable(loaded) else loaded)
        _discovered = True


__all__ = [
    "AlreadyRegistered",
    "Call",
    "ExecutionResult",
    "Executor",
    "ExecutorError",
    "Observation",
    "Preview",
    "Reversibility",
    "Run",
    "SnapshotReader",
    "SnapshotWriter",
    "Status",
    "UnknownActionType",
    "all",
    "get",
    "register",
    "unregister",
]
