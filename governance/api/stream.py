"""The live stream of facts, as server-sent events."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from django_eventstream.views import get_listener_manager
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import renderers
from rest_framework import serializers as s
from rest_framework.request import Request

from auditlog.api.endpoint import Endpoint, Query, operation
from auditlog.refusals import FieldError, Kind, Refused
from governance.streams import channels, protocol, storage, tail

MAX_STREAMS = 1000
"""In one process; whoever comes after that polls."""


class StreamOff(Refused):
    """There is no live stream here."""

    code = "stream_off"
    kind = Kind.HELD


class TooManyStreams(Refused):
    """This process serves as many streams as it can."""

    code = "too_many_streams"
    kind = Kind.LIMITED


class BadEventId(Refused):
    """The header does not name a place in the log."""

    code = "bad_event_id"
    kind = Kind.MALFORMED


class StreamQuery(Query):
    """What to hear of."""

    facts = s.CharField(default="*", max_length=500, help_text="Patterns such as approval.*, separated by commas.")


class EventStreamRenderer(renderers.BaseRenderer):
    """Only there so that `Accept: text/event-stream` is understood; the stream writes itself."""

    media_type = "text/event-stream"
    format = "event-stream"
    charset = None
    render_style = "binary"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> Any:
        """Nothing is rendered here but what was refused, which is JSON by itself."""
        return data


class Stream(Endpoint):
    """`/stream`"""

    renderer_classes = [renderers.JSONRenderer, EventStreamRenderer]

    @operation(
        "stream",
        "Facts as they happen",
        tag="events",
        asks="stream.read",
        query=StreamQuery,
        parameters=[
            OpenApiParameter(
                "Last-Event-ID",
                int,
                OpenApiParameter.HEADER,
                description="A leaf index: begin with what came after it. Without it the stream begins now.",
            )
        ],
        responses={(200, "text/event-stream"): OpenApiResponse(OpenApiTypes.STR, "Server-sent events.")},
        description="Each event has the fact as its type, its leaf index as its id and the fact as JSON (the same as "
        "in /api/verification/events) as its data. Only what the caller may see. A stream ends after five minutes; "
        "browsers come back by themselves and miss nothing.",
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """Replay after `Last-Event-ID`, then live."""
        _refuse_where_impossible(request)
        channel = channels.channel_of(request.user, self.query["facts"])
        last_index = _last_index(request)
        tail.follow()
        body = protocol.events(user=self.user, channel=channel, last_index=last_index)
        storage.let_go()
        response = StreamingHttpResponse(body, content_type="text/event-stream")
        response["Cache-Control"] = "no-cache"
        response["X-Accel-Buffering"] = "no"
        return response


def _refuse_where_impossible(request: Request) -> None:
    if not settings.SSE_ENABLED:
        raise StreamOff("The live stream is switched off (SSE_ENABLED); poll /api/verification/events instead.")
    if not isinstance(request._request, ASGIRequest):
        # One stream would keep a thread of this process for minutes.
        raise StreamOff("This process serves no streams; the one that does speaks ASGI.")
    if sum(map(len, list(get_listener_manager().listeners_by_channel.values()))) >= MAX_STREAMS:
        raise TooManyStreams("There are too many streams already.", retry_after=30)


def _last_index(request: Request) -> int | None:
    given = request.headers.get("Last-Event-ID", "").strip()
    if not given:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        detail = "Last-Event-ID is the leaf index that came with the last event."
        raise BadEventId(detail, errors=[FieldError("", BadEventId.code, detail)])
    return int(given)
