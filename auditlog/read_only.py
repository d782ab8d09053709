"""Admin pages that show and do not edit: what changes things are verbs, as buttons, each with its permission."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.module_loading import import_string

from .actors import Actor
from .refusals import Refused


@dataclass(frozen=True)
class Verb:
    """A button: what it says, which permission it asks for, for which rows it shows, and the call it makes."""

    name: str
    label: str
    asks: str
    call: Callable[[Any, Actor, str], object]
    shows: Callable[[Any], bool] = lambda row: True
    needs_reason: bool = False


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """`reads` is the permission to look; `verbs` are the buttons of one row."""

    reads = ""
    verbs: Sequence[Verb] = ()
    change_form_template = "auditlog/admin/change_form.html"
    show_full_result_count = False
    actions = None

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never: rows are written by verbs."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """As the one predicate of who may says."""
        return _may(request, self.reads)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """As above."""
        return _may(request, self.reads)

    def get_urls(self) -> list[URLPattern]:
        """The model's addresses and one for verbs."""
        own = path("<path:object_id>/do/<slug:verb>/", self.admin_site.admin_view(self.do), name=f"{self._stem()}_do")
        return [own, *super().get_urls()]

    def render_change_form(  # noqa: PLR0917 - Django's own
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        """Add the buttons this person may press now."""
        context["verbs"] = [
            {"verb": verb, "url": reverse(f"admin:{self._stem()}_do", args=[obj.pk, verb.name])}
            for verb in self.verbs
            if obj is not None and verb.shows(obj) and _may(request, verb.asks)
        ]
        return super().render_change_form(request, context, add, change, form_url, obj)

    def do(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        """Make the one call of a button. A link never acts: POST only."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        chosen = next((each for each in self.verbs if each.name == verb), None)
        if chosen is None or not _may(request, chosen.asks):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is not None:
            self._call(request, chosen, row)
        return redirect(reverse(f"admin:{self._stem()}_change", args=[object_id]))

    def _call(self, request: HttpRequest, verb: Verb, row: Model) -> None:
        reason = request.POST.get("reason", "").strip()
        if verb.needs_reason and not reason:
            messages.error(request, "A reason is needed.")
            return
        try:
            verb.call(row, import_string(settings.GRACE_ACTOR_OF)(request.user), reason)
        except Refused as refusal:
            messages.error(request, refusal.detail)
        else:
            messages.success(request, f"{verb.label}: done.")

    def _stem(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}"


def _may(request: HttpRequest, permission: str) -> bool:
    return bool(import_string(settings.GRACE_MAY)(request.user, permission))
