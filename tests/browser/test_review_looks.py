"""What reviewers look at while they decide: opened rows, batches, edits, comments. Accessible in every look."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from governance import comments, principals
from tests.browser.conftest import Visitor
from tests.scenery import Scene

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LOOKS = {
    "light": {"color_scheme": "light", "width": 1280},
    "dark": {"color_scheme": "dark", "width": 1280},
    "narrow": {"color_scheme": "light", "width": 390, "height": 844},
}


@pytest.mark.parametrize("look", LOOKS)
def test_whatever_is_opened_typed_or_refused_stays_accessible(
    look: str, scene: Scene, visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    shots = Path(os.environ.get("SCREENSHOTS", tmp_path))
    requests, cem = scene.requests, scene.users.cem
    comments.add(
        request_id=requests["pool"].pk,
        text="The graph of the last hour says the same.",
        links=["https://grafana.example.org/d/checkout?from=now-1h"],
        by=principals.actor_of(cem),
        user=cem,
        now=timezone.now(),
    )
    bea = visit(**LOOKS[look])
    bea.log_in("bea")
    page = bea.page
    wrong: dict[str, list[str]] = {}

    def look_at(name: str) -> None:
        page.screenshot(path=shots / f"review-{name}-{look}.png", full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if found := bea.violations() + ([f"{wide} px too wide"] if wide > 0 else []):
            wrong[name] = found

    page.locator(f"#request-{requests['express'].pk}").focus()
    page.keyboard.press("g")
    look_at("group-chosen")
    page.keyboard.press("Escape")
    page.locator(f"#request-{requests['pool'].pk}").focus()
    page.keyboard.press("r")
    expect(page.get_by_role("radio").first).to_be_focused()
    page.keyboard.press("1")
    expect(page.get_by_role("button", name="Reject")).to_be_focused()
    look_at("row-opened")
    page.keyboard.press("Escape")
    page.locator(f"#request-{requests['express'].pk}").focus()
    page.keyboard.press("a")
    expect(page.get_by_role("button", name="Approve")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("[data-decided]").first).to_be_visible()
    look_at("row-decided")
    several = "&".join(f"request={requests[name].pk}" for name in ("pool", "drifted", "limits", "express"))
    bea.go(f"/approvals/batch?{several}")
    look_at("batch")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("[data-result]").first).to_be_visible()
    look_at("batch-results")
    bea.go(f"/approvals/{requests['purge'].pk}/edit")
    look_at("edit")
    page.get_by_label("Parameters").fill('{"command": "purge-exports", "arguments": {"older_than_days": 7}}')
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.get_by_role("alert")).to_be_focused()
    look_at("edit-refused")
    parameters = {"command": "purge-exports", "arguments": {"older_than_days": 120}}
    page.get_by_label("Parameters").fill(json.dumps(parameters, indent=2))
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.locator("#tried")).to_be_visible()
    look_at("edit-tried")
    page.get_by_role("button", name="Approve as edited").click()
    expect(page.get_by_text("You approved it as edited.")).to_be_visible()
    look_at("edited")
    bea.go(f"/approvals/{requests['pool'].pk}")
    look_at("commented")
    scene.decide(requests["release"], scene.users.dee, "request_changes", "Say which rack.")
    ada = visit(**LOOKS[look])
    ada.log_in("ada")
    ada.go(f"/contracts/{requests['release'].contract_id}/revise")
    expect(ada.page.get_by_role("button", name="Send this wording")).to_be_visible()
    ada.page.screenshot(path=shots / f"review-revise-{look}.png", full_page=True)
    if found := ada.violations():
        wrong["revise"] = found
    assert wrong == {}
    assert bea.complaints == ada.complaints == []
    assert bea.elsewhere == []
