"""django-eventstream's stream with plain leaf indexes as event ids, each at most once, ending by itself."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

from django_eventstream.eventrequest import EventRequest
from django_eventstream.views import Listener, stream

from governance.streams.channels import Channel

SECONDS = 300.0
"""How long a stream lives. The browser comes back by itself, and its rights are looked at again."""

RETRY_MILLISECONDS = 2000
_ID = re.compile(r"^id: [^\n]*?:(-?\d+)$", re.MULTILINE)


async def events(
    *, user: Any, channel: Channel, last_index: int | None, seconds: float = SECONDS
) -> AsyncIterator[str]:
    """The body of the answer: everything after `last_index` (None: from now on), then what comes."""
    name = str(channel)
    asked = EventRequest()
    asked.channels, asked.user, asked.is_next = {name}, user, False
    asked.channel_last_ids = {} if last_index is None else {name: str(last_index)}
    listener = Listener()
    listener.user_id, listener.channels = user.pk, {name}
    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    plain = PlainIds(-1 if last_index is None else last_index)
    deadline = time.monotonic() + seconds
    source = stream(asked, listener)
    try:
        while (left := deadline - time.monotonic()) > 0:
            if body := plain.translate(await asyncio.wait_for(anext(source), left)):
                yield body
    except (TimeoutError, StopAsyncIteration):
        return
    finally:
        await source.aclose()


class PlainIds:
    """Rewrites `channel:123` to `123` and drops what was sent before: the tail may be behind the first read."""

    def __init__(self, last: int) -> None:
        self.last = last

    def translate(self, body: str) -> str:
        """The same events, as many or fewer."""
        blocks = [self._one(block) for block in body.split("\n\n") if block]
        return "".join(f"{block}\n\n" for block in blocks if block)

    def _one(self, block: str) -> str:
        found = _ID.search(block)
        if found is None:
            return block
        index = int(found[1])
        if index <= self.last and not block.startswith("event: stream-reset"):
            return ""
        self.last = index
        return _ID.sub(f"id: {index}", block)
