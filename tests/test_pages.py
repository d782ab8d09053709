"""The console, asked by everybody: who sees what, who may press what, and what a refusal looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from auditlog import jobs
from governance import holds, principals
from governance.models import ApprovalRequest, Hold
from missions import missions
from tests import scenery
from tests.harness.people import People
from tests.scenery import Scene
from verification.models import Contract, State

pytestmark = pytest.mark.django_db

LISTS = {
    "/": 15,
    "/contracts": 10,
    "/holds": 11,
    "/policies": 10,
    "/agents": 11,
    "/snapshots": 10,
    "/benchmarks": 12,
    "/learning": 12,
    "/playbooks": 11,
    "/jobs": 10,
    "/webhooks": 10,
    "/audit": 22,
    "/overview": 17,
    "/missions": 12,
    "/incidents": 10,
}
"""Every list, and how many queries it may cost, however long it is."""


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


def decision(request: ApprovalRequest, verdict: str = "approve", reason: str = "") -> dict[str, str]:
    return {"verdict": verdict, "digest": request.digest, "reason": reason}


# --- who sees what ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LISTS)
def test_somebody_unknown_logs_in_first(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 302
    assert response["Location"] == f"/admin/login/?next={path}"


@pytest.mark.parametrize("path", LISTS)
def test_cleo_has_no_rights_and_is_told_so(as_: Any, users: People, scene: Scene, path: str) -> None:
    response = as_(users.cleo).get(path)
    assert response.status_code == 403
    assert "needs the permission" in text(response)


@pytest.mark.parametrize("path", LISTS)
def test_eve_reads_everything_and_has_no_buttons(as_: Any, users: People, scene: Scene, path: str) -> None:
    scene.ask()
    response = as_(users.eve).get(path)
    assert response.status_code == 200
    forms = text(response).count('<form method="post"') + text(response).count('<form class="form" method="post"')
    # Logging out is all she may do; and an auditor takes bundles away.
    assert forms == (2 if path == "/audit" else 1)


def test_pages_are_never_cached(as_: Any, users: People, scene: Scene) -> None:
    assert "no-store" in as_(users.bea).get("/")["Cache-Control"]


def test_an_agent_sees_its_own_requests_only(as_: Any, users: People, scene: Scene) -> None:
    scene.ask()
    other = scene.change("checkout.json", {"log_level": "debug"}, by=users.ada)
    assert other.approval is not None
    page = as_(scene.deployer.user).get("/")
    assert text(page).count("data-row>") == 1
    assert as_(scene.deployer.user).get(f"/approvals/{other.approval.pk}").status_code == 404


# --- the inbox -------------------------------------------------------------------------------------------------


def test_the_riskiest_comes_first(as_: Any, users: People, scene: Scene) -> None:
    scene.ask()
    purge = scene.propose(users.ada, **scenery._purge())
    assert purge.approval is not None
    shown = as_(users.bea).get("/").context["shown"].rows
    assert [row.risk_score for row in shown] == sorted((row.risk_score for row in shown), reverse=True)
    assert shown[0] == purge.approval


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 2),
        ("?tier=tier_2", 1),
        ("?tier=tier_3", 1),
        ("?action=config.update", 1),
        ("?agent=deployer", 1),
        ("?agent=nobody", 0),
        ("?state=all", 2),
        ("?state=rejected", 0),
    ],
)
def test_filters_narrow_the_inbox(as_: Any, users: People, scene: Scene, query: str, found: int) -> None:
    scene.ask()
    scene.propose(users.ada, **scenery._purge())
    response = as_(users.bea).get(f"/{query}")
    assert response.status_code == 200
    assert len(response.context["shown"].rows) == found


def test_more_than_a_page_is_reached_by_key(as_: Any, users: People, scene: Scene, monkeypatch: Any) -> None:
    monkeypatch.setattr("governance.pages.inbox.PAGE_SIZE", 2)
    wanted = {scene.ask(size).pk for size in (11, 12, 13)}
    first = as_(users.bea).get("/").context["shown"]
    second = as_(users.bea).get(f"/{first.next}").context["shown"]
    assert {row.pk for row in [*first.rows, *second.rows]} == wanted
    assert second.next is None
    assert [row.pk for row in as_(users.bea).get(f"/{second.previous}").context["shown"].rows] == [
        row.pk for row in first.rows
    ]


@pytest.mark.parametrize("path", ["/?agent=%00", "/?state=%00", "/contracts?target=a%00", "/policies?action_type=%00"])
def test_a_nul_in_a_query_is_refused(as_: Any, users: People, scene: Scene, path: str) -> None:
    assert as_(users.bea).get(path).status_code == 400


def test_a_nul_in_a_form_is_refused_beside_the_form(as_: Any, users: People, scene: Scene) -> None:
    contract = scene.ask().contract
    response = as_(users.ada).post(f"/contracts/{contract.pk}/cancel", {"cancel_reason": "be\x00cause"})
    assert response.status_code == 400
    assert 'role="alert"' in text(response)


def test_a_broken_cursor_is_said_to_be_one(as_: Any, users: People, scene: Scene) -> None:
    assert as_(users.bea).get("/?cursor=nonsense").status_code == 400


def test_the_stream_is_connected_only_where_it_is_on(as_: Any, users: People, scene: Scene, settings: Any) -> None:
    settings.SSE_ENABLED = True
    assert 'sse-connect="/api/governance/stream?facts=approval.*"' in text(as_(users.bea).get("/"))
    settings.SSE_ENABLED = False
    assert "sse-connect" not in text(as_(users.bea).get("/"))


# --- a request -------------------------------------------------------------------------------------------------


def test_it_shows_everything_a_decision_needs(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask()
    shown = text(as_(users.bea).get(f"/approvals/{request.pk}"))
    for needed in (
        request.digest,
        "checkout.json",
        "pool_size",
        "deployer",
        "agent of Ada",
        "The pool was exhausted four times since noon",
        "content.database.pool_size",
        "has not been done to this target before",
        "change configuration",
        "Approval asked for",
    ):
        assert needed in shown, needed
    assert '<tr class="diff__line diff__line--removed">' in shown


def test_parameters_are_never_cut_and_hide_nothing(as_: Any, users: People, scene: Scene) -> None:
    long = "x" * 40_000 + "\u202ethe end"
    submitted = scene.change("checkout.json", {"note": long})
    assert submitted.approval is not None
    shown = text(as_(users.bea).get(f"/approvals/{submitted.approval.pk}"))
    assert "x" * 40_000 + "\\u202ethe end" in shown
    assert "\u202e" not in shown


def test_markup_in_a_proposal_stays_text(as_: Any, users: People, scene: Scene) -> None:
    submitted = scene.change(
        "checkout.json", {"note": "<script>alert(1)</script>"}, justification="<img src=x onerror=alert(1)>"
    )
    assert submitted.approval is not None
    for path in ("/", f"/approvals/{submitted.approval.pk}", f"/contracts/{submitted.contract.pk}", "/audit"):  # type: ignore[union-attr]
        shown = text(as_(users.bea).get(path))
        assert "<script>alert" not in shown
        assert "<img src=x" not in shown


def test_bea_approves_and_the_contract_is_authorized(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask()
    response = as_(users.bea).post(f"/approvals/{request.pk}/decide", decision(request), follow=True)
    assert response.redirect_chain == [(f"/approvals/{request.pk}", 302)]
    assert "You approved" in text(response)
    request.refresh_from_db()
    assert (request.state, request.contract.state) == ("approved", "authorized")


def test_a_digest_nobody_was_shown_is_refused_and_nothing_typed_is_lost(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask()
    sent = {**decision(request, reason="I read all of it."), "digest": "0" * 64}
    response = as_(users.bea).post(f"/approvals/{request.pk}/decide", sent)
    assert response.status_code == 409
    assert 'role="alert"' in text(response)
    assert "I read all of it." in text(response)
    request.refresh_from_db()
    assert request.state == "pending"


def test_a_rejection_says_why(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask()
    refused = as_(users.bea).post(f"/approvals/{request.pk}/decide", decision(request, "reject"))
    assert refused.status_code == 422
    as_(users.bea).post(f"/approvals/{request.pk}/decide", decision(request, "reject", "Not today."))
    request.refresh_from_db()
    assert (request.state, request.closing_reason) == ("rejected", "Not today.")


def test_the_owner_of_the_agent_cannot_decide_by_any_door(as_: Any, users: People, scene: Scene) -> None:
    users.ada.groups.add(*users.bea.groups.all())
    request = scene.ask()
    shown = as_(users.ada).get(f"/approvals/{request.pk}")
    assert "You own the agent that asked; someone else must decide." in text(shown)
    assert "data-decide" not in text(shown)
    response = as_(users.ada).post(f"/approvals/{request.pk}/decide", decision(request))
    assert response.status_code == 403
    request.refresh_from_db()
    assert request.state == "pending"


def test_who_asked_cannot_decide(as_: Any, users: People, scene: Scene) -> None:
    submitted = scene.change("checkout.json", {"log_level": "debug"}, by=users.bea)
    assert submitted.approval is not None
    shown = text(as_(users.bea).get(f"/approvals/{submitted.approval.pk}"))
    assert "You asked for this; someone else must decide." in shown


def test_eve_cannot_decide(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask()
    assert as_(users.eve).post(f"/approvals/{request.pk}/decide", decision(request)).status_code == 403
    assert "data-why-not" in text(as_(users.eve).get(f"/approvals/{request.pk}"))


def test_a_decision_without_the_token_of_the_form_is_refused(users: People, scene: Scene) -> None:
    request = scene.ask()
    client = Client(enforce_csrf_checks=True)
    client.force_login(users.bea)
    assert client.post(f"/approvals/{request.pk}/decide", decision(request)).status_code == 403
    request.refresh_from_db()
    assert request.state == "pending"


@pytest.mark.parametrize("verb", ["decide", "withdraw"])
def test_the_address_of_a_form_does_nothing_when_it_is_only_looked_at(
    as_: Any, users: People, scene: Scene, verb: str
) -> None:
    request = scene.ask()
    response = as_(users.bea).get(f"/approvals/{request.pk}/{verb}?verdict=approve&digest={request.digest}")
    assert response.status_code == 302
    assert response["Location"] == f"/approvals/{request.pk}"
    request.refresh_from_db()
    assert request.state == "pending"


def test_bea_withdraws_and_the_request_is_pending_again(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask()
    scene.decide(request, users.bea)
    assert "Withdraw my decision" in text(as_(users.bea).get(f"/approvals/{request.pk}"))
    as_(users.bea).post(f"/approvals/{request.pk}/withdraw", {"withdraw_reason": "I misread the unit."})
    request.refresh_from_db()
    assert (request.state, request.contract.state) == ("pending", "awaiting_approval")


def test_a_slot_that_is_filled_says_by_whom(as_: Any, users: People, scene: Scene) -> None:
    purge = scene.propose(users.ada, **scenery._purge())
    assert purge.approval is not None
    scene.decide(purge.approval, users.cem)
    shown = as_(users.bea).get(f"/approvals/{purge.approval.pk}")
    assert [slot.person for slot in shown.context["slots"]] == [users.cem, None]
    assert "1 of 2" in text(shown)


def test_when_the_world_moved_the_new_request_shows_the_difference(
    as_: Any, users: People, scene: Scene, django_capture_on_commit_callbacks: Any
) -> None:
    request = scenery._drifted(scene)
    shown = text(as_(users.bea).get(f"/approvals/{request.pk}"))
    assert "Changed since the previous request" in shown
    assert "/observed/content/features/gift_cards" in shown
    before = request.contract.approval_requests.order_by("created_at").first()
    assert before is not None
    assert "A newer one" in text(as_(users.bea).get(f"/approvals/{before.pk}"))


# --- contracts -------------------------------------------------------------------------------------------------


def test_expected_stands_beside_observed(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask(25)
    scene.decide(request, users.bea)
    jobs.run_until_idle()
    shown = as_(users.eve).get(f"/contracts/{request.contract_id}")
    row = shown.context["effect"].rows[0]
    assert (row.what, row.expected, row.observed, row.outcome) == ("content.database.pool_size", "25", "25", "passed")
    assert "Contract verified" in text(shown)


def test_who_asked_may_cancel_and_nobody_else_is_offered_to(as_: Any, users: People, scene: Scene) -> None:
    contract = scene.ask().contract
    assert "Cancel the contract" not in text(as_(users.bea).get(f"/contracts/{contract.pk}"))
    assert as_(users.bea).post(f"/contracts/{contract.pk}/cancel", {"cancel_reason": "no"}).status_code == 403
    as_(users.ada).post(f"/contracts/{contract.pk}/cancel", {"cancel_reason": "Not needed any more."})
    contract.refresh_from_db()
    assert contract.state == State.CANCELLED


@pytest.mark.parametrize("state", State.values)
def test_cancelling_is_offered_exactly_where_it_is_possible(as_: Any, users: People, scene: Scene, state: str) -> None:
    contract = scene.ask().contract
    Contract.objects.filter(pk=contract.pk).update(state=state)
    ada = as_(users.ada)
    offered = "Cancel the contract" in text(ada.get(f"/contracts/{contract.pk}"))
    answer = ada.post(f"/contracts/{contract.pk}/cancel", {"cancel_reason": "Not needed any more."}, follow=True)
    assert answer.status_code == (200 if offered else 409)
    if state == State.FAILED:
        assert "It is not tried again." in text(answer)


def test_what_is_not_there_to_settle_is_a_conflict(as_: Any, users: People, scene: Scene) -> None:
    contract = scene.ask().contract
    sent = {"verdict": "verified", "resolve_reason": "I looked."}
    response = as_(users.bea).post(f"/contracts/{contract.pk}/resolve", sent)
    assert response.status_code == 409
    assert "nothing to resolve" in text(response)
    assert as_(users.bea).post(f"/contracts/{contract.pk}/retry").status_code == 409
    assert as_(users.ada).post(f"/contracts/{contract.pk}/resolve", sent).status_code == 403


def test_a_person_settles_what_is_partial(as_: Any, users: People, scene: Scene) -> None:
    contract = scene.ask().contract
    Contract.objects.filter(pk=contract.pk).update(state=State.PARTIAL)
    assert "A person has to settle this" in text(as_(users.bea).get(f"/contracts/{contract.pk}"))
    as_(users.bea).post(
        f"/contracts/{contract.pk}/resolve", {"verdict": "verified", "resolve_reason": "I looked at it."}
    )
    contract.refresh_from_db()
    assert contract.state == State.VERIFIED


@pytest.mark.parametrize("query", ["?state=rejected", "?mission=not-a-uuid", "?tier=tier_2&action=config"])
def test_contracts_can_be_filtered_by_anything(as_: Any, users: People, scene: Scene, query: str) -> None:
    assert as_(users.bea).get(f"/contracts{query}").status_code == 200


def test_what_does_not_exist_is_not_found(as_: Any, users: People, scene: Scene) -> None:
    nothing = "00000000-0000-0000-0000-000000000000"
    for kind in ("approvals", "contracts", "missions", "incidents"):
        assert as_(users.bea).get(f"/{kind}/{nothing}").status_code == 404


# --- the rest --------------------------------------------------------------------------------------------------


def test_one_person_stops_everything(as_: Any, users: People, scene: Scene) -> None:
    sent = {"scope": "everything", "pattern": "", "reason": "Something smells."}
    response = as_(users.ada).post("/holds/engage", sent, follow=True)
    assert "Everything is held" in text(response)
    assert Hold.objects.get().reason == "Something smells."


def test_a_hold_without_a_reason_is_refused_with_what_was_typed(as_: Any, users: People, scene: Scene) -> None:
    response = as_(users.ada).post("/holds/engage", {"scope": "target", "pattern": "file:*", "reason": " "})
    assert response.status_code == 422
    assert 'value="file:*"' in text(response)
    assert not Hold.objects.exists()


def test_letting_go_asks_people(as_: Any, users: People, scene: Scene) -> None:
    hold = holds.engage(
        scope="everything",
        reason="Stop.",
        by=principals.actor_of(users.ada),
        user=users.ada,
        now=timezone.now(),
    )
    response = as_(users.ada).post(f"/holds/{hold.pk}/release", {"reason": "It is fine."})
    request = ApprovalRequest.objects.get()
    assert response["Location"] == f"/approvals/{request.pk}"
    assert (request.tier, request.state) == ("tier_3", "pending")
    hold.refresh_from_db()
    assert hold.released_at is None


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("action_type=config.update&target=file:a.json&parameters={}", "Needs 1 of reviewers."),
        ("action_type=never.heard&target=x", "tier_3"),
    ],
)
def test_the_policy_can_be_asked(as_: Any, users: People, scene: Scene, query: str, words: str) -> None:
    response = as_(users.eve).get(f"/policies?{query}")
    assert response.status_code == 200
    assert words in text(response)


@pytest.mark.parametrize("parameters", ["[1]", "nonsense", "[" * 5000])
def test_what_is_not_json_is_refused_in_words(as_: Any, users: People, scene: Scene, parameters: str) -> None:
    asked = {"action_type": "config.update", "target": "x", "parameters": parameters}
    response = as_(users.eve).get("/policies", asked)
    assert response.status_code == 422
    assert "not a JSON object" in text(response)


def test_only_who_manages_agents_revokes_one(as_: Any, users: People, scene: Scene) -> None:
    address = f"/agents/{scene.deployer.pk}/revoke"
    assert as_(users.bea).post(address).status_code == 403
    as_(users.administrator).post(address)
    scene.deployer.refresh_from_db()
    assert scene.deployer.state == "revoked"


@pytest.mark.parametrize(
    ("query", "some"),
    [("fact=approval.*", True), ("fact=approval.requested", True), ("fact=*.requested", False), ("contract=x", False)],
)
def test_the_log_can_be_searched(as_: Any, users: People, scene: Scene, query: str, some: bool) -> None:
    scene.ask()
    jobs.run_until_idle()
    response = as_(users.eve).get(f"/audit?{query}")
    assert response.status_code == 200
    assert bool(response.context["moments"]) is some


def test_a_mission_shows_its_steps_and_ends_when_they_are_settled(as_: Any, users: People, scene: Scene) -> None:
    by = principals.actor_of(users.ada)
    mission = missions.start(goal="Give the checkout room", by=by, user=users.ada, now=timezone.now())
    proposed = scene.change("checkout.json", {"log_level": "debug"}, mission_id=str(mission.pk)).contract
    assert proposed is not None
    missions.attach(mission_id=mission.pk, contract_id=proposed.pk, by=by, now=timezone.now())
    shown = as_(users.ada).get(f"/missions/{mission.pk}")
    assert "config.update" in text(shown)
    refused = as_(users.ada).post(f"/missions/{mission.pk}/complete")
    assert refused.status_code == 409
    as_(users.ada).post(f"/missions/{mission.pk}/abandon", {"reason": "Another way was found."})
    mission.refresh_from_db()
    assert mission.state == "cancelled"


def test_a_page_costs_the_same_however_much_it_shows(as_: Any, users: People, var_dir: Path) -> None:
    scene = scenery.whole(var_dir / "sandbox", users)
    for name in ("one", "two", "three"):
        missions.start(goal=name, by=principals.actor_of(users.ada), user=users.ada, now=timezone.now())
    client = as_(users.bea)
    cost = {path: _queries(client, path) for path in LISTS}
    assert {path: cost[path] for path in LISTS if cost[path] > LISTS[path]} == {}
    assert _queries(client, f"/approvals/{scene.requests['limits'].pk}") <= 50
    assert _queries(client, f"/contracts/{scene.requests['limits'].contract_id}") <= 25


def _queries(client: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(path).status_code == 200
    return len(queries)


def test_logging_out_is_a_post(as_: Any, users: People, scene: Scene) -> None:
    client = as_(users.bea)
    assert client.get("/admin/logout/").status_code == 405
    client.post("/admin/logout/")
    assert client.get("/").status_code == 302
