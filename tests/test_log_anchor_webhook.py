"""The webhook anchor against a real receiver: told of every head in order, tried again, and its failing is seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings

from auditlog import findings, integrity, log, mesh, notes, sequencer, signer, tree
from auditlog.actors import SYSTEM
from auditlog.facts import SystemFact
from auditlog.models import Checkpoint, Entry, Subscription
from auditlog.subjects import Subject
from auditlog.testing import flushable
from governance import anchoring
from grace_site import metrics
from tests.test_webhooks import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "governance-anchor"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    running = Receiver()
    settings.LOG_ANCHOR_URL = running.url
    mesh.register_all(NOW)
    yield running
    running.close()


def sign(now: datetime = NOW) -> Checkpoint:
    """One more entry, and a checkpoint over it."""
    with log.recording():
        log.append(SystemFact.HEARTBEAT, actor=SYSTEM, subject=Subject("x", "1"), data={"name": "x"}, now=now)
    sequencer.run(now)
    checkpoint = signer.sign(now)
    sequencer.run(now)
    return checkpoint


def told(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in receiver.received]


def test_it_is_told_of_every_head_in_a_note_it_can_verify(receiver: Receiver) -> None:
    signed = [sign(), sign(), sign()]
    mesh.deliver(NAME, now=NOW)
    heads = told(receiver)
    assert [each["size"] for each in heads] == [each.size for each in signed]
    for each, checkpoint in zip(heads, signed, strict=True):
        head = notes.open_checkpoint(each["note"], signer.key().verifier)
        assert (head.origin, head.size, head.root.hex()) == (each["origin"], each["size"], each["root"])
        assert each["note"] == checkpoint.note
        assert each["signed_at"] == "2026-11-23T12:00:00.000000Z"
    assert receiver.received[0][0]["Content-Type"] == "application/json"


def test_without_an_address_nobody_is_told(receiver: Receiver, settings: Any) -> None:
    settings.LOG_ANCHOR_URL = ""
    sign()
    mesh.deliver(NAME, now=NOW)
    assert receiver.received == []
    assert Subscription.objects.get(name=NAME).failures == 0


def test_a_receiver_that_is_down_holds_up_no_signing_and_hears_everything_later(receiver: Receiver) -> None:
    receiver.answers = [503]
    first = sign()
    mesh.deliver(NAME, now=NOW)
    assert "answered 503" in Subscription.objects.get(name=NAME).last_error
    second = sign()
    mesh.deliver(NAME, now=NOW)
    assert len(receiver.received) == 1, "its backoff runs"
    mesh.deliver(NAME, now=NOW + timedelta(minutes=1))
    assert [each["size"] for each in told(receiver)] == [first.size, first.size, second.size]
    row = Subscription.objects.get(name=NAME)
    assert (row.failures, row.failing_since, row.last_error) == (0, None, "")


def test_one_that_stays_down_is_a_finding_and_a_metric_and_signing_goes_on(receiver: Receiver) -> None:
    receiver.close()
    sign()
    mesh.deliver(NAME, now=NOW)
    assert integrity.check_incrementally(NOW + timedelta(minutes=59)).passed
    later = NOW + timedelta(minutes=django_settings.LOG_STALE_MINUTES)
    mesh.deliver(NAME, now=later)
    for _ in range(2):
        assert integrity.check_incrementally(later).findings == ["subscriber_failing"]
    (finding,) = findings.unacknowledged()
    assert (finding.subject, finding.detail) == (
        NAME,
        "The subscriber governance-anchor has failed at every try since 2026-11-23T12:00:00+00:00.",
    )
    assert not findings.stop_signing()
    assert sign(later).size > 2
    metrics.gauges._read_at = float("-inf")
    assert b'grace_mesh_subscriber_failures{subscriber="governance-anchor"} 2.0' in metrics.page()


@pytest.mark.parametrize("url", ["http://user:secret@127.0.0.1:9/x", "ftp://127.0.0.1/", "http://127.0.0.1:9/%2e%2e/x"])
def test_the_way_out_is_the_one_of_everything_else(settings: Any, url: str) -> None:
    settings.LOG_ANCHOR_URL = url
    sign()
    with pytest.raises(anchoring.outgoing.UrlNotAllowed):
        anchoring.tell(checkpoint_fact())


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.answers = [302]
    sign()
    with pytest.raises(anchoring.NotTold, match="answered 302"):
        anchoring.tell(checkpoint_fact())
    assert len(receiver.received) == 1


def test_a_head_that_was_deleted_does_not_keep_later_ones_back(receiver: Receiver) -> None:
    sign()
    with flushable():
        Checkpoint.objects.all()._raw_delete("default")
    anchoring.tell(checkpoint_fact())
    assert receiver.received == []
    assert tree.head().size == 2


def checkpoint_fact() -> Entry:
    return Entry.objects.get(fact="auditlog.checkpoint_signed")
