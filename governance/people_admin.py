"""Django's pages of users and groups, every change of which is a fact."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponseBase
from django.urls import URLPattern
from django.utils import timezone

from . import people, principals

View = Callable[..., HttpResponseBase]
if TYPE_CHECKING:
    _UserAdmin = UserAdmin[User]
else:
    _UserAdmin = UserAdmin


def _recorded(view: View) -> View:
    """The view; what it changes of who has a say is written down in its transaction."""

    @wraps(view)
    def recording(request: HttpRequest, *args: Any, **named: Any) -> HttpResponseBase:
        if request.method != "POST" or not isinstance(request.user, User):
            return view(request, *args, **named)
        with people.recorded(by=principals.actor_of(request.user), now=timezone.now()):
            return view(request, *args, **named)

    return recording


def _all_recorded(addresses: list[URLPattern]) -> list[URLPattern]:
    for each in addresses:
        each.callback = _recorded(each.callback)
    return addresses


admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class PersonAdmin(_UserAdmin):
    """People, and the service users of agents."""

    def get_urls(self) -> list[URLPattern]:
        """Every page, also that of passwords, writes down what it changes."""
        return _all_recorded(super().get_urls())


@admin.register(Group)
class PeopleAdmin(GroupAdmin):
    """Groups, by which people have their say."""

    def get_urls(self) -> list[URLPattern]:
        """Every page writes down what it changes."""
        return _all_recorded(super().get_urls())


own_password = admin.site.admin_view(_recorded(admin.site.password_change))
"""Changing one's own password."""
