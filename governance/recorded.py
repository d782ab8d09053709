"""What the log says of an authorization, against the rows that claim it.

Whoever reaches the database can write rows. What was said when something was decided stands in entries, which never
change and whose bytes are in the tree. At dispatch a row counts only as far as the entry written along with it says the
same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from auditlog import canonical, reading
from auditlog.models import Entry
from verification.facts import ContractFact
from verification.models import Contract, State

from . import granting
from .facts import ApprovalFact, FreezeFact, GrantFact
from .models import ApprovalRequest, Decision, FreezeException, Grant

_MOVES = frozenset(ContractFact[state.name].name_ for state in State)
_DECIDED, _WITHDRAWN = ApprovalFact.DECIDED.name_, ApprovalFact.WITHDRAWN.name_
_ESCALATED = ApprovalFact.ESCALATED.name_
_CREATED, _REVOKED = GrantFact.CREATED.name_, GrantFact.REVOKED.name_

JsonDict = dict[str, Any]


@dataclass(frozen=True)
class Story:
    """What was said about one contract, as the bytes of its entries have it, the earliest first."""

    said: tuple[JsonDict, ...]

    def of(self, *facts: str) -> list[JsonDict]:
        """The documents of some facts."""
        return [each for each in self.said if each["fact"] in facts]


@reading.remembered
def story(contract: Contract) -> Story:
    """What was said of a contract's moves and of who decided about it. One statement."""
    wanted = [*_MOVES, _DECIDED, _WITHDRAWN, _ESCALATED]
    found = Entry.objects.filter(contract_id=contract.pk, fact__in=wanted).order_by("id").only("bytes")
    return Story(tuple(each.document() for each in found))


def misstated(contract: Contract, request: ApprovalRequest | None, decisions: Iterable[Decision]) -> str:
    """What of an authorization the log does not say, as a sentence; empty when it says all of it.

    `request` is what the contract runs on, if people were asked, and `decisions` are those that count on it.
    """
    known = story(contract)
    wrong = [] if _stands(contract, known) else ["that the contract is authorized like this"]
    if request is not None and request.escalated_at is not None and not _escalated(request, known):
        wrong.append("that others were asked as well")
    wrong += [f"decision {each.pk} of person {each.person_id}" for each in decisions if not _said(each, known)]
    return f"The log does not say what the rows do: {'; '.join(wrong)}." if wrong else ""


def _stands(contract: Contract, known: Story) -> bool:
    """Whether the log left the contract in the state it is in, and authorized what its row says, until then."""
    return _state(known) == contract.state and any(
        _authorizes(each, contract) for each in known.of(ContractFact.AUTHORIZED.name_)
    )


def _state(known: Story) -> str:
    """The one state that was entered once more than it was left: whatever clocks say about the order of entries."""
    moves = [each["data"] for each in known.of(*_MOVES)]
    entered = Counter(move["to_state"] for move in moves)
    entered.subtract(move["from_state"] for move in moves if move["from_state"])
    return next((state for state, more in entered.items() if more == 1), "")


def _authorizes(document: JsonDict, contract: Contract) -> bool:
    data, at, until = document["data"], contract.authorized_at, contract.valid_until
    return (
        at is not None
        and document["at"] == canonical.stamp(at)
        and data["digest"] == contract.authorized_digest
        and data["tier"] == contract.tier
        and data["revision"] == contract.current_revision
        and data.get("valid_until") == (canonical.stamp(until) if until is not None else None)
    )


def _escalated(request: ApprovalRequest, known: Story) -> bool:
    return any(_is_about(each, request.pk) for each in known.of(_ESCALATED))


def _said(decision: Decision, known: Story) -> bool:
    """Whether the entry a decision names says the same, and nobody took it back."""
    entry_id = str(decision.entry_id)
    if any(each["data"].get("decision") == entry_id for each in known.of(_WITHDRAWN)):
        return False
    return any(each["id"] == entry_id and _agrees(each, decision) for each in known.of(_DECIDED))


def _agrees(document: JsonDict, decision: Decision) -> bool:
    data = document["data"]
    return bool(
        _is_about(document, decision.request_id)
        and document["actor"]["kind"] == "person"
        and document["actor"]["id"] == str(decision.person_id)
        and data["verdict"] == decision.verdict
        and data["digest"] == decision.digest
        and data.get("on_behalf_of") == _text(decision.on_behalf_of_id)
        and data.get("delegation") == _text(decision.delegation_id)
    )


def _is_about(document: JsonDict, request_id: UUID) -> bool:
    return bool(document["subject"]["kind"] == "approval" and document["subject"]["id"] == str(request_id))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def grant_misstated(grant: Grant) -> str:
    """What of a standing grant the log does not say, as a sentence; empty when it says all of it."""
    found = Entry.objects.filter(subject_kind="grant", subject_id=str(grant.pk), fact__in=[_CREATED, _REVOKED]).only(
        "bytes"
    )
    said = [each.document() for each in found]
    made = [each["data"] for each in said if each["fact"] == _CREATED]
    # The log was not told of a secret in a condition or a target, but holds a commitment to all of it.
    if len(made) != 1 or made[0]["commitment"] != granting.commitment(grant):
        return f"The log does not say what the row of grant {grant.pk} does."
    taken = len(said) > 1
    return "" if taken is (grant.revoked_at is not None) else f"The log says that grant {grant.pk} was taken away."


def excepted(row: FreezeException) -> bool:
    """Whether the log says of an exception to a freeze what its row does."""
    about = {"contract_id": row.contract_id, "subject_id": str(row.freeze_id), "fact": FreezeFact.CHANGED.name_}
    said = [each.data for each in Entry.objects.filter(**about).only("bytes")]
    ours = {each["change"]: each for each in said if each.get("approved_by") == str(row.approved_by)}
    made, withdrawn = ours.get("excepted"), "exception_withdrawn" in ours
    if made is None or withdrawn is not (row.withdrawn_at is not None):
        return False
    return bool(made["revision"] == row.revision and made["digest"] == row.digest)
