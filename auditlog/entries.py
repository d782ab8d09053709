"""Asking the log: entries in log order, by what they are about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet

from . import parsing
from .models import Disclosure, Entry, Leaf, Payload

_COLUMNS = {
    "actor": "actor_id",
    "outcome": "outcome",
    "mission_id": "mission_id",
    "contract_id": "contract_id",
    "correlation_id": "correlation_id",
    "created_after": "recorded_at__gte",
    "created_before": "recorded_at__lt",
}
_OF_LEAVES = {"since": "index__gt", "until": "index__lt"}


def in_order(entries: QuerySet[Entry] | None = None) -> QuerySet[Entry]:
    """Entries in log order, each with `leaf_index`; those that still wait for a place come last, with None."""
    found = Entry.objects.all() if entries is None else entries
    return found.annotate(leaf_index=F("leaf__index")).order_by(F("leaf__index").asc(nulls_last=True), "id")


def timeline(*, mission_id: UUID | None = None, contract_id: UUID | None = None) -> QuerySet[Entry]:
    """What happened to a mission or a contract, in log order. Raises ValueError when neither is given."""
    if mission_id is None and contract_id is None:
        raise ValueError("a timeline is about a mission or a contract")
    wanted = {"mission_id": mission_id, "contract_id": contract_id}
    return in_order(Entry.objects.filter(**{name: value for name, value in wanted.items() if value}))


def chosen(asked: Mapping[str, Any]) -> QuerySet[Leaf]:
    """The leaves somebody asks for, each with its entry; every door and the export understand the same words.

    `fact` (as in `matching`), `actor`, `subject` (an id, or kind:id), `outcome`, `mission_id`, `contract_id`,
    `correlation_id`, `created_after` and `created_before` (aware), `since` and `until` (leaf indices, both left out
    themselves). What is None or empty says nothing. Raises ValueError for a fact that is none.
    """
    places = {column: asked[name] for name, column in _OF_LEAVES.items() if asked.get(name) is not None}
    return Leaf.objects.select_related("entry").filter(_about(asked, "entry__"), **places)


def newest(asked: Mapping[str, Any]) -> QuerySet[Entry]:
    """Entries somebody asks for with the words of `chosen` (but `since` and `until`), each with `leaf_index`.

    Those that still wait for a place are among them, with None. Raises ValueError for a fact that is none.
    """
    return Entry.objects.filter(_about(asked)).annotate(leaf_index=F("leaf__index"))


def _about(asked: Mapping[str, Any], prefix: str = "") -> Q:
    found = Q(**{f"{prefix}{column}": asked[name] for name, column in _COLUMNS.items() if asked.get(name)})
    if asked.get("outcome", "success") != "success":
        # Says nothing new, but names the index of what did not succeed.
        found &= ~Q(**{f"{prefix}outcome": "success"})
    if subject := asked.get("subject"):
        kind, colon, of_kind = subject.partition(":")
        found &= Q(**{f"{prefix}subject_id": of_kind if colon else subject})
        found &= Q(**{f"{prefix}subject_kind": kind}) if colon else Q()
    return found & matching(asked["fact"], prefix) if asked.get("fact") else found


def matching(glob: str, prefix: str = "") -> Q:
    """A condition on `fact` for a glob such as `approval.*`; several are separated by commas.

    `*` stands for any text and only at the end of a pattern. Raises ValueError for others. `prefix` is the path to
    the entry from what is being filtered ("entry__" for leaves).
    """
    found = Q()
    for pattern in (part.strip() for part in glob.split(",")):
        stem, star, rest = pattern.partition("*")
        if rest or (not star and not stem):
            raise ValueError(f"{pattern!r} is not a fact or a prefix of facts ending in *")
        if star and not stem:
            return Q()
        found |= Q(**{f"{prefix}fact__startswith" if star else f"{prefix}fact": stem})
    return found


def matches(glob: str, fact: str) -> bool:
    """Whether a fact's name matches a glob of `matching`."""
    return any(
        fact.startswith(stem) if star else fact == stem
        for stem, star, _ in (part.strip().partition("*") for part in glob.split(","))
    )


def data(entry: Entry) -> dict[str, Any]:
    """The entry's data; a large payload is fetched from beside the log (as long as it is kept there)."""
    found = entry.data
    whole = kept(found)
    return found if whole is None else whole


def kept(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is kept beside the log of data that stand for it; None when nothing is, or it cannot be read."""
    key = payload_key(data)
    payload = Payload.objects.filter(pk=key).first() if key else None
    try:
        return parsing.members(bytes(payload.bytes)) if payload else None
    except parsing.Unreadable:
        return None


def payload_key(data: Mapping[str, Any]) -> str | None:
    """The key of the payload that an entry's data stand for; None when they stand for themselves."""
    key = data["sha256"] if data.keys() == {"sha256", "bytes"} else None
    return key if isinstance(key, str) and parsing.SHA256.fullmatch(key) else None


def disclosed(entries: Iterable[Entry]) -> dict[UUID, dict[str, Any]]:
    """Each entry's document with its personal values put back where they have not been erased."""
    documents = {entry.id: entry.document() for entry in entries}
    for row in Disclosure.objects.filter(entry_id__in=list(documents)):
        match row.pointer.split("/"):
            case ["", "actor" | "subject" | "data" as parent, name]:
                documents[row.entry_id][parent][name] = row.value
    return documents


def label(document: Mapping[str, Any]) -> str:
    """What to call the actor of a (disclosed) document."""
    actor = document["actor"]
    return str(actor.get("label") or actor["id"])
