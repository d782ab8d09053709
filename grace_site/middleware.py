"""What every request passes: an identity for the logs, a limit on its size, a forgiving path."""

import re
import uuid
from collections.abc import Callable

import structlog
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import is_valid_path

from grace_site import problems

Respond = Callable[[HttpRequest], HttpResponseBase]
REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,63}")


def request_id_of(given: str) -> str:
    """The id of a request that named itself like this, or one of our own where that could do harm."""
    return given if REQUEST_ID.fullmatch(given) else str(uuid.uuid4())


class RequestIdMiddleware:
    """Accept `X-Request-ID` when it is harmless, else make one; return it, and bind it for logs and facts."""

    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request with its id bound as `correlation_id`."""
        request_id = request_id_of(request.META.get("HTTP_X_REQUEST_ID", ""))
        request.META["HTTP_X_REQUEST_ID"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(correlation_id=request_id)
        response = self.get_response(request)
        response["X-Request-ID"] = request_id
        return response


class BodyLimitMiddleware:
    """Refuse a body that says it is larger than the limit (asgi.py counts those that do not say)."""

    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer 413 to what is too large."""
        length = request.META.get("CONTENT_LENGTH") or "0"
        if length.isdigit() and int(length) > settings.BODY_LIMIT_BYTES:
            return problems.respond(request, problems.too_large(settings.BODY_LIMIT_BYTES))
        return self.get_response(request)


class EitherSlashMiddleware:
    """Under /api a trailing slash is neither needed nor refused, and never costs a redirect."""

    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request at the spelling of its path that exists."""
        path = request.path_info
        if path.startswith("/api/") and not is_valid_path(path):
            other = path.rstrip("/") if path.endswith("/") else f"{path}/"
            if is_valid_path(other):
                request.path_info = other
        return self.get_response(request)
