"""What reviewers do in the console beyond one yes or no: batches, edits, reasons, requests opened in their row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from auditlog import jobs
from auditlog.models import Entry
from governance.models import ApprovalRequest, Decision
from governance.pages import inbox, reasons, wordings
from tests import scenery
from tests.harness.people import People
from tests.scenery import Scene
from verification.models import Contract

pytestmark = pytest.mark.django_db
FRAGMENT = {"X-Grace-Fragment": "1"}


@pytest.fixture
def scene(users: People, var_dir: Path) -> Scene:
    return scenery.minimal(var_dir / "sandbox", users)


@pytest.fixture
def as_(client: Client) -> Callable[[User], Client]:
    def log_in(user: User) -> Client:
        client.force_login(user)
        return client

    return log_in


def text(response: Any) -> str:
    return str(response.content.decode())


def purge(scene: Scene, by: User, days: int = 90) -> ApprovalRequest:
    body = scenery._purge()
    body["parameters"]["arguments"] = {"older_than_days": days}
    request = scene.propose(by, **body).approval
    assert request is not None
    return request


def item(request: ApprovalRequest) -> str:
    return f"{request.pk}:{request.digest}"


def fresh(request: ApprovalRequest) -> ApprovalRequest:
    return ApprovalRequest.objects.get(pk=request.pk)


# --- the inbox -------------------------------------------------------------------------------------------------


def test_like_requests_stand_together_where_the_riskiest_of_them_stood(as_: Any, users: People, scene: Scene) -> None:
    pools = [scene.ask(size) for size in (11, 12)]
    risky = [purge(scene, users.ada, days) for days in (40, 50)]
    other = scene.change("payments/limits.yaml", {"daily_limit": 1}).approval
    [(title, groups)] = as_(users.bea).get("/").context["sections"]
    assert title == ""
    assert {row.pk for row in groups[0].rows} == {row.pk for row in risky}
    assert {frozenset(row.pk for row in group.rows) for group in groups[1:]} == {
        frozenset(row.pk for row in pools),
        frozenset({other.pk}),  # type: ignore[union-attr]
    }
    assert all(f"request={row.pk}" in groups[0].address for row in risky)


def test_what_waits_for_others_stands_apart(as_: Any, users: People, scene: Scene) -> None:
    mine = scene.change("checkout.json", {"log_level": "debug"}, by=users.bea).approval
    decided = purge(scene, users.ada)
    scene.decide(decided, users.bea)
    waiting = scene.ask()
    sections = as_(users.bea).get("/").context["sections"]
    assert [title for title, _ in sections] == ["", "Waits for others"]
    assert [row.pk for group in sections[0][1] for row in group.rows] == [waiting.pk]
    notes = {row.pk: row.note for group in sections[1][1] for row in group.rows}
    assert notes == {decided.pk: "you decided", mine.pk: "yours"}  # type: ignore[union-attr]


def test_the_requests_of_ones_own_agent_wait_for_others(as_: Any, users: People, scene: Scene) -> None:
    users.ada.groups.add(*users.bea.groups.all())
    scene.ask()
    [(title, _)] = as_(users.ada).get("/").context["sections"]
    assert title == "Waits for others"


def test_who_only_reads_has_nothing_to_tick(as_: Any, users: People, scene: Scene) -> None:
    scene.ask()
    scene.ask(12)
    shown = text(as_(users.eve).get("/"))
    assert "data-choice" not in shown
    assert "/approvals/batch" not in shown


def test_the_inbox_costs_the_same_however_many_wait(as_: Any, users: People, scene: Scene) -> None:
    client = as_(users.bea)
    scene.ask(11)
    client.get("/")
    with CaptureQueriesContext(connection) as few:
        client.get("/")
    for size in range(12, 24):
        scene.ask(size)
    with CaptureQueriesContext(connection) as many:
        client.get("/")
    assert len(many) == len(few)


# --- a request in its row --------------------------------------------------------------------------------------


def test_a_row_opens_with_everything_a_decision_needs(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask()
    response = as_(users.bea).get(f"/approvals/{request.pk}/brief", headers=FRAGMENT)
    shown = text(response)
    assert response["X-Grace-Fragment"] == "1"
    assert "<html" not in shown
    for needed in (
        request.digest,
        "Parameters, complete",
        "pool_size",
        "diff__line--added",
        "content.database.pool_size",
        "Record so far",
        "Why people are asked",
        "Who has to agree",
        "data-decide",
        "The pool was exhausted",
    ):
        assert needed in shown, needed


def test_a_decision_in_a_row_is_answered_there(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask()
    sent = {"verdict": "approve", "digest": request.digest}
    response = as_(users.bea).post(f"/approvals/{request.pk}/decide", sent, headers=FRAGMENT)
    assert (response.status_code, response["X-Grace-Fragment"]) == (200, "1")
    assert "You approved config.update on file:checkout.json." in text(response)
    assert fresh(request).state == "approved"


def test_a_refusal_in_a_row_comes_with_the_form_and_what_was_typed(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask()
    sent = {"verdict": "approve", "digest": "0" * 64, "reason": "I read it."}
    response = as_(users.bea).post(f"/approvals/{request.pk}/decide", sent, headers=FRAGMENT)
    assert (response.status_code, response["X-Grace-Fragment"]) == (409, "1")
    shown = text(response)
    assert 'role="alert"' in shown
    assert "I read it." in shown
    assert "<html" not in shown


def test_who_is_not_logged_in_any_more_gets_no_part_of_a_page(client: Client, users: People, scene: Scene) -> None:
    response = client.get(f"/approvals/{scene.ask().pk}/brief", headers=FRAGMENT)
    assert response.status_code == 302
    assert "X-Grace-Fragment" not in response


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({"quick": reasons.QUICK[0]}, reasons.QUICK[0]),
        ({"quick": reasons.QUICK[1], "reason": "After Friday."}, f"{reasons.QUICK[1]} After Friday."),
        ({"quick": "anything at all", "reason": "Mine."}, "Mine."),
        ({"reason": "Mine."}, "Mine."),
    ],
)
def test_a_reason_is_chosen_or_typed_or_both(
    as_: Any, users: People, scene: Scene, sent: dict[str, str], reason: str
) -> None:
    request = scene.ask()
    as_(users.bea).post(f"/approvals/{request.pk}/decide", {"verdict": "reject", "digest": request.digest, **sent})
    assert fresh(request).closing_reason == reason


def test_an_approval_does_not_take_along_a_reason_against_it(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask()
    sent = {"verdict": "approve", "digest": request.digest, "quick": reasons.QUICK[2]}
    as_(users.bea).post(f"/approvals/{request.pk}/decide", sent)
    assert Decision.objects.get().reason == ""


def test_a_request_for_changes_says_until_when_it_may_be_answered(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask()
    scene.decide(request, users.cem, "request_changes", "Smaller, please.")
    assert "Answer by" in text(as_(users.bea).get(f"/approvals/{request.pk}"))


# --- batches ---------------------------------------------------------------------------------------------------


def test_a_batch_shows_every_request_whole_with_its_digest(as_: Any, users: People, scene: Scene) -> None:
    requests = [scene.ask(11), scene.ask(12), purge(scene, users.ada)]
    asked = "&".join(f"request={each.pk}" for each in requests)
    response = as_(users.bea).get(f"/approvals/batch?{asked}")
    shown = text(response)
    for request in requests:
        assert f"data-shown-digest>{request.digest}<" in shown
        assert item(request) in shown
    assert shown.count("data-parameters") == 3
    assert "older_than_days" in shown
    assert "Several of these act on the same target." in shown


def test_a_batch_of_one_action_says_in_what_each_differs(as_: Any, users: People, scene: Scene) -> None:
    requests = [scene.ask(11), scene.ask(12)]
    asked = "&".join(f"request={each.pk}" for each in requests)
    items = as_(users.bea).get(f"/approvals/batch?{asked}").context["items"]
    assert {json.dumps(each.differs) for each in items} == {
        '{"/merge/database/pool_size": 11}',
        '{"/merge/database/pool_size": 12}',
    }


def test_a_batch_leaves_out_what_this_person_cannot_decide_and_says_why(as_: Any, users: People, scene: Scene) -> None:
    own = scene.change("checkout.json", {"log_level": "debug"}, by=users.bea).approval
    over, done, mine_already = scene.ask(11), scene.ask(12), purge(scene, users.ada)
    scene.decide(over, users.cem, "reject", "no")
    scene.decide(mine_already, users.bea)
    asked = "&".join(f"request={each.pk}" for each in (own, over, done, mine_already))  # type: ignore[union-attr]
    context = as_(users.bea).get(f"/approvals/batch?{asked}").context
    assert [each.request.pk for each in context["items"]] == [done.pk]
    assert {each.request.pk: each.why_not for each in context["left_out"]} == {
        own.pk: "You asked for this; someone else must decide.",  # type: ignore[union-attr]
        over.pk: "It is rejected.",
        mine_already.pk: "You have decided. Others still have to.",
    }


def test_a_batch_decides_each_by_its_own_digest_and_lists_each_result(as_: Any, users: People, scene: Scene) -> None:
    good, stale, needs_two = scene.ask(11), scene.ask(12), purge(scene, users.ada)
    sent = {"verdict": "approve", "item": [item(good), f"{stale.pk}:{'0' * 64}", item(needs_two)]}
    response = as_(users.bea).post("/approvals/batch/decide", sent)
    shown = text(response)
    assert "You approved 2 of 3 requests" in shown
    assert shown.count('data-result="done"') == 2
    assert shown.count('data-result="stale_digest"') == 1
    for digest in (good.digest, "0" * 64, needs_two.digest):
        assert f"data-decided-digest>{digest}<" in shown
    assert [fresh(each).state for each in (good, stale, needs_two)] == ["approved", "pending", "pending"]
    assert set(Decision.objects.values_list("digest", flat=True)) == {good.digest, needs_two.digest}


def test_a_batch_counts_once_against_the_limit(as_: Any, users: People, scene: Scene, settings: Any) -> None:
    from django.core.cache import cache

    cache.clear()
    settings.APPROVAL_DECISION_RATE_PER_MIN = 1
    requests = [scene.ask(size) for size in (11, 12, 13)]
    client = as_(users.bea)
    answer = client.post("/approvals/batch/decide", {"verdict": "approve", "item": [item(each) for each in requests]})
    assert answer.status_code == 200
    assert {fresh(each).state for each in requests} == {"approved"}
    late = scene.ask(14)
    refused = client.post("/approvals/batch/decide", {"verdict": "approve", "item": [item(late)], "request": late.pk})
    assert refused.status_code == 429
    assert item(late) in text(refused)


def test_a_batch_that_is_refused_keeps_what_was_ticked_and_typed(as_: Any, users: People, scene: Scene) -> None:
    requests = [scene.ask(11), scene.ask(12)]
    sent = {"verdict": "reject", "request": [each.pk for each in requests], "reason": "x" * 4001}
    refused = as_(users.bea).post("/approvals/batch/decide", {**sent, "item": [item(requests[0])]})
    assert refused.status_code == 200, "each item is refused by itself"
    none = as_(users.bea).post("/approvals/batch/decide", {**sent, "reason": "Typed."})
    assert none.status_code == 422
    shown = text(none)
    assert "Choose at least one request." in shown
    assert "Typed." in shown
    assert shown.count("data-batch-item") == 2


@pytest.mark.parametrize("query", ["", "?request=nonsense", "?request=00000000-0000-0000-0000-000000000000"])
def test_a_batch_of_nothing_is_said_to_be_one(as_: Any, users: People, scene: Scene, query: str) -> None:
    response = as_(users.bea).get(f"/approvals/batch{query}")
    assert response.status_code == (422 if "nonsense" in query else 200)
    assert "data-decide" not in text(response)


def test_a_batch_page_costs_little_more_for_more_requests(as_: Any, users: People, scene: Scene) -> None:
    requests = [scene.ask(size) for size in range(11, 31)]
    client = as_(users.bea)
    asked = [f"request={each.pk}" for each in requests]
    client.get(f"/approvals/batch?{asked[0]}")
    with CaptureQueriesContext(connection) as one:
        client.get(f"/approvals/batch?{asked[0]}")
    with CaptureQueriesContext(connection) as twenty:
        client.get(f"/approvals/batch?{'&'.join(asked)}")
    assert len(twenty) <= len(one)


# --- edits -----------------------------------------------------------------------------------------------------


def form(request: ApprovalRequest, **changed: Any) -> dict[str, str]:
    """The edit form as it was shown, with some of it changed."""
    revision = request.revision
    return {
        "digest": request.digest,
        "parameters": json.dumps(changed.pop("parameters", revision.parameters)),
        "expected_effect": json.dumps(changed.pop("expected_effect", revision.expected_effect)),
        "not_before": "",
        "reason": "",
        **changed,
    }


SMALLER = {"path": "checkout.json", "merge": {"database": {"pool_size": 18}}}


def test_the_editors_approval_counts_on_the_new_digest_only(as_: Any, users: People, scene: Scene) -> None:
    request = purge(scene, users.ada)
    scene.decide(request, users.cem)
    parameters = {"command": "purge-exports", "arguments": {"older_than_days": 120}}
    response = as_(users.bea).post(
        f"/approvals/{request.pk}/edit/approve", form(request, parameters=parameters, reason="90 is too few.")
    )
    opened = ApprovalRequest.objects.get(contract=request.contract, state="pending")
    assert response["Location"] == f"/approvals/{opened.pk}"
    assert fresh(request).state == "cancelled"
    assert opened.digest != request.digest
    [counting] = opened.decisions.all()
    assert (counting.person, counting.digest, counting.reason) == (users.bea, opened.digest, "90 is too few.")
    shown = as_(users.bea).get(f"/approvals/{opened.pk}")
    assert [column.title for column in shown.context["columns"]] == ["Proposed", "Asked now"]
    [row] = shown.context["wording_rows"]
    assert (row.pointer, row.values) == ("/parameters/arguments/older_than_days", [90, 120])


def test_proposed_approved_and_effective_stay_apart(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask(25)
    effect = {"success_criteria": [scenery._reads("database.pool_size", 18)]}
    sent = form(request, parameters=SMALLER, expected_effect=effect)
    as_(users.bea).post(f"/approvals/{request.pk}/edit/approve", sent)
    jobs.run_until_idle()
    contract = Contract.objects.get(pk=request.contract_id)
    assert contract.state == "verified"
    for page in (f"/contracts/{contract.pk}", f"/approvals/{request.pk}"):
        shown = as_(users.bea).get(page)
        assert [column.title for column in shown.context["columns"]] == ["Proposed", "Approved", "Effective"]
        found = {row.pointer: row.values for row in shown.context["wording_rows"]}
        assert found["/parameters/merge/database/pool_size"] == [25, 18, 18]


def test_an_edit_is_tried_without_writing_anything(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask(25)
    client = as_(users.bea)
    before = Entry.objects.count()
    response = client.post(f"/approvals/{request.pk}/edit/preview", form(request, parameters=SMALLER))
    assert response.status_code == 200
    shown = text(response)
    assert "What the edit would do" in shown
    assert "18" in shown[shown.index("diff__line--added") :][:400]
    assert Entry.objects.count() == before
    assert fresh(request).state == "pending"


@pytest.mark.parametrize(
    "case",
    [
        ({"parameters_text": '{"path": '}, "/parameters", "(line 1, column 9: Expecting value)"),
        ({"parameters_text": "[1]"}, "/parameters", "A JSON object is expected."),
        ({"parameters_text": '{"a": 1, "a": 2}'}, "/parameters", "stands twice in the same object"),
        ({"parameters_text": '{"a": NaN}'}, "/parameters", "NaN is not JSON"),
        ({"parameters_text": "[" * 100_000}, "/parameters", "nested too deep"),
        ({"parameters": {"path": "../../etc/passwd", "merge": {"a": 1}}}, "/parameters/path", ""),
        ({"parameters": {**SMALLER, "shout": True}}, "/parameters/shout", ""),
        ({"expected_effect": {"success_criteria": [{"type": "guess"}]}}, "/expected_effect/success_criteria/0", ""),
        ({"not_before": "tomorrow"}, "/not_before", "A time in UTC is expected"),
        ({"not_before": "2040-01-01T00:00"}, "/edits/not_before", "At most 366 days ahead."),
        ({"reason": "x" * 4001, "parameters": SMALLER}, "/reason", "At most 4000 characters."),
    ],
)
def test_an_error_names_its_field_and_nothing_typed_is_lost(
    as_: Any, users: People, scene: Scene, case: tuple[dict[str, Any], str, str]
) -> None:
    changed, pointer, words = case
    request = scene.ask(25)
    sent = form(request, **{name: value for name, value in changed.items() if name != "parameters_text"})
    sent["parameters"] = changed.get("parameters_text", sent["parameters"])
    sent["reason"] = changed.get("reason", "A careful reason.")
    response = as_(users.bea).post(f"/approvals/{request.pk}/edit/approve", sent)
    assert response.status_code in (400, 422)
    fields = response.context["fields"]
    wrong = {name: [error.pointer for error in field["errors"]] for name, field in fields.items() if field["errors"]}
    [(name, pointers)] = wrong.items()
    assert any(each.startswith(pointer) for each in pointers), pointers
    assert name == pointer.removeprefix("/edits").split("/")[1]
    shown = text(response)
    assert words in shown
    assert f'aria-describedby="edit-{name}' in shown
    assert {name: field["text"] for name, field in fields.items()} == {name: sent[name] for name in fields}
    assert fresh(request).state == "pending"
    assert Contract.objects.get(pk=request.contract_id).current_revision == 1


def test_an_edit_of_nothing_is_refused(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask()
    response = as_(users.bea).post(f"/approvals/{request.pk}/edit/approve", form(request))
    assert response.status_code == 422
    assert "Nothing is different" in text(response)


def test_an_edit_of_what_is_no_longer_asked_is_refused(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask()
    sent = {**form(request, parameters=SMALLER), "digest": "0" * 64}
    response = as_(users.bea).post(f"/approvals/{request.pk}/edit/approve", sent)
    assert response.status_code == 409
    assert '"pool_size": 18' in response.context["fields"]["parameters"]["text"]


def test_what_the_policy_denies_is_not_edited_into_being(as_: Any, users: People, scene: Scene) -> None:
    from django.utils import timezone

    from auditlog.actors import SYSTEM
    from governance import policies, seeds

    request = scene.ask()
    rule = {
        "name": "not so many",
        "effect": "deny",
        "action_types": ["config.update"],
        "when": "parameters.merge.database.pool_size > 50",
        "reason": "The database takes 50 at most.",
    }
    document = {**seeds.POLICY, "rules": [*seeds.POLICY["rules"], rule]}
    policies.publish(document=document, note="", by=SYSTEM, now=timezone.now())
    many = {"path": "checkout.json", "merge": {"database": {"pool_size": 60}}}
    response = as_(users.bea).post(f"/approvals/{request.pk}/edit/approve", form(request, parameters=many))
    assert response.status_code == 422
    assert "The database takes 50 at most." in text(response)
    assert fresh(request).state == "pending"


def test_the_owner_of_the_agent_has_no_form_to_edit(as_: Any, users: People, scene: Scene) -> None:
    users.ada.groups.add(*users.bea.groups.all())
    request = scene.ask()
    shown = text(as_(users.ada).get(f"/approvals/{request.pk}/edit"))
    assert "edit/approve" not in shown
    answer = as_(users.ada).post(f"/approvals/{request.pk}/edit/approve", form(request, parameters=SMALLER))
    assert answer.status_code == 403
    assert as_(users.ada).post(f"/approvals/{request.pk}/edit/preview", form(request)).status_code in (403, 422)


def test_the_admin_approves_with_edits_by_the_same_verb(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask(25)
    address = f"/admin/governance/approvalrequest/{request.pk}/verb/approve-edited/"
    client = as_(users.bea)
    assert client.get(address).status_code == 200
    nothing = client.post(address, {"digest": request.digest})
    assert (nothing.status_code, fresh(request).state) == (422, "pending"), "no edit is no approval"
    slip = client.post(address, {"digest": request.digest, "parameters": '{"path": 1,}'})
    assert slip.status_code == 422
    assert "{&quot;path&quot;: 1,}" in text(slip)
    effect = {"success_criteria": [scenery._reads("database.pool_size", 18)]}
    sent = {"parameters": json.dumps(SMALLER), "expected_effect": json.dumps(effect)}
    client.post(address, {"digest": request.digest, **sent})
    opened = ApprovalRequest.objects.get(contract=request.contract, state="approved")
    assert opened.revision.parameters == SMALLER
    assert opened.decisions.get().digest == opened.digest


# --- answering a request for changes ---------------------------------------------------------------------------


def test_who_asked_answers_with_another_wording(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask(25)
    scene.decide(request, users.bea, "request_changes", "18 are enough.")
    client = as_(users.ada)
    page = text(client.get(f"/contracts/{request.contract_id}"))
    assert "Answer with another wording" in page
    form_page = text(client.get(f"/contracts/{request.contract_id}/revise"))
    assert "18 are enough." in form_page
    slip = client.post(
        f"/contracts/{request.contract_id}/revise/send", form(request, parameters={**SMALLER, "shout": True})
    )
    assert slip.status_code == 422
    assert slip.context["fields"]["parameters"]["errors"][0].pointer == "/parameters/shout"
    response = client.post(f"/contracts/{request.contract_id}/revise/send", form(request, parameters=SMALLER))
    asked = ApprovalRequest.objects.get(contract=request.contract, state="pending")
    assert response["Location"] == f"/approvals/{asked.pk}"
    assert (asked.revision.number, asked.revision.origin, asked.revision.parameters) == (2, "revised", SMALLER)


def test_nobody_else_answers_and_nothing_is_answered_twice(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask(25)
    address = f"/contracts/{request.contract_id}/revise"
    assert "Send this wording" not in text(as_(users.ada).get(address)), "nobody has asked for changes"
    scene.decide(request, users.bea, "request_changes", "Smaller.")
    assert "Send this wording" not in text(as_(users.cem).get(address))
    assert as_(users.cem).post(f"{address}/send", form(request, parameters=SMALLER)).status_code == 403
    client = as_(users.ada)
    assert client.post(f"{address}/send", form(request)).status_code == 422
    assert client.post(f"{address}/send", form(request, parameters=SMALLER)).status_code == 302
    assert client.post(f"{address}/send", form(request, parameters=SMALLER)).status_code in (409, 422)


# --- later -----------------------------------------------------------------------------------------------------


def test_approving_with_a_time_runs_not_before_it(as_: Any, users: People, scene: Scene, clock: Any) -> None:
    request = scene.ask()
    sent = {"verdict": "approve", "digest": request.digest, "not_before": "2026-11-24T02:00"}
    response = as_(users.bea).post(f"/approvals/{request.pk}/decide", sent)
    opened = ApprovalRequest.objects.get(contract=request.contract, state="approved")
    assert response["Location"] == f"/approvals/{opened.pk}"
    assert opened.revision.not_before.isoformat() == "2026-11-24T02:00:00+00:00"
    jobs.run_until_idle()
    assert Contract.objects.get(pk=request.contract_id).state == "authorized"
    clock.move_to("2026-11-24T02:00:01+00:00")
    jobs.run_until_idle()
    assert Contract.objects.get(pk=request.contract_id).state == "verified"


def test_a_time_that_is_none_is_named(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask()
    sent = {"verdict": "approve", "digest": request.digest, "not_before": "soon"}
    response = as_(users.bea).post(f"/approvals/{request.pk}/decide", sent)
    assert response.status_code == 422
    assert "/not_before" in text(response)


# --- pure ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([{"a": 1}, {"a": 1}], []),
        ([{"a": 1}, {"a": 2}], [("/a", [1, 2])]),
        ([{"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}], [("/a/c", [2, 3])]),
        ([{"a": [1, 2]}, {"a": [1]}], [("/a", [[1, 2], [1]])]),
        ([{}, {"a": None}], [("/", [{}, wordings.ABSENT]), ("/a", [wordings.ABSENT, None])]),
        ([{"a/b": 1, "c~d": 2}, {"a/b": 2, "c~d": 3}], [("/a~1b", [1, 2]), ("/c~0d", [2, 3])]),
        ([{"a": 1}, {"a": 1}, {"a": 4}], [("/a", [1, 1, 4])]),
    ],
)
def test_wordings_are_compared_member_by_member(documents: list[Any], expected: list[Any]) -> None:
    assert [(row.pointer, row.values) for row in wordings.compared(documents)] == expected


def test_a_page_of_the_inbox_is_no_longer_than_a_batch() -> None:
    from governance import approvals

    assert inbox.PAGE_SIZE <= approvals.MAX_BATCH
