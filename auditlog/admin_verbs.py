"""Verbs in the admin: a button leads to a page that shows everything, and only a form sent from there acts.

Each verb has a permission of its own, may ask for a reason and for more, and its refusal is shown where it was pressed,
with everything typed still there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.module_loading import import_string

from .actors import Actor
from .read_only import ReadOnlyAdmin, may
from .refusals import Refused

__all__ = [
    "REASON",
    "REASON_IF_ANY",
    "AskedVerb",
    "Evidence",
    "Field",
    "Pressed",
    "ShownOnce",
    "VerbAdmin",
    "as_json",
]


@dataclass(frozen=True)
class Field:
    """Something a verb asks for: a line of text, several (`rows` of them), or one of some choices.

    `begins` gives what stands there before anything is typed.
    """

    name: str
    label: str
    choices: tuple[tuple[str, str], ...] = ()
    required: bool = True
    hint: str = ""
    rows: int = 0
    begins: Callable[[], str] = str


REASON = Field("reason", "Reason")
REASON_IF_ANY = Field("reason", "Reason", required=False)


@dataclass(frozen=True)
class Pressed:
    """A verb that was confirmed: for which row (None: for the list), by whom, and what the form said."""

    row: Any
    user: Any
    by: Actor
    form: Mapping[str, str]
    request: HttpRequest

    @property
    def reason(self) -> str:
        """The reason, without the blanks around it."""
        return self.form.get("reason", "").strip()


@dataclass(frozen=True)
class ShownOnce:
    """What a verb may answer: a key or a secret, which the page after it shows and no other."""

    title: str
    value: str


@dataclass(frozen=True)
class AskedVerb:
    """A button. `shows` says for which rows; `forbids` why this user may not press it, as a sentence ("" if so)."""

    name: str
    label: str
    asks: str
    call: Callable[[Pressed], object]
    shows: Callable[[Any], bool] = lambda row: True
    forbids: Callable[[Any, Any], str] = lambda row, user: ""
    fields: tuple[Field, ...] = ()
    words: str = ""
    stops: bool = False


@dataclass(frozen=True)
class Evidence:
    """Something to see before pressing: plain text, JSON, or a preview as executors give it."""

    label: str
    kind: Literal["text", "json", "preview"]
    value: Any


class VerbAdmin(ReadOnlyAdmin):
    """`asked` are the buttons of a row, `asked_of_list` those above the list."""

    asked: Sequence[AskedVerb] = ()
    asked_of_list: Sequence[AskedVerb] = ()
    change_form_template = "admin/verbs_of_row.html"
    change_list_template = "admin/verbs_of_list.html"

    def name_of(self, row: Any) -> str:
        """What to call a row above its page."""
        return str(row)

    def evidence(self, row: Any) -> list[Evidence]:
        """What somebody has to see before they press. `digest` in it is sent back with the form."""
        return []

    def get_urls(self) -> list[URLPattern]:
        """The model's addresses, and those of its verbs."""
        stem = self._stem()
        confirm = self.admin_site.admin_view(self.confirm)
        own = [
            path("verb/<slug:verb>/", confirm, name=f"{stem}_verb_of_list"),
            path("<path:object_id>/verb/<slug:verb>/", confirm, name=f"{stem}_verb"),
        ]
        return [*own, *super().get_urls()]

    def render_change_form(  # noqa: PLR0917 - Django's own
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        """Add the buttons of this row, and why some are not to be pressed by this person."""
        if obj is not None:
            context.update(buttons=self._buttons(request, self.asked, obj), subtitle=self.name_of(obj))
        return super().render_change_form(request, context, add, change, form_url, obj)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Add the buttons of the list."""
        buttons = self._buttons(request, self.asked_of_list, None)
        return super().changelist_view(request, {**(extra_context or {}), "buttons": buttons})

    def confirm(self, request: HttpRequest, verb: str, object_id: str | None = None) -> HttpResponse:
        """GET shows everything and asks; POST makes the one call."""
        chosen = next((each for each in self._of(object_id) if each.name == verb), None)
        if chosen is None or not self.has_view_permission(request) or not may(request, chosen.asks):
            raise PermissionDenied
        row = self.get_object(request, object_id) if object_id is not None else None
        if object_id is not None and row is None:
            raise Http404
        if request.method != "POST":
            return self._asking(request, chosen, row)
        by = import_string(settings.GRACE_ACTOR_OF)(request.user)
        try:
            done = chosen.call(Pressed(row, request.user, by, request.POST.dict(), request))
        except Refused as refusal:
            response = self._asking(request, chosen, row, refused=refusal)
            # Which status that is, is known to the site (see its middleware).
            response.refusal = refusal  # type: ignore[attr-defined]
            return response
        if isinstance(done, ShownOnce):
            return self._show_once(request, done, row)
        messages.success(request, f"{chosen.label}: done.")
        return redirect(self._back(row))

    def _show_once(self, request: HttpRequest, made: ShownOnce, row: Model | None) -> TemplateResponse:
        shown = {"title": made.title, "value": made.value, "opts": self.opts, "back": self._back(row)}
        return TemplateResponse(request, "admin/secret.html", {**self.admin_site.each_context(request), **shown})

    def _stem(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}"

    def _of(self, object_id: str | None) -> Sequence[AskedVerb]:
        return self.asked_of_list if object_id is None else self.asked

    def _buttons(self, request: HttpRequest, verbs: Sequence[AskedVerb], row: Model | None) -> list[dict[str, str]]:
        shown = [verb for verb in verbs if may(request, verb.asks) and (row is None or verb.shows(row))]
        return [
            {
                "label": verb.label,
                "url": self._address(verb, row),
                "forbidden": verb.forbids(row, request.user),
            }
            for verb in shown
        ]

    def _address(self, verb: AskedVerb, row: Model | None) -> str:
        if row is None:
            return reverse(f"admin:{self._stem()}_verb_of_list", args=[verb.name])
        return reverse(f"admin:{self._stem()}_verb", args=[row.pk, verb.name])

    def _back(self, row: Model | None) -> str:
        if row is None:
            return reverse(f"admin:{self._stem()}_changelist")
        return reverse(f"admin:{self._stem()}_change", args=[row.pk])

    def _asking(
        self, request: HttpRequest, verb: AskedVerb, row: Model | None, refused: Refused | None = None
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": verb.label,
            "subtitle": self.name_of(row) if row is not None else None,
            "opts": self.opts,
            "name": self.name_of(row) if row is not None else "",
            "verb": verb,
            "fields": [
                (field, request.POST.get(field.name, "") if request.method == "POST" else field.begins())
                for field in verb.fields
            ],
            "evidence": self.evidence(row) if row is not None else [],
            "digest": getattr(row, "digest", ""),
            "forbidden": verb.forbids(row, request.user),
            "refused": refused,
            "back": self._back(row),
        }
        return TemplateResponse(request, "admin/verb.html", context)


def as_json(name: str, label: str = "", *, of: Callable[[Any], Any] = lambda row: row) -> Callable[[Any, Any], str]:
    """A read-only field of the admin that shows a JSON column (of `of(row)`), whole and indented."""

    def shown(self: Any, row: Any) -> str:
        text = json.dumps(getattr(of(row), name), indent=2, ensure_ascii=False)
        return format_html('<pre class="code code--wrap">{}</pre>', text)

    return admin.display(description=label or name.replace("_", " ").capitalize())(shown)
