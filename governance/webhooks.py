"""Webhooks: who is told of which facts, and every delivery owed to them and to the callbacks of contracts.

Signed to the Standard Webhooks specification, with a CloudEvents 1.0 body. A delivery is a row and a job: tried with
backoff, dead after the last attempt, and delivered again when a person asks.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import IntegrityError, transaction
from prometheus_client import Counter
from standardwebhooks import Webhook as Signature

from auditlog import entries, jobs, log
from auditlog.actors import Actor
from auditlog.models import Entry, Job
from auditlog.refusals import FieldError, Kind, Refused
from auditlog.subjects import Subject
from governance import callbacks
from governance.facts import WebhookFact
from governance.models import Delivery, Webhook
from verification import outgoing
from verification.models import Contract

JOB = "webhook.deliver"
MAX_ATTEMPTS = 8
# About half an hour with the backoff of jobs: an agent that is being deployed comes back within that.
MAX_CALLBACK_ATTEMPTS = 12
MAX_GLOBS = 20
DEADLINE_SECONDS = 10.0
SECRET_BYTES = 32
OVERLAP = timedelta(hours=24)
MAX_OVERLAP = timedelta(days=30)

deliveries_total = Counter("grace_webhook_deliveries", "Deliveries to webhooks, by outcome.", ["outcome"])
for _outcome in ("delivered", "failed", "dead"):
    deliveries_total.labels(outcome=_outcome)


class NoSuchWebhook(Refused):
    """There is no such webhook."""

    code = "webhook_not_found"
    kind = Kind.NOT_FOUND


class NoSuchDelivery(Refused):
    """There is no such delivery."""

    code = "delivery_not_found"
    kind = Kind.NOT_FOUND


class UrlRefused(Refused):
    """The URL may not be called."""

    code = "url_refused"
    kind = Kind.INVALID


class BadFacts(Refused):
    """The list of facts is not a list of globs."""

    code = "not_a_fact_pattern"
    kind = Kind.INVALID


class SwitchedOff(Refused):
    """The webhook was switched off."""

    code = "webhook_switched_off"
    kind = Kind.CONFLICT


class BadOverlap(Refused):
    """The overlap is too long."""

    code = "overlap_out_of_range"
    kind = Kind.INVALID


class NotRedeliverable(Refused):
    """The delivery is still being tried, or its receiver is there no more."""

    code = "delivery_not_now"
    kind = Kind.CONFLICT


class NotDelivered(Exception):
    """An attempt failed; the job is tried again."""


@dataclass(frozen=True)
class Created:
    """A new webhook and its secret, which is shown this once."""

    webhook: Webhook
    secret: str


# --- verbs -----------------------------------------------------------------------------------------------------


def create(*, url: str, facts: Sequence[str], by: Actor, now: datetime) -> Created:
    """Tell `url` of facts matching any of these globs, from now on. Raises UrlRefused, BadFacts."""
    _check_url(url)
    _check_facts(facts)
    secret = _new_secret()
    with log.recording():
        webhook = Webhook.objects.create(
            url=url, facts=list(facts), secret_sealed=seal(secret), created_by_label=by.label, created_at=now
        )
        _record(webhook, WebhookFact.CREATED, by=by, now=now)
    return Created(webhook, secret)


def rotate(*, webhook_id: UUID, overlap: timedelta = OVERLAP, by: Actor, now: datetime) -> Created:
    """Give a webhook another secret; for the overlap deliveries are signed with both (30 days at most).

    Raises NoSuchWebhook, SwitchedOff and BadOverlap.
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        detail = f"The overlap is from none to {MAX_OVERLAP.days} days."
        raise BadOverlap(detail, errors=[FieldError("/overlap", BadOverlap.code, detail)])
    secret = _new_secret()
    with log.recording():
        webhook = _locked(webhook_id)
        if not webhook.is_active:
            raise SwitchedOff("The webhook was switched off.")
        webhook.previous_secret_sealed = webhook.secret_sealed if overlap else ""
        webhook.previous_until = now + overlap if overlap else None
        webhook.secret_sealed = seal(secret)
        webhook.save(update_fields=["secret_sealed", "previous_secret_sealed", "previous_until"])
        _record(webhook, WebhookFact.SECRET_ROTATED, by=by, now=now)
    return Created(webhook, secret)


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _locked(webhook_id: UUID) -> Webhook:
    webhook = Webhook.objects.select_for_update().filter(pk=webhook_id).first()
    if webhook is None:
        raise NoSuchWebhook(f"There is no webhook {webhook_id}.")
    return webhook


def switch_off(*, webhook_id: UUID, by: Actor, now: datetime) -> Webhook:
    """Owe this webhook nothing further. What is on its way is dropped at its next attempt."""
    with log.recording():
        webhook = _locked(webhook_id)
        if webhook.is_active:
            webhook.is_active = False
            webhook.save(update_fields=["is_active"])
            _record(webhook, WebhookFact.SWITCHED_OFF, by=by, now=now)
    return webhook


def redeliver(*, delivery_id: UUID, by: Actor, now: datetime) -> Delivery:
    """Owe a settled delivery once more, under the same id and with the same body. Raises NotRedeliverable."""
    with log.recording():
        delivery = Delivery.objects.select_for_update().filter(pk=delivery_id).first()
        if delivery is None:
            raise NoSuchDelivery(f"There is no delivery {delivery_id}.")
        if delivery.state == Delivery.State.PENDING or not _wanted(delivery):
            raise NotRedeliverable("The delivery is still being tried, or its receiver is there no more.")
        delivery.state, delivery.last_error = Delivery.State.PENDING, ""
        delivery.job_id = _owe(delivery, now=now).pk
        delivery.save(update_fields=["state", "last_error", "job_id"])
        _record_redelivery(delivery, by=by, now=now)
    return delivery


def owe(entry: Entry, *, now: datetime) -> int:
    """Owe a fact to every webhook that asked for it; returns to how many. Doing it twice owes it once."""
    owed = 0
    for webhook in Webhook.objects.filter(is_active=True):
        if not entries.matches(",".join(webhook.facts), entry.fact):
            continue
        owed += _owe_once(entry, now=now, webhook=webhook)
    return owed


def owe_callback(entry: Entry, *, now: datetime) -> int:
    """Owe a fact to the callback of its contract, if it has one and this is what it is for; returns whether it did."""
    if entry.contract_id is None or not callbacks.calls_for(entry, entries.data(entry)):
        return 0
    contract = Contract.objects.filter(pk=entry.contract_id).exclude(callback_url="").first()
    if contract is None or not callbacks.wanted(contract):
        return 0
    return _owe_once(entry, now=now, contract=contract)


def _owe_once(entry: Entry, *, now: datetime, webhook: Webhook | None = None, contract: Contract | None = None) -> int:
    row = Delivery(webhook=webhook, contract=contract, entry_id=entry.pk, fact=entry.fact, created_at=now)
    row.payload = payload(entry)
    with log.recording():
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            return 0  # the mesh delivers at least once, and this is the second time
        row.job_id = _owe(row, now=now).pk
        row.save(update_fields=["job_id"])
    return 1


def _owe(delivery: Delivery, *, now: datetime) -> Job:
    attempts = MAX_ATTEMPTS if delivery.contract_id is None else MAX_CALLBACK_ATTEMPTS
    return jobs.enqueue(kind=JOB, subject_id=str(delivery.pk), max_attempts=attempts, now=now)


# --- delivering ------------------------------------------------------------------------------------------------


@jobs.runner(JOB, max_attempts=MAX_ATTEMPTS, lease_seconds=60)
def deliver(job: Job, lease: jobs.Lease) -> dict[str, Any]:
    """Try one delivery. Raises NotDelivered, so that the job is tried again."""
    delivery = Delivery.objects.select_related("webhook", "contract").get(pk=job.subject_id)
    if delivery.state != Delivery.State.PENDING or not _wanted(delivery):
        return {"state": delivery.state}
    now = lease.now()
    status, error = _send(delivery, now=now)
    delivered = status is not None and 200 <= status < 300
    last = job.attempts - job.losses >= job.max_attempts
    outcome = "delivered" if delivered else "dead" if last else "failed"
    with transaction.atomic():
        lease.fence()
        delivery.attempts += 1
        delivery.last_status, delivery.last_error = status, error[:500]
        if delivered:
            delivery.state, delivery.delivered_at = Delivery.State.DELIVERED, now
        elif last:
            delivery.state = Delivery.State.DEAD
        delivery.save(update_fields=["attempts", "last_status", "last_error", "state", "delivered_at"])
    deliveries_total.labels(outcome=outcome).inc()
    if not delivered:
        raise NotDelivered(error)
    return {"state": delivery.state, "status": status}


def _send(delivery: Delivery, *, now: datetime) -> tuple[int | None, str]:
    """The status the receiver answered with (None: no answer), and what was wrong ("" for nothing)."""
    try:
        headers = signed(delivery, now=now)
        answer = outgoing.request(
            "POST",
            delivery.url,
            headers=headers,
            body=delivery.payload.encode(),
            deadline_seconds=DEADLINE_SECONDS,
            max_bytes=1024,
            # A person set up a webhook; a callback is an agent's wish, and goes where the operator lets it.
            prefixes=None if delivery.webhook else settings.CALLBACK_ALLOWED_URLS,
            public=delivery.webhook is not None,
        )
    except (outgoing.UrlNotAllowed, outgoing.NoAnswer, Unsealable, callbacks.NobodyToTell) as problem:
        return None, str(problem)
    return answer.status, "" if 200 <= answer.status < 300 else f"answered {answer.status}"


def signed(delivery: Delivery, *, now: datetime) -> dict[str, str]:
    """The headers of a delivery. The id stays the same in every attempt, so that receivers can tell repeats."""
    identity = f"msg_{delivery.pk.hex}"
    return {
        "Content-Type": "application/cloudevents+json",
        "Webhook-Id": identity,
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": " ".join(
            Signature(secret).sign(identity, now, delivery.payload) for secret in _secrets(delivery, now)
        ),
    }


def _secrets(delivery: Delivery, now: datetime) -> list[str]:
    """The secrets that sign now, the newest first. Raises Unsealable and callbacks.NobodyToTell."""
    webhook = delivery.webhook
    if webhook is None:
        assert delivery.contract is not None, "one of the two"
        return callbacks.secrets(delivery.contract, now=now)
    both = webhook.previous_until is not None and now < webhook.previous_until
    sealed = [webhook.secret_sealed, webhook.previous_secret_sealed] if both else [webhook.secret_sealed]
    return [unseal(each) for each in sealed]


def _wanted(delivery: Delivery) -> bool:
    """Whether there is still somebody to deliver to."""
    if delivery.webhook is not None:
        return delivery.webhook.is_active
    return delivery.contract is not None and callbacks.wanted(delivery.contract)


def payload(entry: Entry) -> str:
    """The fact as a CloudEvent in JSON. Its id is the id of the log entry."""
    attributes = {
        "id": str(entry.pk),
        "source": f"{settings.PUBLIC_URL}/api/auditlog",
        "type": f"grace.{entry.fact}",
        "subject": f"{entry.subject_kind}/{entry.subject_id}",
        "time": entry.recorded_at,
        "datacontenttype": "application/json",
    }
    event = CloudEvent(attributes={**attributes, **_extensions(entry)}, data=shown(entry))
    return JSONFormat().write(event).decode()


def shown(entry: Entry) -> dict[str, Any]:
    """What a receiver reads of a fact: ids and data, no label of a person."""
    return {
        "fact": entry.fact,
        "actor": {"kind": entry.actor_kind, "id": entry.actor_id},
        "subject": {"kind": entry.subject_kind, "id": entry.subject_id},
        "contract_id": str(entry.contract_id) if entry.contract_id else None,
        "mission_id": str(entry.mission_id) if entry.mission_id else None,
        "outcome": entry.outcome,
        "data": entries.data(entry),
    }


def _extensions(entry: Entry) -> Mapping[str, str]:
    return {"correlationid": entry.correlation_id} if entry.correlation_id else {}


# --- secrets ---------------------------------------------------------------------------------------------------


class Unsealable(Exception):
    """The secret was sealed under another SECRET_KEY."""


def seal(secret: str) -> str:
    """Encrypt a secret under a key derived from SECRET_KEY: a copy of the database alone does not sign."""
    return _box().encrypt(secret.encode()).decode()


def unseal(sealed: str) -> str:
    """The secret again; raises Unsealable."""
    try:
        return _box().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise Unsealable("The webhook's secret cannot be read: SECRET_KEY has changed.") from None


def _box() -> Fernet:
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"grace webhook secrets")
    return Fernet(base64.urlsafe_b64encode(derived.derive(settings.SECRET_KEY.encode())))


# --- checks ----------------------------------------------------------------------------------------------------


def _check_url(url: str) -> None:
    errors = outgoing.check(url, "/url", public=True)
    if errors:
        raise UrlRefused(errors[0].detail, errors=errors)


def _check_facts(facts: Sequence[str]) -> None:
    try:
        if not facts or len(facts) > MAX_GLOBS:
            raise ValueError(f"1 to {MAX_GLOBS} patterns are needed")
        for glob in facts:
            entries.matching(glob)
    except ValueError as problem:
        detail = f"Facts are names or prefixes such as approval.*: {problem}."
        raise BadFacts(detail, errors=[FieldError("/facts", BadFacts.code, detail)]) from None


def _record(webhook: Webhook, fact: WebhookFact, *, by: Actor, now: datetime) -> None:
    # Without its query: many receivers take a key in it, and what is in the log stays there.
    place = outgoing.parse(webhook.url).place
    log.append(
        fact,
        actor=by,
        subject=Subject("webhook", str(webhook.pk), place),
        data={"url": place, "facts": list(webhook.facts)},
        now=now,
    )


def _record_redelivery(delivery: Delivery, *, by: Actor, now: datetime) -> None:
    if delivery.webhook is not None:
        _record(delivery.webhook, WebhookFact.REDELIVERED, by=by, now=now)
        return
    log.append(
        WebhookFact.REDELIVERED,
        actor=by,
        subject=Subject("contract", str(delivery.contract_id)),
        # Without its query, which may hold what only the agent should know.
        data={"url": outgoing.parse(delivery.url).place, "facts": [delivery.fact]},
        contract_id=delivery.contract_id,
        now=now,
    )
