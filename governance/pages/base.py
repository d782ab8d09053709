"""What every page of the console does first: who is it, may they, and what if the verb says no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any, TypeVar, cast

from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import is_valid_path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from auditlog.api import pages as keyset
from auditlog.refusals import Refused
from governance import access

PAGE_SIZE = 50
FRAGMENT = "X-Grace-Fragment"
"""The header, asked and answered, of a page's part."""

View = Callable[..., HttpResponse]
Row = TypeVar("Row", bound=Model)


class PageRequest(HttpRequest):
    """A request of somebody who is logged in, with everything they may (see `access.permissions`)."""

    user: User
    permissions: frozenset[str]


class Missing(Refused):
    """There is no such thing, or none this person may see."""

    code = "not_found"
    kind = Refused.Kind.NOT_FOUND


class NotText(Refused):
    """Something that was sent holds a NUL character, which no database keeps and PostgreSQL does not look for."""

    code = "not_text"
    kind = Refused.Kind.MALFORMED


@dataclass(frozen=True)
class Shown:
    """One page of a list: its rows, and the query strings of the pages around it (None: there is none)."""

    rows: list[Any]
    next: str | None
    previous: str | None


def page(permission: str) -> Callable[[View], View]:
    """A page for people who have the permission: others log in first, or are told that they may not."""

    def guard(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            known = recognise(request)
            if permission not in known.permissions:
                raise access.Forbidden(f"This page needs the permission {permission}.")
            _is_text(request.GET)
            return view(known, *args, **kwargs)

        return never_cache(require_safe(guarded))

    return guard


def act(permission: str, *, shown_by: View) -> Callable[[View], View]:
    """A form that was sent: one domain call. `shown_by` shows a refusal, with everything typed still there.

    `shown_by` takes what the view takes, and `refused`.
    """

    def guard(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method != "POST":
                # Somebody reloaded, or passed on, the address of a form.
                return redirect(_page_of(request.path))
            if not request.user.is_authenticated:
                return redirect_to_login(_page_of(request.path))
            access.require(request.user, permission)
            known = recognise(request)
            try:
                _is_text(request.POST)
                return view(known, *args, **kwargs)
            except Refused as refusal:
                if refusal.kind is Refused.Kind.NOT_FOUND:
                    raise
                response = shown_by(known, *args, refused=refusal, **kwargs)
                # Which status that is, is known to the site (see its middleware).
                response.refusal = refusal  # type: ignore[attr-defined]
                return response

        return never_cache(guarded)

    return guard


def _is_text(sent: QueryDict) -> None:
    if any("\x00" in value for values in sent.lists() for value in values[1]):
        raise NotText("What was sent holds a NUL character.")


def _page_of(path: str) -> str:
    """The nearest page above the address of a form."""
    while path:
        path = path.rpartition("/")[0]
        if is_valid_path(path or "/"):
            break
    return path or "/"


def wants_fragment(request: HttpRequest) -> bool:
    """Whether a script asks for a part of a page, to put it where somebody reads."""
    return request.headers.get(FRAGMENT) == "1"


def fragment(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """A part of a page; the header tells the script that this is what it asked for, and not a page to log in."""
    response = render(request, template, context)
    response[FRAGMENT] = "1"
    return response


def recognise(request: HttpRequest) -> PageRequest:
    """The request, with everything its user may read once."""
    known = cast(PageRequest, request)
    known.permissions = access.permissions(known.user)
    return known


def now() -> datetime:
    """The time a verb is told (aware, UTC)."""
    return datetime.now(UTC)


def find(request: PageRequest, rows: QuerySet[Row], **key: Any) -> Row:
    """The one row with this key, if this person may see it; raises Missing."""
    found = access.visible(request.user, rows).filter(**key).first()
    if found is None:
        raise Missing("There is nothing here, or nothing you may see.")
    return found


def cut(
    request: PageRequest,
    rows: QuerySet[Any],
    *,
    order: tuple[str, ...] = ("-created_at", "-id"),
    limit: int | None = None,
) -> Shown:
    """The page of rows the query asks for, by key; `order` are columns never null, the last one unique."""
    found = keyset.cut(
        access.visible(request.user, rows),
        order=order,
        limit=limit or PAGE_SIZE,
        cursor=request.GET.get("cursor") or None,
    )
    return Shown(found.items, _asking(request, found.next), _asking(request, found.previous))


def filtered(request: PageRequest, rows: QuerySet[Row], **columns: str) -> QuerySet[Row]:
    """Rows narrowed by query parameters: `parameter="lookup"`; empty ones say nothing."""
    wanted = {lookup: value for name, lookup in columns.items() if (value := request.GET.get(name, "").strip())}
    try:
        return rows.filter(**wanted)
    except ValidationError:
        return rows.none()


def visible(request: PageRequest, rows: QuerySet[Row]) -> QuerySet[Row]:
    """The rows this person may see."""
    return access.visible(request.user, rows)


def _asking(request: PageRequest, cursor: str | None) -> str | None:
    if cursor is None:
        return None
    asked = request.GET.copy()
    asked["cursor"] = cursor
    return f"?{asked.urlencode()}"
