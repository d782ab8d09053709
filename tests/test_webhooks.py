"""Webhooks against a real receiver, which checks signatures with the library receivers use."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook as Signature
from standardwebhooks import WebhookVerificationError

from auditlog import jobs, log
from auditlog.actors import SYSTEM
from auditlog.facts import Facts
from auditlog.models import Entry, Job
from auditlog.refusals import Refused
from auditlog.subjects import Subject
from governance import webhooks
from governance.facts import HoldFact, WebhookFact
from governance.models import Delivery, Webhook

pytestmark = pytest.mark.django_db(transaction=True)


class Receiver:
    """A real HTTP server which keeps what it is sent and answers what it is told to."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((dict(self.headers), body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quietly."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/hook"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    running = Receiver()
    settings.HTTP_ALLOWED_URLS = [running.url]
    yield running
    running.close()


def say(fact: Facts = HoldFact.ENGAGED, **data: Any) -> Entry:
    """A fact in the log."""
    now = datetime.now(UTC)
    about = {"scope": "everything", "pattern": "", "reason": "a test", "source": "person", **data}
    with log.recording():
        entry_id = log.append(fact, actor=SYSTEM, subject=Subject("hold", "1"), data=about, now=now)
    return Entry.objects.get(pk=entry_id)


def owe(entry: Entry) -> Delivery:
    assert webhooks.owe(entry, now=datetime.now(UTC)) == 1
    return Delivery.objects.get(entry_id=entry.pk)


def create(url: str, facts: list[str] | None = None) -> webhooks.Created:
    return webhooks.create(url=url, facts=facts or ["hold.*"], by=SYSTEM, now=datetime.now(UTC))


def attempt(delivery: Delivery) -> None:
    """One attempt, now, whatever the backoff says."""
    Job.objects.filter(pk=delivery.job_id).update(due_at=datetime.now(UTC) - timedelta(seconds=1))
    assert jobs.run(delivery.job_id)
    delivery.refresh_from_db()


def test_it_delivers_a_fact_that_the_receiver_can_verify(receiver: Receiver) -> None:
    created = create(receiver.url)
    entry = say()
    delivery = owe(entry)
    attempt(delivery)
    assert delivery.state == Delivery.State.DELIVERED
    assert delivery.last_status == 204
    headers, body = receiver.received[0]
    event = Signature(created.secret).verify(body, headers)
    assert headers["Content-Type"] == "application/cloudevents+json"
    assert event["specversion"] == "1.0"
    assert event["id"] == str(entry.pk)
    assert event["type"] == "grace.hold.engaged"
    assert event["data"]["data"]["reason"] == "a test"


def test_another_secret_does_not_verify_it(receiver: Receiver) -> None:
    create(receiver.url)
    attempt(owe(say()))
    other = create(receiver.url).secret
    headers, body = receiver.received[0]
    with pytest.raises(WebhookVerificationError):
        Signature(other).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Signature(other).verify(body.replace(b"a test", b"a lie"), headers)


def test_it_fails_first_and_succeeds_later_under_the_same_id(receiver: Receiver) -> None:
    created = create(receiver.url)
    delivery = owe(say())
    receiver.answers = [500, 302]
    attempt(delivery)
    assert (delivery.state, delivery.last_status, delivery.attempts) == (Delivery.State.PENDING, 500, 1)
    job = Job.objects.get(pk=delivery.job_id)
    assert job.state == "queued"
    assert job.due_at > datetime.now(UTC)
    attempt(delivery)
    assert (delivery.state, delivery.last_status) == (Delivery.State.PENDING, 302)
    attempt(delivery)
    assert (delivery.state, delivery.attempts) == (Delivery.State.DELIVERED, 3)
    ids = {headers["Webhook-Id"] for headers, _ in receiver.received}
    assert len(receiver.received) == 3
    assert len(ids) == 1
    for headers, body in receiver.received:
        Signature(created.secret).verify(body, headers)


def test_a_delivery_that_never_arrives_is_dead_and_can_be_sent_again_by_hand(receiver: Receiver) -> None:
    create(receiver.url)
    delivery = owe(say())
    receiver.answers = [503] * webhooks.MAX_ATTEMPTS
    for _ in range(webhooks.MAX_ATTEMPTS):
        attempt(delivery)
    assert delivery.state == Delivery.State.DEAD
    assert Job.objects.get(pk=delivery.job_id).state == "dead"
    again = webhooks.redeliver(delivery_id=delivery.pk, by=SYSTEM, now=datetime.now(UTC))
    attempt(again)
    assert again.state == Delivery.State.DELIVERED
    assert Entry.objects.filter(fact=WebhookFact.REDELIVERED.name_).count() == 1


def test_what_is_still_being_tried_is_not_sent_twice(receiver: Receiver) -> None:
    create(receiver.url)
    delivery = owe(say())
    with pytest.raises(webhooks.NotRedeliverable):
        webhooks.redeliver(delivery_id=delivery.pk, by=SYSTEM, now=datetime.now(UTC))


def test_owing_a_fact_twice_owes_it_once(receiver: Receiver) -> None:
    create(receiver.url)
    entry = say()
    owe(entry)
    assert webhooks.owe(entry, now=datetime.now(UTC)) == 0
    assert Delivery.objects.count() == 1
    assert Job.objects.filter(kind=webhooks.JOB).count() == 1


def test_only_facts_that_were_asked_for_are_owed(receiver: Receiver) -> None:
    create(receiver.url, ["contract.*", "approval.granted"])
    assert webhooks.owe(say(), now=datetime.now(UTC)) == 0


def test_a_webhook_that_is_switched_off_gets_nothing_more(receiver: Receiver) -> None:
    webhook = create(receiver.url).webhook
    delivery = owe(say())
    webhooks.switch_off(webhook_id=webhook.pk, by=SYSTEM, now=datetime.now(UTC))
    attempt(delivery)
    assert receiver.received == []
    assert webhooks.owe(say(), now=datetime.now(UTC)) == 0


def test_the_mesh_owes_deliveries_and_workers_make_them(receiver: Receiver) -> None:
    jobs.run_until_idle()  # the subscriber hears what comes after this
    create(receiver.url)
    say()
    jobs.run_until_idle()
    assert [json.loads(body)["type"] for _, body in receiver.received] == ["grace.hold.engaged"]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:9/hook", "private_address"),
        ("http://169.254.169.254/latest", "private_address"),
        ("http://[::1]/hook", "private_address"),
        ("ftp://example.org/", "malformed_url"),
        ("https://user:secret@example.org/", "url_with_credentials"),
        ("nonsense", "malformed_url"),
    ],
)
def test_an_address_that_is_not_public_is_refused_unless_it_is_listed(url: str, code: str, settings: Any) -> None:
    settings.HTTP_ALLOWED_URLS = []
    with pytest.raises(Refused) as refused:
        create(url)
    assert [error.code for error in refused.value.errors] == [code]
    assert Webhook.objects.count() == 0


def test_an_address_that_became_private_is_not_called(receiver: Receiver, settings: Any) -> None:
    create(receiver.url)
    delivery = owe(say())
    settings.HTTP_ALLOWED_URLS = []
    attempt(delivery)
    assert receiver.received == []
    assert "not public" in delivery.last_error


@pytest.mark.parametrize("facts", [[], ["*.granted"], ["approval.*"] * 21])
def test_facts_must_be_patterns(facts: list[str], receiver: Receiver) -> None:
    with pytest.raises(webhooks.BadFacts):
        webhooks.create(url=receiver.url, facts=facts, by=SYSTEM, now=datetime.now(UTC))


def test_the_secret_is_sealed_and_a_copy_of_the_database_alone_does_not_sign(receiver: Receiver, settings: Any) -> None:
    created = create(receiver.url)
    assert created.secret not in created.webhook.secret_sealed
    assert webhooks.unseal(created.webhook.secret_sealed) == created.secret
    delivery = owe(say())
    settings.SECRET_KEY = "another secret key, made after the first one was lost"
    attempt(delivery)
    assert "SECRET_KEY" in delivery.last_error
    assert receiver.received == []


def test_a_new_secret_signs_beside_the_one_before_until_the_overlap_is_over(receiver: Receiver, clock: Any) -> None:
    created = create(receiver.url)
    rotated = webhooks.rotate(webhook_id=created.webhook.pk, by=SYSTEM, now=datetime.now(UTC))
    assert rotated.secret != created.secret
    attempt(owe(say()))
    headers, body = receiver.received[0]
    assert Signature(created.secret).verify(body, headers)
    assert Signature(rotated.secret).verify(body, headers)
    clock.shift(webhooks.OVERLAP)
    attempt(owe(say()))
    headers, body = receiver.received[1]
    assert Signature(rotated.secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Signature(created.secret).verify(body, headers)


def test_without_an_overlap_the_old_secret_ends_at_once(receiver: Receiver) -> None:
    created = create(receiver.url)
    webhooks.rotate(webhook_id=created.webhook.pk, overlap=timedelta(0), by=SYSTEM, now=datetime.now(UTC))
    attempt(owe(say()))
    headers, body = receiver.received[0]
    with pytest.raises(WebhookVerificationError):
        Signature(created.secret).verify(body, headers)


def test_what_is_switched_off_gets_no_new_secret(receiver: Receiver) -> None:
    created = create(receiver.url)
    webhooks.switch_off(webhook_id=created.webhook.pk, by=SYSTEM, now=datetime.now(UTC))
    with pytest.raises(webhooks.SwitchedOff):
        webhooks.rotate(webhook_id=created.webhook.pk, by=SYSTEM, now=datetime.now(UTC))
    with pytest.raises(webhooks.BadOverlap):
        webhooks.rotate(webhook_id=created.webhook.pk, overlap=timedelta(days=31), by=SYSTEM, now=datetime.now(UTC))


def test_the_query_of_an_address_stays_out_of_the_log(receiver: Receiver) -> None:
    create(f"{receiver.url}?key=hush-hush")
    entry = Entry.objects.get(fact="webhook.created")
    assert entry.data["url"].rstrip("/") == receiver.url.rstrip("/")
    assert b"hush-hush" not in bytes(entry.bytes)
