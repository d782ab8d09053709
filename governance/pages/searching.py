"""What somebody typed into the search of the log, as the log understands it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.utils.http import urlencode

from auditlog import entries
from auditlog.refusals import FieldError, Refused
from governance import principals

FIELDS = ("fact", "actor", "subject", "contract", "mission", "outcome", "after", "before")
OUTCOMES = ("success", "failure", "refused")


class NotASearch(Refused):
    """Something in the search means nothing, so there is nothing that it finds."""

    code = "not_a_search"
    kind = Refused.Kind.INVALID


@dataclass(frozen=True)
class Search:
    """What was typed, what the log is asked for by it (see `entries.chosen`), and what could not be understood."""

    typed: Mapping[str, str]
    asked: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def query(self) -> str:
        """The search as a query string."""
        return urlencode({name: value for name, value in self.typed.items() if value})

    def understood(self) -> Mapping[str, Any]:
        """What the log is asked for. Raises NotASearch."""
        if self.problems:
            errors = [FieldError("", NotASearch.code, problem) for problem in self.problems]
            raise NotASearch(" ".join(self.problems), errors=errors)
        return self.asked


def read(sent: Mapping[str, str]) -> Search:
    """Read a search from a query or a form; times are UTC unless they say otherwise."""
    typed = {name: sent.get(name, "").strip() for name in FIELDS}
    problems: list[str] = []
    asked = {
        "fact": _pattern(typed["fact"], problems),
        "actor": _actor(typed["actor"]),
        "subject": typed["subject"],
        "contract_id": _uuid(typed["contract"], "contract", problems),
        "mission_id": _uuid(typed["mission"], "mission", problems),
        "outcome": typed["outcome"],
        "created_after": _time(typed["after"], problems),
        "created_before": _time(typed["before"], problems),
    }
    return Search(typed, {name: value for name, value in asked.items() if value}, tuple(problems))


def _pattern(text: str, problems: list[str]) -> str:
    try:
        entries.matching(text or "*")
    except ValueError:
        problems.append(f"{text} is not the name of a fact, nor the beginning of one followed by *.")
    return text


def _actor(text: str) -> str:
    """An id as it is; a name as the id of whoever has it."""
    return next(iter(principals.ids_of(text)), text) if text else ""


def _uuid(text: str, of: str, problems: list[str]) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        problems.append(f"{text} is not the id of a {of}.")
        return None


def _time(text: str, problems: list[str]) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        problems.append(f"{text} is not a time such as 2026-11-23T12:00.")
        return None
