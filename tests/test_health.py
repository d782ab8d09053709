"""Alive, ready, and who may look."""

import os
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client, RequestFactory
from django.utils import timezone

from auditlog.actors import SYSTEM
from auditlog.models import Pending
from governance import holds
from grace_site import health, heartbeats

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> None:
    health._last.at = float("-inf")


def test_it_is_alive() -> None:
    assert Client().get("/healthz").json() == {"status": "alive"}


def test_it_is_ready_where_nothing_fails() -> None:
    answer = Client().get("/readyz")
    assert answer.status_code == HTTPStatus.OK
    assert answer.json()["status"] == "ready"
    # The tests' own broker is in memory: it cannot be asked.
    assert answer.json()["parts"] == {
        "database": "ok",
        "broker": "unknown",
        "workers": "unknown",
        "sequencer": "ok",
        "disk": "ok",
        "holds": "ok",
    }


def test_it_is_not_ready_while_the_broker_is_away(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    answer = Client().get("/readyz")
    assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert answer.json()["parts"]["broker"] == "failing"


def test_it_is_not_ready_while_entries_wait_too_long() -> None:
    long_ago = timezone.now() - timedelta(minutes=5)
    Pending.objects.create(entry_id=uuid4(), leaf_hash=os.urandom(32), recorded_at=long_ago)
    answer = Client().get("/readyz")
    assert answer.json()["parts"]["sequencer"] == "failing"


def test_it_is_not_ready_on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FREE_BYTES", 1 << 60)
    assert Client().get("/readyz").json()["parts"]["disk"] == "failing"


def _engage_on_everything(var_dir: Path) -> None:
    holds.engage(scope="everything", reason="the database moves", by=SYSTEM, user=None, now=timezone.now())


def _hold_by_file(var_dir: Path) -> None:
    (var_dir / "HOLD").write_text("the database moves")


@pytest.mark.parametrize("hold", [_engage_on_everything, _hold_by_file])
def test_it_says_that_everything_is_held_and_is_ready_all_the_same(hold: Callable[[Path], None], var_dir: Path) -> None:
    hold(var_dir)
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (HTTPStatus.OK, "ready")
    assert answer.json()["parts"]["holds"] == "held"
    seen = Client().get("/api/verification/health").json()["data"]
    assert seen["state"] == "ok"
    assert {"name": "holds", "state": "held"} in seen["parts"]
    assert b"moves" not in answer.content


def test_a_hold_on_something_holds_not_everything() -> None:
    holds.engage(scope="target", pattern="file:*", reason="look at it", by=SYSTEM, user=None, now=timezone.now())
    assert Client().get("/readyz").json()["parts"]["holds"] == "ok"


def test_it_says_nothing_but_names_and_states(settings: Any) -> None:
    settings.REDIS_URL = "redis://:hunter2@127.0.0.1:1/0"
    assert b"hunter2" not in Client().get("/readyz").content


def test_it_is_asked_at_most_once_a_second(django_assert_num_queries: Any) -> None:
    Client().get("/readyz")
    with django_assert_num_queries(0):
        Client().get("/readyz")


LOOKS: list[tuple[dict[str, Any], dict[str, str], bool]] = [
    ({}, {"REMOTE_ADDR": "127.0.0.1"}, True),
    ({}, {"REMOTE_ADDR": "::1"}, True),
    ({}, {"REMOTE_ADDR": "192.0.2.1"}, False),
    # Loopback is the proxy, and we were not told of it.
    ({}, {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "192.0.2.1"}, False),
    ({}, {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "127.0.0.1"}, False),
    ({"TRUSTED_PROXIES": 1}, {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "192.0.2.1"}, False),
    # What the client wrote stands to the left of what the proxy wrote.
    (
        {"TRUSTED_PROXIES": 1},
        {"REMOTE_ADDR": "1.2.3.4", "HTTP_X_FORWARDED_FOR": "127.0.0.1, 192.0.2.1"},
        False,
    ),
    ({"TRUSTED_PROXIES": 1}, {"REMOTE_ADDR": "127.0.0.1"}, False),
    ({"METRICS_TOKEN": "t0ken"}, {"REMOTE_ADDR": "192.0.2.1", "HTTP_AUTHORIZATION": "Bearer t0ken"}, True),
    ({"METRICS_TOKEN": "t0ken"}, {"REMOTE_ADDR": "192.0.2.1", "HTTP_AUTHORIZATION": "Bearer other"}, False),
    ({"METRICS_TOKEN": ""}, {"REMOTE_ADDR": "192.0.2.1", "HTTP_AUTHORIZATION": "Bearer "}, False),
    ({"METRICS_TOKEN": "t0ken"}, {"REMOTE_ADDR": "127.0.0.1"}, True),
    ({}, {"REMOTE_ADDR": ""}, False),
]


@pytest.mark.parametrize(("changes", "meta", "may"), LOOKS)
def test_who_may_look(settings: Any, changes: dict[str, Any], meta: dict[str, str], may: bool) -> None:
    for name, value in changes.items():
        setattr(settings, name, value)
    assert health.may_look(RequestFactory().get("/metrics", **meta)) is may


def test_an_allow_listed_network_may_look(settings: Any) -> None:
    import ipaddress

    settings.METRICS_ALLOWED_ADDRESSES = [ipaddress.ip_network("192.0.2.0/24")]
    assert health.may_look(RequestFactory().get("/metrics", REMOTE_ADDR="192.0.2.7"))


@pytest.mark.parametrize("address", ["/healthz", "/readyz", "/metrics"])
def test_strangers_are_refused(address: str) -> None:
    assert Client(REMOTE_ADDR="192.0.2.1").get(address).status_code == HTTPStatus.FORBIDDEN


def test_a_real_worker_shows_signs_of_life(worker: None, settings: Any, valkey: str) -> None:
    from tests.harness.processes import wait_until

    settings.REDIS_URL = valkey.replace("redis+socket://", "unix://")
    wait_until(lambda: heartbeats.listening() >= health.QUEUES, seconds=10, what="signs of life")
    assert {part.name: part.state for part in health.parts()}["workers"] == "ok"
