"""The live stream: a real uvicorn, real clients, the log of this test's database behind it."""

import json
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache

from auditlog import log, sequencer
from auditlog.actors import SYSTEM
from auditlog.subjects import Subject
from governance import seeds
from governance.facts import AuthFact, HoldFact
from governance.streams import protocol, sight
from governance.streams.channels import Channel, Channels, NotAFactPattern, channel_of
from governance.streams.storage import LogStorage, newest_index
from tests.harness.clients import Api, agent_of, config_change
from tests.harness.people import People
from tests.harness.processes import process, wait_until

STREAM = "/api/governance/stream"


# --- pure ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fact", "permissions", "own_only", "requester", "seen"),
    [
        ("approval.granted", {"approvals.read"}, False, 7, True),
        ("approval.granted", {"contracts.read"}, False, 7, False),
        ("contract.verified", {"contracts.read"}, True, 1, True),
        ("contract.verified", {"contracts.read"}, True, 7, False),
        ("contract.verified", {"contracts.read"}, True, None, False),
        ("auth.login", {"contracts.read", "approvals.read"}, False, None, False),
        ("auth.login", {"auditlog.read"}, False, None, True),
        ("something.new", {"contracts.read"}, False, None, False),
        ("contract.verified", set(), False, 1, False),
    ],
)
def test_who_may_see_what(fact: str, permissions: set[str], own_only: bool, requester: int | None, seen: bool) -> None:
    viewer = sight.Viewer(1, frozenset(permissions), own_only)
    assert viewer.may_see(fact, requester_id=requester) is seen


def test_ids_become_plain_and_come_once_and_in_order() -> None:
    plain = protocol.PlainIds(4)
    body = "".join(f"event: hold.engaged\nid: 7%7C%2A:{index}\ndata: {{}}\n\n" for index in (4, 5, 6))
    assert plain.translate(body).split("\n\n")[:-1] == [
        f"event: hold.engaged\nid: {index}\ndata: {{}}" for index in (5, 6)
    ]
    assert plain.translate(body) == ""
    assert plain.translate("event: keep-alive\ndata:\n\n") == "event: keep-alive\ndata:\n\n"
    assert "id: 2" in plain.translate('event: stream-reset\nid: 7%7C%2A:2\ndata: {"channels": []}\n\n')
    assert "id: 3" in plain.translate("event: hold.engaged\nid: 7%7C%2A:3\ndata: {}\n\n")


@pytest.mark.parametrize(
    "facts", ["approval.?", "*.granted", "a b", "x" * 101, ",".join(f"a{'b' * i}.*" for i in range(11))]
)
def test_patterns_that_are_none_are_refused(facts: str) -> None:
    with pytest.raises(NotAFactPattern):
        channel_of(SYSTEM_USER, facts)


class SYSTEM_USER:  # noqa: N801  (only a key is looked at)
    pk = 1


@pytest.mark.django_db
def test_nobody_reads_a_channel_of_somebody_else(users: People) -> None:
    seeds.seed(now=datetime.now(UTC))
    channels = Channels()
    mine = str(Channel(users.bea.pk, ("*",)))
    assert channels.can_read_channel(users.bea, mine)
    assert not channels.can_read_channel(users.eve, mine)
    assert not channels.can_read_channel(None, mine)
    assert not channels.can_read_channel(users.cleo, str(Channel(users.cleo.pk, ("*",))))
    assert channels.get_channels_for_request(None, {"channel": mine}) == set()
    type(users.bea).objects.filter(pk=users.bea.pk).update(is_active=False)
    assert not channels.can_read_channel(users.bea, mine)


@pytest.mark.django_db
def test_under_wsgi_and_when_switched_off_it_says_so(users: People, settings: Any) -> None:
    cache.clear()
    bea = Api(user=users.bea)
    for _ in range(2):
        answer = bea.get(STREAM, Accept="text/event-stream")
        assert answer.status_code == 503, answer.content
        assert answer.json()["code"] == "stream_off"
        settings.SSE_ENABLED = False


# --- the real thing --------------------------------------------------------------------------------------------


@pytest.fixture
def server(database_url: str, transactional_db: None, tmp_path: Path, session_var_dir: Path) -> Iterator[int]:
    """A real uvicorn on this test's database; its port."""
    cache.clear()
    seeds.seed(now=datetime.now(UTC))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "grace_site.settings",
        "DATABASE_URL": database_url,
        "VAR_DIR": str(session_var_dir),
        "CELERY_BROKER_URL": "memory://",
    }
    argv = [sys.executable, "-m", "uvicorn", "grace_site.asgi:application", "--port", str(port)]
    log_file = tmp_path / "uvicorn.log"
    with process([*argv, "--timeout-graceful-shutdown", "1"], env=env, log=log_file) as running:

        def answers() -> bool:
            assert running.poll() is None, log_file.read_text()
            return "Uvicorn running" in log_file.read_text()

        wait_until(answers, seconds=30, what="uvicorn answers")
        yield port


class Listening:
    """An open stream; events arrive in a queue as (type, id, data)."""

    def __init__(self, port: int, headers: dict[str, str], query: str = "") -> None:
        self.connection = HTTPConnection("127.0.0.1", port, timeout=30)
        self.connection.request("GET", STREAM + query, headers={"Accept": "text/event-stream", **headers})
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()
        self.events: queue.Queue[tuple[str, int | None, Any]] = queue.Queue()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        self.wait_for("stream-open")

    def _read(self) -> None:
        fields: dict[str, str] = {}
        try:
            for line in self.response:
                name, _, value = line.decode().rstrip("\n").partition(":")
                if name:
                    fields[name] = value.strip()
                    continue
                if "event" in fields:
                    data = fields.get("data", "")
                    index = int(fields["id"]) if "id" in fields else None
                    self.events.put((fields["event"], index, json.loads(data) if data else None))
                fields = {}
        except (OSError, ValueError, AttributeError):
            return

    def wait_for(self, kind: str, seconds: float = 20) -> tuple[str, int | None, Any]:
        """The next event that is not a sign of life; it must be of this type."""
        while True:
            event = self.events.get(timeout=seconds)
            if event[0] != "keep-alive":
                assert event[0] == kind, event
                return event

    def heard_nothing(self, seconds: float) -> bool:
        time.sleep(seconds)
        return self.events.empty()

    def close(self) -> None:
        if self.connection.sock is not None:
            self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.connection.close()
        self.thread.join(5)


@contextmanager
def listening(port: int, caller: Api, query: str = "", last: int | None = None) -> Iterator[Listening]:
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in caller.client.cookies.items())
    headers = {**caller.headers, **({"Cookie": cookies} if cookies else {})}
    if last is not None:
        headers["Last-Event-ID"] = str(last)
    opened = Listening(port, headers, query)
    try:
        yield opened
    finally:
        opened.close()


def say(fact: Any = HoldFact.ENGAGED, reason: str = "a test") -> int:
    """A fact in the log; its leaf index."""
    data = {"scope": "everything", "pattern": "", "reason": reason, "source": "person"}
    with log.recording():
        log.append(
            fact,
            actor=SYSTEM,
            subject=Subject("hold", "1"),
            data=data if fact is HoldFact.ENGAGED else {"known": True},
            now=datetime.now(UTC),
        )
    sequencer.run()
    return newest_index()


def test_two_clients_hear_what_they_may_and_replay_what_they_missed(server: int, users: People) -> None:
    bea, deployer = Api(user=users.bea), Api(key=agent_of(users.ada, datetime.now(UTC))[1])
    with listening(server, bea, "?facts=hold.*,contract.created") as hears, listening(server, deployer) as agent:
        index = say(reason="first")
        _, at, data = hears.wait_for("hold.engaged")
        assert (at, data["index"], data["data"]["reason"]) == (index, index, "first")
        assert data["actor"] == {"kind": "system", "id": "system"}
        say(AuthFact.LOGIN)
        submitted = deployer.post("/api/verification/contracts", config_change({"workers": 4}))
        assert submitted.status_code == 201, submitted.content
        sequencer.run()
        _, _, data = hears.wait_for("contract.created")
        assert data["contract_id"] == submitted.json()["data"]["id"]
        # The agent saw nothing of holds and logins, and its own contract at once.
        _, _, data = agent.wait_for("contract.created")
        assert data["contract_id"] == submitted.json()["data"]["id"]
        theirs = Api(user=users.ada).post("/api/verification/contracts", config_change({"workers": 5}))
        sequencer.run()
        hears.wait_for("contract.created")
        while (event := agent.events.get(timeout=10))[0] != "approval.requested":
            assert event[2] is None or event[2]["contract_id"] == submitted.json()["data"]["id"]
        assert theirs.status_code == 201
        time.sleep(2)
        assert all(event[2] is None for event in list(agent.events.queue))
        last = index
    missed = [say(reason=f"missed {number}") for number in range(25)]
    with listening(server, bea, "?facts=hold.*", last=last) as hears:
        again = [hears.wait_for("hold.engaged")[1] for _ in missed]
        assert again == missed
        live = say(reason="live again")
        assert hears.wait_for("hold.engaged")[1] == live
        assert hears.heard_nothing(1.5)


def test_a_burst_arrives_whole_and_in_order(server: int, users: People) -> None:
    with listening(server, Api(user=users.bea), "?facts=hold.*") as hears:
        said = [say(reason=str(number)) for number in range(60)]
        assert [hears.wait_for("hold.engaged")[1] for _ in said] == said


def test_a_place_ahead_of_the_log_begins_anew(server: int, users: People) -> None:
    say()
    with listening(server, Api(user=users.bea), "?facts=hold.*", last=10_000) as hears:
        assert hears.wait_for("stream-reset")[1] == newest_index()
        index = say()
        assert hears.wait_for("hold.engaged")[1] == index


REFUSALS: list[tuple[str, dict[str, str], str, int, str]] = [
    ("bea", {"Last-Event-ID": "channel:7"}, "", 400, "bad_event_id"),
    ("bea", {"Last-Event-ID": "-1"}, "", 400, "bad_event_id"),
    ("bea", {}, "?facts=%2A.granted", 400, "not_a_fact_pattern"),
    ("bea", {}, "?channel=1%7C%2A", 400, "invalid_input"),
    ("cleo", {}, "", 403, "permission_denied"),
    ("", {}, "", 401, "not_authenticated"),
]


def test_who_may_not_and_what_makes_no_sense_is_refused(server: int, users: People) -> None:
    for caller, headers, query, status, code in REFUSALS:
        api = Api(user=getattr(users, caller)) if caller else Api()
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in api.client.cookies.items())
        connection = HTTPConnection("127.0.0.1", server, timeout=10)
        accept = {"Accept": "text/event-stream", "Cookie": cookies}
        connection.request("GET", STREAM + query, headers={**accept, **headers})
        response = connection.getresponse()
        body = json.loads(response.read())
        connection.close()
        assert (response.status, body["code"]) == (status, code), (caller, headers, query)


@pytest.mark.django_db(transaction=True)
def test_a_long_log_is_read_in_steps_and_only_what_may_be_seen(users: People) -> None:
    seeds.seed(now=datetime.now(UTC))
    first = newest_index()
    for _ in range(12):
        say()
        say(AuthFact.LOGIN)
    storage = LogStorage()
    eve = str(Channel(users.eve.pk, ("*",)))
    page = storage.get_events(eve, first, limit=5)
    assert [event.id for event in page] == sorted(event.id for event in page)
    assert len(page) == 5
    rest = storage.get_events(eve, page[-1].id, limit=100)
    assert {event.type for event in page + rest} >= {"hold.engaged", "auth.login"}
    assert storage.get_events(str(Channel(users.cleo.pk, ("*",))), first, limit=100) == []


@pytest.mark.django_db(transaction=True)
def test_a_stream_ends_by_itself() -> None:
    """Five minutes in production; here at once."""
    import asyncio

    from django.contrib.auth.models import User

    user = User.objects.create_superuser("root", password=None)

    async def listen() -> list[str]:
        channel = Channel(user.pk, ("*",))
        return [part async for part in protocol.events(user=user, channel=channel, last_index=None, seconds=0.5)]

    started = time.monotonic()
    parts = asyncio.run(listen())
    assert time.monotonic() - started < 10
    assert any("stream-open" in part for part in parts)
