"""What every address of the API is made of: one class per path, one domain call per method.

A handler is declared with `@operation`: its name and words in OpenAPI, the permission it asks for, and the shapes of
its query, body and answer. The class below does the rest: who is asking, whether they may, that nothing unknown was
sent, and the envelope `{"data": …, "meta": …}`. Who may is a question only governance answers; this ground reaches
it through the settings `GRACE_MAY`, `GRACE_VISIBLE` and `GRACE_ACTOR_OF`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Model, QuerySet
from django.utils.module_loading import import_string
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import permissions, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from auditlog.actors import Actor
from auditlog.api import pages
from auditlog.refusals import Kind, Refused

ANYBODY = "anybody"
"""`asks` of an operation that needs no login."""

LOGGED_IN = "logged_in"
"""`asks` of an operation that needs a login and nothing else."""

Handler = Callable[..., Any]
M = TypeVar("M", bound=Model)


class Missing(Refused):
    """There is no such row, or none that the caller may see."""

    code = "not_found"
    kind = Kind.NOT_FOUND


# --- shapes ----------------------------------------------------------------------------------------------------


class Strict(serializers.Serializer[Any]):
    """A shape that refuses members it does not know, naming each."""

    def to_internal_value(self, data: Any) -> Any:
        """Check the names, then the values."""
        if isinstance(data, Mapping):
            unknown = [name for name in data if name not in self.fields]
            if unknown:
                raise serializers.ValidationError(
                    {
                        str(name)[:100]: serializers.ErrorDetail("This is not known here.", code="unknown_member")
                        for name in unknown
                    }
                )
        return super().to_internal_value(data)


class Query(Strict):
    """The query parameters of an operation. This one takes none."""


class PageQuery(Query):
    """The query parameters every list takes."""

    limit = serializers.IntegerField(
        min_value=1, max_value=pages.MAX_LIMIT, default=pages.LIMIT, help_text="Items on a page."
    )
    cursor = serializers.CharField(
        required=False, max_length=500, help_text="From `meta.next` or `meta.previous` of another page."
    )


def members(shape: type[serializers.Serializer[Any]], *but: str) -> tuple[str, ...]:
    """The names of a shape's members, for copying them from a row that has them under the same names."""
    return tuple(name for name in map(str, shape().fields) if name not in but)


class Meta(serializers.Serializer[Any]):
    """What an answer says about itself."""

    correlation_id = serializers.CharField(help_text="Finds this request in the logs and the facts it led to.")


class PageMeta(Meta):
    """What a list says about itself."""

    count = serializers.IntegerField(help_text="Items on this page.")
    next = serializers.CharField(allow_null=True, help_text="The address of the next page.")
    previous = serializers.CharField(allow_null=True, help_text="The address of the page before.")


def _enveloped(shape: type[serializers.Serializer[Any]], *, many: bool) -> type[serializers.Serializer[Any]]:
    name = shape.__name__.removesuffix("Serializer") + ("Page" if many else "Answer")
    if name not in _envelopes:
        meta: serializers.Serializer[Any] = PageMeta() if many else Meta()
        _envelopes[name] = type(name, (serializers.Serializer,), {"data": shape(many=many), "meta": meta})
    return _envelopes[name]


_envelopes: dict[str, type[serializers.Serializer[Any]]] = {}


# --- operations ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """What one method of one address asks for."""

    asks: str
    query: type[Query] = Query
    body: type[serializers.Serializer[Any]] | None = None
    raw_body: bool = False


UNDECLARED = Operation(asks=LOGGED_IN)


def operation(
    name: str,
    summary: str,
    *,
    tag: str,
    asks: str,
    query: type[Query] = Query,
    body: type[serializers.Serializer[Any]] | None = None,
    raw_body: bool = False,
    answer: type[serializers.Serializer[Any]] | Sequence[type[serializers.Serializer[Any]]] | None = None,
    status: int = 200,
    example: Any = None,
    answer_example: Any = None,
    description: str = "",
    responses: Mapping[Any, Any] | None = None,
    parameters: Sequence[Any] = (),
) -> Callable[[Handler], Handler]:
    """Declare a handler: `answer` is a shape, a list of one shape for a page of them, or None for an empty 204.

    `raw_body` leaves the body to the verb (which names what is wrong in it by itself); its shape is then words only.
    """
    declared = Operation(asks=asks, query=query, body=body, raw_body=raw_body)
    examples = []
    if example is not None:
        examples.append(OpenApiExample("request", value=example, request_only=True))
    if answer_example is not None:
        examples.append(OpenApiExample("answer", value=answer_example, response_only=True))

    def declare(handler: Handler) -> Handler:
        handler.operation = declared  # type: ignore[attr-defined]
        return extend_schema(
            operation_id=name,
            summary=summary,
            description=description or handler.__doc__ or summary,
            tags=[tag],
            parameters=[*([query] if query is not Query else []), *parameters],
            request=body,
            responses=responses or _responses(answer, status),
            examples=examples,
            auth=[] if asks == ANYBODY else None,
        )(handler)

    return declare


def _responses(answer: Any, status: int) -> dict[int, Any]:
    if answer is None:
        return {204: None}
    if isinstance(answer, list | tuple):
        return {status: _enveloped(answer[0], many=True)}
    return {status: _enveloped(answer, many=False)}


class Asked(permissions.BasePermission):
    """Whether the caller has the permission the operation asks for."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """True for methods that do not exist: 405 is the better answer."""
        asks = view.operation.asks
        if asks == ANYBODY:
            return True
        if not request.user.is_authenticated:
            return False
        return asks == LOGGED_IN or may(request.user, asks)


class Endpoint(APIView):
    """One address. See the module's words."""

    permission_classes = [Asked]
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]
    query: dict[str, Any]
    body: dict[str, Any]

    @property
    def operation(self) -> Operation:
        """What the handler of this request was declared to ask for."""
        handler = getattr(self, (self.request.method or "").lower(), None)
        declared: Operation = getattr(handler, "operation", UNDECLARED)
        return declared

    @property
    def user(self) -> User:
        """Who is asking. Only where the operation asks for a login."""
        return cast(User, self.request.user)

    @property
    def actor(self) -> Actor:
        """Who is asking, as the log knows them."""
        found: Actor = import_string(settings.GRACE_ACTOR_OF)(self.user)
        return found

    @property
    def now(self) -> datetime:
        """The time the verb is told."""
        return datetime.now(UTC)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """After authentication and permission: nothing unknown in the query, the right shape in the body."""
        super().initial(request, *args, **kwargs)
        if not hasattr(self, (request.method or "").lower()):
            return
        asked = self.operation.query(data=_plain(request))
        asked.is_valid(raise_exception=True)
        self.query = asked.validated_data
        self.body = self._body(request)

    def _body(self, request: Request) -> dict[str, Any]:
        shape = self.operation.body
        if shape is None:
            if request.method not in permissions.SAFE_METHODS and request.data:
                Strict(data=request.data).is_valid(raise_exception=True)
            return {}
        if self.operation.raw_body:
            if not isinstance(request.data, Mapping):
                raise serializers.ValidationError("The body must be a JSON object.", code="wrong_type")
            return dict(request.data)
        given = shape(data=request.data)
        given.is_valid(raise_exception=True)
        checked: dict[str, Any] = given.validated_data
        return checked

    def visible(self, rows: QuerySet[M]) -> QuerySet[M]:
        """Only the rows the caller may see."""
        shown: QuerySet[M] = import_string(settings.GRACE_VISIBLE)(self.request.user, rows)
        return shown

    def find(self, rows: QuerySet[M], **key: Any) -> M:
        """The one row with this key, if the caller may see it; raises Missing."""
        found = self.visible(rows).filter(**key).first()
        if found is None:
            raise Missing("There is nothing here, or nothing you may see.")
        return found

    def answer(self, data: Any, *, status: int = 200, **meta: Any) -> Response:
        """The envelope around one thing."""
        about = {"correlation_id": self.request.META.get("HTTP_X_REQUEST_ID", "")}
        return Response({"data": data, "meta": {**about, **meta}}, status=status)

    def answer_once(self, data: Any, *, status: int = 200) -> Response:
        """The envelope around something that is shown this once: a key or a secret, which nobody may keep a copy of."""
        response = self.answer(data, status=status)
        response["Cache-Control"] = "no-store"
        return response

    def page(
        self,
        rows: QuerySet[M],
        show: Callable[[M], Any],
        *,
        order: Sequence[str] = ("-created_at", "-id"),
    ) -> Response:
        """One page of rows in a stable order. `order` are columns that are never null, the last one unique."""
        return self.page_of(rows, lambda items: [show(row) for row in items], order=order)

    def page_of(
        self,
        rows: QuerySet[M],
        show_all: Callable[[list[M]], list[Any]],
        *,
        order: Sequence[str] = ("-created_at", "-id"),
    ) -> Response:
        """The same, for rows that are shown together (because what is shown takes a query)."""
        found = pages.cut(rows, order=order, limit=self.query["limit"], cursor=self.query.get("cursor"))
        return self.answer(
            show_all(found.items),
            count=len(found.items),
            next=self._address(found.next),
            previous=self._address(found.previous),
        )

    def _address(self, cursor: str | None) -> str | None:
        if cursor is None:
            return None
        asked = self.request._request.GET.copy()
        asked["cursor"] = cursor
        return self.request.build_absolute_uri(f"{self.request.path}?{asked.urlencode()}")


def may(user: Any, permission: str) -> bool:
    """Whether a user has a permission."""
    return bool(import_string(settings.GRACE_MAY)(user, permission))


def _plain(request: Request) -> dict[str, Any]:
    """The query as a dict: one value as it is, several as a list."""
    asked = request._request.GET
    return {name: values[0] if len(values := asked.getlist(name)) == 1 else values for name in asked}
