"""The story of a contract or a mission as the log tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User

from auditlog import entries
from auditlog.models import Entry

from . import words

MOST = 500
"""How many entries a page shows; the rest is found on the page of the log."""

_PEOPLE = {"on_behalf_of": "in the name of", "delegator_id": "delegator", "delegate_id": "delegate"}
"""Members by which facts name people, by their ids, and how a page calls them."""

_BRIEFLY = ("unreadable", "reason", "text", "confidence", "error", "code", "playbook", "error_pattern", "goal")


@dataclass(frozen=True)
class Moment:
    """One entry as a page shows it."""

    index: int | None
    at: datetime
    fact: str
    title: str
    tone: str
    actor: str
    brief: list[tuple[str, str]]
    document: Mapping[str, Any]
    contract_id: UUID | None
    mission_id: UUID | None
    subject: str
    outcome: str


def of(*, contract_id: UUID | None = None, mission_id: UUID | None = None) -> list[Moment]:
    """The entries of a contract or a mission in log order, with people's names where they are not erased."""
    return moments(entries.timeline(contract_id=contract_id, mission_id=mission_id)[:MOST])


def moments(found: Iterable[Entry]) -> list[Moment]:
    """Entries as pages show them; they carry `leaf_index` (see `entries.in_order`)."""
    rows = list(found)
    documents = entries.disclosed(rows)
    names = _names(documents.values())
    return [_moment(row, documents[row.id], names) for row in rows]


def _names(documents: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The names of the people facts name by id; one query, and none when there are none."""
    named = {str(id_) for each in documents for name in _PEOPLE if (id_ := (each.get("data") or {}).get(name))}
    if not named:
        return {}
    found = User.objects.filter(pk__in=[id_ for id_ in named if id_.isdecimal() and len(id_) < 19])
    return {str(each.pk): each.get_full_name() or each.get_username() for each in found}


def _moment(entry: Entry, document: Mapping[str, Any], names: Mapping[str, str]) -> Moment:
    data = document.get("data") or {}
    subject = document.get("subject") or {}
    return Moment(
        index=getattr(entry, "leaf_index", None),
        at=entry.recorded_at,
        fact=entry.fact,
        title=_title(entry, data),
        tone=_tone(entry, data),
        actor=entries.label(document),
        brief=[
            *[
                (label, names.get(str(data[name]), str(data[name])))
                for name, label in _PEOPLE.items()
                if data.get(name)
            ],
            *[(name, _briefly(str(data[name]))) for name in _BRIEFLY if data.get(name)],
        ],
        document=document,
        contract_id=entry.contract_id,
        mission_id=entry.mission_id,
        subject=str(subject.get("label") or subject.get("id") or ""),
        outcome=entry.outcome,
    )


def _title(entry: Entry, data: Mapping[str, Any]) -> str:
    if entry.fact == "approval.decided":
        return f"Decision: {words.verdict(str(data.get('verdict')))}"
    return words.sentence(entry.fact)


def _briefly(value: str) -> str:
    """Codes as words; what people wrote as it is."""
    return words.spoken(value) if value.isidentifier() else value


def _tone(entry: Entry, data: Mapping[str, Any]) -> str:
    if entry.fact == "approval.decided":
        return {"approve": "ok", "reject": "bad"}.get(str(data.get("verdict")), "warn")
    last = entry.fact.rpartition(".")[2]
    return words.tone(last.removeprefix("action_").removeprefix("problem_"))
