"""A gate between a client and a unix socket: once it has seen what it waits for, it holds the answers back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Gate:
    """Listens on a port of loopback.

    After the word `at` has passed on a connection where `after` had passed, no answer passes until `open` is set.
    """

    def __init__(self, path: str, at: bytes, after: bytes) -> None:
        self.path, self.at, self.after = path, at, after
        self.reached, self.open = threading.Event(), threading.Event()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.held: list[socket.socket] = []

    def serve(self) -> None:
        """Until the listening socket is closed."""
        with suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                server = socket.socket(socket.AF_UNIX)
                self.held += [client, server]
                server.connect(self.path)
                for source, sink, watched in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._carry, args=(source, sink, watched), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, watched: bool) -> None:
        armed = not self.after
        with suppress(OSError):
            while piece := source.recv(65536):
                if self.reached.is_set() and not watched:
                    self.open.wait(60)
                sink.sendall(piece)
                if watched and armed and not self.open.is_set() and self.at in piece:
                    self.reached.set()
                armed = armed or self.after in piece
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def before(path: str, *, at: bytes, after: bytes = b"") -> Iterator[Gate]:
    """The gate, for as long as the block lasts."""
    gate = Gate(path, at, after)
    thread = threading.Thread(target=gate.serve, daemon=True)
    thread.start()
    try:
        yield gate
    finally:
        gate.open.set()
        gate.listening.shutdown(socket.SHUT_RDWR)
        gate.listening.close()
        thread.join(5)
        for each in gate.held:
            each.close()
