"""How far a mission has come, and how much to trust it: arithmetic over counted steps."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

HEALTHY = 70
ROLLBACK_FACTOR = Decimal("0.8")
UNHEALTHY_FACTOR = Decimal("0.9")
_PLACES = Decimal("0.0001")


@dataclass(frozen=True)
class Progress:
    """Counted steps of a mission: all of them, and those that settled in each way."""

    planned: int
    completed: int
    failed: int
    rolled_back: int
    health_score: int | None = None

    @property
    def settled(self) -> int:
        """Steps that ended one way or the other."""
        return self.completed + self.failed + self.rolled_back

    @property
    def percent(self) -> int:
        """Settled steps in the hundred; 0 for a mission without steps."""
        return self.settled * 100 // self.planned if self.planned else 0

    @property
    def confidence(self) -> Decimal | None:
        """See `confidence`."""
        return confidence(self)

    def as_dict(self) -> dict[str, Any]:
        """The progress as JSON; confidence is a number or null."""
        return {
            "planned": self.planned,
            "completed": self.completed,
            "failed": self.failed,
            "rolled_back": self.rolled_back,
            "percent": self.percent,
            "confidence": None if self.confidence is None else float(self.confidence),
            "health_score": self.health_score,
        }


def confidence(progress: Progress) -> Decimal | None:
    """Success rate of the settled steps, times 0.8 for each rollback, times 0.9 when the health score is
    under 70.

    None while nothing has settled.
    """
    if not progress.settled:
        return None
    rate = Decimal(progress.completed) / progress.settled
    rate *= ROLLBACK_FACTOR**progress.rolled_back
    if progress.health_score is not None and progress.health_score < HEALTHY:
        rate *= UNHEALTHY_FACTOR
    return rate.quantize(_PLACES, rounding=ROUND_HALF_EVEN)
