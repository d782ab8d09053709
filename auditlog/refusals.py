"""The base of every "no" a verb may say."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What sort of "no" it is; `grace_site.problems` is the only place that knows HTTP statuses."""

    MALFORMED = "malformed"
    INVALID = "invalid"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    STALE = "stale"
    TOO_LARGE = "too_large"
    LIMITED = "limited"
    HELD = "held"


@dataclass(frozen=True)
class FieldError:
    """One offending member of the input; `pointer` is an RFC 6901 pointer into the request body."""

    pointer: str
    code: str
    detail: str


class Refused(Exception):
    """A verb declined. Subclasses name the refusal by a stable `code` and say its `kind`."""

    code: str = "refused"
    kind: Kind = Kind.CONFLICT
    Kind = Kind

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = (), retry_after: float | None = None) -> None:
        """`detail` is a sentence for people; `retry_after` is in seconds."""
        super().__init__(detail)
        self.detail = detail
        self.errors: tuple[FieldError, ...] = tuple(errors)
        self.retry_after = retry_after
