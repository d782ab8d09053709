"""People and programs at the door: what the log says about them, and what it does not."""

import pytest
from django.test import Client

from auditlog.models import Entry
from governance import logins

pytestmark = pytest.mark.django_db
LOGIN = "/admin/login/?next=/admin/"


def log_in(username, password):
    return Client().post(LOGIN, {"username": username, "password": password})


def test_a_login_is_a_fact_about_a_person(users):
    assert log_in(users.bea.username, users.password).status_code == 302
    entry = Entry.objects.get(fact="auth.login")
    assert (entry.actor_kind, entry.actor_id, entry.subject_id) == ("person", str(users.bea.pk), str(users.bea.pk))


def test_a_failed_login_names_only_who_exists(users):
    log_in(users.bea.username, "wrong")
    log_in("hunter2-typed-into-the-wrong-field", "x")
    known, unknown = Entry.objects.filter(fact="auth.login_failed").order_by("id")
    assert (known.subject_id, known.outcome) == (str(users.bea.pk), "failure")
    assert (unknown.subject_kind, unknown.document()["data"]) == ("door", {"known": False})
    assert not [each for each in (known, unknown) if b"hunter2" in bytes(each.bytes) or b"wrong" in bytes(each.bytes)]


def test_failures_cannot_flood_the_log(users, monkeypatch):
    monkeypatch.setattr(logins, "FAILURES_NOTED_PER_MINUTE", 2)
    for n in range(4):
        log_in(f"nobody-{n}", "x")
    assert Entry.objects.filter(fact="auth.login_failed").count() == 2


def test_a_key_that_is_not_good_is_a_fact(db):
    answer = Client().get("/api/governance/me", headers={"Authorization": "Bearer grace_" + "0" * 64})
    assert answer.status_code == 401
    entry = Entry.objects.get(fact="auth.login_failed")
    assert (entry.subject_id, entry.document()["data"]) == ("api", {"known": False})
