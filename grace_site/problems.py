"""Every "no" as HTTP: RFC 9457 problem documents for programs, a plain page for people.

This is the only place that knows which status a refusal has.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import structlog
from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    ValidationError,
)
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from rest_framework import exceptions as rest

from auditlog.refusals import FieldError, Kind, Refused

logger = structlog.get_logger(__name__)

CONTENT_TYPE = "application/problem+json"
FOR_PROGRAMS = ("/api/", "/tlog/", "/healthz", "/readyz", "/metrics")

STATUS_OF_KIND = {
    Kind.MALFORMED: HTTPStatus.BAD_REQUEST,
    Kind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Kind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Kind.CONFLICT: HTTPStatus.CONFLICT,
    Kind.STALE: HTTPStatus.PRECONDITION_FAILED,
    Kind.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Kind.INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    Kind.LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.HELD: HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclass(frozen=True)
class Problem:
    """One "no": an HTTP status, a stable code, a sentence, and what in the input it is about."""

    status: int
    code: str
    detail: str
    errors: Sequence[FieldError] = ()
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The code in words; the same for every occurrence."""
        return self.code.replace("_", " ").capitalize()


# --- exceptions into problems -------------------------------------------------------------------


def problem_of(error: Exception) -> Problem | None:
    """The problem an exception stands for, or None when it is a fault of ours."""
    match error:
        case Refused():
            return _refused(error)
        case rest.APIException():
            return _of_framework(error)
        case Http404():
            return not_found()
        case PermissionDenied():
            return forbidden()
        case RequestDataTooBig():
            return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", "The request body is too large.")
        case ValidationError():
            return _invalid(_django_details(error))
        case SuspiciousOperation() | BadRequest():
            return malformed()
        case OperationalError() | InterfaceError():
            return Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "database_unavailable",
                "The database does not answer. Nothing was changed; try again.",
                retry_after=5,
            )
    return None


def not_found() -> Problem:
    """Nothing here, or nothing this caller may know of."""
    return Problem(HTTPStatus.NOT_FOUND, "not_found", "There is nothing here, or nothing you may see.")


def forbidden() -> Problem:
    """The caller may not."""
    return Problem(HTTPStatus.FORBIDDEN, "permission_denied", "You may not do this.")


def malformed() -> Problem:
    """The request itself makes no sense."""
    return Problem(HTTPStatus.BAD_REQUEST, "malformed", "The request cannot be understood.")


def too_large(limit: int) -> Problem:
    """A body of more than `limit` bytes."""
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"A request body may hold {limit} bytes at most.")


def internal() -> Problem:
    """A fault of ours. Its text is in the logs, under the correlation id, and nowhere else."""
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "Something went wrong on our side. The correlation id finds it in the logs.",
    )


def _refused(error: Refused) -> Problem:
    return Problem(
        STATUS_OF_KIND[error.kind],
        error.code,
        error.detail,
        errors=error.errors,
        retry_after=error.retry_after,
    )


def _of_framework(error: rest.APIException) -> Problem:
    if isinstance(error, rest.ValidationError):
        return _invalid(list(_flattened(error.detail, "")))
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    code = error.detail.code if isinstance(error.detail, rest.ErrorDetail) else error.default_code
    return Problem(
        error.status_code,
        "malformed" if code == "parse_error" else str(code),
        str(error.detail),
        retry_after=getattr(error, "wait", None),
        headers=headers,
    )


def _invalid(errors: Sequence[FieldError]) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, "invalid_input", "The request does not have the right shape.", errors=errors)


def _flattened(detail: Any, pointer: str) -> Iterator[FieldError]:
    """REST framework's nested complaints as a list, each with its RFC 6901 pointer."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            below = pointer if name == "non_field_errors" else f"{pointer}/{_escaped(str(name))}"
            yield from _flattened(inner, below)
    elif isinstance(detail, list | tuple):
        for index, inner in enumerate(detail):
            # A list of messages is about one value; a list of structures is about the items of a list.
            nested = isinstance(inner, Mapping | list | tuple)
            yield from _flattened(inner, f"{pointer}/{index}" if nested else pointer)
    else:
        yield FieldError(pointer, str(getattr(detail, "code", "invalid")), str(detail))


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _django_details(error: ValidationError) -> list[FieldError]:
    by_name = error.error_dict if hasattr(error, "error_dict") else {"__all__": error.error_list}
    return [
        FieldError(
            "" if name == "__all__" else f"/{_escaped(name)}",
            str(one.code or "invalid"),
            " ".join(one.messages),
        )
        for name, errors in by_name.items()
        for one in errors
    ]


# --- problems into responses --------------------------------------------------------------------


def respond(request: HttpRequest, problem: Problem) -> HttpResponse:
    """The problem as a response: JSON below /api and for whoever prefers JSON, else a page."""
    response = as_json(request, problem) if _for_program(request) else _as_page(request, problem)
    for name, value in problem.headers.items():
        response[name] = value
    if problem.retry_after is not None:
        response["Retry-After"] = str(max(0, math.ceil(problem.retry_after)))
    return response


def as_json(request: HttpRequest, problem: Problem) -> JsonResponse:
    """The problem document."""
    return JsonResponse(document(request, problem), status=problem.status, content_type=CONTENT_TYPE)


def document(request: HttpRequest, problem: Problem) -> dict[str, Any]:
    """The members of a problem document about a request."""
    return members(problem, instance=request.path, correlation_id=request.META.get("HTTP_X_REQUEST_ID", ""))


def members(problem: Problem, *, instance: str, correlation_id: str) -> dict[str, Any]:
    """The members of a problem document (RFC 9457): `instance` is the path that was asked for."""
    members: dict[str, Any] = {
        "type": f"urn:grace:problem:{problem.code}",
        "title": problem.title,
        "status": int(problem.status),
        "detail": problem.detail,
        "instance": instance,
        "code": problem.code,
        "correlation_id": correlation_id,
    }
    if problem.errors:
        members["errors"] = [{"pointer": one.pointer, "code": one.code, "detail": one.detail} for one in problem.errors]
    return members


def _as_page(request: HttpRequest, problem: Problem) -> HttpResponse:
    return render(request, "problem.html", {"problem": document(request, problem)}, status=problem.status)


def _for_program(request: HttpRequest) -> bool:
    if request.path.startswith(FOR_PROGRAMS):
        return True
    return request.get_preferred_type(["text/html", "application/json", CONTENT_TYPE]) not in (
        None,
        "text/html",
    )


# --- where they are hooked in -------------------------------------------------------------------


def handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """REST framework's exception handler. None lets a fault of ours be logged and reach `server_error`."""
    problem = problem_of(error)
    if problem is None:
        return None
    response = respond(context["request"]._request, problem)
    if isinstance(error, rest.MethodNotAllowed):
        response["Allow"] = ", ".join(context["view"].allowed_methods)
    return response


class RefusalMiddleware:
    """A verb's refusal in a page becomes an answer instead of a fault, should the page not show it itself."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        """Pass the request on; a page that shows a refusal itself (`response.refusal`) gets its status."""
        response = self.get_response(request)
        if (refusal := getattr(response, "refusal", None)) is not None:
            response.status_code = STATUS_OF_KIND[refusal.kind]
            if refusal.retry_after is not None:
                response["Retry-After"] = str(max(0, math.ceil(refusal.retry_after)))
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer with the refusal, if it is one."""
        return respond(request, _refused(error)) if isinstance(error, Refused) else None


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404."""
    return respond(request, not_found())


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler403."""
    return respond(request, forbidden())


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400."""
    return respond(request, problem_of(exception) or malformed())


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500."""
    return respond(request, internal())


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form came from elsewhere, or its page is too old."""
    return respond(
        request,
        Problem(
            HTTPStatus.FORBIDDEN,
            "csrf_failed",
            "This form is out of date or came from another site. Go back, reload the page and try again.",
        ),
    )


def locked_out(request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
    """Too many failed logins."""
    from django.conf import settings

    return respond(
        request,
        Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "too_many_logins",
            "Too many failed logins. Wait a while before trying again.",
            retry_after=settings.AXES_COOLOFF_TIME.total_seconds(),
        ),
    )
