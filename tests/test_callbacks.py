"""Callbacks of contracts against a real receiver: when it is told, what proves it, and who may name which address."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from standardwebhooks import Webhook as Signature
from standardwebhooks import WebhookVerificationError

from auditlog import jobs
from auditlog.actors import SYSTEM
from auditlog.models import Entry, Job
from auditlog.refusals import Refused
from governance import agents, callbacks, principals, webhooks
from governance.models import AgentKey, ApprovalRequest, Delivery
from tests.harness.clients import Api
from tests.harness.governed import Governed, contract_of
from tests.harness.people import People
from tests.test_webhooks import Receiver
from verification.models import Contract

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "/api/governance/callback-secret"


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    running = Receiver()
    settings.CALLBACK_ALLOWED_URLS = [running.url]
    yield running
    running.close()


@pytest.fixture
def governed(receiver: Receiver, var_dir: Path, users: People) -> Governed:
    found = Governed(var_dir / "sandbox", users)
    jobs.run_until_idle()
    return found


def ask(governed: Governed, receiver: Receiver, **more: Any) -> ApprovalRequest:
    """The agent proposes something people have to decide, and names its address."""
    return governed.ask(callback_url=receiver.url + "/contracts", **more)


def told(receiver: Receiver) -> list[str]:
    return [json.loads(body)["type"].removeprefix("grace.contract.") for _, body in receiver.received]


def secret(key: str) -> str:
    data: dict[str, str] = Api(key=key).data(SECRET)
    return data["secret"]


# --- when ------------------------------------------------------------------------------------------------------


def test_an_agent_is_told_of_the_decision_and_of_the_outcome_and_of_nothing_between(
    governed: Governed, receiver: Receiver
) -> None:
    request = ask(governed, receiver)
    governed.settle()
    assert told(receiver) == [], "that people are asked, the answer to the proposal said"
    governed.decide(request, governed.people.bea)
    governed.settle()
    assert told(receiver) == ["authorized", "verified"]
    headers, body = receiver.received[-1]
    event = Signature(secret(governed.key)).verify(body, headers)
    assert headers["Content-Type"] == "application/cloudevents+json"
    assert event["data"]["contract_id"] == str(request.contract_id)
    assert (event["data"]["data"]["from_state"], event["data"]["data"]["to_state"]) == ("verifying", "verified")
    assert event["id"] == str(Entry.objects.get(fact="contract.verified").pk)


@pytest.mark.parametrize(("verdict", "state"), [("reject", "rejected"), ("request_changes", "changes_requested")])
def test_an_agent_is_told_of_a_no(governed: Governed, receiver: Receiver, verdict: str, state: str) -> None:
    governed.decide(ask(governed, receiver), governed.people.bea, verdict)
    governed.settle()
    assert told(receiver) == [state]


def test_what_runs_by_itself_calls_back_once_it_is_over(governed: Governed, receiver: Receiver) -> None:
    governed.trust()
    governed.submit(governed.body(callback_url=receiver.url))
    governed.settle()
    assert told(receiver) == ["verified"]


def test_without_an_address_nobody_is_called(governed: Governed, receiver: Receiver) -> None:
    governed.decide(governed.ask(), governed.people.bea)
    governed.settle()
    assert receiver.received == []
    assert not Delivery.objects.exists()


def test_hearing_of_a_fact_twice_calls_once(governed: Governed, receiver: Receiver) -> None:
    governed.decide(ask(governed, receiver), governed.people.bea)
    governed.settle()
    assert webhooks.owe_callback(Entry.objects.get(fact="contract.verified"), now=timezone.now()) == 0
    assert Delivery.objects.count() == 2


def test_a_webhook_and_a_callback_are_both_told(governed: Governed, receiver: Receiver, settings: Any) -> None:
    settings.HTTP_ALLOWED_URLS = [receiver.url]
    webhooks.create(url=receiver.url, facts=["contract.rejected"], by=SYSTEM, now=timezone.now())
    governed.decide(ask(governed, receiver), governed.people.bea, "reject")
    governed.settle()
    assert told(receiver) == ["rejected", "rejected"]


# --- what proves it --------------------------------------------------------------------------------------------


def test_while_keys_change_over_each_verifies_with_its_own_secret(governed: Governed, receiver: Receiver) -> None:
    before = secret(governed.key)
    now = timezone.now()
    key = agents.rotate(agent_id=governed.agent.pk, overlap=timedelta(hours=1), by=SYSTEM, now=now)
    after = secret(key)
    assert before != after
    governed.decide(ask(governed, receiver), governed.people.bea, "reject")
    governed.settle()
    headers, body = receiver.received[0]
    assert len(headers["Webhook-Signature"].split()) == 2
    for good in (before, after):
        Signature(good).verify(body, headers)
    AgentKey.objects.filter(created_at__lt=now).update(expires_at=now)
    governed.decide(ask(governed, receiver, port=9001), governed.people.bea, "reject")
    governed.settle()
    headers, body = receiver.received[1]
    Signature(after).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Signature(before).verify(body, headers)


def test_the_secret_of_one_agent_proves_nothing_to_another(governed: Governed, receiver: Receiver) -> None:
    users = governed.people
    _, other = agents.create(name="other", owner=users.bea, by=SYSTEM, now=timezone.now())
    governed.decide(ask(governed, receiver), users.bea, "reject")
    governed.settle()
    headers, body = receiver.received[0]
    with pytest.raises(WebhookVerificationError):
        Signature(secret(other)).verify(body, headers)


def test_a_copy_of_the_database_alone_signs_nothing(governed: Governed, settings: Any) -> None:
    key = AgentKey.objects.get(agent=governed.agent)
    before = callbacks.secret_of(key)
    settings.SECRET_KEY = "another secret key, made after the first one was lost"
    assert callbacks.secret_of(key) != before


def test_only_an_agent_with_its_key_is_answered_a_secret_and_nobody_keeps_a_copy(governed: Governed) -> None:
    answer = Api(key=governed.key).get(SECRET)
    assert answer["Cache-Control"] == "no-store"
    refused = Api(user=governed.people.bea).get(SECRET)
    assert (refused.status_code, refused.json()["code"]) == (403, "agents_only")


# --- who may name which address --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://elsewhere.example.org/", "url_not_allowed"),
        ("http://169.254.169.254/latest", "url_not_allowed"),
        ("{url}/../other", "encoded_traversal"),
        ("{url}@elsewhere.example.org/", "url_not_allowed"),
        ("nonsense", "malformed_url"),
        ("ftp://127.0.0.1/", "malformed_url"),
    ],
)
def test_an_address_that_is_not_listed_is_refused(governed: Governed, receiver: Receiver, url: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        governed.submit(governed.body(callback_url=url.format(url=receiver.url)))
    assert [(error.pointer, error.code) for error in refused.value.errors] == [("/callback_url", code)]
    assert "HTTP_ALLOWED_URLS" not in refused.value.detail
    assert Contract.objects.count() == 0


def test_where_none_is_listed_and_for_people_callbacks_are_not_available(
    governed: Governed, receiver: Receiver, settings: Any
) -> None:
    for user in (governed.people.ada, governed.robot):
        with pytest.raises(Refused) as refused:
            governed.submit(governed.body(callback_url=receiver.url), user=user)
        assert [error.code for error in refused.value.errors] == ["not_available"]
        settings.CALLBACK_ALLOWED_URLS = []


def test_an_address_that_is_listed_no_more_is_not_called(governed: Governed, receiver: Receiver, settings: Any) -> None:
    request = ask(governed, receiver)
    settings.CALLBACK_ALLOWED_URLS = ["https://elsewhere.example.org/"]
    governed.decide(request, governed.people.bea, "reject")
    governed.settle()
    assert receiver.received == []
    assert "no listed prefix" in Delivery.objects.get().last_error


def test_a_url_webhooks_may_go_to_is_none_for_callbacks(governed: Governed, receiver: Receiver, settings: Any) -> None:
    settings.HTTP_ALLOWED_URLS, settings.CALLBACK_ALLOWED_URLS = [receiver.url], ["https://agents.example.org/"]
    with pytest.raises(Refused):
        governed.submit(governed.body(callback_url=receiver.url))


# --- a receiver that is down, an agent that is gone ------------------------------------------------------------


def attempt(delivery: Delivery) -> None:
    """One attempt, now, whatever the backoff says."""
    Job.objects.filter(pk=delivery.job_id).update(due_at=datetime.now(UTC) - timedelta(seconds=1))
    assert jobs.run(delivery.job_id)
    delivery.refresh_from_db()


def test_a_callback_that_never_arrives_is_dead_listed_and_sent_again_by_hand(
    governed: Governed, receiver: Receiver
) -> None:
    receiver.answers = [503] * webhooks.MAX_CALLBACK_ATTEMPTS
    request = ask(governed, receiver)
    governed.decide(request, governed.people.bea, "reject")
    governed.settle()
    delivery = Delivery.objects.get()
    assert (delivery.contract_id, delivery.webhook_id) == (request.contract_id, None)
    for _ in range(webhooks.MAX_CALLBACK_ATTEMPTS - 1):
        assert delivery.state == Delivery.State.PENDING
        attempt(delivery)
    assert delivery.state == Delivery.State.DEAD
    assert Job.objects.get(pk=delivery.job_id).state == "dead"
    administrator = Api(user=governed.people.administrator)
    (listed,) = administrator.data(f"/api/governance/deliveries?state=dead&contract_id={request.contract_id}")
    assert (listed["id"], listed["last_status"]) == (str(delivery.pk), 503)
    answer = administrator.post(f"/api/governance/deliveries/{delivery.pk}/redeliver", {})
    assert answer.status_code == 202, answer.content
    governed.settle()
    assert len({headers["Webhook-Id"] for headers, _ in receiver.received}) == 1
    delivery.refresh_from_db()
    assert delivery.state == Delivery.State.DELIVERED
    fact = Entry.objects.get(fact="webhook.redelivered")
    assert (fact.subject_kind, fact.contract_id) == ("contract", request.contract_id)
    assert contract_of(request).state == "rejected"


def test_an_agent_that_was_revoked_is_told_nothing_more(governed: Governed, receiver: Receiver) -> None:
    request = ask(governed, receiver)
    receiver.answers = [503]
    governed.decide(request, governed.people.bea, "reject")
    governed.settle()
    agents.revoke(agent_id=governed.agent.pk, by=principals.actor_of(governed.people.ada), now=timezone.now())
    delivery = Delivery.objects.get()
    attempt(delivery)
    assert len(receiver.received) == 1
    Delivery.objects.update(state="dead")
    with pytest.raises(webhooks.NotRedeliverable):
        webhooks.redeliver(delivery_id=delivery.pk, by=SYSTEM, now=timezone.now())


def test_without_a_good_key_nothing_unsigned_leaves(governed: Governed, receiver: Receiver) -> None:
    request = ask(governed, receiver)
    AgentKey.objects.update(expires_at=timezone.now())
    governed.decide(request, governed.people.bea, "reject")
    governed.settle()
    assert receiver.received == []
    assert Delivery.objects.get().last_error == "No key of the agent is good any more."
