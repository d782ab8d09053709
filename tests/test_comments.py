"""Comments with evidence: who may leave them, what they may point to, and that they change nothing."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from auditlog.models import Entry
from auditlog.refusals import Refused
from governance import comments, principals
from governance.models import ApprovalRequest, Comment
from tests.harness.clients import Api
from tests.harness.governed import Governed, fresh
from tests.harness.people import People

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(var_dir: Path, users: People) -> Governed:
    return Governed(var_dir / "sandbox", users)


def say(request: ApprovalRequest, user: Any, text: str = "The graph agrees.", links: Any = ()) -> Comment:
    return comments.add(
        request_id=request.pk, text=text, links=links, by=principals.actor_of(user), user=user, now=timezone.now()
    )


def refused(act: Any) -> Refused:
    with pytest.raises(Refused) as refusal:
        act()
    return refusal.value


def test_a_comment_is_a_fact_and_no_part_of_the_digest(world: Governed) -> None:
    request = world.ask()
    made = say(request, world.people.cem, links=["https://grafana.example.org/d/1?from=now-1h"])
    assert fresh(request).digest == request.digest
    entry = Entry.objects.get(pk=made.entry_id)
    assert (entry.fact, entry.actor_id, entry.contract_id) == (
        "approval.commented",
        str(world.people.cem.pk),
        request.contract_id,
    )
    data = entry.document()["data"]
    assert (data["text"], data["links"]) == ("The graph agrees.", ["https://grafana.example.org/d/1?from=now-1h"])
    world.decide(request, world.people.bea)
    world.settle()
    assert fresh(request).state == "spent"


def test_readers_who_only_read_leave_no_comments(world: Governed) -> None:
    request = world.ask()
    assert refused(lambda: say(request, world.people.eve)).code == "not_permitted"
    assert refused(lambda: say(request, world.people.cleo)).code == "not_permitted"
    say(request, world.people.ada)


def test_an_agent_answers_on_its_own_request_and_on_no_other(world: Governed) -> None:
    say(world.ask(), world.robot, "The vendor confirmed it.", ["https://tickets.example.org/77"])
    others = world.submit(user=world.people.ada).approval
    assert others is not None
    assert refused(lambda: say(others, world.robot)).code == "approval_not_found"


@pytest.mark.parametrize(
    "link",
    [
        "http://example.org/",
        "javascript:alert(1)",
        "data:text/html,hello",
        "ftp://example.org/",
        "//example.org/",
        "example.org",
        "https://",
        "https:///path",
        "https://example.org@evil.example/",
        "https://:secret@example.org/",
        "https://ex\u0430mple.org/",
        "https://example.org/a b",
        "https://example.org/\n",
        "https://[::1/",
        "https://example.org:99999/",
        "https://example.org/" + "x" * 500,
    ],
)
def test_what_is_no_plain_https_address_is_named_and_refused(world: Governed, link: str) -> None:
    request = world.ask()
    refusal = refused(lambda: say(request, world.people.bea, links=["https://example.org/fine", link]))
    assert refusal.code == "bad_comment"
    assert [error.pointer for error in refusal.errors] == ["/links/1"]
    assert Comment.objects.count() == 0


@pytest.mark.parametrize(("text", "code"), [("", "missing"), ("  \n", "missing"), ("x" * 4001, "too_long")])
def test_a_comment_says_something_and_not_too_much(world: Governed, text: str, code: str) -> None:
    request = world.ask()
    refusal = refused(lambda: say(request, world.people.bea, text))
    assert [(error.pointer, error.code) for error in refusal.errors] == [("/text", code)]


def test_what_no_database_keeps_is_refused(world: Governed) -> None:
    request = world.ask()
    assert refused(lambda: say(request, world.people.bea, "a\x00b")).errors[0].pointer == "/text"


def test_nobody_buries_a_request_under_comments(world: Governed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comments, "MAX_COMMENTS", 2)
    request = world.ask()
    for _ in range(2):
        say(request, world.robot)
    assert refused(lambda: say(request, world.robot)).code == "too_many_comments"


# --- the doors -------------------------------------------------------------------------------------------------


def test_the_api_takes_a_comment_and_shows_it_with_the_request(world: Governed) -> None:
    request, bea = world.ask(), Api(user=world.people.bea)
    address = f"/api/governance/approvals/{request.pk}"
    body = {"text": "Measured twice.", "links": ["https://example.org/graph"]}
    answer = bea.post(f"{address}/comments", body)
    assert answer.status_code == 201, answer.content
    [shown] = bea.data(address)["comments"]
    assert shown == answer.json()["data"]
    assert (shown["person"], shown["text"], shown["links"]) == ("Bea", body["text"], body["links"])
    bad = bea.post(f"{address}/comments", {"text": "x", "links": ["http://example.org/"]})
    assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (422, "/links/0")


def test_the_console_takes_a_comment_and_shows_the_links_as_what_they_are(world: Governed, client: Client) -> None:
    request = world.ask()
    client.force_login(world.people.bea)
    sent = {"text": "Look <b>here</b>:", "links": "https://example.org/a\n\n  https://example.org/b?x=1&y=2 \n"}
    answer = client.post(f"/approvals/{request.pk}/comment", sent, follow=True)
    shown = answer.content.decode()
    assert "Look &lt;b&gt;here&lt;/b&gt;:" in shown
    assert (
        '<a href="https://example.org/b?x=1&amp;y=2" rel="noopener noreferrer nofollow" target="_blank">'
        "https://example.org/b?x=1&amp;y=2</a>"
    ) in shown
    assert Comment.objects.get().links == ["https://example.org/a", "https://example.org/b?x=1&y=2"]


def test_a_comment_that_is_refused_is_not_lost(world: Governed, client: Client) -> None:
    request = world.ask()
    client.force_login(world.people.bea)
    sent = {"text": "A careful thought.", "links": "https://example.org/ok\nhttp://example.org/not"}
    answer = client.post(f"/approvals/{request.pk}/comment", sent)
    assert answer.status_code == 422
    shown = answer.content.decode()
    assert "A careful thought." in shown
    assert "http://example.org/not</textarea>" in shown
    assert "/links/1" in shown


def test_eve_reads_comments_and_has_no_form(world: Governed, client: Client) -> None:
    request = world.ask()
    say(request, world.people.cem, "Everybody reads this.")
    client.force_login(world.people.eve)
    shown = client.get(f"/approvals/{request.pk}").content.decode()
    assert "Everybody reads this." in shown
    assert f"/approvals/{request.pk}/comment" not in shown
    assert client.post(f"/approvals/{request.pk}/comment", {"text": "x"}).status_code == 403


def test_the_admin_takes_a_comment_too(world: Governed, client: Client) -> None:
    request = world.ask()
    client.force_login(world.people.bea)
    address = f"/admin/governance/approvalrequest/{request.pk}/verb/comment/"
    assert client.get(address).status_code == 200
    client.post(address, {"text": "From the admin.", "links": "https://example.org/a https://example.org/b"})
    assert Comment.objects.get().links == ["https://example.org/a", "https://example.org/b"]
