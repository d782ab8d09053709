"""The pages on which people govern, with something on each: accessible in every look, usable by keyboard and hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Error, expect

from auditlog import jobs
from governance import breakglass, delegations, freezes, principals, webhooks
from governance.models import BreakGlass, Freeze, Grant, Webhook
from governance.shapes import Proposal
from tests.browser.conftest import Visitor
from tests.browser.test_looks import LOOKS
from tests.scenery import Scene

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def by(person: User) -> dict[str, Any]:
    """Who acts, and when."""
    return {"by": principals.actor_of(person), "user": person, "now": timezone.now()}


@pytest.fixture
def governed(scene: Scene, settings: Any) -> Scene:
    """The working day, with grants, freezes, delegations, broken glass and a webhook."""
    users, now = scene.users, timezone.now()
    settings.HTTP_ALLOWED_URLS = ["http://127.0.0.1:9/"]
    delegations.create(delegate="ada", ends_at=now + timedelta(days=6), reason="On leave.", **by(users.bea))
    ended = delegations.create(delegate="cem", ends_at=now + timedelta(days=9), reason="Away.", **by(users.dee))
    delegations.end(delegation_id=ended.pk, reason="Back early.", **by(users.dee))
    for name, start in (("release train", now - timedelta(hours=2)), ("weekend", now + timedelta(days=4))):
        freezes.create(
            name=name,
            rule=f"DTSTART:{start:%Y%m%dT%H%M%S}Z\nRRULE:FREQ=WEEKLY",
            duration_seconds=6 * 3600,
            minimum_tier="tier_3",
            reason="The release goes out; nothing else moves.",
            **by(users.ada),
        )
    Grant.objects.create(
        agent=scene.deployer,
        action_type="config.update",
        target="file:cache/*.json",
        when="parameters.merge.ttl_seconds <= 600",
        max_uses=50,
        use_count=17,
        contract_id=scene.requests["pool"].contract_id,
        created_at=now,
        expires_at=now + timedelta(days=20),
    )
    for person, size in ((users.cem, 40), (users.dee, 41)):
        breakglass.use(proposal=_pool(size), reason="Customers cannot pay.", **by(person))
        jobs.run_until_idle()
    used = BreakGlass.objects.get(person=users.dee)
    breakglass.review(break_glass_id=used.pk, finding="It was right.", **by(users.cem))
    webhooks.create(
        url="http://127.0.0.1:9/", facts=["approval.*"], by=principals.actor_of(users.administrator), now=now
    )
    return scene


def _pool(size: int) -> Proposal:
    effect = {"success_criteria": [{"type": "state_match", "path": "content.database.pool_size", "equals": size}]}
    return Proposal(
        action_type="config.update",
        target="file:checkout.json",
        parameters={"path": "checkout.json", "merge": {"database": {"pool_size": size}}},
        expected_effect=effect,
    )


def pages() -> dict[str, str]:
    """Every page, by name."""
    freeze = Freeze.objects.earliest("created_at")
    return {
        "grants": "/grants",
        "freezes": "/freezes",
        "delegations": "/delegations",
        "break-glass": "/break-glass",
        "policies": "/policies",
        "policy": "/policies/2",
        "policy-change": "/policies/change",
        "agents": "/agents",
        "webhooks": "/webhooks",
        "webhook": f"/webhooks/{Webhook.objects.get().pk}",
        "holds": "/holds",
        "admin-freeze": f"/admin/governance/freeze/{freeze.pk}/verb/except/",
        "admin-policy": "/admin/governance/policy/verb/change/",
    }


@pytest.mark.parametrize("look", LOOKS)
def test_it_shows_every_page_of_governance(
    look: str, governed: Scene, visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    shots = Path(os.environ.get("SCREENSHOTS", tmp_path))
    administrator = visit(**LOOKS[look])
    administrator.log_in("administrator")
    wrong = {}
    for name, path in pages().items():
        administrator.go(path)
        for each in administrator.page.locator("details.more").all():
            each.evaluate("element => { element.open = true }")
        administrator.page.screenshot(path=shots / f"{name}-{look}.png", full_page=True)
        wide = administrator.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        found = administrator.violations() + ([f"{wide} px too wide"] if wide > 0 else [])
        if found:
            wrong[name] = found
    assert wrong == {}
    assert administrator.complaints == []
    assert administrator.elsewhere == []


def test_a_refusal_leads_to_the_field_and_keeps_what_was_typed(governed: Scene, visit: Callable[..., Visitor]) -> None:
    ada = visit(java_script_enabled=False)
    ada.log_in("ada")
    ada.go("/grants")
    page = ada.page
    page.select_option("#ask-agent", "deployer")
    page.select_option("#ask-action_type", "config.update")
    page.fill("#ask-target", "file:*.json")
    page.fill("#ask-when", "now")
    page.fill("#ask-reason", "Routine.")
    page.get_by_role("button", name="Ask for it").click()
    expect(page.get_by_role("alert")).to_contain_text("when: It does not know 'now'")
    expect(page.locator("#ask-when")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#ask-when-wrong")).to_contain_text("It does not know 'now'")
    expect(page.locator("#ask-target")).to_have_value("file:*.json")
    page.fill("#ask-when", "parameters.merge.port < 10000")
    page.get_by_role("button", name="Ask for it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("grant.create")


def test_a_delegation_is_made_and_used_by_hand(governed: Scene, visit: Callable[..., Visitor]) -> None:
    bea, ada = visit(), visit()
    asked = governed.change("checkout.json", {"log_level": "debug"}, by=governed.users.cem).approval
    assert asked is not None
    ada.log_in("ada")
    ada.go(f"/approvals/{asked.pk}")
    ada.page.get_by_role("button", name="Approve", exact=True).click()
    expect(ada.page.get_by_text("Ada for Bea").first).to_be_visible()
    bea.log_in("bea")
    bea.go("/delegations")
    bea.page.get_by_text("End it", exact=True).click()
    bea.page.get_by_role("button", name="End it now").click()
    expect(bea.page.locator(".messages")).to_contain_text("Ended: Ada for Bea")
    jobs.run_until_idle()
    asked.refresh_from_db()
    assert asked.state == "stale"


def test_a_key_is_shown_once(governed: Scene, visit: Callable[..., Visitor]) -> None:
    administrator = visit()
    administrator.log_in("administrator")
    administrator.go("/agents")
    page = administrator.page
    page.fill("#create-name", "janitor-2")
    page.get_by_role("button", name="Make it and its key").click()
    key = page.locator("[data-shown-once]").inner_text()
    assert administrator.violations() == []
    assert key not in page.url
    page.get_by_role("link", name="I have kept it").click()
    expect(page.get_by_role("heading", name="janitor-2")).to_be_visible()
    assert key not in page.content()
    # No cache has kept the page, and going back does not send the form again.
    with pytest.raises(Error, match="ERR_CACHE_MISS"):
        page.go_back()
