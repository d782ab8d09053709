"""Whatever page of the admin gives somebody a say, or takes it: it is in the log with it."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from auditlog import entries
from auditlog.models import Entry
from tests.harness.people import PASSWORD, People

pytestmark = pytest.mark.django_db
OTHER = "another long pass phrase"


@pytest.fixture
def admin(client: Client, users: People) -> Client:
    for name in ("operators", "reviewers"):
        Group.objects.get_or_create(name=name)
    client.force_login(users.administrator, backend="django.contrib.auth.backends.ModelBackend")
    return client


def told(fact: str = "person.changed") -> list[tuple[str, dict[str, Any]]]:
    found = Entry.objects.filter(fact=fact).order_by("id")
    return [(who(each.document()["subject"]), entries.data(each)) for each in found]


def who(subject: dict[str, str]) -> str:
    """The name of a group, or of a person there still is; of people the log keeps the id."""
    return subject.get("label") or "".join(User.objects.filter(pk=subject["id"]).values_list("username", flat=True))


def form(user: User, **more: Any) -> dict[str, Any]:
    return {
        "username": user.username,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "email": user.email,
        "is_active": "on" if user.is_active else "",
        "date_joined_0": "2026-11-01",
        "date_joined_1": "10:00:00",
        **more,
    }


def change(admin: Client, user: User, **more: Any) -> None:
    assert admin.post(f"/admin/auth/user/{user.pk}/change/", form(user, **more)).status_code == 302


def test_an_approver_is_not_made_in_silence(admin: Client, users: People) -> None:
    passwords = {"password1": OTHER, "password2": OTHER, "usable_password": "true"}
    assert admin.post("/admin/auth/user/add/", {"username": "ghost", **passwords}).status_code == 302
    ghost = User.objects.get(username="ghost")
    group = Group.objects.get(name="reviewers")
    change(admin, ghost, groups=[group.pk])
    change(admin, ghost, is_superuser="on", is_staff="on")
    assert told() == [
        ("ghost", {"change": "created", "flags": {"is_active": True}, "login_changed": True}),
        ("ghost", {"change": "changed", "groups_added": ["reviewers"]}),
        (
            "ghost",
            {"change": "changed", "flags": {"is_staff": True, "is_superuser": True}, "groups_removed": ["reviewers"]},
        ),
    ]
    entry = Entry.objects.filter(fact="person.changed").first()
    assert entry is not None
    assert entry.actor_id == str(users.administrator.pk)


def test_a_password_is_told_and_not_which(admin: Client, users: People) -> None:
    passwords = {"password1": OTHER, "password2": OTHER, "usable_password": "true"}
    assert admin.post(f"/admin/auth/user/{users.bea.pk}/password/", passwords).status_code == 302
    own = {"old_password": PASSWORD, "new_password1": OTHER, "new_password2": OTHER}
    assert admin.post("/admin/password_change/", own).status_code == 302
    assert [data for _, data in told()] == [{"change": "changed", "login_changed": True}] * 2
    assert users.bea.pk != users.administrator.pk


def test_deleting_one_or_several_is_told(admin: Client) -> None:
    ghosts = [User.objects.create(username=f"ghost-{number}") for number in range(3)]
    admin.post(f"/admin/auth/user/{ghosts[0].pk}/delete/", {"post": "yes"})
    several = {"action": "delete_selected", "_selected_action": [each.pk for each in ghosts[1:]], "post": "yes"}
    admin.post("/admin/auth/user/", several)
    assert not User.objects.filter(username__startswith="ghost").exists()
    assert [data["change"] for _, data in told()] == ["deleted"] * 3


def test_what_a_group_permits_is_told(admin: Client, users: People) -> None:
    group, may = Group.objects.get(name="operators"), Permission.objects.get(codename="change_user")
    assert users.ada.groups.filter(pk=group.pk).exists()
    admin.post(f"/admin/auth/group/{group.pk}/change/", {"name": "operators", "permissions": [may.pk]})
    admin.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"})
    assert told("person.group_changed") == [
        ("operators", {"change": "changed", "permissions_added": ["change_user"]}),
        ("operators", {"change": "deleted", "permissions_removed": ["change_user"]}),
    ]
    assert ("ada", {"change": "changed", "groups_removed": ["operators"]}) in told()


def test_what_changes_nothing_says_nothing(admin: Client, users: People) -> None:
    Entry.objects.filter(fact="person.changed")
    change(admin, users.cleo, email="cleo@example.org")
    assert admin.post(f"/admin/auth/user/{users.cleo.pk}/change/", form(users.cleo, username="")).status_code == 200
    assert told() == []
