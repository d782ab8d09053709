"""The mesh: durable, in order, at least once; whoever fails is tried again and holds up nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections
from django.utils import timezone

from auditlog import context, entries, jobs, log, mesh, sequencer
from auditlog.actors import SYSTEM
from auditlog.facts import AuditlogFact, SystemFact
from auditlog.models import Entry, Job, Subscription
from auditlog.subjects import Subject

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def subscribe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """As `mesh.subscribe`, for the length of a test and with nobody else listening."""
    monkeypatch.setattr(mesh, "_subscribers", {})
    return mesh.subscribe


def say(*names: str) -> None:
    with log.recording():
        for name in names:
            log.append(SystemFact.HEARTBEAT, actor=SYSTEM, subject=Subject("x", name), data={"name": name}, now=NOW)
    sequencer.run(NOW)


def subscription(name: str) -> Subscription:
    return Subscription.objects.get(name=name)


@pytest.mark.django_db
def test_it_delivers_in_order_what_was_asked_for(subscribe: Any) -> None:
    heard: list[str] = []
    subscribe("system.*", name="one", from_start=True)(lambda entry: heard.append(entry.data["name"]))
    subscribe("auditlog.*", name="other", from_start=True)(lambda entry: heard.append("other"))
    say("a", "b", "c")
    assert mesh.deliver_all(now=NOW) == 3
    assert heard == ["a", "b", "c"]
    assert mesh.deliver_all(now=NOW) == 0
    say("d")
    mesh.deliver("one", now=NOW)
    assert heard == ["a", "b", "c", "d"]
    assert subscription("one").cursor == 4


@pytest.mark.django_db
def test_a_new_subscriber_starts_at_the_end_unless_it_asks(subscribe: Any) -> None:
    heard: list[tuple[str, str]] = []
    say("before")
    subscribe("system.*", name="new")(lambda entry: heard.append(("new", entry.data["name"])))
    subscribe("system.*", name="all", from_start=True)(lambda entry: heard.append(("all", entry.data["name"])))
    mesh.register_all(NOW)
    say("after")
    mesh.deliver_all(now=NOW)
    assert sorted(heard) == [("all", "after"), ("all", "before"), ("new", "after")]


@pytest.mark.django_db
def test_a_failing_subscriber_is_retried_with_backoff_and_blocks_nobody(subscribe: Any) -> None:
    heard: list[str] = []
    broken = True

    def fail(entry: Entry) -> None:
        if broken and entry.data["name"] == "b":
            raise ValueError("cannot hear")
        heard.append(f"fails {entry.data['name']}")

    subscribe("system.*", name="fails", from_start=True)(fail)
    subscribe("system.*", name="works", from_start=True)(lambda entry: heard.append(f"works {entry.data['name']}"))
    say("a", "b", "c")
    mesh.deliver_all(now=NOW)
    assert heard == ["fails a", "works a", "works b", "works c"]
    row = subscription("fails")
    assert (row.failures, row.cursor) == (1, 1)
    assert row.last_error == "at leaf 1: ValueError: cannot hear"
    assert row.due_at is not None
    assert mesh.deliver_all(now=NOW) == 0, "its backoff runs"
    first = row.due_at - NOW
    mesh.deliver_all(now=row.due_at)
    second = subscription("fails").due_at - row.due_at  # type: ignore[operator]
    assert second > first
    broken = False
    mesh.deliver_all(now=NOW + timedelta(hours=1))
    assert heard[-2:] == ["fails b", "fails c"]
    row = subscription("fails")
    assert (row.failures, row.last_error, row.due_at) == (0, "", None)


@pytest.mark.django_db
def test_what_a_subscriber_says_names_what_led_to_it(subscribe: Any) -> None:
    contract, seen = uuid4(), []

    def react(entry: Entry) -> None:
        seen.append(context.current())
        with log.recording():
            log.append(
                AuditlogFact.ERASED,
                actor=SYSTEM,
                subject=Subject("x", "1"),
                data={"disclosures": 0, "reason": "x"},
                now=NOW,
            )

    subscribe("system.*", name="one", from_start=True)(react)
    with context.ObservabilityContext(correlation_id="c-1", contract_id=contract):
        say("a")
    mesh.deliver_all(now=NOW)
    first, second = entries.in_order()
    assert second.caused_by == first.pk
    assert seen == [context.Context("c-1", contract, None)]
    assert (second.correlation_id, second.contract_id) == ("c-1", contract)


@pytest.mark.django_db
def test_a_subscriber_whose_process_died_is_taken_over_when_its_lease_ran_out(subscribe: Any) -> None:
    heard: list[str] = []
    subscribe("system.*", name="one", from_start=True)(lambda entry: heard.append(entry.data["name"]))
    say("a")
    mesh.register_all(NOW)
    assert mesh._claim("one", NOW) == 1
    assert mesh.deliver("one", now=NOW) == 0
    assert mesh.deliver("one", now=NOW + mesh.LEASE + timedelta(seconds=1)) == 1
    assert heard == ["a"]


@pytest.mark.django_db
def test_a_delivery_that_lost_its_lease_moves_no_cursor(subscribe: Any) -> None:
    heard: list[str] = []

    def slow(entry: Entry) -> None:
        heard.append(entry.data["name"])
        if len(heard) == 1:
            Subscription.objects.update(token=7)

    subscribe("system.*", name="one", from_start=True)(slow)
    say("a", "b")
    assert mesh.deliver("one", now=NOW) == 0
    assert subscription("one").cursor == 0
    Subscription.objects.update(lease_until=None)
    mesh.deliver("one", now=NOW)
    assert heard == ["a", "a", "b"], "at least once"


@pytest.mark.django_db
def test_a_cursor_is_not_held_back_by_entries_nobody_asked_for(subscribe: Any) -> None:
    subscribe("auditlog.*", name="one", from_start=True)(lambda entry: None)
    say("a", "b")
    mesh.deliver_all(now=NOW)
    assert subscription("one").cursor == 2
    assert mesh.behind(NOW) == []


@pytest.mark.django_db
def test_a_subscriber_that_is_gone_is_left_alone(subscribe: Any) -> None:
    Subscription.objects.create(name="gone", created_at=NOW)
    say("a")
    assert mesh.deliver("gone", now=NOW) == 0
    assert mesh.deliver_all(now=NOW) == 0


def test_a_name_is_taken_once_and_a_glob_must_make_sense(subscribe: Any) -> None:
    subscribe("system.*", name="one")(lambda entry: None)
    with pytest.raises(mesh.AlreadySubscribed):
        subscribe("system.*", name="one")(lambda entry: None)
    with pytest.raises(ValueError, match="fact"):
        subscribe("a*b", name="two")


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_of_many_deliveries_at_once_each_entry_is_heard_once_and_in_order(subscribe: Any) -> None:
    heard: list[str] = []
    subscribe("system.*", name="one", from_start=True)(lambda entry: heard.append(entry.data["name"]))
    names = [str(number) for number in range(60)]
    say(*names)
    mesh.register_all(NOW)
    barrier = threading.Barrier(6)

    def deliver() -> None:
        try:
            barrier.wait()
            while mesh.behind():
                mesh.deliver("one", limit=5)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=deliver) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == names


@pytest.mark.django_db
def test_what_reactions_owe_is_done_in_the_same_breath(subscribe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_runners", {})
    jobs.runner("test.reaction")(lambda job, lease: None)

    def react(entry: Entry) -> None:
        with log.recording():
            jobs.enqueue(kind="test.reaction", subject_id=entry.data["name"], now=timezone.now())

    subscribe("system.*", name="one", from_start=True)(react)
    say("a", "b")
    assert jobs.run_until_idle() == 2
    assert set(Job.objects.values_list("subject_id", "state")) == {("a", "completed"), ("b", "completed")}
    assert set(Job.objects.values_list("caused_by", flat=True)) == set(Entry.objects.values_list("pk", flat=True))
