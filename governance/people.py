"""People: what gives somebody a say is a fact when it changes, whatever page of the admin changed it.

Django's own pages write users and groups, and many fields of them at once. So nobody asks which page did what: what
everybody had before is compared with what they have afterwards, in the transaction of the change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from django.contrib.auth.models import Group, User

from auditlog import log
from auditlog.actors import Actor
from auditlog.subjects import Subject

from .facts import PersonFact

FLAGS = ("is_active", "is_staff", "is_superuser")
Names = frozenset[str]


@dataclass(frozen=True)
class Standing:
    """What gives a user or a group its say."""

    label: str
    name: str
    flags: tuple[bool, ...] = ()
    password: str = ""
    groups: Names = frozenset()
    permissions: Names = frozenset()


NOBODY = Standing("", "")


@contextmanager
def recorded(*, by: Actor, now: datetime) -> Iterator[None]:
    """Write down whose standing changes inside, in one transaction with it; one such change after the other."""
    with log.recording():
        list(Group.objects.select_for_update().order_by("pk"))
        users, groups = _users(), _groups()
        yield
        _compare(PersonFact.CHANGED, "person", users, _users(), by=by, now=now)
        _compare(PersonFact.GROUP_CHANGED, "group", groups, _groups(), by=by, now=now)


def _compare(
    fact: PersonFact,
    kind: str,
    before: Mapping[int, Standing],
    after: Mapping[int, Standing],
    *,
    by: Actor,
    now: datetime,
) -> None:
    for pk in sorted(before.keys() | after.keys()):
        was, became = before.get(pk, NOBODY), after.get(pk, NOBODY)
        if replace(was, label="") == replace(became, label=""):
            continue
        change = "created" if was is NOBODY else "deleted" if became is NOBODY else "changed"
        subject = Subject(kind, str(pk), became.label or was.label)
        log.append(fact, actor=by, subject=subject, data={"change": change, **_difference(was, became)}, now=now)


def _difference(was: Standing, became: Standing) -> dict[str, object]:
    """What changed; of names and passwords only that they did."""
    found: dict[str, object] = {
        "groups_added": sorted(became.groups - was.groups),
        "groups_removed": sorted(was.groups - became.groups),
        "permissions_added": sorted(became.permissions - was.permissions),
        "permissions_removed": sorted(was.permissions - became.permissions),
        "flags": {
            name: now
            for name, then, now in zip(FLAGS, was.flags or (False,) * 3, became.flags, strict=False)
            if then != now
        },
        "renamed": bool(was.name and became.name and was.name != became.name),
        "login_changed": was.password != became.password,
    }
    return {name: value for name, value in found.items() if value}


def _users() -> dict[int, Standing]:
    groups, permissions = defaultdict(set), defaultdict(set)
    for pk, name in User.groups.through.objects.values_list("user_id", "group__name"):
        groups[pk].add(name)
    for pk, codename in User.user_permissions.through.objects.values_list("user_id", "permission__codename"):
        permissions[pk].add(codename)
    return {
        user.pk: Standing(
            user.get_full_name() or user.get_username(),
            user.get_username(),
            tuple(getattr(user, name) for name in FLAGS),
            user.password,
            frozenset(groups[user.pk]),
            frozenset(permissions[user.pk]),
        )
        for user in User.objects.all()
    }


def _groups() -> dict[int, Standing]:
    permissions = defaultdict(set)
    for pk, codename in Group.permissions.through.objects.values_list("group_id", "permission__codename"):
        permissions[pk].add(codename)
    return {
        group.pk: Standing(group.name, group.name, permissions=frozenset(permissions[group.pk]))
        for group in Group.objects.all()
    }
