"""http.request against a real server on loopback."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.harness import web_server
from tests.harness.web_server import WebServer
from verification import executors, outgoing
from verification.executors.base import Call, Reversibility, Run, SnapshotItem, Status


class Kept:
    """A snapshot in memory, for tests of one executor alone."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def add_bytes(self, name: str, data: bytes, meta: dict[str, Any] | None = None) -> SnapshotItem:
        self.kept[name] = data
        return SnapshotItem(name, "", len(data), meta or {})

    def read(self, name: str) -> bytes:
        return self.kept[name]


@pytest.fixture
def server(settings: Any) -> Iterator[WebServer]:
    with web_server.running() as running:
        settings.HTTP_ALLOWED_URLS = [running.url + "/"]
        yield running


@pytest.fixture
def executor() -> executors.Executor:
    return executors.get("http.request")


def call(**parameters: Any) -> Call:
    try:
        target = outgoing.parse(parameters["url"]).place
    except (KeyError, TypeError, outgoing.UrlNotAllowed):
        target = "nothing"
    return Call("http.request", target, parameters, token=7, contract_id=None)


def codes(executor: executors.Executor, asked: Call) -> list[tuple[str, str]]:
    return [(error.pointer, error.code) for error in executor.check(asked)]


def feature(server: WebServer, enabled: bool) -> Call:
    url = f"{server.url}/document"
    return call(
        method="PUT",
        url=url,
        json={"enabled": enabled},
        observe={"url": url},
        compensate={"method": "PUT", "url": url, "json": {"enabled": not enabled}},
    )


@pytest.mark.parametrize("member", ["url", "observe", "compensate"])
def test_every_url_is_allow_listed(server: WebServer, executor: executors.Executor, member: str) -> None:
    parameters = dict(feature(server, True).parameters)
    elsewhere = "http://169.254.169.254/latest/meta-data"
    parameters[member] = elsewhere if member == "url" else {**parameters[member], "url": elsewhere}
    pointer = "/parameters/url" if member == "url" else f"/parameters/{member}/url"
    assert codes(executor, call(**parameters)) == [(pointer, "url_not_allowed")]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("Authorization", "Bearer x", "secret_header"),
        ("Cookie", "a=b", "secret_header"),
        ("X-Api-Key", "x", "secret_header"),
        ("X-Auth-Token", "x", "secret_header"),
        ("Host", "evil.com", "reserved_header"),
        ("Content-Length", "0", "reserved_header"),
        ("Transfer-Encoding", "chunked", "reserved_header"),
        ("Idempotency-Key", "mine", "reserved_header"),
        ("x-grace-token", "9", "reserved_header"),
        ("X-A", "a\r\nHost: evil.com", "malformed_header"),
        ("X A", "a", "malformed_header"),
        ("", "a", "malformed_header"),
    ],
)
def test_it_refuses_headers_that_do_not_belong_there(
    server: WebServer, executor: executors.Executor, name: str, value: str, code: str
) -> None:
    asked = call(method="GET", url=f"{server.url}/ok", headers={name: value})
    assert codes(executor, asked) == [(f"/parameters/headers/{name}", code)]


@pytest.mark.parametrize(
    ("parameters", "pointer"),
    [
        ({"method": "TRACE", "url": "{}/ok"}, "/parameters/method"),
        ({"method": "GET"}, "/parameters/url"),
        ({"url": "{}/ok"}, "/parameters/method"),
        ({"method": "GET", "url": "{}/ok", "json": {}}, "/parameters/json"),
        ({"method": "GET", "url": "{}/ok", "verify": False}, "/parameters/verify"),
        (
            {"method": "POST", "url": "{}/ok", "compensate": {"method": "GET", "url": "{}/ok"}},
            "/parameters/compensate/method",
        ),
        ({"method": "POST", "url": "{}/ok", "headers": {"a": 1}}, "/parameters/headers/a"),
    ],
)
def test_it_names_the_parameter_that_misses_its_schema(
    server: WebServer, executor: executors.Executor, parameters: dict[str, Any], pointer: str
) -> None:
    filled = {n: v.replace("{}", server.url) if isinstance(v, str) else v for n, v in parameters.items()}
    assert pointer in [found for found, _ in codes(executor, call(**filled))]


def test_the_class_follows_from_method_and_compensation(server: WebServer, executor: executors.Executor) -> None:
    url = f"{server.url}/ok"
    assert executor.reversibility(call(method="GET", url=url)) is Reversibility.READ_ONLY
    assert executor.reversibility(call(method="HEAD", url=url)) is Reversibility.READ_ONLY
    assert executor.reversibility(call(method="DELETE", url=url)) is Reversibility.IRREVERSIBLE
    assert executor.reversibility(feature(server, True)) is Reversibility.EXTERNALLY_REVERSIBLE


def test_it_goes_there_and_back(server: WebServer, executor: executors.Executor) -> None:
    contract, asked = uuid4(), feature(server, True)
    asked = Call(asked.action_type, asked.target, asked.parameters, token=7, contract_id=contract)
    kept = Kept()
    baseline = executor.observe(asked)
    assert baseline.state == {"status": 200, "json": {"enabled": False}}
    executor.snapshot(asked, kept)
    result = executor.execute(asked, Run(token=7))
    assert result.ok
    assert result.result["status"] == 200
    sent = server.requests[-1]["headers"]
    assert (sent["idempotency-key"], sent["x-grace-token"]) == (str(contract), "7")
    assert executor.observe(asked).state["json"] == {"enabled": True}
    assert executor.restore(asked, kept, baseline, Run(token=8)).ok
    assert server.requests[-1]["headers"]["idempotency-key"] == f"{contract}:compensate"
    assert executor.fingerprint(executor.observe(asked)) == executor.fingerprint(baseline)


def test_without_compensation_there_is_no_way_back(server: WebServer, executor: executors.Executor) -> None:
    asked, kept = call(method="DELETE", url=f"{server.url}/ok"), Kept()
    executor.snapshot(asked, kept)
    assert kept.kept == {}
    assert executor.observe(asked).state == {"status": None, "json": None}
    assert not executor.tells_change(asked)


@pytest.mark.parametrize(
    ("method", "path", "status", "retryable"),
    [
        ("GET", "broken", Status.FAILED, True),
        ("POST", "broken", Status.FAILED, False),
        ("POST", "redirect", Status.FAILED, False),
        ("POST", "hangs-up", Status.FAILED, False),
        ("POST", "never", Status.TIMEOUT, False),
        ("GET", "never", Status.TIMEOUT, True),
    ],
)
def test_a_failure_says_whether_a_retry_is_safe(
    server: WebServer,
    executor: executors.Executor,
    *,
    method: str,
    path: str,
    status: Status,
    retryable: bool,
) -> None:
    result = executor.execute(call(method=method, url=f"{server.url}/{path}"), Run(deadline_seconds=0.5))
    assert (result.ok, result.status, result.retryable) == (False, status, retryable)
    assert not any(request["path"] == "/secret" for request in server.requests)


def test_a_url_taken_off_the_list_is_not_called(server: WebServer, executor: executors.Executor, settings: Any) -> None:
    asked = feature(server, True)
    settings.HTTP_ALLOWED_URLS = []
    assert not executor.execute(asked, Run()).ok
    with pytest.raises(executors.ExecutorError):
        executor.observe(asked)
    assert server.requests == []


def test_what_is_observed_can_be_stored_anywhere(server: WebServer, executor: executors.Executor) -> None:
    asked = call(method="GET", url=f"{server.url}/text")
    assert executor.observe(asked).state == {"status": 200, "json": None}
    assert executor.execute(asked, Run()).result["text"] == "all is well\ufffd\ufffd"
    large = executor.execute(call(method="GET", url=f"{server.url}/large"), Run())
    assert large.result["truncated"]
    assert len(large.result["text"]) < 10_000


def test_cancelled_it_sends_nothing(server: WebServer, executor: executors.Executor) -> None:
    result = executor.execute(feature(server, True), Run(cancelled=lambda: True))
    assert result.retryable
    assert server.requests == []


def test_the_preview_shows_both_requests(server: WebServer, executor: executors.Executor) -> None:
    asked = feature(server, True)
    body = executor.preview(asked, executor.observe(asked)).body
    assert body.startswith(f"PUT {server.url}/document\n")
    assert '"enabled": true' in body
    assert "to undo:" in body


def test_its_example_is_of_its_schema(executor: executors.Executor, settings: Any) -> None:
    settings.HTTP_ALLOWED_URLS = ["http://127.0.0.1:9000/"]
    example = executor.example
    assert executor.check(Call("http.request", example["target"], example["parameters"])) == []
