"""Grants, freezes, delegations, break-glass and policies over HTTP: the same verbs, and errors that name the field."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.utils import timezone

from auditlog.models import Entry
from governance import seeds
from governance.models import BreakGlass, Delegation, Freeze, FreezeException, Grant, Policy
from grace_site.throttles import WriteRateThrottle
from tests.harness.clients import Api
from tests.harness.governed import Governed, newest
from tests.harness.people import People
from verification.models import Contract, State

pytestmark = pytest.mark.django_db

G = "/api/governance"


@pytest.fixture
def world(var_dir: Path, users: People) -> Governed:
    return Governed(var_dir / "sandbox", users)


@pytest.fixture
def api(users: People, world: Governed) -> Any:
    """`api.bea` and so on: a client for each."""
    return _Clients(users)


class _Clients:
    def __init__(self, users: People) -> None:
        self._users = users

    def __getattr__(self, name: str) -> Api:
        made = Api(user=getattr(self._users, name))
        setattr(self, name, made)
        return made


def pointers(response: Any) -> list[str]:
    """The fields a problem names."""
    assert response["Content-Type"] == "application/problem+json", response.content
    return [error["pointer"] for error in response.json()["errors"]]


def days(count: float) -> str:
    return (timezone.now() + timedelta(days=count)).isoformat()


def approve(world: Governed, contract_id: str) -> Contract:
    """Two reviewers say yes, and everything due is done."""
    contract = Contract.objects.get(pk=contract_id)
    for person in (world.people.cem, world.people.dee):
        world.decide(newest(contract), person)
    world.settle()
    contract.refresh_from_db()
    return contract


# --- grants ----------------------------------------------------------------------------------------------------

GRANT = {
    "agent": "deployer",
    "action_type": "config.update",
    "target": "file:*.json",
    "when": "parameters.merge.port < 10000",
    "max_uses": 3,
    "reason": "Routine.",
}


def test_a_grant_is_asked_for_approved_used_and_taken_away(world: Governed, api: Any) -> None:
    asked = api.ada.post(f"{G}/grants", {**GRANT, "expires_at": days(7)})
    assert asked.status_code == 202, asked.content
    assert (asked.json()["data"]["tier"], asked.json()["data"]["state"]) == ("tier_3", "awaiting_approval")
    assert api.eve.data(f"{G}/grants") == []
    assert approve(world, asked.json()["data"]["id"]).state == State.VERIFIED
    (grant,) = api.eve.data(f"{G}/grants?agent=deployer&active=true")
    assert (grant["state"], grant["use_count"], grant["agent"]) == ("active", 0, "deployer")
    ran = world.submit().contract
    assert ran is not None
    (use,) = api.eve.data(f"{G}/grants/{grant['id']}/uses")
    assert use["contract_id"] == str(ran.pk)
    assert api.ada.post(f"{G}/grants/{grant['id']}/revoke").status_code == 400
    revoked = api.ada.post(f"{G}/grants/{grant['id']}/revoke", {"reason": "Done."})
    assert revoked.json()["data"]["state"] == "revoked"
    assert (api.eve.data(f"{G}/grants?active=true"), len(api.eve.data(f"{G}/grants?active=false"))) == ([], 1)
    assert api.eve.data(f"{G}/grants/{grant['id']}")["revoked_by"] == "Ada"


@pytest.mark.parametrize(
    ("more", "status", "wrong"),
    [
        ({"agent": "nobody"}, 422, ["/agent"]),
        ({"action_type": "policy.change"}, 422, ["/action_type"]),
        ({"when": "now"}, 422, ["/when"]),
        ({"max_uses": 10**6}, 422, ["/max_uses"]),
        ({"expires_at": "2030-01-01T00:00:00Z"}, 422, ["/expires_at"]),
        ({"max_uses": "many"}, 400, ["/max_uses"]),
        ({"uses": 3}, 400, ["/uses"]),
    ],
)
def test_a_grant_that_cannot_be_names_the_field_that_was_sent(
    world: Governed, api: Any, more: dict[str, Any], status: int, wrong: list[str]
) -> None:
    response = api.ada.post(f"{G}/grants", {**GRANT, "expires_at": days(7), **more})
    assert response.status_code == status, response.content
    assert pointers(response) == wrong


def test_asking_twice_with_one_key_asks_once(world: Governed, api: Any) -> None:
    body = {**GRANT, "expires_at": days(7)}
    answers = [api.ada.post(f"{G}/grants", body, Idempotency_Key="g-1").json()["data"] for _ in range(2)]
    assert answers[0]["id"] == answers[1]["id"]
    assert answers[1]["replayed"]
    assert api.ada.post(f"{G}/grants", {**body, "max_uses": 4}, Idempotency_Key="g-1").status_code == 409


# --- freezes ---------------------------------------------------------------------------------------------------


def freeze_body(**more: Any) -> dict[str, Any]:
    start = timezone.now() - timedelta(minutes=5)
    rule = f"DTSTART:{start:%Y%m%dT%H%M%S}Z\nRRULE:FREQ=WEEKLY"
    return {"name": "release", "rule": rule, "duration_seconds": 3600, "reason": "The release goes out.", **more}


def test_d_a_freeze_takes_one_person_and_its_end_takes_two(world: Governed, api: Any) -> None:
    made = api.ada.post(f"{G}/freezes", freeze_body())
    assert made.status_code == 201, made.content
    freeze = made.json()["data"]
    assert freeze["minimum_tier"] == "tier_2"
    assert freeze["freezes_until"] < freeze["next_starts_at"]
    assert api.ada.post(f"{G}/freezes", freeze_body()).json()["code"] == "freeze_name_taken"
    asked = api.ada.post(f"{G}/freezes/{freeze['id']}/end", {"reason": "It is out."})
    assert (asked.status_code, asked.json()["data"]["tier"]) == (202, "tier_3")
    assert Freeze.objects.get().ended_at is None
    assert approve(world, asked.json()["data"]["id"]).state == State.VERIFIED
    shown = api.eve.data(f"{G}/freezes/{freeze['id']}")
    assert shown["ended_at"] is not None
    assert (shown["freezes_until"], shown["next_starts_at"]) == (None, None)
    again = api.ada.post(f"{G}/freezes/{freeze['id']}/end", {"reason": "It is out."})
    assert (again.status_code, again.json()["code"]) == (409, "freeze_ended")


def test_d_an_exception_is_approved_for_one_contract(world: Governed, api: Any) -> None:
    freeze = api.ada.post(f"{G}/freezes", freeze_body()).json()["data"]
    request = world.ask()
    world.decide(request, world.people.bea)
    world.settle()
    assert world.read() == {"port": 8000}
    asked = api.ada.post(
        f"{G}/freezes/{freeze['id']}/exceptions", {"contract_id": str(request.contract_id), "reason": "It burns."}
    )
    assert asked.status_code == 202, asked.content
    approve(world, asked.json()["data"]["id"])
    assert FreezeException.objects.get().contract_id == request.contract_id
    (shown,) = api.eve.data(f"{G}/freezes/{freeze['id']}/exceptions")
    assert shown["approved_by"] == asked.json()["data"]["id"]
    twice = api.ada.post(
        f"{G}/freezes/{freeze['id']}/exceptions", {"contract_id": str(request.contract_id), "reason": "It burns."}
    )
    assert pointers(twice) == ["/contract_id"]


def test_an_exception_for_nothing_names_the_field(world: Governed, api: Any) -> None:
    freeze = api.ada.post(f"{G}/freezes", freeze_body()).json()["data"]
    nothing = {"contract_id": "01a20900-0000-7000-8000-000000000000", "reason": "x"}
    assert pointers(api.ada.post(f"{G}/freezes/{freeze['id']}/exceptions", nothing)) == ["/contract_id"]


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"rule": "every friday"}, ["/rule"]),
        ({"rule": "DTSTART:20261127T180000\nRRULE:FREQ=WEEKLY"}, ["/rule"]),
        ({"duration_seconds": 10**8}, ["/duration_seconds"]),
        ({"name": " "}, ["/name"]),
        ({"minimum_tier": "tier_9"}, ["/minimum_tier"]),
    ],
)
def test_a_freeze_that_cannot_be_names_the_field(
    world: Governed, api: Any, more: dict[str, Any], wrong: list[str]
) -> None:
    assert pointers(api.ada.post(f"{G}/freezes", freeze_body(**more))) == wrong


def test_freezes_are_listed_by_whether_they_ended(world: Governed, api: Any) -> None:
    api.ada.post(f"{G}/freezes", freeze_body())
    found = [len(api.eve.data(f"{G}/freezes?ended={which}")) for which in ("true", "false")]
    assert found == [0, 1]


# --- delegations -----------------------------------------------------------------------------------------------


def test_a_delegation_is_made_used_and_ended(world: Governed, api: Any) -> None:
    world.people.dee.groups.clear()
    world.people.dee.groups.add(*world.people.ada.groups.all())
    made = api.bea.post(f"{G}/delegations", {"delegate": "dee", "ends_at": days(7), "reason": "On leave."})
    assert made.status_code == 201, made.content
    delegation = made.json()["data"]
    assert (delegation["delegator"], delegation["delegate"], delegation["groups"]) == ("bea", "dee", [])
    request = world.ask()
    decided = api.dee.post(
        f"{G}/approvals/{request.pk}/decision", {"verdict": "approve", "digest": request.digest, "reason": "Read it."}
    )
    assert decided.status_code == 200, decided.content
    data = decided.json()["data"]
    assert [each["on_behalf_of"] for each in (*data["decisions"], *data["slots"])] == ["Bea", "Bea"]
    assert [each["id"] for each in api.eve.data(f"{G}/delegations?delegate=dee&in_force=true")] == [delegation["id"]]
    assert api.eve.data(f"{G}/delegations?delegator=cem") == []
    assert api.ada.post(f"{G}/delegations/{delegation['id']}/revoke").json()["code"] == "not_yours"
    ended = api.bea.post(f"{G}/delegations/{delegation['id']}/revoke", {"reason": "Back."}).json()["data"]
    assert ended["ended_by"] == "Bea"
    assert (api.eve.data(f"{G}/delegations?in_force=true"), len(api.eve.data(f"{G}/delegations"))) == ([], 1)
    world.settle()
    assert world.read() == {"port": 8000}


@pytest.mark.parametrize(
    ("more", "status", "wrong"),
    [
        ({"delegate": "nobody"}, 422, ["/delegate"]),
        ({"delegate": "eve"}, 422, ["/delegate"]),
        ({"delegate": "agent-deployer"}, 422, ["/delegate"]),
        ({"groups": ["security"]}, 422, ["/groups"]),
        ({"ends_at": "2030-01-01T00:00:00Z"}, 422, ["/ends_at"]),
        ({"ends_at": "friday"}, 400, ["/ends_at"]),
        ({"until": "friday"}, 400, ["/until"]),
    ],
)
def test_a_delegation_that_cannot_be_names_the_field(
    world: Governed, api: Any, more: dict[str, Any], status: int, wrong: list[str]
) -> None:
    assert world.people.eve
    body = {"delegate": "cem", "ends_at": days(7), "reason": "On leave.", **more}
    assert world.people.cem
    response = api.bea.post(f"{G}/delegations", body)
    assert (response.status_code, pointers(response)) == (status, wrong)
    assert not Delegation.objects.exists()


def test_f_a_delegate_of_the_agents_owner_or_of_who_asked_is_refused(world: Governed, api: Any) -> None:
    world.people.ada.groups.add(Group.objects.get(name="reviewers"))
    assert world.people.cem
    for delegator, request in (("ada", world.ask()), ("bea", world.submit(world.body(9001), user=world.people.bea))):
        asked = getattr(request, "approval", request)
        body = {"delegate": "cem", "ends_at": days(1), "reason": "On leave."}
        assert getattr(api, delegator).post(f"{G}/delegations", body).status_code == 201
        decision = {"verdict": "approve", "digest": asked.digest, "reason": "Fine."}
        refused = api.cem.post(f"{G}/approvals/{asked.pk}/decision", decision)
        assert (refused.status_code, refused.json()["code"]) == (403, "separation_of_duties")


# --- break-glass -----------------------------------------------------------------------------------------------


def test_breaking_glass_runs_one_action_now_and_somebody_else_reviews_it(world: Governed, api: Any) -> None:
    body = {**world.body(), "reason": "Customers cannot pay."}
    used = api.bea.post(f"{G}/break-glass", body)
    assert used.status_code == 201, used.content
    data = used.json()["data"]
    assert (data["state"], data["approval_id"]) == ("authorized", None)
    world.settle()
    assert world.read() == {"port": 9000}
    again = api.bea.post(f"{G}/break-glass", {**world.body(9001), "reason": "Again."})
    assert (again.status_code, again.json()["code"]) == (409, "review_open")
    address = f"{G}/break-glass/{data['break_glass_id']}"
    assert [each["id"] for each in api.eve.data(f"{G}/break-glass?reviewed=false&person=bea")] == [
        data["break_glass_id"]
    ]
    assert api.bea.post(f"{address}/review", {"finding": "It was me."}).json()["code"] == "separation_of_duties"
    assert pointers(api.cem.post(f"{address}/review", {"finding": ""})) == ["/finding"]
    reviewed = api.cem.post(f"{address}/review", {"finding": "It was right."})
    assert reviewed.json()["data"]["reviewed_by"] == "Cem"
    assert api.eve.data(address)["finding"] == "It was right."
    assert api.eve.data(f"{G}/break-glass?reviewed=false") == []


def test_f_who_stands_in_for_who_broke_the_glass_reviews_nothing(world: Governed, api: Any) -> None:
    used = api.bea.post(f"{G}/break-glass", {**world.body(), "reason": "Now."}).json()["data"]
    assert world.people.cem
    api.bea.post(f"{G}/delegations", {"delegate": "cem", "ends_at": days(1), "reason": "On leave."})
    address = f"{G}/break-glass/{used['break_glass_id']}/review"
    assert api.cem.post(address, {"finding": "Fine."}).json()["code"] == "separation_of_duties"
    assert api.dee.post(address, {"finding": "Fine."}).status_code == 200


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"reason": " "}, ["/reason"]),
        ({"not_before": "2026-12-24T00:00:00Z"}, ["/not_before"]),
        ({"action_type": "policy.change"}, ["/action_type"]),
        ({"dry_run": True}, ["/dry_run"]),
        ({"target": "file:other.json"}, ["/target"]),
    ],
)
def test_breaking_glass_wrongly_names_the_field(
    world: Governed, api: Any, more: dict[str, Any], wrong: list[str]
) -> None:
    response = api.bea.post(f"{G}/break-glass", {**world.body(), "reason": "Now.", **more})
    assert pointers(response) == wrong
    assert not BreakGlass.objects.exists()


# --- policies --------------------------------------------------------------------------------------------------


def test_d_a_change_of_the_policy_is_approved_like_anything_else(world: Governed, api: Any) -> None:
    assert world.people.reviewers
    rule = {"name": "nobody", "effect": "deny", "action_types": ["config.update"], "reason": "Frozen."}
    document = {**seeds.POLICY, "rules": [*seeds.POLICY["rules"], rule]}
    asked = api.ada.post(f"{G}/policies", {"policy": document, "note": "No changes.", "reason": "We move."})
    assert asked.status_code == 202, asked.content
    assert asked.json()["data"]["tier"] == "tier_3"
    assert "+" in asked.json()["data"]["preview"]["body"]
    assert Policy.objects.count() == 1
    assert approve(world, asked.json()["data"]["id"]).state == State.VERIFIED
    assert api.eve.data(f"{G}/policies/active")["version"] == 2
    assert api.eve.data(f"{G}/policies/1")["is_active"] is False
    shown = api.eve.data(f"{G}/policies/2/diff")
    assert shown["against"] == 1
    assert '+      "name": "nobody",' in shown["diff"]
    assert api.eve.data(f"{G}/policies/2/diff?against=2")["diff"] == ""
    assert api.eve.data(f"{G}/policies/1/diff")["against"] is None
    assert world.submit().state == "denied"
    same = api.ada.post(f"{G}/policies", {"policy": document, "reason": "We move."})
    assert (same.status_code, same.json()["code"]) == (409, "policy_unchanged")


def test_a_policy_that_cannot_be_names_each_field(world: Governed, api: Any) -> None:
    rules = [{"name": "x", "effect": "allow"}, {"name": "y", "effect": "tier_1", "when": "target ="}]
    response = api.ada.post(f"{G}/policies", {"policy": {"rules": rules, "extra": 1}, "reason": "x"})
    assert response.status_code == 422
    assert {"/policy/rules/0/effect", "/policy/rules/1/when", "/policy/extra"} <= set(pointers(response))
    assert Contract.objects.count() == 0


@pytest.mark.parametrize("address", ["policies/7", "policies/7/diff", "policies/1/diff?against=7", f"policies/{9**30}"])
def test_a_version_that_is_not_there_is_not_found(world: Governed, api: Any, address: str) -> None:
    assert api.eve.get(f"{G}/{address}").status_code == 404


@pytest.mark.parametrize(
    ("noun", "body", "wrong"),
    [
        ("freezes", {**freeze_body(), "duration_seconds": 10**30}, "/duration_seconds"),
        ("grants", {**GRANT, "expires_at": "9999-12-31T23:59:59Z"}, "/expires_at"),
        ("grants", {**GRANT, "expires_at": days(7), "max_uses": 10**30}, "/max_uses"),
        ("grants", {**GRANT, "expires_at": days(7), "agent": "\ud800"}, "/agent"),
        ("delegations", {"delegate": "cem", "ends_at": "9999-12-31T23:59:59Z", "reason": "x"}, "/ends_at"),
        ("delegations", {"delegate": "\x00", "ends_at": days(1), "reason": "x"}, "/delegate"),
        (
            "policies",
            {"policy": {"rules": [{"name": "\ud800", "effect": "deny"}]}, "reason": "x"},
            "/policy/rules/0/name",
        ),
        (
            "policies",
            {"policy": {"rules": [], "tiers": {"tier_2": {"denials": 10**30}}}, "reason": "x"},
            "/policy/tiers",
        ),
        ("break-glass", {"reason": {"a": 1}}, "/reason"),
    ],
)
def test_what_lies_at_the_edges_names_the_field(
    world: Governed, api: Any, noun: str, body: dict[str, Any], wrong: str
) -> None:
    assert world.people.cem
    response = api.bea.post(f"{G}/{noun}", body)
    assert response.status_code in {400, 422}, response.content
    assert any(pointer.startswith(wrong) for pointer in pointers(response)), response.content


def test_a_delegation_at_the_end_of_time_is_refused(world: Governed, api: Any) -> None:
    assert world.people.cem
    edge = {"starts_at": "9999-12-30T00:00:00Z", "ends_at": "9999-12-31T23:59:59Z"}
    assert "/starts_at" in pointers(api.bea.post(f"{G}/delegations", {"delegate": "cem", "reason": "x", **edge}))


# --- agents and webhooks ---------------------------------------------------------------------------------------


def test_an_agent_is_made_with_limits_and_given_another_key(world: Governed, api: Any) -> None:
    body = {"name": "janitor", "owner": "ada", "open_request_limit": 5, "key_days": 30}
    made = api.administrator.post(f"{G}/agents", body).json()["data"]
    assert (made["owner"], made["open_request_limit"]) == ("ada", 5)
    assert "no-store" in api.administrator.post(f"{G}/agents/{made['id']}/rotate")["Cache-Control"]
    old, new = api.eve.data(f"{G}/agents/{made['id']}")["keys"]
    assert old["expires_at"] < new["expires_at"]
    assert [each["name"] for each in api.eve.data(f"{G}/agents?owner=ada")] == ["deployer", "janitor"]
    assert Api(key=made["key"]).get(f"{G}/me").status_code == 200
    assert api.administrator.post(f"{G}/agents/{made['id']}/revoke").status_code == 200
    assert Api(key=made["key"]).get(f"{G}/me").status_code == 401


@pytest.mark.parametrize(
    ("more", "wrong"),
    [({"owner": "nobody"}, "/owner"), ({"name": "No Name"}, "/name"), ({"key_days": 0}, "/key_days")],
)
def test_an_agent_that_cannot_be_names_the_field(world: Governed, api: Any, more: dict[str, Any], wrong: str) -> None:
    assert pointers(api.administrator.post(f"{G}/agents", {"name": "janitor", **more})) == [wrong]


# --- lists -----------------------------------------------------------------------------------------------------


def test_lists_are_paged_by_key(world: Governed, api: Any) -> None:
    now = timezone.now()
    for number in range(5):
        Grant.objects.create(
            agent=world.agent,
            action_type="config.update",
            target="file:*",
            max_uses=1,
            contract_id=f"01a20900-0000-7000-8000-00000000000{number}",
            created_at=now,
            expires_at=now + timedelta(days=1),
        )
        Delegation.objects.create(
            delegator=world.people.bea,
            delegate=world.people.cem,
            reason="x",
            starts_at=now,
            ends_at=now + timedelta(days=1),
            created_at=now,
        )
        Freeze.objects.create(
            name=f"f{number}",
            rule="DTSTART:20261127T180000Z",
            duration_seconds=60,
            minimum_tier="tier_2",
            created_at=now,
        )
    for noun in ("grants", "delegations", "freezes"):
        seen: list[str] = []
        address: str | None = f"{G}/{noun}?limit=2"
        while address and len(seen) < 10:
            page = api.eve.get(address).json()
            seen += [each["id"] for each in page["data"]]
            address = page["meta"]["next"]
        assert len(seen) == len(set(seen)) == 5, noun


def test_writes_are_limited_by_the_minute_and_reads_go_on(
    world: Governed, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.clear()
    monkeypatch.setattr(WriteRateThrottle, "THROTTLE_RATES", {"proposals": "2/min", "reports": "1/min"})
    addresses = ("grants", "freezes", "delegations", "break-glass", "policies", "agents", "webhooks")
    for number, noun in enumerate(addresses):
        answered = api.administrator.post(f"{G}/{noun}", {"nothing": 1}).status_code
        assert answered == (429 if number > 1 else 400), noun
    assert api.administrator.get(f"{G}/grants").status_code == 200
    cache.clear()


def test_an_agent_reads_none_of_this(world: Governed) -> None:
    robot = Api(key=world.key)
    for noun in ("grants", "freezes", "delegations", "break-glass", "policies"):
        assert robot.get(f"{G}/{noun}").status_code == 403, noun


def test_everything_is_in_the_log(world: Governed, api: Any) -> None:
    assert world.people.cem
    api.ada.post(f"{G}/freezes", freeze_body())
    api.bea.post(f"{G}/delegations", {"delegate": "cem", "ends_at": days(7), "reason": "On leave."})
    api.bea.post(f"{G}/break-glass", {**world.body(), "reason": "Now."})
    assert {"freeze.changed", "approval.delegated", "breakglass.used"} <= set(
        Entry.objects.values_list("fact", flat=True)
    )
