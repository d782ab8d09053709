"""Admin pages that show and do not edit."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils.module_loading import import_string


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """`reads` is the permission to look. What changes something is a button of `admin_verbs.VerbAdmin`."""

    reads = ""
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
        return may(request, self.reads)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """As above."""
        return may(request, self.reads)


def may(request: HttpRequest, permission: str) -> bool:
    """Whether whoever sent the request may do this."""
    return bool(import_string(settings.GRACE_MAY)(request.user, permission))
