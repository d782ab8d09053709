"""cache.clear against a real Valkey."""

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from tests.harness import gate, targets, valkey
from tests.harness.people import People
from tests.harness.story import Story, told
from tests.harness.targets import Kept
from verification import executors
from verification.executors.base import Call, ExecutionResult, ExecutorError, Reversibility, Run, Status
from verification.json_schemas import Schema
from verification.models import Execution, Snapshot

CONTRACT = uuid4()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    home = Path(tempfile.mkdtemp(prefix="grace-cache-"))
    try:
        with valkey.running(home, env=os.environ) as path:
            yield path
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def store(server: str) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=server, db=1) as client:
        client.flushall()
        yield client


@pytest.fixture
def listed(settings: Any, var_dir: Path, server: str) -> Any:
    """Write the file of targets anew, with members of the one cache changed."""

    def write(**members: Any) -> None:
        sound = {"url": f"unix://{server}?db=1", "prefixes": ["page:", "fragment:"], "timeout_seconds": 5}
        settings.TARGETS_FILE = targets.write(var_dir / "targets.toml", caches={"pages": {**sound, **members}})

    write()
    return write


@pytest.fixture
def executor(listed: Any) -> executors.Executor:
    return executors.get("cache.clear")


def call(prefix: str = "page:", cache: str = "pages", **more: Any) -> Call:
    return Call("cache.clear", f"cache:{cache}", {"cache": cache, "prefix": prefix}, contract_id=CONTRACT, **more)


def codes(executor: executors.Executor, asked: Call) -> list[tuple[str, str]]:
    return [(error.pointer, error.code) for error in executor.check(asked)]


def fill(store: redis.Redis) -> dict[bytes, bytes | None]:
    """One key of every kind, two that live a while, and neighbours; answers what those of the prefix hold."""
    store.set("page:text", b"\x00\xff any bytes")
    store.set("page:brief", "x", px=600_000)
    store.hset("page:hash", mapping={"a": "1", "b": "2"})
    store.rpush("page:list", "a", "b")
    store.sadd("page:set", "a", "b")
    store.zadd("page:sorted", {"a": 1.5})
    store.xadd("page:stream", {"a": "1"})
    store.set(b"page:\xff\xfe", "bytes")
    store.expire("page:hash", 900)
    store.set("pages", "a neighbour")
    store.set("other:page:", "another")
    return dumps(store)


def dumps(store: redis.Redis) -> dict[bytes, bytes | None]:
    return {name: store.dump(name) for name in sorted(store.keys("page:*"))}


# --- what is refused before anything is touched ---


@pytest.mark.parametrize(
    ("prefix", "code"),
    [
        ("", "no_match"),
        ("*", "no_match"),
        ("page:*", "no_match"),
        ("page:?", "no_match"),
        ("page:[ab]", "no_match"),
        ("page:\\", "no_match"),
        ("page:\n", "no_match"),
        ("page: x", "no_match"),
        ("x" * 201, "no_match"),
        ("p", "prefix_not_allowed"),
        ("session:", "prefix_not_allowed"),
        ("Page:", "prefix_not_allowed"),
    ],
)
def test_a_prefix_is_literal_and_listed(executor: executors.Executor, prefix: str, code: str) -> None:
    assert codes(executor, call(prefix)) == [("/parameters/prefix", code)]


def test_longer_prefixes_are_fine(executor: executors.Executor) -> None:
    assert codes(executor, call("page:/products/{1}.$")) == []


@pytest.mark.parametrize("prefix", ["grace:", "grace:cache.clear:", "grace:cache.clear:x"])
def test_it_keeps_away_from_its_own_keys(executor: executors.Executor, listed: Any, prefix: str) -> None:
    listed(prefixes=["grace:"])
    assert codes(executor, call(prefix)) == [("/parameters/prefix", "prefix_not_allowed")]
    assert codes(executor, call("grace:pages:")) == []


def test_only_listed_caches_may_be_cleared(executor: executors.Executor, settings: Any) -> None:
    assert codes(executor, call(cache="others")) == [("/parameters/cache", "cache_not_allowed")]
    assert codes(executor, call(cache="../pages")) == [("/parameters/cache", "no_match")]
    settings.TARGETS_FILE = None
    assert codes(executor, call()) == [("/parameters/cache", "cache_not_allowed")]


@pytest.mark.parametrize(
    "members",
    [
        {"prefixes": []},
        {"prefixes": [""]},
        {"prefixes": ["*"]},
        {"url": "http://127.0.0.1"},
        {"url_file": "/run/secret"},
        {"url": ""},
        {"max_keys": 0},
        {"surprise": 1},
    ],
)
def test_a_definition_that_is_wrong_allows_nothing(executor: executors.Executor, listed: Any, members: Any) -> None:
    listed(**members)
    assert codes(executor, call()) == [("/parameters/cache", "cache_unusable")]


def test_the_target_is_not_the_proposers_to_choose(executor: executors.Executor) -> None:
    asked = Call("cache.clear", "cache:others", {"cache": "pages", "prefix": "page:"})
    assert codes(executor, asked) == [("/target", "target_mismatch")]


def test_a_cache_redefined_since_it_was_authorized_is_left_alone(
    executor: executors.Executor, store: redis.Redis, listed: Any
) -> None:
    fill(store)
    edition = executor.edition(call())
    listed(max_keys=5000)
    result = executor.execute(call(edition=edition), Run())
    assert (result.ok, result.retryable) == (False, True)
    assert "redefined" in str(result.error)
    assert store.exists("page:text")


def test_its_address_may_stand_in_a_file(
    executor: executors.Executor, store: redis.Redis, listed: Any, server: str, tmp_path: Path
) -> None:
    fill(store)
    address = tmp_path / "address"
    address.write_text(f"unix://{server}?db=1\n")
    listed(url="", url_file=str(address))
    assert codes(executor, call()) == [("/parameters/cache", "cache_unusable")]  # `url = ""` is still there
    text = (tmp_path / "var" / "targets.toml").read_text().replace('url = ""\n', "")
    (tmp_path / "var" / "targets.toml").write_text(text)
    assert executor.observe(call()).state["keys"] == 8
    address.unlink()
    with pytest.raises(ExecutorError, match="cannot be read"):
        executor.observe(call())


# --- observing ---


def test_it_counts_the_keys_that_begin_with_the_prefix(executor: executors.Executor, store: redis.Redis) -> None:
    fill(store)
    state = executor.observe(call()).state
    assert state == {"prefix": "page:", "keys": 8, "begun": False}
    assert executor.observe(call("page:s")).state["keys"] == 3
    assert executor.observe(call("fragment:")).state["keys"] == 0


def test_more_keys_than_allowed_are_neither_counted_nor_deleted(
    executor: executors.Executor, store: redis.Redis, listed: Any
) -> None:
    listed(max_keys=7)
    fill(store)
    with pytest.raises(ExecutorError, match="More than 7 keys"):
        executor.observe(call())
    result = executor.execute(call(), Run())
    assert (result.ok, result.retryable) == (False, True)
    assert store.exists("page:text")


def test_a_server_that_never_answers_holds_nobody(executor: executors.Executor, listed: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        listed(url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        began = time.monotonic()
        with pytest.raises(ExecutorError, match="Timeout"):
            executor.observe(call())
        result = executor.execute(call(), Run())
        assert (result.ok, result.retryable) == (False, True)
        assert time.monotonic() - began < 15


class Stranger:
    """A server on loopback that takes commands for as long as it is asked, and answers each as it is told to."""

    def __init__(self, answers: Callable[[bytes], Iterable[bytes]]) -> None:
        self.answers = answers
        self.over = threading.Event()

    def __enter__(self) -> str:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()
        return f"redis://127.0.0.1:{self.listening.getsockname()[1]}/0"

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.listening.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)
        self.listening.close()

    def _accept(self) -> None:
        while not self.over.is_set():
            with suppress(OSError):
                client, _ = self.listening.accept()
                self.threads.append(threading.Thread(target=self._serve, args=(client,)))
                self.threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            while asked := client.recv(65536):
                for command in asked.split(b"*")[1:]:
                    for part in self.answers(command):
                        client.sendall(part)
                        if self.over.is_set():
                            return


HELLO, OK = b"%1\r\n$5\r\nproto\r\n:3\r\n", b"+OK\r\n"


def dripping(at: bytes) -> Stranger:
    """Answers a command of this name with one byte a second, without end."""

    def answers(command: bytes) -> Iterator[bytes]:
        if at not in command:
            yield HELLO if b"HELLO" in command else OK
            return
        yield b"$100000\r\n"
        while not stranger.over.wait(1):
            yield b"x"

    stranger = Stranger(answers)
    return stranger


@pytest.mark.parametrize("at", [b"HELLO", b"SCAN"])
def test_a_server_that_answers_a_byte_a_second_holds_nobody(
    executor: executors.Executor, listed: Any, at: bytes
) -> None:
    with dripping(at) as url:
        listed(url=url)
        began = time.monotonic()
        with pytest.raises(ExecutorError, match="within 4 s"):
            executor.observe(call())
        assert time.monotonic() - began < 5, "a proposal waits for 5 s"
        began = time.monotonic()
        result = executor.execute(call(), Run(deadline_seconds=2))
        assert (result.status, result.retryable) == (Status.TIMEOUT, True)
        assert time.monotonic() - began < 3


def test_nor_does_it_when_keys_are_brought_back(executor: executors.Executor, store: redis.Redis, listed: Any) -> None:
    fill(store)
    before, kept = executor.observe(call()), Kept()
    executor.snapshot(call(), kept)
    with dripping(b"TIME") as url:
        listed(url=url)
        began = time.monotonic()
        assert executor.restore(call(), kept, before, Run(deadline_seconds=2)).status == Status.TIMEOUT
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "said",
    [
        OK,
        b":5\r\n",
        b"*0\r\n",
        b"*2\r\n$1\r\n0\r\n:7\r\n",
        b"%0\r\n",
        b"_\r\n",
        b"!3\r\nno!\r\n",
        b"what?\r\n",
        b"$x\r\n",
    ],
)
@pytest.mark.parametrize("at", [b"HELLO", b"SCAN", b"EXISTS"])
def test_whatever_a_strange_server_answers_is_an_error_of_the_executor(
    executor: executors.Executor, listed: Any, at: bytes, said: bytes
) -> None:
    def answers(command: bytes) -> list[bytes]:
        sound = {b"HELLO": HELLO, b"SCAN": b"*2\r\n$1\r\n0\r\n*1\r\n$6\r\npage:1\r\n", b"EXISTS": b":0\r\n"}
        return [said if at in command else next((each for name, each in sound.items() if name in command), OK)]

    with Stranger(answers) as url:
        listed(url=url)
        with suppress(ExecutorError):
            assert executor.observe(call()).state["prefix"] == "page:"
        result = executor.execute(call(), Run())
        assert isinstance(result, ExecutionResult)


def test_a_greeting_that_is_none_is_an_error_of_the_executor(executor: executors.Executor, listed: Any) -> None:
    with Stranger(lambda command: [OK]) as url:
        listed(url=url)
        with pytest.raises(ExecutorError, match="AttributeError"):
            executor.observe(call())
        result = executor.execute(call(), Run())
        assert (result.ok, result.retryable) == (False, True)


def test_a_lost_connection_is_not_made_anew(executor: executors.Executor, listed: Any) -> None:
    greeted = []

    def answers(command: bytes) -> list[bytes]:
        greeted.append(b"HELLO" in command)
        if b"SCAN" in command:
            raise OSError("hang up")
        return [HELLO if b"HELLO" in command else OK]

    with Stranger(answers) as url:
        listed(url=url)
        with pytest.raises(ExecutorError):
            executor.observe(call())
        assert sum(greeted) == 1


def test_a_server_that_is_not_there_says_so_and_no_password(executor: executors.Executor, listed: Any) -> None:
    listed(url="redis://grace:a-password@127.0.0.1:1/0")
    with pytest.raises(ExecutorError) as refused:
        executor.observe(call())
    assert "a-password" not in str(refused.value)


def test_what_users_do_to_a_cache_is_no_drift(executor: executors.Executor, store: redis.Redis) -> None:
    fill(store)
    before = executor.observe(call())
    store.delete("page:text")
    after = executor.observe(call())
    assert executor.fingerprint(before) == executor.fingerprint(after)
    assert executor.untouched(call(), before, after)


# --- doing, and the way back ---


def test_it_deletes_what_begins_with_the_prefix_and_nothing_else(
    executor: executors.Executor, store: redis.Redis
) -> None:
    fill(store)
    before = executor.observe(call())
    result = executor.execute(call(), Run())
    assert (result.ok, result.result) == (True, {"deleted": 8})
    after = executor.observe(call())
    assert after.state["keys"] == 0
    assert not executor.untouched(call(), before, after)
    assert (store.get("pages"), store.get("other:page:")) == (b"a neighbour", b"another")


def test_it_brings_every_kind_of_key_back_with_its_time_to_live(
    executor: executors.Executor, store: redis.Redis
) -> None:
    kept, content = Kept(), fill(store)
    before = executor.observe(call())
    executor.snapshot(call(), kept)
    executor.execute(call(), Run())
    assert not executor.is_back(call(), before, executor.observe(call()), kept)
    for expected in ({"restored": 8, "kept": 0, "expired": 0}, {"restored": 0, "kept": 8, "expired": 0}):
        assert executor.restore(call(), kept, before, Run()).result == expected
    assert dumps(store) == content
    assert 590_000 < store.pttl("page:brief") <= 600_000
    assert 890 < store.ttl("page:hash") <= 900
    assert store.ttl("page:text") == -1
    assert executor.is_back(call(), before, executor.observe(call()), kept)


def test_what_expired_meanwhile_stays_gone_and_what_is_newer_stays(
    executor: executors.Executor, store: redis.Redis
) -> None:
    fill(store)
    store.set("page:brief", "x", px=200)
    kept, before = Kept(), executor.observe(call())
    executor.snapshot(call(), kept)
    executor.execute(call(), Run())
    store.set("page:text", "newer")
    targets.wait_until(
        lambda: time.time() * 1000 > _expiry(kept, b"page:brief") + 50, seconds=5, what="the key's time is over"
    )
    assert executor.restore(call(), kept, before, Run()).result == {"restored": 6, "kept": 1, "expired": 1}
    assert store.get("page:text") == b"newer"
    assert not store.exists("page:brief")
    assert executor.is_back(call(), before, executor.observe(call()), kept)


def _expiry(kept: Kept, name: bytes) -> int:
    from verification.executors.cache_clear import keys

    [key] = [key for key in keys.read(kept.read("dump")) if key.name == name]
    assert key.expires is not None
    return key.expires


def test_ten_megabytes_are_not_dumped_when_one_is_allowed(
    executor: executors.Executor, store: redis.Redis, listed: Any
) -> None:
    listed(max_dump_mb=1)
    store.set("page:large", b"x" * 10_000_000)
    with pytest.raises(ExecutorError, match="more than 1 MB"):
        executor.snapshot(call(), Kept())


def test_cancelled_or_late_it_stops_between_two_batches(executor: executors.Executor, store: redis.Redis) -> None:
    pipe = store.pipeline(transaction=False)
    for number in range(1200):
        pipe.set(f"page:{number}", "x")
    pipe.execute()
    result = executor.execute(call(), Run(cancelled=lambda: True))
    assert (result.ok, result.retryable, result.result) == (False, True, {"deleted": 0})
    result = executor.execute(call(), Run(deadline_seconds=0))
    assert (result.status, result.retryable, store.dbsize()) == (Status.TIMEOUT, True, 1200)
    asked = iter([False, True])
    result = executor.execute(call(), Run(cancelled=lambda: next(asked)))
    assert (result.ok, result.retryable, result.result) == (False, False, {"deleted": 500})
    assert executor.observe(call()).state == {"prefix": "page:", "keys": 700, "begun": True}


def test_a_snapshot_without_a_dump_brings_nothing_back(executor: executors.Executor, store: redis.Redis) -> None:
    before = executor.observe(call())
    assert not executor.restore(call(), Kept(), before, Run()).ok
    assert not executor.is_back(call(), before, before, None)


def test_the_preview_counts_and_shows_no_names(executor: executors.Executor, store: redis.Redis) -> None:
    fill(store)
    shown = executor.preview(call(), executor.observe(call()))
    assert shown.summary == "delete 8 keys of pages"
    assert "brief" not in shown.body


def test_its_example_is_of_its_schema(executor: executors.Executor) -> None:
    assert Schema(executor.schema).errors(executor.example["parameters"]) == []
    assert executor.reversibility(call()) == Reversibility.REVERSIBLE


# --- a whole life ---


def body(**state: Any) -> dict[str, Any]:
    return {
        "action_type": "cache.clear",
        "target": "cache:pages",
        "parameters": {"cache": "pages", "prefix": "page:"},
        "expected_effect": {"target_state": state or {"keys": 0}},
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("worker")
def test_it_runs_by_itself_and_is_verified(
    worker: None, var_dir: Path, users: People, store: redis.Redis, listed: Any
) -> None:
    fill(store)
    story = Story(var_dir, users)
    asked = story.propose(body())
    assert (asked["tier"], asked["state"]) == ("tier_1", "authorized")
    assert story.wait(asked)["state"] == "verified"
    assert dumps(store) == {}


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("worker")
def test_a_violation_brings_the_dump_back(
    worker: None, var_dir: Path, users: People, store: redis.Redis, listed: Any
) -> None:
    content = fill(store)
    story = Story(var_dir, users)
    contract = story.wait(story.propose(body(keys=1)))
    assert contract["state"] == "rolled_back"
    assert dumps(store) == content


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("worker")
def test_what_is_too_large_to_keep_is_never_deleted(
    worker: None, var_dir: Path, users: People, store: redis.Redis, listed: Any
) -> None:
    listed(max_dump_mb=1)
    store.set("page:large", b"x" * 10_000_000)
    story = Story(var_dir, users)
    contract = story.wait(story.propose(body()))
    assert contract["state"] == "failed"
    assert "more than 1 MB" in contract["executions"][0]["result"]["error"]
    assert store.exists("page:large")
    assert not Snapshot.objects.filter(contract_id=contract["id"]).exists()


@pytest.fixture
def killable(worker_environment: dict[str, str], var_dir: Path) -> dict[str, str]:
    """The environment of a process that can be killed."""
    return {**worker_environment, "VAR_DIR": str(var_dir), "TARGETS_FILE": str(var_dir / "targets.toml")}


@pytest.mark.django_db(transaction=True)
def test_p_killed_in_the_middle_everything_comes_back(
    killable: dict[str, str], tmp_path: Path, users: People, server: str, listed: Any
) -> None:
    with redis.Redis(unix_socket_path=server, db=1) as store, gate.before(server, at=b"UNLINK") as door:
        store.flushall()
        pipe = store.pipeline(transaction=False)
        for number in range(1500):
            pipe.set(f"page:{number}", number, ex=3600)
        pipe.execute()
        listed(url=f"redis://127.0.0.1:{door.port}/1")
        asked = Story(tmp_path / "var", users).propose(body())
        some_are_gone = targets.killed_when(
            lambda: door.reached.is_set() and len(store.keys("page:*")) == 1000,
            env=killable,
            log=tmp_path / "worker.log",
            what="it had deleted 500 keys",
        )
        with some_are_gone:
            door.open.set()
        assert Execution.objects.get(contract_id=asked["id"]).result is None
        contract = targets.settle(asked["id"])
        assert contract.state == "rolled_back"
        assert len(store.keys("page:*")) == 1500
        assert 3500 < store.ttl("page:7") <= 3600
        assert "contract.in_doubt" in [each.fact for each in told(asked["id"])]
