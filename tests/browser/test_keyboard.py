"""Deciding with the keyboard alone, and what a person sees meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.scenery import Scene

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_bea_fills_the_second_slot_without_a_mouse(scene: Scene, visit: Callable[..., Visitor]) -> None:
    bea = visit()
    bea.log_in("bea")
    page = bea.page
    rows = page.locator("[data-row] a")
    names = rows.evaluate_all("links => links.map(link => link.id)")
    wanted = names.index(f"request-{scene.requests['limits'].pk}")
    for _ in range(wanted + 1):
        page.keyboard.press("j")
    expect(rows.nth(wanted)).to_be_focused()
    page.keyboard.press("a")
    page.wait_for_url("**/approvals/*")
    expect(page.get_by_role("button", name="Approve")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("You approved")).to_be_visible()
    expect(page.locator("[data-slots] .slot--filled")).to_have_count(2)
    scene.requests["limits"].refresh_from_db()
    assert scene.requests["limits"].state == "approved"
    assert bea.complaints == []


def test_rejecting_asks_for_a_reason_first(scene: Scene, visit: Callable[..., Visitor]) -> None:
    bea = visit()
    bea.log_in("bea")
    page = bea.page
    page.keyboard.press("j")
    page.keyboard.press("r")
    page.wait_for_url("**/approvals/*")
    expect(page.locator("#reason")).to_be_focused()
    page.keyboard.type("Exports are still being audited.")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("You rejected")).to_be_visible()
    page.keyboard.press("n")
    page.wait_for_load_state()
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    assert bea.complaints == []


def test_keys_do_nothing_while_somebody_types(scene: Scene, visit: Callable[..., Visitor]) -> None:
    bea = visit()
    bea.log_in("bea")
    bea.go(f"/approvals/{scene.requests['limits'].pk}")
    bea.page.fill("#reason", "")
    bea.page.keyboard.type("a rather careful reason")
    expect(bea.page.locator("#reason")).to_have_value("a rather careful reason")
    scene.requests["limits"].refresh_from_db()
    assert scene.requests["limits"].state == "pending"


def test_the_first_thing_tab_reaches_skips_to_the_content(scene: Scene, visit: Callable[..., Visitor]) -> None:
    bea = visit()
    bea.log_in("bea")
    bea.go("/contracts")
    bea.page.keyboard.press("Tab")
    expect(bea.page.get_by_text("Skip to the content")).to_be_focused()
    bea.page.keyboard.press("Enter")
    expect(bea.page.locator("#main")).to_be_focused()


def test_it_works_without_any_script(scene: Scene, visit: Callable[..., Visitor]) -> None:
    bea = visit(java_script_enabled=False, width=390)
    bea.log_in("bea")
    page = bea.page
    page.select_option("#f-tier", "tier_2")
    page.get_by_role("button", name="Filter").click()
    page.locator(f"#request-{scene.requests['pool'].pk}").click()
    page.fill("#reason", "Fine.")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("You approved")).to_be_visible()
    scene.requests["pool"].refresh_from_db()
    assert scene.requests["pool"].state == "approved"
