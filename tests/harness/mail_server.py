"""A real mail server (aiosmtpd) on a port of its own, which keeps what it is sent and refuses whom it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller

from tests.harness.installation import free_port


class MailServer:
    """`sent` are the mails taken, in order; `refuses` are addresses and the answers they get instead."""

    def __init__(self) -> None:
        self.port = free_port()
        self.sent: list[EmailMessage] = []
        self.refuses: dict[str, str] = {}
        self._controller: Controller | None = None

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Any, address: str, rcpt_options: list[str]
    ) -> str:
        """Take a recipient, or not."""
        if (answer := self.refuses.get(address)) is not None:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep a mail."""
        parsed = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        assert [parsed["To"]] == envelope.rcpt_tos
        self.sent.append(parsed)
        return "250 taken"

    def start(self) -> None:
        """Listen, on the same port each time."""
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def stop(self) -> None:
        """Listen no more."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def to(self, address: str) -> list[EmailMessage]:
        """What one address was sent."""
        return [each for each in self.sent if each["To"] == address]


@contextmanager
def running() -> Iterator[MailServer]:
    """A server for the length of the block."""
    server = MailServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()
