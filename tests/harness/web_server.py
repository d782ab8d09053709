"""A real web server on loopback for tests: some paths behave, some misbehave on purpose."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WebServer(ThreadingHTTPServer):
    """Remembers every request, and one document that PUT changes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.requests: list[dict[str, Any]] = []
        self.document: Any = {"enabled": False}
        self.metrics: Any = None
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        """Its base URL, without a slash at the end."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what many tests are about."""


class _Answers(BaseHTTPRequestHandler):
    server: WebServer

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.server.requests.append(
            {
                "method": self.command,
                "path": self.path,
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "body": body,
            }
        )
        name = self.path.strip("/").partition("/")[0].partition("?")[0].replace("-", "_")
        getattr(self, f"_at_{name}", self._at_other)(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - names of the base

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, status: int, document: Any) -> None:
        self._send(status, json.dumps(document).encode(), Content_Type="application/json")

    def _at_other(self, body: bytes) -> None:
        self._json(404, {"detail": "not found"})

    def _at_ok(self, body: bytes) -> None:
        self._json(200, {"ok": True})

    def _at_document(self, body: bytes) -> None:
        if self.command == "PUT":
            self.server.document = json.loads(body)
        self._json(200, self.server.document)

    def _at_api(self, body: bytes) -> None:
        """Prometheus' query API, as far as the shape of an answer goes."""
        self._json(200, self.server.metrics)

    def _at_broken(self, body: bytes) -> None:
        self._json(500, {"detail": "broken"})

    def _at_redirect(self, body: bytes) -> None:
        self._send(302, b"", Location=f"{self.server.url}/secret")

    def _at_text(self, body: bytes) -> None:
        self._send(200, b"all is well\x00\xff")

    def _at_large(self, body: bytes) -> None:
        self._send(200, b"x" * (3 * 1024 * 1024))

    def _at_endless(self, body: bytes) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(OSError):
            while not self.server.stopping.is_set():
                self.wfile.write(b"x" * 65536)

    def _at_never(self, body: bytes) -> None:
        self.server.stopping.wait(30)

    def _at_drip_headers(self, body: bytes) -> None:
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            self._drip()

    def _at_drip_body(self, body: bytes) -> None:
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            self._drip()

    def _drip(self) -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until and not self.server.stopping.wait(0.05):
            self.wfile.write(b"x")
            self.wfile.flush()

    def _at_hangs_up(self, body: bytes) -> None:
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def running() -> Iterator[WebServer]:
    """The server, for as long as the block lasts."""
    with WebServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stopping.set()
            server.shutdown()
            thread.join()
