"""Every "no" becomes the right HTTP answer, and none of them tells secrets."""

import json
import logging
from http import HTTPStatus
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, RequestDataTooBig, ValidationError
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import path
from rest_framework import exceptions, serializers
from rest_framework.decorators import api_view
from rest_framework.response import Response

from auditlog.refusals import FieldError, Kind, Refused
from grace_site import problems, urls

SECRET = "the password is hunter2"


class TooEarly(Refused):
    """A refusal of a verb."""

    code = "too_early"
    kind = Kind.LIMITED


class Shape(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    tags = serializers.ListField(child=serializers.CharField(max_length=3))


@api_view(["GET", "POST"])
def echo(request: Any) -> Response:
    """A view of the API that fails in the way it is asked to."""
    if request.method == "POST":
        shape = Shape(data=request.data)
        shape.is_valid(raise_exception=True)
    match request.GET.get("how"):
        case "refuse":
            raise TooEarly("Wait a little.", errors=[FieldError("/a", "early", "Later.")], retry_after=1.2)
        case "break":
            raise RuntimeError(SECRET)
    return Response({"fine": True})


def page(request: HttpRequest) -> HttpResponse:
    """A page whose verb refuses, or breaks."""
    if request.GET.get("how") == "break":
        raise RuntimeError(SECRET)
    raise TooEarly("Wait a little.")


urlpatterns = [path("api/test/echo", echo), path("page", page), *urls.urlpatterns]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500

pytestmark = [pytest.mark.urls("tests.test_problems"), pytest.mark.django_db]


@pytest.fixture
def api(users: Any) -> Client:
    """Ada, logged in, whose client sees a 500 as an answer."""
    client = Client(raise_request_exception=False)
    client.force_login(users.ada)
    return client


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_refusal_has_a_status(kind: Kind) -> None:
    refusal = TooEarly("no")
    refusal.kind = kind
    problem = problems.problem_of(refusal)
    assert problem is not None
    assert 400 <= problem.status <= 503


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (exceptions.ParseError(), 400, "malformed"),
        (exceptions.NotAuthenticated(), 401, "not_authenticated"),
        (exceptions.PermissionDenied(), 403, "permission_denied"),
        (exceptions.NotFound(), 404, "not_found"),
        (exceptions.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (exceptions.UnsupportedMediaType("text/plain"), 415, "unsupported_media_type"),
        (exceptions.Throttled(wait=3.2), 429, "throttled"),
        (Http404(), 404, "not_found"),
        (PermissionDenied(), 403, "permission_denied"),
        (RequestDataTooBig(), 413, "too_large"),
        (OperationalError("database is locked"), 503, "database_unavailable"),
    ],
)
def test_exceptions_of_the_frameworks_have_a_code(error: Exception, status: int, code: str) -> None:
    problem = problems.problem_of(error)
    assert problem is not None
    assert (problem.status, problem.code) == (status, code)


def test_a_fault_of_ours_is_no_problem_of_theirs() -> None:
    assert problems.problem_of(RuntimeError(SECRET)) is None


def test_the_document_says_everything_rfc_9457_and_we_promise(api: Client) -> None:
    answer = api.get("/api/test/echo?how=refuse", headers={"X-Request-ID": "abc-1"})
    assert answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["Retry-After"] == "2"
    assert answer.json() == {
        "type": "urn:grace:problem:too_early",
        "title": "Too early",
        "status": 429,
        "detail": "Wait a little.",
        "instance": "/api/test/echo",
        "code": "too_early",
        "correlation_id": "abc-1",
        "errors": [{"pointer": "/a", "code": "early", "detail": "Later."}],
    }


def test_bad_input_is_named_by_pointer(api: Client) -> None:
    body = {"tags": ["ok", "far too long"]}
    answer = api.post("/api/test/echo", json.dumps(body), content_type="application/json")
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [
        ("/count", "required"),
        ("/tags/1", "max_length"),
    ]


def test_a_pointer_escapes_what_it_must() -> None:
    problem = problems.problem_of(exceptions.ValidationError({"a/b~c": ["no"]}))
    assert problem is not None
    assert problem.errors[0].pointer == "/a~1b~0c"


def test_djangos_own_validation_is_named_by_pointer() -> None:
    problem = problems.problem_of(ValidationError({"name": [ValidationError("Too short.", code="short")]}))
    assert problem is not None
    assert [(one.pointer, one.code) for one in problem.errors] == [("/name", "short")]


def test_malformed_json_is_400(api: Client) -> None:
    answer = api.post("/api/test/echo", "{not json", content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


def test_another_media_type_is_415(api: Client) -> None:
    answer = api.post("/api/test/echo", "a=b", content_type="application/x-www-form-urlencoded")
    assert answer.status_code == HTTPStatus.UNSUPPORTED_MEDIA_TYPE


def test_another_method_is_405_and_names_those_that_work(api: Client) -> None:
    answer = api.delete("/api/test/echo")
    assert answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    assert "GET" in answer["Allow"]


def test_nobody_gets_401_with_a_challenge() -> None:
    answer = Client().get("/api/test/echo")
    assert answer.status_code == HTTPStatus.UNAUTHORIZED
    assert answer["WWW-Authenticate"] == "Bearer"


def test_a_wrong_key_gets_401() -> None:
    answer = Client().get("/api/test/echo", headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("address", ["/api/test/echo?how=break", "/page?how=break"])
def test_a_fault_is_500_without_a_word_about_it(api: Client, address: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = api.get(address)
    assert answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "hunter2" not in answer.content.decode()
    assert answer["X-Request-ID"] in answer.content.decode()


def test_nothing_below_api_is_a_problem_document(api: Client) -> None:
    answer = api.get("/api/nowhere")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_people_get_a_page(api: Client) -> None:
    answer = api.get("/nowhere", headers={"Accept": "text/html,*/*;q=0.8"})
    assert answer.status_code == HTTPStatus.NOT_FOUND
    assert b"<h1>Not found</h1>" in answer.content


def test_whoever_prefers_json_gets_it_everywhere(api: Client) -> None:
    assert api.get("/nowhere", headers={"Accept": "application/json"}).json()["code"] == "not_found"


def test_a_refusal_in_a_page_is_an_answer(api: Client) -> None:
    answer = api.get("/page")
    assert answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
    assert b"Wait a little." in answer.content


def test_a_stale_form_is_told_so() -> None:
    answer = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "a", "password": "b"})
    assert answer.status_code == HTTPStatus.FORBIDDEN
    assert b"reload the page" in answer.content


# --- what every request passes -----------------------------------------------------------------


def test_a_request_id_is_returned(api: Client) -> None:
    assert api.get("/api/test/echo", headers={"X-Request-ID": "from-outside.1"})["X-Request-ID"] == "from-outside.1"


@pytest.mark.parametrize("given", ["", "has spaces", "x" * 65, "tab\tbed", "-leading", 'quote"'])
def test_a_harmful_request_id_is_replaced(api: Client, given: str) -> None:
    returned = api.get("/api/test/echo", headers={"X-Request-ID": given})["X-Request-ID"]
    assert returned != given
    assert len(returned) == 36


def test_a_body_that_says_it_is_too_large_is_413(api: Client) -> None:
    body = json.dumps({"text": "x" * 1024 * 1024})
    answer = api.post("/api/test/echo", body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_trailing_slash_is_neither_needed_nor_refused(api: Client) -> None:
    assert api.get("/api/test/echo").status_code == HTTPStatus.OK
    assert api.get("/api/test/echo/").status_code == HTTPStatus.OK
    assert api.post("/api/test/echo/", "{}", content_type="application/json").status_code == HTTPStatus.BAD_REQUEST


def test_no_page_may_load_anything_from_elsewhere() -> None:
    answer = Client().get("/admin/login/")
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer["X-Frame-Options"] == "DENY"


def test_failed_logins_are_limited(users: Any, settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 3
    users.bea  # noqa: B018  (made by being mentioned)
    client = Client()
    for _ in range(2):
        assert client.post("/admin/login/", {"username": "bea", "password": "wrong"}).status_code == 200
    client.post("/admin/login/", {"username": "bea", "password": "wrong"})
    answer = client.post("/admin/login/", {"username": "bea", "password": users.password})
    assert answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
    assert int(answer["Retry-After"]) > 0


# --- a body that does not say its length ---------------------------------------------------------


def test_a_body_that_keeps_coming_is_cut_off() -> None:
    import asyncio

    from grace_site.asgi import counting

    sent: list[dict[str, Any]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * 600, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/api/x", "headers": [(b"x-request-id", b"r-1")]}
    asyncio.run(counting(inner, limit=1000)(scope, receive, send))
    assert sent[0]["status"] == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert (b"x-request-id", b"r-1") in sent[0]["headers"]
    document = json.loads(sent[1]["body"])
    assert (document["code"], document["instance"], document["correlation_id"]) == ("too_large", "/api/x", "r-1")


def test_respond_rounds_retry_after_up() -> None:
    request = RequestFactory().get("/api/x")
    problem = problems.Problem(503, "held", "Held.", retry_after=0.2)
    assert problems.respond(request, problem)["Retry-After"] == "1"
