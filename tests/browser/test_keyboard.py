"""Deciding with the keyboard alone, and what a person sees meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from governance.models import Decision
from tests.browser.conftest import Visitor
from tests.scenery import Scene

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_bea_fills_the_second_slot_without_a_mouse(scene: Scene, visit: Callable[..., Visitor]) -> None:
    bea = visit()
    bea.log_in("bea")
    page = bea.page
    rows = page.locator("[data-row] .row__title a")
    names = rows.evaluate_all("links => links.map(link => link.id)")
    wanted = names.index(f"request-{scene.requests['limits'].pk}")
    for _ in range(wanted + 1):
        page.keyboard.press("j")
    expect(rows.nth(wanted)).to_be_focused()
    page.keyboard.press("a")
    expect(page.get_by_role("button", name="Approve")).to_be_focused()
    expect(page.locator("[data-slots] .slot--filled")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.get_by_text("You approved").first).to_be_visible()
    expect(page.locator("[data-announce]")).to_contain_text("left on this page")
    scene.requests["limits"].refresh_from_db()
    assert scene.requests["limits"].state == "approved"
    assert bea.complaints == []


def test_rejecting_asks_for_a_reason_first(scene: Scene, visit: Callable[..., Visitor]) -> None:
    bea = visit()
    bea.log_in("bea")
    page = bea.page
    page.keyboard.press("j")
    page.keyboard.press("r")
    expect(page.get_by_role("radio").first).to_be_focused()
    page.keyboard.press("Enter")
    assert Decision.objects.filter(person=scene.users.bea, verdict="reject").count() == 0, "no reason, no rejection"
    page.keyboard.press("Tab")
    expect(page.locator("#reason")).to_be_focused()
    page.keyboard.type("Exports are still being audited.")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("You rejected").first).to_be_visible()
    assert Decision.objects.get(person=scene.users.bea, verdict="reject").reason == "Exports are still being audited."
    assert bea.complaints == []


def test_the_page_of_a_request_has_the_same_keys(scene: Scene, visit: Callable[..., Visitor]) -> None:
    bea = visit()
    bea.log_in("bea")
    bea.go(f"/approvals/{scene.requests['limits'].pk}")
    page = bea.page
    page.keyboard.press("r")
    page.keyboard.press("3")
    expect(page.get_by_role("button", name="Reject")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("You rejected")).to_be_visible()
    scene.requests["limits"].refresh_from_db()
    assert scene.requests["limits"].closing_reason == "Too risky as it stands."
    page.keyboard.press("n")
    page.wait_for_load_state()
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    assert bea.complaints == []


def test_enter_in_a_choice_and_space_on_an_armed_button_decide_nothing(
    scene: Scene, visit: Callable[..., Visitor]
) -> None:
    bea = visit(height=400)
    bea.log_in("bea")
    bea.go(f"/approvals/{scene.requests['limits'].pk}")
    page = bea.page
    page.keyboard.press("2")
    expect(page.get_by_role("radio").nth(1)).to_be_checked()
    page.keyboard.press("Enter")
    page.keyboard.press("a")
    expect(page.get_by_role("button", name="Approve")).to_be_focused()
    before = page.evaluate("window.scrollY")
    page.keyboard.press("Space")
    page.wait_for_function("before => window.scrollY > before", arg=before)
    assert Decision.objects.filter(person=scene.users.bea, request=scene.requests["limits"]).count() == 0


def test_enter_in_a_choice_decides_nothing_without_any_script_either(
    scene: Scene, visit: Callable[..., Visitor]
) -> None:
    bea = visit(java_script_enabled=False)
    bea.log_in("bea")
    bea.go(f"/approvals/{scene.requests['limits'].pk}")
    bea.page.get_by_label("Too risky as it stands.").check()
    bea.page.keyboard.press("Enter")
    expect(bea.page.get_by_role("alert")).to_contain_text("One of approve, reject, request_changes is expected.")
    assert Decision.objects.filter(person=scene.users.bea, request=scene.requests["limits"]).count() == 0


def test_escape_closes_and_gives_the_place_back(scene: Scene, visit: Callable[..., Visitor]) -> None:
    bea = visit()
    bea.log_in("bea")
    page = bea.page
    page.keyboard.press("j")
    first = page.evaluate("document.activeElement.id")
    page.keyboard.press("v")
    expect(page.locator("[data-brief]")).to_be_visible()
    expect(page.locator("[data-opens]").first).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Escape")
    expect(page.locator("[data-brief]")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == first
    page.keyboard.press("x")
    expect(page.locator("[data-chosen]")).to_have_text("1 chosen")
    page.keyboard.press("Escape")
    expect(page.locator("[data-choice]:checked")).to_have_count(0)


def test_keys_of_one_letter_can_be_switched_off_and_stay_off(scene: Scene, visit: Callable[..., Visitor]) -> None:
    bea = visit()
    bea.log_in("bea")
    page = bea.page
    page.get_by_role("button", name="Switch keys of one letter off").click()
    page.reload()
    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(page.locator("[data-row] a:focus")).to_have_count(0)
    expect(page.locator("[data-brief]")).to_have_count(0)
    expect(page.get_by_role("button", name="Switch keys of one letter on")).to_be_visible()


def test_a_row_says_why_somebody_cannot_decide_it(scene: Scene, visit: Callable[..., Visitor]) -> None:
    ada = visit()
    ada.log_in("ada")
    page = ada.page
    page.locator(f"#request-{scene.requests['limits'].pk}").focus()
    page.keyboard.press("a")
    expect(page.locator("[data-announce]")).to_have_text("You own the agent that asked; someone else must decide.")
    assert ada.complaints == []


def test_a_refusal_in_a_row_is_read_first_and_what_was_typed_stays(scene: Scene, visit: Callable[..., Visitor]) -> None:
    bea = visit()
    bea.log_in("bea")
    page = bea.page
    row = page.locator(f"#row-{scene.requests['limits'].pk}")
    row.get_by_role("button", name="View here").click()
    page.fill("#reason", "I read every line of it.")
    scene.decide(scene.requests["limits"], scene.users.cem)
    page.get_by_role("button", name="Approve").click()
    expect(row.get_by_role("alert")).to_be_focused()
    expect(row.get_by_role("alert")).to_contain_text("The request is approved.")
    assert bea.complaints == []


def test_several_are_chosen_and_decided_without_any_script(scene: Scene, visit: Callable[..., Visitor]) -> None:
    bea = visit(java_script_enabled=False, width=390)
    bea.log_in("bea")
    page = bea.page
    for name in ("pool", "express"):
        page.locator(f"#row-{scene.requests[name].pk}").get_by_role("checkbox").check()
    page.get_by_role("button", name="Decide on the chosen").click()
    assert page.locator("[data-shown-digest]").count() == 2
    page.get_by_label("Not now; propose it again later.").check()
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_role("heading", name="You rejected 2 of 2 requests")).to_be_visible()
    for name in ("pool", "express"):
        scene.requests[name].refresh_from_db()
        assert scene.requests[name].closing_reason == "Not now; propose it again later."


def test_something_else_is_approved_without_any_script(scene: Scene, visit: Callable[..., Visitor]) -> None:
    bea = visit(java_script_enabled=False, width=390)
    bea.log_in("bea")
    page = bea.page
    bea.go(f"/approvals/{scene.requests['pool'].pk}")
    page.get_by_role("link", name="Approve something else than this").click()
    page.get_by_label("Parameters").fill('{"path": "checkout.json", "merge": {"database": {"pool_size": ')
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.locator("#edit-parameters")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#edit-parameters-errors")).to_contain_text("/parameters")
    page.get_by_label("Parameters").fill('{"path": "checkout.json", "merge": {"database": {"pool_size": 18}}}')
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.locator("#tried")).to_contain_text("18")
    page.get_by_role("button", name="Approve as edited").click()
    expect(page.get_by_text("You approved it as edited.")).to_be_visible()
    expect(page.locator("#wordings")).to_contain_text("/parameters/merge/database/pool_size")
    scene.requests["pool"].refresh_from_db()
    assert scene.requests["pool"].state == "cancelled"


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
