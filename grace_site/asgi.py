"""The ASGI application: what uvicorn serves."""

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "grace_site.settings")

from django.conf import settings
from django.core.asgi import get_asgi_application

from grace_site import middleware, problems

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class BodyTooLarge(Exception):
    """More bytes arrived than a body may have."""


def counting(inner: Application, *, limit: int) -> Application:
    """`inner`, refusing a body of more than `limit` bytes that did not say its length beforehand.

    Django writes such a body to a file until the disk is full. BodyLimitMiddleware refuses, with a better
    answer, those that do say.
    """

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or any(name == b"content-length" for name, _ in scope["headers"]):
            await inner(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise BodyTooLarge
            return message

        try:
            await inner(scope, receive_counted, send)
        except BodyTooLarge:
            await _refuse(scope, send, limit)

    return outer


async def _refuse(scope: Scope, send: Send, limit: int) -> None:
    given = dict(scope["headers"]).get(b"x-request-id", b"")
    request_id = middleware.request_id_of(given.decode("latin-1"))
    problem = problems.too_large(limit)
    body = json.dumps(problems.members(problem, instance=scope["path"], correlation_id=request_id)).encode()
    headers = [
        (b"content-type", problems.CONTENT_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": int(problem.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


application = counting(get_asgi_application(), limit=settings.BODY_LIMIT_BYTES)
import_module("grace_site.metrics").start_at_zero()
import_module("grace_site.steps").watch()
