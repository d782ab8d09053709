"""What follows from what was observed. Pure: the arrows of the state diagram that need judgement.

`unchanged` means that the target is still as it was before the attempt, and that its observation would have shown
a change. `way_back` means that the executor can undo what it did.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

Outcome = Literal["verified", "partial", "violated"]


class Next(StrEnum):
    """What becomes of an attempt. `failed` means that nothing happened."""

    VERIFIED = "verified"
    PARTIAL = "partial"
    FAILED = "failed"
    ROLL_BACK = "roll_back"
    HOLD = "hold"
    LOOK_AGAIN = "look_again"


def after_success(outcome: Outcome, *, way_back: bool) -> Next:
    """The executor finished; only the observed world says whether it worked."""
    if outcome == "verified":
        return Next.VERIFIED
    if outcome == "partial":
        return Next.PARTIAL
    return Next.ROLL_BACK if way_back else Next.HOLD


def after_failure(outcome: Outcome, *, unchanged: bool, way_back: bool) -> Next:
    """The executor says that it failed, or was stopped; it is observed all the same."""
    if unchanged:
        return Next.FAILED
    if outcome == "verified":
        return Next.VERIFIED
    return Next.ROLL_BACK if way_back else Next.HOLD


def after_doubt(outcome: Outcome, *, unchanged: bool, way_back: bool, deadline_passed: bool) -> Next:
    """Nobody recorded how the attempt ended.

    Until its deadline has passed it may still be acting, so only success is believed before that. Criteria that hold
    of a target nothing was done to (a service that was running, and was not restarted) prove nothing.
    """
    if outcome == "verified" and not unchanged:
        return Next.VERIFIED
    if not deadline_passed:
        return Next.LOOK_AGAIN
    if unchanged:
        return Next.FAILED
    return Next.ROLL_BACK if way_back else Next.HOLD
