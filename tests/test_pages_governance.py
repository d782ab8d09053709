"""The pages on which people govern: grants, freezes, delegations, break-glass, policies, agents and webhooks."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from governance import seeds
from governance.models import Agent, BreakGlass, Delegation, Delivery, Freeze, Grant, Policy, Webhook
from tests.harness.clients import Api
from tests.harness.governed import Governed, newest
from tests.harness.people import People
from verification.models import Contract

pytestmark = pytest.mark.django_db

PAGES = {
    "/grants": 12,
    "/freezes": 11,
    "/delegations": 12,
    "/break-glass": 10,
    "/policies": 11,
    "/policies/1": 10,
    "/agents": 12,
    "/webhooks": 10,
    "/holds": 11,
}
"""Every page, and how many queries it may cost, however much it shows."""


@pytest.fixture
def world(var_dir: Path, users: People) -> Governed:
    return Governed(var_dir / "sandbox", users)


def visitor(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def ada(world: Governed) -> Client:
    return visitor(world.people.ada)


@pytest.fixture
def bea(world: Governed) -> Client:
    return visitor(world.people.bea)


@pytest.fixture
def admin(world: Governed) -> Client:
    return visitor(world.people.administrator)


def text(response: Any) -> str:
    return str(response.content.decode())


def local(days: float) -> str:
    """A time as browsers send it."""
    return f"{timezone.now() + timedelta(days=days):%Y-%m-%dT%H:%M}"


def wrong(response: Any) -> dict[str, str]:
    """The fields a page marks as wrong, with what it says about each."""
    page = text(response)
    marked = re.findall(r'<(?:input|select|textarea) id="[^"]*"[^>]*name="([^"]+)"[^>]*aria-invalid="true"', page)
    return {
        name: re.search(rf'id="[^"]*{name}-wrong">([^<]+)<', page)[1]  # type: ignore[index]
        for name in marked
    }


def approve(world: Governed, contract: Contract | None) -> None:
    assert contract is not None
    for person in (world.people.cem, world.people.dee):
        world.decide(newest(contract), person)
    world.settle()


# --- every page ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_eve_reads_it_and_has_no_buttons(world: Governed, path: str) -> None:
    page = visitor(world.people.eve).get(path)
    assert page.status_code == 200
    assert text(page).count('method="post"') == 1, "logging out is all she may do"


@pytest.mark.parametrize("path", PAGES)
def test_it_costs_the_same_however_much_it_shows(world: Governed, admin: Client, path: str) -> None:
    admin.get(path)
    for number in range(6):
        _one_more_of_everything(world, number)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert admin.get(path).status_code == 200
    assert len(asked) <= PAGES[path], "\n".join(query["sql"][:200] for query in asked)


def _one_more_of_everything(world: Governed, number: int) -> None:
    now = timezone.now()
    made = {"created_at": now}
    Grant.objects.create(
        agent=world.agent,
        action_type="config.update",
        target="file:*",
        max_uses=1,
        contract_id=f"01a20900-0000-7000-8000-00000000000{number}",
        expires_at=now + timedelta(days=1),
        **made,
    )
    rule = "DTSTART:20261127T180000Z\nRRULE:FREQ=WEEKLY"
    Freeze.objects.create(name=f"f{number}", rule=rule, duration_seconds=60, minimum_tier="tier_2", **made)
    Delegation.objects.create(
        delegator=world.people.bea,
        delegate=world.people.cem,
        reason="x",
        starts_at=now,
        ends_at=now + timedelta(days=1),
        **made,
    )
    Webhook.objects.create(url=f"https://example.org/{number}", secret_sealed="x", facts=["*"], **made)


def test_pages_are_in_the_navigation(bea: Client) -> None:
    page = text(bea.get("/"))
    for path in ("/grants", "/freezes", "/delegations", "/break-glass", "/policies", "/agents", "/webhooks", "/holds"):
        assert f'href="{path}"' in page


# --- grants ----------------------------------------------------------------------------------------------------


def grant_form(**more: Any) -> dict[str, Any]:
    return {
        "agent": "deployer",
        "action_type": "config.update",
        "target": "file:*.json",
        "when": "parameters.merge.port < 10000",
        "max_uses": "3",
        "expires_at": local(7),
        "reason": "Routine.",
        **more,
    }


def test_a_grant_is_asked_for_shown_and_taken_away(world: Governed, ada: Client) -> None:
    response = ada.post("/grants/ask", grant_form())
    contract = Contract.objects.get()
    assert response["Location"] == f"/approvals/{newest(contract).pk}"
    approve(world, contract)
    world.submit()
    page = text(ada.get("/grants"))
    assert "1 of 3" in page
    assert "parameters.merge.port &lt; 10000" in page
    grant = Grant.objects.get()
    assert ada.post(f"/grants/{grant.pk}/revoke", {"reason": "Enough."}).status_code == 302
    grant.refresh_from_db()
    assert grant.revoked_by_label == "Ada"
    assert "by Ada" in text(ada.get("/grants"))
    assert "data-grant" not in text(ada.get("/grants?active=1"))


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"agent": "nobody"}, "agent"),
        ({"when": "now"}, "when"),
        ({"max_uses": "many"}, "max_uses"),
        ({"max_uses": "0"}, "max_uses"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"expires_at": ""}, "expires_at"),
    ],
)
def test_a_grant_that_cannot_be_keeps_what_was_typed(ada: Client, more: dict[str, str], field: str) -> None:
    response = ada.post("/grants/ask", grant_form(**more))
    assert response.status_code == 422
    assert list(wrong(response)) == [field]
    assert 'value="file:*.json"' in text(response)
    assert "Routine." in text(response)
    assert f'<a href="#ask-{field}">' in text(response)


# --- freezes ---------------------------------------------------------------------------------------------------


def freeze_form(**more: Any) -> dict[str, Any]:
    start = timezone.now() - timedelta(minutes=5)
    return {
        "name": "release",
        "rule": f"DTSTART:{start:%Y%m%dT%H%M%S}Z\r\nRRULE:FREQ=WEEKLY",
        "duration_seconds": "1.5",
        "minimum_tier": "tier_2",
        "reason": "The release goes out.",
        **more,
    }


def test_a_freeze_is_made_and_its_end_and_exceptions_are_asked_for(world: Governed, ada: Client) -> None:
    assert ada.post("/freezes/create", freeze_form()).status_code == 302
    freeze = Freeze.objects.get()
    assert (freeze.duration_seconds, "\r" in freeze.rule) == (5400, False)
    assert "frozen now" in text(ada.get("/freezes"))
    request = world.ask()
    for address, form in (
        ("except", {"contract_id": str(request.contract_id), "reason": "It burns."}),
        ("end", {"reason": "It is out."}),
    ):
        asked = ada.post(f"/freezes/{freeze.pk}/{address}", form)
        assert asked["Location"].startswith("/approvals/"), address
        approve(world, newest(Contract.objects.exclude(pk=request.contract_id).latest("created_at")).contract)
        assert (str(request.contract_id) in text(ada.get("/freezes"))) is (address == "except")
    assert "Ended" in text(ada.get("/freezes"))


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"rule": "every friday"}, "rule"),
        ({"duration_seconds": "long"}, "duration_seconds"),
        ({"duration_seconds": "1e400"}, "duration_seconds"),
        ({"duration_seconds": "nan"}, "duration_seconds"),
        ({"reason": ""}, "reason"),
    ],
)
def test_a_freeze_that_cannot_be_keeps_what_was_typed(ada: Client, more: dict[str, str], field: str) -> None:
    response = ada.post("/freezes/create", freeze_form(**more))
    assert response.status_code == 422
    assert list(wrong(response)) == [field]
    assert 'value="release"' in text(response)


def test_an_exception_for_no_contract_opens_its_form_again(world: Governed, ada: Client) -> None:
    ada.post("/freezes/create", freeze_form())
    response = ada.post(f"/freezes/{Freeze.objects.get().pk}/except", {"contract_id": "what", "reason": "It burns."})
    assert list(wrong(response)) == ["contract_id"]
    assert 'value="It burns."' in text(response)
    assert '<details class="more" open>' in text(response)


# --- delegations -----------------------------------------------------------------------------------------------


def test_a_delegation_is_made_shown_where_it_counts_and_ended(world: Governed, bea: Client) -> None:
    world.people.dee.groups.set(world.people.ada.groups.all())
    form = {"delegate": "dee", "groups": ["reviewers"], "ends_at": local(3), "reason": "On leave."}
    assert bea.post("/delegations/create", form).status_code == 302
    assert "Dee for Bea" in text(bea.get("/delegations"))
    request = world.ask()
    dee = visitor(world.people.dee)
    assert "in the name of Bea" in text(dee.get(f"/approvals/{request.pk}"))
    assert dee.post(
        f"/approvals/{request.pk}/decide", {"verdict": "approve", "digest": request.digest}
    ).status_code in {
        200,
        302,
    }
    assert "Dee for Bea" in re.sub(r"<[^>]+>", "", text(bea.get(f"/approvals/{request.pk}")))
    assert "in the name of: Bea" in re.sub(r"<[^>]+>", "", text(bea.get(f"/approvals/{request.pk}")))
    row = Delegation.objects.get()
    assert row.groups == ["reviewers"]
    assert bea.post(f"/delegations/{row.pk}/end", {"reason": ""}).status_code == 302
    assert "In force" not in text(bea.get("/delegations"))


def test_only_who_may_end_a_delegation_has_the_button(world: Governed, bea: Client, ada: Client) -> None:
    assert world.people.cem
    bea.post("/delegations/create", {"delegate": "cem", "ends_at": local(3), "reason": "On leave."})
    assert "End it now" in text(bea.get("/delegations"))
    assert "End it now" not in text(ada.get("/delegations"))
    assert ada.post(f"/delegations/{Delegation.objects.get().pk}/end").status_code == 403


@pytest.mark.parametrize(
    ("more", "field"), [({"delegate": "eve"}, "delegate"), ({"ends_at": "2040-01-01T00:00"}, "ends_at")]
)
def test_a_delegation_that_cannot_be_keeps_what_was_typed(
    world: Governed, bea: Client, more: dict[str, str], field: str
) -> None:
    assert world.people.eve
    assert world.people.cem
    world.people.bea.groups.add(Group.objects.create(name="security"))
    form = {"delegate": "cem", "groups": ["security"], "ends_at": local(3), "reason": "On leave.", **more}
    response = bea.post("/delegations/create", form)
    assert response.status_code == 422
    assert list(wrong(response)) == [field]
    assert 'value="security" checked' in text(response)
    assert 'value="reviewers" checked' not in text(response)
    assert 'value="On leave."' in text(response)


# --- break-glass -----------------------------------------------------------------------------------------------


def glass_form(world: Governed, **more: Any) -> dict[str, Any]:
    body = world.body()
    return {
        "action_type": body["action_type"],
        "target": body["target"],
        "parameters": json.dumps(body["parameters"]),
        "expected_effect": json.dumps(body["expected_effect"]),
        "reason": "Customers cannot pay.",
        **more,
    }


def test_glass_is_broken_and_somebody_else_closes_the_review(world: Governed, bea: Client) -> None:
    response = bea.post("/break-glass/use", glass_form(world))
    contract = Contract.objects.get()
    assert response["Location"] == f"/contracts/{contract.pk}"
    world.settle()
    assert world.read() == {"port": 9000}
    page = text(bea.get("/break-glass"))
    assert "somebody else reviews it" in page
    assert "Run it now" not in page
    row = BreakGlass.objects.get()
    refused = bea.post(f"/break-glass/{row.pk}/review", {"finding": "It was me."})
    assert refused.status_code == 403
    cem = visitor(world.people.cem)
    assert list(wrong(cem.post(f"/break-glass/{row.pk}/review", {"finding": " "}))) == ["finding"]
    assert cem.post(f"/break-glass/{row.pk}/review", {"finding": "It was right."}).status_code == 302
    assert "It was right." in text(bea.get("/break-glass"))
    assert "Run it now" in text(bea.get("/break-glass"))


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"parameters": "{"}, "parameters"),
        ({"parameters": '{"path": 3}'}, "parameters"),
        ({"expected_effect": "{}"}, "expected_effect"),
        ({"target": "file:other.json"}, "target"),
        ({"reason": ""}, "reason"),
    ],
)
def test_glass_that_cannot_be_broken_keeps_what_was_typed(
    world: Governed, bea: Client, more: dict[str, str], field: str
) -> None:
    response = bea.post("/break-glass/use", glass_form(world, **more))
    assert response.status_code == 422
    assert field in wrong(response)
    assert "merge" in text(response) or field == "parameters"
    assert not BreakGlass.objects.exists()


# --- policies --------------------------------------------------------------------------------------------------


def test_d_a_policy_is_proposed_and_its_difference_shown(world: Governed, ada: Client) -> None:
    assert world.people.reviewers
    form = text(ada.get("/policies/change"))
    assert "&quot;rules&quot;" in form
    rule = {"name": "nobody", "effect": "deny", "action_types": ["config.update"], "reason": "Frozen."}
    document = json.dumps({**seeds.POLICY, "rules": [*seeds.POLICY["rules"], rule]})
    response = ada.post("/policies/change/propose", {"policy": document, "note": "No changes.", "reason": "We move."})
    assert response["Location"].startswith("/approvals/"), text(response)[:3000]
    approve(world, Contract.objects.get())
    assert Policy.objects.get(is_active=True).version == 2
    page = text(ada.get("/policies/2"))
    assert "diff__line--added" in page
    assert "No changes." in page
    assert 'href="/policies/2"' in text(ada.get("/policies"))


@pytest.mark.parametrize(
    "policy", ["{", "[]", '{"rules": [{"name": "x", "effect": "allow"}]}', '{"rules": [], "extra": 1}']
)
def test_a_policy_that_cannot_be_keeps_what_was_typed(world: Governed, ada: Client, policy: str) -> None:
    response = ada.post("/policies/change/propose", {"policy": policy, "reason": "We move."})
    assert response.status_code == 422
    assert "policy" in wrong(response)
    assert "We move." in text(response)


def test_the_tester_names_what_it_cannot_read(ada: Client) -> None:
    response = ada.get("/policies?action_type=config.update&target=file:a&parameters=[")
    assert response.status_code == 422
    assert list(wrong(response)) == ["parameters"]


# --- keys and secrets ------------------------------------------------------------------------------------------


def shown_once(response: Any) -> str:
    assert response.status_code == 200, text(response)
    assert "no-store" in response["Cache-Control"]
    found = re.search(r"data-shown-once>([^<]+)<", text(response))
    assert found
    return found[1]


def test_an_agent_is_made_and_its_key_shown_once(world: Governed, admin: Client) -> None:
    form = {"name": "janitor", "owner": "ada", "allowed_action_types": "command.run, config.update", "key_days": "30"}
    key = shown_once(admin.post("/agents/create", form))
    agent = Agent.objects.get(name="janitor")
    assert (agent.owner, agent.allowed_action_types) == (world.people.ada, ["command.run", "config.update"])
    assert Api(key=key).get("/api/governance/me").status_code == 200
    assert key not in text(admin.get("/agents"))
    other = shown_once(admin.post(f"/agents/{agent.pk}/rotate", {"overlap": "0", "key_days": "30"}))
    assert Api(key=key).get("/api/governance/me").status_code == 401
    assert Api(key=other).get("/api/governance/me").status_code == 200
    assert admin.post(f"/agents/{agent.pk}/revoke", {"reason": "Done."}).status_code == 302
    assert Api(key=other).get("/api/governance/me").status_code == 401


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"name": "No Name"}, "name"),
        ({"owner": "nobody"}, "owner"),
        ({"key_days": "0"}, "key_days"),
        ({"open_request_limit": "some"}, "open_request_limit"),
        ({"open_request_limit": "9" * 300}, "open_request_limit"),
    ],
)
def test_an_agent_that_cannot_be_keeps_what_was_typed(
    world: Governed, admin: Client, more: dict[str, str], field: str
) -> None:
    response = admin.post("/agents/create", {"name": "janitor", "owner": "ada", "key_days": "30", **more})
    assert response.status_code == 422
    assert list(wrong(response)) == [field]


def test_reloading_the_page_of_a_key_makes_no_second_agent(world: Governed, admin: Client) -> None:
    form = {"name": "janitor", "owner": "ada"}
    admin.post("/agents/create", form)
    assert admin.post("/agents/create", form).status_code == 409
    assert admin.get("/agents/create").status_code == 302


def test_a_webhook_is_made_rotated_and_switched_off(world: Governed, admin: Client, settings: Any) -> None:
    settings.HTTP_ALLOWED_URLS = ["http://127.0.0.1:9/"]
    form = {"url": "http://127.0.0.1:9/", "facts": "hold.* policy.changed"}
    secret = shown_once(admin.post("/webhooks/create", form))
    assert secret.startswith("whsec_")
    hook = Webhook.objects.get()
    assert hook.facts == ["hold.*", "policy.changed"]
    other = shown_once(admin.post(f"/webhooks/{hook.pk}/rotate", {"overlap": "24"}))
    assert other != secret
    assert "signed with the secret before" in text(admin.get(f"/webhooks/{hook.pk}"))
    assert list(wrong(admin.post(f"/webhooks/{hook.pk}/rotate", {"overlap": "9000"}))) == ["overlap"]
    delivery = Delivery.objects.create(
        webhook=hook,
        entry_id="01a20900-0000-7000-8000-000000000000",
        fact="hold.engaged",
        payload="{}",
        state="dead",
        created_at=timezone.now(),
    )
    assert "Send again" in text(admin.get(f"/webhooks/{hook.pk}"))
    assert admin.post(f"/webhooks/{hook.pk}/deliveries/{delivery.pk}/redeliver").status_code == 302
    delivery.refresh_from_db()
    assert delivery.state == "pending"
    assert admin.post(f"/webhooks/{hook.pk}/off").status_code == 302
    assert "Switch it off" not in text(admin.get(f"/webhooks/{hook.pk}"))


@pytest.mark.parametrize("overlap", ["-1e300", "1e300", "nan", "inf", "-1", "721", "soon"])
def test_an_overlap_that_cannot_be_is_named(world: Governed, admin: Client, overlap: str) -> None:
    response = admin.post(f"/agents/{world.agent.pk}/rotate", {"overlap": overlap, "key_days": "30"})
    assert list(wrong(response)) == ["overlap"]


def test_an_address_that_may_not_be_told_is_named(world: Governed, admin: Client) -> None:
    response = admin.post("/webhooks/create", {"url": "http://169.254.169.254/", "facts": "*"})
    assert response.status_code == 422
    assert list(wrong(response)) == ["url"]


def test_bea_sees_agents_and_webhooks_and_no_forms(bea: Client) -> None:
    for path in ("/agents", "/webhooks"):
        assert text(bea.get(path)).count('method="post"') == 1
