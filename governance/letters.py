"""What stands in a mail about a fact. Plain text and a link; what a contract would do is read on the page, after login.

Nothing of a contract's parameters or of what was observed goes out: only what the log holds of the fact, whose secrets
were removed on the way in. Opening a link changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

FOOTER = "Opening the link changes nothing: whatever is decided is decided on the page, after login."
LINE_CHARS = 200
TEXT_CHARS = 2_000


@dataclass(frozen=True)
class Letter:
    """A subject of one line, and the body."""

    subject: str
    body: str


def approval(
    fact: str, data: Mapping[str, Any], *, request_id: str, requester: str, risk_score: int, url: str
) -> Letter:
    """Somebody is asked to decide: for the first time, again, or because others did not answer."""
    what = f"{data['action_type']} on {data['target']}"
    opening = {
        "approval.requested": ("Please decide", f"{requester} asks to run {what}."),
        "approval.reminded": ("Still waiting", f"Nobody has settled yet what {requester} asks for: {what}."),
        "approval.escalated": ("Now asked of you too", f"Those asked first have not settled it: {what}."),
    }
    title, sentence = opening[fact]
    facts = [f"Tier: {data['tier']}", f"Risk: {risk_score} of 100", f"Expires: {_moment(data['expires_at'])}"]
    return _letter(f"{title}: {what} ({data['tier']})", [sentence, "\n".join(facts)], f"{url}/approvals/{request_id}")


def hold(data: Mapping[str, Any], *, url: str) -> Letter:
    """Things are stopped."""
    scope = f"{data['scope']} {data['pattern']}".strip()
    return _letter(
        f"Held: {scope}",
        [f"A hold is engaged on {scope}. Nothing in its scope starts until it is released.", f"Why: {data['reason']}"],
        f"{url}/holds",
    )


def glass(data: Mapping[str, Any], *, who: str, contract_id: UUID | None, url: str) -> Letter:
    """Somebody acted on their own word."""
    what = f"{data['action_type']} on {data['target']}"
    return _letter(
        f"Glass broken: {what}",
        [
            f"{who} ran {what} without waiting for approval. Somebody else has to review it.",
            f"Why: {data['text']}",
        ],
        f"{url}/contracts/{contract_id}",
    )


def held(data: Mapping[str, Any], *, contract_id: UUID | None, url: str) -> Letter:
    """A contract neither worked nor could be undone: a person has to look at its target."""
    what = f"{data['action_type']} on {data['target']}"
    return _letter(
        f"Needs you: {what} is held",
        [
            f"{what} went wrong, and there was no way back that could be verified. "
            "Nothing else touches that target until somebody has looked at it and resolved the contract."
        ],
        f"{url}/contracts/{contract_id}",
    )


def integrity(found: Sequence[tuple[str, str]], *, url: str) -> Letter:
    """The log was checked, and is not what it was; each finding as its kind and its sentence."""
    kinds = ", ".join(sorted({kind for kind, _ in found}))
    lines = "\n".join(f"- {kind}: {detail}" for kind, detail in found[:20])
    more = [f"And {len(found) - 20} more."] if len(found) > 20 else []
    return _letter(f"The log: {kinds}", ["A check of the log found:", lines, *more], f"{url}/audit")


def _letter(subject: str, paragraphs: Sequence[str], link: str) -> Letter:
    texts = [_text(each) for each in paragraphs]
    return Letter(f"[Grace] {_line(subject)}", "\n\n".join([*texts, link, FOOTER]) + "\n")


def _moment(stamp: str) -> str:
    return stamp[:16].replace("T", " ") + " UTC"


def _line(text: str) -> str:
    """One line, without anything that could begin another header or turn the reading direction round."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return shown if len(shown) <= LINE_CHARS else shown[: LINE_CHARS - 1] + "…"


def _text(text: str) -> str:
    shown = "".join(char if char.isprintable() or char == "\n" else " " for char in text)
    return shown if len(shown) <= TEXT_CHARS else shown[: TEXT_CHARS - 1] + "…"
