"""What is kept of a person outside the log: the account of somebody who is no longer here, and their failed logins."""

from __future__ import annotations

from axes.models import AccessAttempt
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q


def forget(subject: str) -> int:
    """Take names and address off the account behind "person:12", unless it is active; returns how many it was.

    The account itself stays: what its owner decided still points to it.
    """
    kind, _, pk = subject.partition(":")
    if kind != "person" or not pk.isdecimal():
        return 0
    gone = User.objects.filter(pk=int(pk), is_active=False, agent__isnull=True)
    user = gone.select_for_update(of=("self",)).first()
    erased = f"erased-{pk}"
    if user is None or user.username == erased:
        return 0
    AccessAttempt.objects.filter(Q(username=user.username) | Q(username=user.email)).delete()
    LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(User), object_id=pk).update(
        object_repr=erased
    )
    user.username, user.first_name, user.last_name, user.email = erased, "", "", ""
    user.set_unusable_password()
    user.save(update_fields=["username", "first_name", "last_name", "email", "password"])
    return 1
