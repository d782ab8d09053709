"""Gates: every reason not to start that a package above knows of.

A claim asks every registered gate inside its transaction. With no gate registered nothing starts: the safety rule
stands at the bottom of the house, and only its reasons come from above.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from .executors.base import Observation
from .models import Contract, Execution, Revision


class Then(StrEnum):
    """What becomes of a contract whose gate is closed."""

    WAIT = "wait"
    REAPPROVE = "reapprove"
    EXPIRE = "expire"
    CANCEL = "cancel"


@dataclass(frozen=True)
class Dispatch:
    """What is about to run, and the world as it was observed just before; None when it could not be."""

    contract: Contract
    revision: Revision
    execution: Execution
    observation: Observation | None
    fingerprint: str
    now: datetime


@dataclass(frozen=True)
class Closed:
    """A gate's no: which gate, a stable code, a sentence for people, and what follows."""

    gate: str
    code: str
    detail: str
    then: Then
    retry_after: float = 30.0


class Gate(Protocol):
    """A reason not to start. The first three are called inside the claim's transaction, with the contract locked."""

    name: str

    def check(self, dispatch: Dispatch) -> Closed | None:
        """None when this may start; may lock and read, must not act outside the database."""
        ...

    def closed(self, dispatch: Dispatch, why: Closed) -> None:
        """The contract is turned away, by this gate or for another reason; what is written here is kept.

        Not called when the contract only has to wait.
        """
        ...

    def begun(self, dispatch: Dispatch) -> None:
        """Every gate was open and the contract begins."""
        ...

    def holds_everything(self) -> bool:
        """Whether it is closed to whatever would start now; asked by who looks how Grace is."""
        return False


_gates: dict[str, Gate] = {}

NO_GATE = Closed("none", "no_gate", "No gate is registered, so nothing may start.", Then.WAIT)


def register(gate: Gate) -> None:
    """Add a gate; called from the `ready()` of the app that owns the reason. A name registers once."""
    if gate.name in _gates:
        raise ValueError(f"A gate named {gate.name!r} is registered already.")
    _gates[gate.name] = gate


def registered() -> Iterable[Gate]:
    """Every gate, in the order of registration."""
    return tuple(_gates.values())


def first_closed(dispatch: Dispatch) -> Closed | None:
    """Ask every gate in turn; the first no decides."""
    if not _gates:
        return NO_GATE
    return next((why for gate in _gates.values() if (why := gate.check(dispatch))), None)


def hold_everything() -> bool:
    """Whether a gate is closed to whatever would start now."""
    return any(gate.holds_everything() for gate in _gates.values())


def closed(dispatch: Dispatch, why: Closed) -> None:
    """Tell every gate that the contract is turned away, whatever the reason."""
    for gate in _gates.values():
        gate.closed(dispatch, why)


def begun(dispatch: Dispatch) -> None:
    """Tell every gate that the contract begins."""
    for gate in _gates.values():
        gate.begun(dispatch)
