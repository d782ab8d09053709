"""Mail to people: who is told of which facts, and every mail owed to them.

A mail is a job for each recipient, written when the mesh tells of the fact and composed when it is sent: what has been
settled meanwhile is not sent any more, nor to anybody who may no longer decide. Off unless EMAIL_URL is set.
"""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.mail import EmailMessage
from django.db.models import Q
from prometheus_client import Counter

from auditlog import entries, findings, jobs, log
from auditlog.models import Entry, Job

from . import access, approvals, delegating, letters, principals
from .letters import Letter
from .models import ApprovalRequest
from .policy import Requirements

JOB = "mail.send"
# With the backoff of jobs: given up after about two hours.
MAX_ATTEMPTS = 20
# How long nobody knocks again, in seconds, after the server did not answer: a backlog must not take up every worker.
PAUSE_SECONDS = 30.0
_SILENT = "governance-mail-server-silent"

APPROVALS = ("approval.requested", "approval.reminded", "approval.escalated")
ALARMS: dict[str, str] = {
    "hold.engaged": "contracts.resolve",
    "contract.held": "contracts.resolve",
    "breakglass.used": "breakglass.read",
    "auditlog.integrity_failed": "auditlog.export",
}
"""Facts everybody is told of who may do what is named, and NOTIFY_EMAILS besides."""

mails_total = Counter("grace_mails", "Mails to people, by what became of them.", ["outcome"])
for _outcome in ("sent", "failed", "dropped", "dead"):
    mails_total.labels(outcome=_outcome)


class NotSent(Exception):
    """The mail server did not take the mail this time; the job is tried again."""


class Refused(jobs.GiveUp):
    """The mail server will never take this mail."""


def owe(entry: Entry, *, now: datetime) -> int:
    """Owe a mail about a fact to everybody it concerns; returns to how many. Doing it twice owes it once."""
    if not settings.MAIL_ENABLED:
        return 0
    recipients: list[dict[str, Any]] = [{"user_id": user.pk} for user in _people(entry, now=now)]
    if entry.fact in ALARMS and _letter(entry) is not None:
        recipients += [{"address": address} for address in settings.NOTIFY_EMAILS]
    with log.recording():
        if Job.objects.filter(kind=JOB, subject_id=str(entry.pk)).exists():
            return 0  # the mesh delivers at least once, and this is the second time
        for each in recipients:
            jobs.enqueue(kind=JOB, subject_id=str(entry.pk), arguments=each, now=now)
    return len(recipients)


@jobs.runner(JOB, max_attempts=MAX_ATTEMPTS, lease_seconds=60)
def send(job: Job, lease: jobs.Lease) -> dict[str, Any]:
    """Try to send one mail. Raises NotSent, so that the job is tried again, and Refused when that would be in vain."""
    if cache.get(_SILENT):
        raise jobs.RunAgain(after=PAUSE_SECONDS)
    entry = Entry.objects.get(pk=job.subject_id)
    address, letter = _address(job, entry, now=lease.now()), _letter(entry)
    if not (address and letter and settings.MAIL_ENABLED):
        mails_total.labels(outcome="dropped").inc()
        return {"state": "dropped"}
    try:
        _mail(job, letter, address).send()
    except OSError as problem:
        failure = _failure(problem)
        given_up = isinstance(failure, Refused) or job.attempts - job.losses >= job.max_attempts
        mails_total.labels(outcome="dead" if given_up else "failed").inc()
        raise failure from problem
    mails_total.labels(outcome="sent").inc()
    return {"state": "sent"}


def _mail(job: Job, letter: Letter, address: str) -> EmailMessage:
    """The mail. Its id stays the same in every attempt, so that a mailbox can tell repeats."""
    host = urlsplit(settings.PUBLIC_URL).hostname
    headers = {"Message-ID": f"<{job.pk}@{host}>", "Auto-Submitted": "auto-generated"}
    return EmailMessage(letter.subject, letter.body, settings.DEFAULT_FROM_EMAIL, [address], headers=headers)


def _failure(problem: Exception) -> Exception:
    """What a failed attempt comes to; names no address. A server that does not answer is left alone for a while."""
    code = _code(problem)
    if code is None:
        cache.set(_SILENT, True, PAUSE_SECONDS)
        return NotSent(f"The mail server did not take it: {type(problem).__name__}.")
    return (Refused if code >= 500 else NotSent)(f"The mail server answered {code} to this mail.")


def _code(problem: Exception) -> int | None:
    """The server's word on this one mail (RFC 5321, 4.2.1), if that is what went wrong."""
    if isinstance(problem, smtplib.SMTPRecipientsRefused):
        return next(code for code, _ in problem.recipients.values())
    return problem.smtp_code if isinstance(problem, smtplib.SMTPDataError) else None


# --- to whom ---------------------------------------------------------------------------------------------------


def _people(entry: Entry, *, now: datetime) -> list[User]:
    if entry.fact in APPROVALS:
        request = _pending(entry)
        return [] if request is None else [each for each in _asked(request, now) if _decides(request, each, now)]
    if _letter(entry) is None:
        return []
    return [each for each in _with_mail() if access.may(each, ALARMS[entry.fact])]


def _address(job: Job, entry: Entry, *, now: datetime) -> str:
    """Where a mail goes, if it is still to go there; empty when not."""
    if address := str(job.arguments.get("address", "")):
        return address if address in settings.NOTIFY_EMAILS else ""
    user = _with_mail().filter(pk=job.arguments["user_id"]).first()
    if user is None:
        return ""
    if entry.fact in APPROVALS:
        request = _pending(entry)
        return user.email if request is not None and _decides(request, user, now) else ""
    return user.email if access.may(user, ALARMS[entry.fact]) else ""


def _with_mail() -> Any:
    return User.objects.filter(is_active=True, agent__isnull=True).exclude(email="").order_by("pk")


def _asked(request: ApprovalRequest, now: datetime) -> Iterable[User]:
    """Who may be meant by a request: members of the groups it names, and whoever stands in for others now."""
    requirements = Requirements.from_dict(request.requirements)
    groups = requirements.groups | ({requirements.escalate_to} if request.escalated_at else set())
    delegates = {each.delegate_id for each in delegating.in_force(now=now).rows}
    asked: Iterable[User] = _with_mail().filter(Q(groups__name__in=groups) | Q(pk__in=delegates)).distinct()
    return asked


def _decides(request: ApprovalRequest, user: User, now: datetime) -> bool:
    """Whether this person may decide on a request and has not (F, G, H)."""
    if approvals.refusal(request, user, now=now) is not None:
        return False
    return not request.decisions.filter(Q(person=user) | Q(on_behalf_of=user), withdrawn_at=None).exists()


# --- what ------------------------------------------------------------------------------------------------------


def _letter(entry: Entry) -> Letter | None:
    """What is written about a fact; None when there is nothing to be said (any more)."""
    return _WRITERS[entry.fact](entry, entries.data(entry))


def _approval(entry: Entry, data: dict[str, Any]) -> Letter | None:
    request = _pending(entry)
    if request is None:
        return None
    return letters.approval(
        entry.fact,
        data,
        request_id=str(request.pk),
        requester=request.requester_label,
        risk_score=request.risk_score,
        url=settings.PUBLIC_URL,
    )


def _pending(entry: Entry) -> ApprovalRequest | None:
    pending = ApprovalRequest.objects.filter(pk=UUID(entry.subject_id), state=ApprovalRequest.State.PENDING)
    return pending.select_related("contract").first()


def _hold(entry: Entry, data: dict[str, Any]) -> Letter:
    return letters.hold(data, url=settings.PUBLIC_URL)


def _glass(entry: Entry, data: dict[str, Any]) -> Letter:
    who = principals.names_of([data["person_id"]]).get(data["person_id"], "Somebody")
    return letters.glass(data, who=who, contract_id=entry.contract_id, url=settings.PUBLIC_URL)


def _held(entry: Entry, data: dict[str, Any]) -> Letter:
    return letters.held(data, contract_id=entry.contract_id, url=settings.PUBLIC_URL)


def _integrity(entry: Entry, data: dict[str, Any]) -> Letter | None:
    """What the entry was the first to tell of: a finding is told of once, however often it is seen."""
    told = list(findings.told_in(entry.pk).values_list("kind", "detail"))
    return letters.integrity(told, url=settings.PUBLIC_URL) if told else None


_WRITERS: dict[str, Callable[[Entry, dict[str, Any]], Letter | None]] = {
    **dict.fromkeys(APPROVALS, _approval),
    "hold.engaged": _hold,
    "contract.held": _held,
    "breakglass.used": _glass,
    "auditlog.integrity_failed": _integrity,
}
