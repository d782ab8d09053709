"""The one way out: which URLs may be called, where they may lead, and what a bad server can do."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import web_server
from tests.harness.web_server import WebServer
from verification import outgoing


@pytest.fixture
def server(settings: Any) -> Iterator[WebServer]:
    with web_server.running() as running:
        settings.HTTP_ALLOWED_URLS = [running.url + "/"]
        yield running


def code_of(url: str, **options: Any) -> str:
    """The code a proposal naming this URL gets, or "allowed"."""
    errors = outgoing.check(url, "/parameters/url", **options)
    return errors[0].code if errors else "allowed"


PREFIXES = [
    "https://api.example.com/v1",
    "http://127.0.0.1:9000/safe/",
    "http://[::1]:9000/",
    "https://odd.example.com:8443/a%2Db/",
    "not a url",
    "ftp://files.example.com/",
]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:9000/safe/", "allowed"),
        ("http://127.0.0.1:9000/safe/x?y=/../z", "allowed"),
        ("http://127.0.0.1:9000/safe/%7Ename", "allowed"),
        ("http://[::1]:9000/any", "allowed"),
        ("HTTP://127.0.0.1:9000/safe/x", "allowed"),
        ("http://127.0.0.1:9000/safe", "url_not_allowed"),
        ("http://127.0.0.1:9000/other", "url_not_allowed"),
        ("http://127.0.0.1:9001/safe/", "url_not_allowed"),
        ("http://127.0.0.1/safe/", "url_not_allowed"),
        ("https://127.0.0.1:9000/safe/", "url_not_allowed"),
        ("http://127.0.0.1.example.com:9000/safe/", "url_not_allowed"),
        ("http://127.1:9000/safe/", "url_not_allowed"),
        ("http://2130706433:9000/safe/", "url_not_allowed"),
        ("http://localhost:9000/safe/", "url_not_allowed"),
        ("http://[::ffff:127.0.0.1]:9000/safe/", "url_not_allowed"),
        ("https://api.example.com/v1x", "url_not_allowed"),
        ("https://api.example.com/v2", "url_not_allowed"),
        ("https://api.example.com/", "url_not_allowed"),
        ("https://api.example.com.evil.com/v1", "url_not_allowed"),
        ("https://evil.com/https://api.example.com/v1", "url_not_allowed"),
        ("http://127.0.0.1:9000/safe/../other", "encoded_traversal"),
        ("http://127.0.0.1:9000/safe/%2e%2e/other", "encoded_traversal"),
        ("http://127.0.0.1:9000/safe/.%2E/other", "encoded_traversal"),
        ("http://127.0.0.1:9000/safe/%252e%252e/other", "encoded_traversal"),
        ("http://127.0.0.1:9000/safe/..;x/other", "encoded_traversal"),
        ("http://127.0.0.1:9000/safe/..%2fother", "encoded_traversal"),
        ("http://127.0.0.1:9000/safe/%5c..%5cother", "encoded_traversal"),
        ("http://127.0.0.1:9000/safe/%00", "encoded_traversal"),
        ("http://127.0.0.1:9000/safe/%25252525252541", "encoded_traversal"),
        ("http://127.0.0.1:9000\\@evil.com/safe/", "malformed_url"),
        ("http://127.0.0.1:9000/safe/#x", "malformed_url"),
        ("http://127.0.0.1:9000/sa fe/", "malformed_url"),
        ("http://127.0.0.1:9000/safe/\r\nHost: evil.com", "malformed_url"),
        ("http://127.0.0.1:99999/safe/", "malformed_url"),
        ("http://127.0.0.1:x/safe/", "malformed_url"),
        ("http:///safe/", "malformed_url"),
        ("http://[::1%25lo]:9000/", "malformed_url"),
        ("http://\u2488:9000/safe/", "malformed_url"),
        ("file:///etc/passwd", "malformed_url"),
        ("gopher://127.0.0.1:9000/safe/", "malformed_url"),
        ("//127.0.0.1:9000/safe/", "malformed_url"),
        ("", "malformed_url"),
        ("http://127.0.0.1:9000/safe/" + "x" * 2048, "malformed_url"),
        ("http://user:pw@127.0.0.1:9000/safe/", "url_with_credentials"),
        ("http://127.0.0.1:9000@evil.com/safe/", "url_with_credentials"),
        ("https://api.example.com@127.0.0.1:9000/v1", "url_with_credentials"),
    ],
)
def test_a_url_is_compared_part_by_part(settings: Any, url: str, code: str) -> None:
    settings.HTTP_ALLOWED_URLS = PREFIXES
    assert code_of(url) == code


def test_nothing_is_listed_by_default(settings: Any) -> None:
    settings.HTTP_ALLOWED_URLS = []
    assert code_of("http://127.0.0.1:9000/") == "url_not_allowed"


def test_a_url_has_one_spelling() -> None:
    assert str(outgoing.parse("HTTP://API.example.com.:80/%7ea/%c3%a9?q=1")) == ("http://api.example.com/~a/%C3%A9?q=1")


def resolver(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """A name server that gives each answer once, then the last one for ever; the names it was asked."""
    asked: list[str] = []
    queue = list(answers)

    def answer(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        asked.append(host)
        addresses = queue.pop(0) if len(queue) > 1 else queue[0]
        if not addresses:
            raise socket.gaierror("no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


@pytest.mark.parametrize(
    ("prefix", "address", "code"),
    [
        ("http://name.example/", "93.184.215.14", "allowed"),
        ("http://name.example/", "10.0.0.5", "private_address"),
        ("http://name.example/", "127.0.0.1", "private_address"),
        ("http://name.example/", "169.254.169.254", "private_address"),
        ("http://name.example/", "100.64.1.1", "private_address"),
        ("http://name.example/", "0.0.0.0", "private_address"),  # noqa: S104 - an address to refuse
        ("http://name.example/", "::1", "private_address"),
        ("http://name.example/", "::ffff:10.0.0.5", "private_address"),
        ("http://name.example/", "64:ff9b::a00:5", "private_address"),
        ("http://name.example/", "::127.0.0.1", "private_address"),
        ("http://name.example/", "::10.0.0.5", "private_address"),
        ("http://name.example/", "::ffff:0:127.0.0.1", "private_address"),
        ("http://name.example/", "4000::1", "private_address"),
        ("http://name.example/", "fd00::5", "private_address"),
        ("http://name.example:80/", "10.0.0.5", "allowed"),
        ("http://name.example:80/", "127.0.0.1", "allowed"),
        ("http://name.example:80/", "fd00::5", "allowed"),
        ("http://name.example:80/", "169.254.169.254", "private_address"),
        ("http://name.example:80/", "224.0.0.1", "private_address"),
    ],
)
def test_a_private_address_must_be_named(
    settings: Any, monkeypatch: pytest.MonkeyPatch, prefix: str, address: str, code: str
) -> None:
    settings.HTTP_ALLOWED_URLS = [prefix]
    resolver(monkeypatch, [address])
    assert code_of("http://name.example/x") == code


def test_one_private_address_among_public_ones_is_enough(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.HTTP_ALLOWED_URLS = ["http://name.example/"]
    resolver(monkeypatch, ["93.184.215.14", "10.0.0.5"])
    assert code_of("http://name.example/") == "private_address"


def test_localhost_and_literals_are_named_as_they_are(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.HTTP_ALLOWED_URLS = ["http://localhost/", "http://10.0.0.5/", "http://169.254.169.254/"]
    resolver(monkeypatch, ["127.0.0.1"])
    assert code_of("http://localhost/x") == "allowed"
    assert code_of("http://10.0.0.5/x") == "allowed"
    assert code_of("http://169.254.169.254/x") == "allowed"
    resolver(monkeypatch, ["10.0.0.5"])
    assert code_of("http://localhost/x") == "private_address"


def test_a_public_url_needs_no_list_but_stays_public(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.HTTP_ALLOWED_URLS = ["http://127.0.0.1:9000/"]
    assert code_of("https://93.184.215.14/hook", public=True) == "allowed"
    assert code_of("http://127.0.0.1:9000/hook", public=True) == "allowed"
    assert code_of("http://127.0.0.1:9001/hook", public=True) == "private_address"
    assert code_of("http://10.0.0.1:80/hook", public=True) == "private_address"
    resolver(monkeypatch, ["127.0.0.1"])
    assert code_of("http://2130706433/hook", public=True) == "private_address"


def test_an_unknown_name_is_no_error_of_the_proposal(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.HTTP_ALLOWED_URLS = ["http://name.example/"]
    resolver(monkeypatch, [])
    assert code_of("http://name.example/") == "allowed"
    with pytest.raises(outgoing.NameUnknown) as unknown:
        outgoing.request("GET", "http://name.example/")
    assert not unknown.value.may_have_arrived


def test_dns_that_changes_between_check_and_use_changes_nothing(
    server: WebServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is looked up once for a request, and what was checked is what is connected to."""
    settings.HTTP_ALLOWED_URLS = ["http://name.example/"]
    asked = resolver(monkeypatch, ["93.184.215.14"], ["127.0.0.1"])
    connected: list[Any] = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(outgoing.NoAnswer):
        outgoing.request("GET", "http://name.example/")
    assert (asked, connected) == (["name.example"], [("93.184.215.14", 80)])
    with pytest.raises(outgoing.UrlNotAllowed):
        outgoing.request("GET", "http://name.example/")
    assert len(connected) == 1


# --- a real server ---


def test_it_gets_an_answer(server: WebServer) -> None:
    answer = outgoing.request("GET", f"{server.url}/ok?a=1", headers={"X-Mine": "1"})
    assert (answer.status, answer.json(), answer.truncated) == (200, {"ok": True}, False)
    assert answer.latency_ms > 0
    seen = server.requests[0]
    assert seen["path"] == "/ok?a=1"
    assert seen["headers"]["host"] == server.url.removeprefix("http://")
    assert seen["headers"]["x-mine"] == "1"


def test_it_sends_json(server: WebServer) -> None:
    outgoing.request("PUT", f"{server.url}/document", json={"a": "é"})
    assert server.document == {"a": "é"}
    assert server.requests[0]["headers"]["content-type"] == "application/json"


def test_a_redirect_is_an_answer_and_is_not_followed(server: WebServer) -> None:
    answer = outgoing.request("GET", f"{server.url}/redirect")
    assert answer.status == 302
    assert [request["path"] for request in server.requests] == ["/redirect"]


@pytest.mark.parametrize("path", ["large", "endless"])
def test_what_it_reads_is_bounded(server: WebServer, path: str) -> None:
    answer = outgoing.request("GET", f"{server.url}/{path}")
    assert answer.truncated
    assert len(answer.body) == outgoing.MAX_BODY_BYTES
    assert answer.json() is None


@pytest.mark.parametrize("path", ["never", "drip-headers", "drip-body"])
def test_the_deadline_is_for_the_whole_request(server: WebServer, path: str) -> None:
    started = time.perf_counter()
    with pytest.raises(outgoing.NoAnswer) as nothing:
        outgoing.request("GET", f"{server.url}/{path}", deadline_seconds=0.5)
    assert time.perf_counter() - started < 3
    assert nothing.value.may_have_arrived
    assert nothing.value.late


def test_a_server_that_hangs_up_gave_no_answer(server: WebServer) -> None:
    with pytest.raises(outgoing.NoAnswer) as nothing:
        outgoing.request("GET", f"{server.url}/hangs-up")
    assert nothing.value.may_have_arrived
    assert not nothing.value.late


def test_a_closed_port_was_never_reached(settings: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
        settings.HTTP_ALLOWED_URLS = [url]
        with pytest.raises(outgoing.NoAnswer) as nothing:
            outgoing.request("GET", url)
    assert not nothing.value.may_have_arrived


def test_a_name_server_that_never_answers_does_not_hold_us(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.HTTP_ALLOWED_URLS = ["http://name.example/"]
    answered = threading.Event()

    def answer(*args: Any, **kwargs: Any) -> list[Any]:
        answered.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    started = time.perf_counter()
    with pytest.raises(outgoing.NameUnknown):
        outgoing.request("GET", "http://name.example/", deadline_seconds=0.3)
    answered.set()
    assert time.perf_counter() - started < 2


def test_proxies_of_the_environment_are_not_used(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert outgoing.request("GET", f"{server.url}/ok").status == 200


def test_tls_is_verified(server: WebServer, settings: Any) -> None:
    url = server.url.replace("http:", "https:")
    settings.HTTP_ALLOWED_URLS = [url]
    with pytest.raises(outgoing.NoAnswer) as nothing:
        outgoing.request("GET", url + "/")
    assert not nothing.value.may_have_arrived
