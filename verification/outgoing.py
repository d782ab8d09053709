"""The one way out over HTTP: allow-listed, pinned, bounded, never redirected.

A URL is compared part by part with the listed prefixes, after a normalisation that leaves no second way to
write it. Its host is resolved once; every address is checked, and the connection goes to one of exactly those
addresses, so an answer of the name server that changes between check and use changes nothing. Which ranges
are not public is taken from microsoft-antissrf. The connection is our own because that library's session
sends a Host header without the port and cannot end a request as a whole at a deadline.
"""

from __future__ import annotations

import http.client
import ipaddress
import json as json_module
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from AntiSSRF import IPAddressRanges  # type: ignore[import-untyped]

from auditlog.refusals import FieldError
from verification import configuration

MAX_BODY_BYTES = 1024 * 1024
MAX_URL_CHARS = 2048
DEADLINE_SECONDS = 10.0
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


class UrlNotAllowed(Exception):
    """The URL may not be called; `code` is stable, the text is for people."""

    def __init__(self, code: str, detail: str) -> None:
        """Keep the code beside the sentence."""
        super().__init__(detail)
        self.code = code


class NoAnswer(Exception):
    """No complete answer came.

    `may_have_arrived` says whether the request can have had an effect, `late` that its time was up.
    """

    def __init__(self, detail: str, *, may_have_arrived: bool, late: bool = False) -> None:
        """Keep what is known about the effect beside the sentence."""
        super().__init__(detail)
        self.may_have_arrived = may_have_arrived
        self.late = late


class NameUnknown(NoAnswer):
    """The host could not be looked up, so nobody was asked."""


@dataclass(frozen=True)
class Url:
    """A URL taken apart and normalised; `explicit_port` says whether its text named the port."""

    scheme: str
    host: str
    port: int
    path: str
    query: str
    explicit_port: bool

    @property
    def literal(self) -> Address | None:
        """The address, when the host is one."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Host and port as they stand in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def selector(self) -> str:
        """Path and query as they stand in a request line."""
        return self.path + (f"?{self.query}" if self.query else "")

    @property
    def place(self) -> str:
        """What is addressed, without the query: the target of a request."""
        return f"{self.scheme}://{self.authority}{self.path}"

    def __str__(self) -> str:
        """The one way this URL is written."""
        return f"{self.scheme}://{self.authority}{self.selector}"


@dataclass(frozen=True)
class Permission:
    """A URL that may be called, and which addresses that are not public it may lead to."""

    url: Url
    private: bool = False
    loopback: bool = False
    literal: Address | None = None

    def admits(self, address: Address) -> bool:
        """Whether this address may be connected to."""
        plain = _unmapped(address)
        if _public(plain) or plain == self.literal:
            return True
        if _in_ranges(plain, IPAddressRanges.loopback):
            return self.loopback
        return self.private and _in_ranges(plain, _PRIVATE)


_PRIVATE = (
    *IPAddressRanges.private_use,
    *IPAddressRanges.unique_local,
    *IPAddressRanges.shared_address_space,
)
_GLOBAL_UNICAST = ("2000::/3",)
"""All of IPv6 that is given out to the public. What lies outside (`::127.0.0.1`) may mean an address of IPv4."""


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers (lower case), at most the allowed bytes, and how long it took (ms)."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    truncated: bool = False
    latency_ms: float = 0.0

    @property
    def text(self) -> str:
        """The body as text; bytes that are not UTF-8 are replaced."""
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """The body as JSON, or None when it is not JSON."""
        if self.truncated:
            return None
        try:
            return json_module.loads(self.body)
        except (ValueError, RecursionError):
            return None


# --- may it be called? ---


def parse(text: str) -> Url:
    """Take a URL apart and normalise it; raises UrlNotAllowed for anything that has a second reading."""
    if not isinstance(text, str) or len(text) > MAX_URL_CHARS or not re.fullmatch(r"[!-~]+", text):
        raise UrlNotAllowed("malformed_url", "A URL is at most 2048 printable ASCII characters.")
    if "\\" in text or "#" in text:
        raise UrlNotAllowed("malformed_url", "A URL has neither a backslash nor a fragment here.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise UrlNotAllowed("malformed_url", "The URL cannot be read.") from exc
    if parts.scheme not in _PORTS:
        raise UrlNotAllowed("malformed_url", "Only http and https are known.")
    if "@" in parts.netloc:
        raise UrlNotAllowed("url_with_credentials", "A URL carries no user name or password.")
    explicit = port is not None
    return Url(
        scheme=parts.scheme,
        host=_host(parts.hostname or ""),
        port=port if port is not None else _PORTS[parts.scheme],
        path=_path(parts.path),
        query=parts.query,
        explicit_port=explicit,
    )


def permission(
    text: str, *, prefixes: Sequence[str] | None = None, public: bool = False, trusted: bool = False
) -> Permission:
    """Whether this URL may be called at all; raises UrlNotAllowed. Looks nothing up.

    `prefixes` are those of HTTP_ALLOWED_URLS unless given. With `public`, any URL may be called that leads to
    public addresses only (webhooks that a person configured); `trusted` is for URLs the operator set.
    Addresses that are not public are open to a URL only when its prefix names them: by a literal address, by
    `localhost`, or by a host with its port written out.
    """
    url = parse(text)
    listed = configuration.http_allowed_urls() if prefixes is None else prefixes
    matching = [prefix for prefix in _parsed(listed) if _covers(prefix, url)]
    if not matching and not public:
        raise UrlNotAllowed("url_not_allowed", f"{url} is below no listed prefix (HTTP_ALLOWED_URLS).")
    named = trusted or any(prefix.explicit_port and prefix.literal is None for prefix in matching)
    local = any(prefix.host == "localhost" for prefix in matching)
    literal = _unmapped(url.literal) if matching and url.literal else None
    return Permission(url, private=named, loopback=named or local, literal=literal)


def check(
    text: Any, pointer: str, *, prefixes: Sequence[str] | None = None, public: bool = False, seconds: float = 1.0
) -> list[FieldError]:
    """What a proposal naming this URL is told; a name that cannot be resolved now is not an error yet."""
    try:
        allowed = permission(text, prefixes=prefixes, public=public)
        _resolve(allowed, seconds)
    except UrlNotAllowed as exc:
        return [FieldError(pointer, exc.code, str(exc))]
    except NoAnswer:
        return []
    return []


# --- calling it ---


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    body: bytes | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
    max_bytes: int = MAX_BODY_BYTES,
    prefixes: Sequence[str] | None = None,
    public: bool = False,
    trusted: bool = False,
) -> Answer:
    """Call a URL once. Redirects are answers, not followed. Raises UrlNotAllowed or NoAnswer.

    The deadline (seconds) is for the whole request, from the look-up of the name to the last byte.
    """
    started = time.perf_counter()
    allowed = permission(url, prefixes=prefixes, public=public, trusted=trusted)
    addresses = _resolve(allowed, deadline_seconds)
    if json is not None:
        body = json_module.dumps(json).encode()
    return _exchange(
        method,
        allowed.url,
        lambda left, watch: _connect(allowed.url, addresses, left, watch),
        headers=headers,
        body=body,
        started=started,
        deadline_seconds=deadline_seconds,
        max_bytes=max_bytes,
    )


def request_socket(
    path: str,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
    max_bytes: int = MAX_BODY_BYTES,
) -> Answer:
    """As `request`, over a unix socket the operator named. Raises NoAnswer."""
    return _exchange(
        method,
        parse(url),
        lambda left, watch: _connect_socket(path, left, watch),
        headers=headers,
        body=body,
        started=time.perf_counter(),
        deadline_seconds=deadline_seconds,
        max_bytes=max_bytes,
    )


def _exchange(
    method: str,
    url: Url,
    connect: Callable[[float, _Watch], http.client.HTTPConnection],
    *,
    headers: Mapping[str, str] | None,
    body: bytes | None,
    started: float,
    deadline_seconds: float,
    max_bytes: int,
) -> Answer:
    left = max(0.001, deadline_seconds - (time.perf_counter() - started))
    with _watched(left) as watch:
        connection = connect(left, watch)
        try:
            sent = _headers(url, headers, body)
            connection.request(method, url.selector, body, sent)
            response = connection.getresponse()
            data = _read(response, max_bytes + 1)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            late = watch.expired or isinstance(exc, TimeoutError)
            reason = f"No answer within {deadline_seconds:g} s." if late else f"No answer: {_in_words(exc)}."
            raise NoAnswer(reason, may_have_arrived=True, late=late) from exc
        if watch.expired:
            reason = f"No complete answer within {deadline_seconds:g} s."
            raise NoAnswer(reason, may_have_arrived=True, late=True)
    return Answer(
        status=response.status,
        headers={name.lower(): value for name, value in response.getheaders()},
        body=data[:max_bytes],
        truncated=len(data) > max_bytes,
        latency_ms=(time.perf_counter() - started) * 1000,
    )


class _Watch:
    """A socket that is shut down at its deadline, whatever step it is in."""

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.expired = False

    def expire(self) -> None:
        self.expired = True
        if self.sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


@contextmanager
def _watched(seconds: float) -> Iterator[_Watch]:
    watch = _Watch()
    timer = threading.Timer(seconds, watch.expire)
    timer.daemon = True
    timer.start()
    try:
        yield watch
    finally:
        timer.cancel()
        if watch.sock is not None:
            watch.sock.close()


def _read(response: http.client.HTTPResponse, limit: int) -> bytes:
    received = bytearray()
    while len(received) < limit:
        piece = response.read1(min(65536, limit - len(received)))
        if not piece:
            break
        received += piece
    return bytes(received)


def _headers(url: Url, given: Mapping[str, str] | None, body: bytes | None) -> dict[str, str]:
    """Ours, and those of the caller, which win except for the host and the connection."""
    headers = {"user-agent": "grace", "accept": "*/*"}
    if body is not None:
        headers["content-type"] = "application/json"
    headers.update({name.lower(): value for name, value in (given or {}).items()})
    headers.update({"host": url.authority, "connection": "close"})
    return {name.title(): value for name, value in headers.items()}


def _connect(url: Url, addresses: Sequence[Address], seconds: float, watch: _Watch) -> http.client.HTTPConnection:
    ends = time.perf_counter() + seconds
    problem: Exception | None = None
    for address in addresses:
        left = ends - time.perf_counter()
        if left <= 0:
            break
        try:
            return _open(url, address, left, watch)
        except (OSError, ValueError) as exc:
            problem = exc
    reason = _in_words(problem) if problem else "there was no time left to connect"
    raise NoAnswer(f"{url.authority} cannot be reached: {reason}.", may_have_arrived=False) from problem


def _connect_socket(path: str, seconds: float, watch: _Watch) -> http.client.HTTPConnection:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    watch.sock = sock
    try:
        sock.settimeout(seconds)
        sock.connect(path)
    except OSError as exc:
        raise NoAnswer(f"{path} cannot be reached: {_in_words(exc)}.", may_have_arrived=False) from exc
    connection = http.client.HTTPConnection("localhost")
    connection.sock = sock
    connection.auto_open = 0
    return connection


def _open(url: Url, address: Address, seconds: float, watch: _Watch) -> http.client.HTTPConnection:
    sock = socket.create_connection((str(address), url.port), timeout=seconds)
    watch.sock = sock
    if watch.expired:
        raise TimeoutError
    if url.scheme == "https":
        context = ssl.create_default_context()
        secure = context.wrap_socket(sock, server_hostname=url.host, do_handshake_on_connect=False)
        watch.sock = secure
        secure.do_handshake()
        sock = secure
    connection = http.client.HTTPConnection(url.host, url.port)
    connection.sock = sock
    connection.auto_open = 0
    return connection


def _resolve(allowed: Permission, seconds: float) -> list[Address]:
    """The addresses of the host, all of them admitted; raises UrlNotAllowed or NoAnswer."""
    literal = allowed.url.literal
    found = [literal] if literal is not None else _look_up(allowed.url, seconds)
    for address in found:
        if not allowed.admits(address):
            raise UrlNotAllowed(
                "private_address",
                f"{allowed.url.host} leads to {address}: not public, and named by no listed prefix.",
            )
    return found


def _look_up(url: Url, seconds: float) -> list[Address]:
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.extend(socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):
            return

    asking = threading.Thread(target=ask, daemon=True, name="look-up")
    asking.start()
    asking.join(seconds)
    addresses = [ipaddress.ip_address(info[4][0].partition("%")[0]) for info in list(answers)]
    if not addresses:
        raise NameUnknown(f"The name {url.host} cannot be resolved.", may_have_arrived=False)
    return list(dict.fromkeys(addresses))


# --- taking URLs apart ---


def _host(host: str) -> str:
    name = host.lower().removesuffix(".")
    if "%" in name:
        raise UrlNotAllowed("malformed_url", "The host of the URL has no zone.")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not _HOST.fullmatch(name) or ".." in name:
        raise UrlNotAllowed("malformed_url", "The host of the URL cannot be read.")
    return name


def _path(path: str) -> str:
    decoded = path
    for _ in range(4):
        further = unquote(decoded, errors="replace")
        if further.count("/") != path.count("/") or re.search(r"[\\\x00-\x20\x7f]", further):
            raise UrlNotAllowed("encoded_traversal", "The path hides a separator or a control character.")
        if any(segment.partition(";")[0] in (".", "..") for segment in further.split("/")):
            raise UrlNotAllowed("encoded_traversal", "The path has no . or .. in it.")
        if further == decoded:
            break
        decoded = further
    else:
        raise UrlNotAllowed("encoded_traversal", "The path is encoded again and again.")
    return re.sub(r"%[0-9A-Fa-f]{2}", _normal_escape, path) or "/"


def _normal_escape(match: re.Match[str]) -> str:
    char = chr(int(match.group()[1:], 16))
    return char if _UNRESERVED.fullmatch(char) else match.group().upper()


def _parsed(prefixes: Iterable[str]) -> list[Url]:
    """The prefixes that can be read; one that cannot opens nothing (check_config names it)."""
    found = []
    for prefix in prefixes:
        try:
            found.append(parse(prefix))
        except UrlNotAllowed:
            continue
    return found


def _covers(prefix: Url, url: Url) -> bool:
    if (prefix.scheme, prefix.host, prefix.port) != (url.scheme, url.host, url.port) or prefix.query:
        return False
    if prefix.path.endswith("/"):
        return url.path.startswith(prefix.path)
    return url.path == prefix.path or url.path.startswith(prefix.path + "/")


def _unmapped(address: Address) -> Address:
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address


def _public(address: Address) -> bool:
    given_out = address.version == 4 or _in_ranges(address, _GLOBAL_UNICAST)
    return given_out and not _in_ranges(address, IPAddressRanges.recommended_latest)


def _in_ranges(address: Address, ranges: Iterable[str]) -> bool:
    return any(address in ipaddress.ip_network(block) for block in ranges)


def _in_words(exc: Exception) -> str:
    """What happened to a connection, without the exception's own text, which may say too much."""
    return next((words for kind, words in _WORDS if isinstance(exc, kind)), "the connection failed")


_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (ConnectionRefusedError, "the connection was refused"),
    (TimeoutError, "it did not answer in time"),
    (ssl.SSLCertVerificationError, "its certificate cannot be verified"),
    (ssl.SSLError, "no secure connection could be made"),
    (FileNotFoundError, "there is no such socket"),
    (ConnectionError, "the connection was cut"),
    (http.client.HTTPException, "the answer is not HTTP"),
)
