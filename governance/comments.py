"""Comments: what people have to say about a request, and where the evidence for it lies.

A comment changes nothing of what is asked: it stands beside the request and outside its digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from django.contrib.auth.models import User

from auditlog import log
from auditlog.actors import Actor
from auditlog.refusals import FieldError, Refused
from verification import contracts
from verification.models import Contract

from . import access, approvals, digest, pressing
from .facts import ApprovalFact
from .models import ApprovalRequest, Comment

MAX_TEXT_CHARS = 4_000
MAX_LINKS = 10
MAX_LINK_CHARS = 500
MAX_COMMENTS = 200


class BadComment(Refused):
    """The comment cannot be taken like this; `errors` names the fields."""

    code = "bad_comment"
    kind = Refused.Kind.INVALID


class TooManyComments(Refused):
    """The request has as many comments as anybody would read."""

    code = "too_many_comments"
    kind = Refused.Kind.CONFLICT


def add(*, request_id: UUID, text: str, links: Sequence[str] = (), by: Actor, user: User, now: datetime) -> Comment:
    """Say something about a request, whatever its state; everybody who reads the request sees it.

    `links` are https addresses of evidence, kept as text. Raises Forbidden, approvals.NotFound, BadComment and
    TooManyComments.
    """
    access.require(user, "approvals.comment")
    if errors := [*_text_errors(text), *_link_errors(links)]:
        raise BadComment(errors[0].detail, errors=errors)
    with log.recording():
        contract, request = _locked(request_id, user)
        if request.comments.count() >= MAX_COMMENTS:
            raise TooManyComments(f"A request takes {MAX_COMMENTS} comments.")
        with contracts.story(contract):
            entry_id = log.append(
                ApprovalFact.COMMENTED,
                actor=by,
                subject=pressing.subject_of(request),
                data={
                    "action_type": contract.action_type,
                    "target": contract.target,
                    "tier": request.tier,
                    "digest": request.digest,
                    "text": text,
                    "links": list(links),
                },
                now=now,
                contract_id=contract.pk,
                mission_id=contract.mission_id,
            )
        return Comment.objects.create(
            request=request,
            person_id=user.pk,
            person_label=by.label,
            text=text,
            links=list(links),
            entry_id=entry_id,
            created_at=now,
        )


def _locked(request_id: UUID, user: User) -> tuple[Contract, ApprovalRequest]:
    """The request, if this user may see it, its contract locked: a story has one teller at a time."""
    seen = access.visible(user, ApprovalRequest.objects.filter(pk=request_id)).first()
    if seen is None:
        raise approvals.NotFound(f"There is no approval request {request_id}.")
    contract = contracts.lock(seen.contract_id)
    seen.contract = contract
    return contract, seen


def _text_errors(text: str) -> list[FieldError]:
    if not text.strip():
        return [FieldError("/text", "missing", "A comment says something.")]
    if len(text) > MAX_TEXT_CHARS:
        return [FieldError("/text", "too_long", f"At most {MAX_TEXT_CHARS} characters.")]
    return digest.unfaithful(text, at="/text")


def _link_errors(links: Sequence[str]) -> list[FieldError]:
    if len(links) > MAX_LINKS:
        return [FieldError("/links", "too_long", f"At most {MAX_LINKS} links.")]
    found = [(index, _wrong_with(link)) for index, link in enumerate(links)]
    return [FieldError(f"/links/{index}", "bad_link", why) for index, why in found if why]


def _wrong_with(link: str) -> str:
    """Why an address is not shown to people, as a sentence; empty when it is."""
    if len(link) > MAX_LINK_CHARS:
        return f"At most {MAX_LINK_CHARS} characters."
    if not link.isascii() or not link.isprintable() or " " in link:
        return "Only visible ASCII characters; another host name is written as xn--…"
    try:
        parts = urlsplit(link)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return "This is not an address."
    if parts.scheme != "https":
        return "Only https addresses are taken."
    if not named:
        return "The address names no host."
    # https://bank.example@elsewhere.example goes elsewhere.
    return "An address with a user in it misleads." if "@" in parts.netloc else ""
