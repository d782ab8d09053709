"""The admin's buttons about what may happen at all: the same verbs, each with its own permission, refused in words."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from governance import seeds
from governance.models import Agent, BreakGlass, Delegation, Delivery, Freeze, Grant, Policy, Webhook
from tests.harness.clients import Api
from tests.harness.governed import Governed, newest
from tests.harness.people import People
from verification.models import Contract, State

pytestmark = pytest.mark.django_db

LISTS = {
    "agent/verb/create": "administrator",
    "grant/verb/ask": "ada bea administrator",
    "freeze/verb/create": "ada bea administrator",
    "delegation/verb/create": "bea administrator",
    "breakglass/verb/use": "bea administrator",
    "policy/verb/change": "ada bea administrator",
    "webhook/verb/create": "administrator",
}
"""Who may press which button above a list."""


@pytest.fixture
def world(var_dir: Path, users: People) -> Governed:
    return Governed(var_dir / "sandbox", users)


def visitor(user: User) -> Client:
    User.objects.filter(pk=user.pk).update(is_staff=True)
    client = Client()
    client.force_login(user)
    return client


def press(client: Client, path: str, **form: str) -> Any:
    return client.post(f"/admin/governance/{path}/", form)


def text(response: Any) -> str:
    return str(response.content.decode())


def shown_once(response: Any) -> str:
    assert response.status_code == 200, text(response)
    assert "no-store" in response["Cache-Control"]
    found = re.search(r"data-shown-once>([^<]+)<", text(response))
    assert found
    return found[1]


def local(days: float) -> str:
    return f"{timezone.now() + timedelta(days=days):%Y-%m-%dT%H:%M}"


def approve(world: Governed) -> Contract:
    contract = Contract.objects.latest("created_at")
    for person in (world.people.cem, world.people.dee):
        world.decide(newest(contract), person)
    world.settle()
    contract.refresh_from_db()
    return contract


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("who", ["ada", "bea", "eve", "administrator"])
def test_a_button_is_for_who_has_its_permission(world: Governed, path: str, who: str) -> None:
    client = visitor(getattr(world.people, who))
    allowed = who in LISTS[path].split()
    assert client.get(f"/admin/governance/{path}/").status_code == (200 if allowed else 403)
    assert press(client, path).status_code in ({400, 422} if allowed else {403})
    model = path.partition("/")[0]
    assert (f"/admin/governance/{path}/" in text(client.get(f"/admin/governance/{model}/"))) is allowed


def test_a_grant_is_asked_for_and_taken_away(world: Governed) -> None:
    ada = visitor(world.people.ada)
    form = {
        "agent": "deployer",
        "action_type": "config.update",
        "target": "file:*",
        "max_uses": "2",
        "expires_at": local(7),
        "reason": "Routine.",
    }
    refused = press(ada, "grant/verb/ask", **{**form, "max_uses": "many"})
    assert (refused.status_code, "max_uses" in text(refused), "Routine." in text(refused)) == (422, True, True)
    assert press(ada, "grant/verb/ask", **form).status_code == 302
    assert approve(world).state == State.VERIFIED
    grant = Grant.objects.get()
    assert press(ada, f"grant/{grant.pk}/verb/revoke", reason="Enough.").status_code == 302
    grant.refresh_from_db()
    assert grant.revoked_by_label == "Ada"


def test_d_a_freeze_is_made_and_its_end_asked_for(world: Governed) -> None:
    ada = visitor(world.people.ada)
    form = {"name": "weekend", "rule": "DTSTART:20261127T180000Z\r\nRRULE:FREQ=WEEKLY", "minimum_tier": "tier_2"}
    assert press(ada, "freeze/verb/create", **form, duration_seconds="62", reason="Weekend.").status_code == 302
    freeze = Freeze.objects.get()
    assert freeze.duration_seconds == 62 * 3600
    refused = press(ada, f"freeze/{freeze.pk}/verb/except", contract_id="what", reason="x")
    assert (refused.status_code, "contract_id" in text(refused)) == (422, True)
    contract = world.submit().contract
    assert contract is not None
    assert press(ada, f"freeze/{freeze.pk}/verb/except", contract_id=str(contract.pk), reason="x").status_code == 302
    assert press(ada, f"freeze/{freeze.pk}/verb/end", reason="It is over.").status_code == 302
    freeze.refresh_from_db()
    assert freeze.ended_at is None
    assert approve(world).state == State.VERIFIED
    freeze.refresh_from_db()
    assert freeze.ended_at is not None


def test_a_delegation_is_made_and_ended_by_who_may(world: Governed) -> None:
    bea, ada = visitor(world.people.bea), visitor(world.people.ada)
    assert world.people.cem
    form = {"delegate": "cem", "ends_at": local(3), "reason": "On leave."}
    assert press(bea, "delegation/verb/create", **form).status_code == 302
    row = Delegation.objects.get()
    assert "Only who delegated" in text(ada.get(f"/admin/governance/delegation/{row.pk}/verb/end/"))
    assert press(ada, f"delegation/{row.pk}/verb/end").status_code == 403
    assert press(bea, f"delegation/{row.pk}/verb/end").status_code == 302
    row.refresh_from_db()
    assert row.ended_at is not None


def test_glass_is_broken_and_reviewed_by_somebody_else(world: Governed) -> None:
    bea, cem = visitor(world.people.bea), visitor(world.people.cem)
    body = world.body()
    form = {
        "action_type": body["action_type"],
        "target": body["target"],
        "parameters": json.dumps(body["parameters"]),
        "expected_effect": json.dumps(body["expected_effect"]),
        "reason": "Customers cannot pay.",
    }
    assert press(bea, "breakglass/verb/use", **form).status_code == 302
    world.settle()
    assert world.read() == {"port": 9000}
    row = BreakGlass.objects.get()
    assert "Somebody else" in text(bea.get(f"/admin/governance/breakglass/{row.pk}/change/"))
    assert press(bea, f"breakglass/{row.pk}/verb/review", finding="Fine.").status_code == 403
    assert press(cem, f"breakglass/{row.pk}/verb/review", finding="It was right.").status_code == 302
    row.refresh_from_db()
    assert row.finding == "It was right."


def test_d_another_policy_is_proposed(world: Governed) -> None:
    ada = visitor(world.people.ada)
    assert "read over HTTP" in text(ada.get("/admin/governance/policy/verb/change/"))
    document = {**seeds.POLICY, "unmatched": "deny"}
    assert press(ada, "policy/verb/change", policy="{", reason="x").status_code == 422
    assert press(ada, "policy/verb/change", policy=json.dumps(document), reason="Stricter.").status_code == 302
    assert approve(world).state == State.VERIFIED
    assert Policy.objects.get(is_active=True).unmatched == "deny"


def test_keys_and_secrets_are_shown_once(world: Governed, settings: Any) -> None:
    settings.HTTP_ALLOWED_URLS = ["http://127.0.0.1:9/"]
    admin = visitor(world.people.administrator)
    key = shown_once(press(admin, "agent/verb/create", name="janitor", owner="ada", key_days="30"))
    assert Api(key=key).get("/api/governance/me").status_code == 200
    agent = Agent.objects.get(name="janitor")
    other = shown_once(press(admin, f"agent/{agent.pk}/verb/rotate", overlap="0", key_days="30"))
    assert Api(key=key).get("/api/governance/me").status_code == 401
    secret = shown_once(press(admin, "webhook/verb/create", url="http://127.0.0.1:9/", facts="hold.*"))
    hook = Webhook.objects.get()
    again = shown_once(press(admin, f"webhook/{hook.pk}/verb/rotate", overlap="24"))
    for path in (f"agent/{agent.pk}/change", f"webhook/{hook.pk}/change", "agent", "webhook"):
        page = text(admin.get(f"/admin/governance/{path}/"))
        assert not {key, other, secret, again} & set(re.findall(r"[\w+/=]{20,}", page)), path


def test_a_delivery_is_sent_again_and_a_webhook_switched_off(world: Governed) -> None:
    admin = visitor(world.people.administrator)
    now = timezone.now()
    hook = Webhook.objects.create(url="https://example.org/", secret_sealed="x", facts=["*"], created_at=now)
    owed = {"entry_id": "01a20900-0000-7000-8000-000000000000", "fact": "hold.engaged", "payload": "{}"}
    delivery = Delivery.objects.create(webhook=hook, state="dead", created_at=now, **owed)
    assert press(admin, f"delivery/{delivery.pk}/verb/redeliver").status_code == 302
    delivery.refresh_from_db()
    assert delivery.state == "pending"
    assert press(admin, f"webhook/{hook.pk}/verb/switch-off").status_code == 302
    hook.refresh_from_db()
    assert not hook.is_active
