"""A hundred mixed requests, triaged with the keyboard alone: every keystroke is counted."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from governance.models import ApprovalRequest, Decision
from tests import scenery
from tests.browser.conftest import Visitor
from tests.harness.people import People
from tests.scenery import Scene

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

MOST = 3
"""Keystrokes a request may cost."""

SERVICES = ("checkout", "search", "mail", "billing", "login", "catalog", "stock", "media", "chat", "maps")
NODES = [f"web-{number}" for number in range(1, 23)]


@pytest.fixture
def scene(users: People, var_dir, transactional_db: None) -> Scene:
    return scenery.minimal(var_dir / "sandbox", users)


@dataclass
class Keyboard:
    """Bea's keyboard, which counts, and the requests its keystrokes were spent on."""

    page: Page
    pressed: int = 0
    settled: int = 0
    spent: list[tuple[int, int]] = field(default_factory=list)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
            self.pressed += 1

    def done(self, requests: int) -> None:
        """So many requests are decided, with everything pressed since the ones before: also the way to them."""
        self.spent.append((requests, self.pressed - self.settled))
        self.settled = self.pressed


def hundred(scene: Scene) -> dict[str, list[ApprovalRequest]]:
    """A hundred requests of three kinds and two tiers, by what Bea means to do with them."""
    asked: dict[str, list[ApprovalRequest]] = {"alike": [], "single": [], "reject": [], "changes": [], "purge": []}
    # 40 of the same action on four targets, ten of each: like ones.
    for service in SERVICES[:4]:
        (scene.sandbox / f"{service}.json").write_text('{"pool": 1}\n')
        for size in range(10, 20):
            asked["alike"].append(_asked(scene.change(f"{service}.json", {"pool": size})))
    # 22 nodes to drain, each a target of its own, of the same type.
    for node in NODES:
        drain = {**scenery._drain(), "target": f"node:{node}", "parameters": {"command": "drain-node"}}
        drain["parameters"]["arguments"] = {"node": node}
        asked["single"].append(_asked(scene.propose(scene.deployer.user, **drain)))
    # Twelve changes nobody wants, twelve that need another wording, six that would be rejected as one; all apart.
    for kind, many in (("reject", 12), ("changes", 12), ("single", 10)):
        for number in range(many):
            path = f"{kind}-{number}.json"
            (scene.sandbox / path).write_text('{"flag": false}\n')
            asked[kind].append(_asked(scene.change(path, {"flag": True}, justification=f"Please: {kind}.")))
    # Four irreversible ones, which need another person besides.
    for days in (40, 50, 60, 70):
        purge = scenery._purge()
        purge["parameters"]["arguments"] = {"older_than_days": days}
        asked["purge"].append(_asked(scene.propose(scene.deployer.user, **purge)))
    assert sum(map(len, asked.values())) == 100
    return asked


def _asked(submitted: scenery.Submitted) -> ApprovalRequest:
    assert submitted.approval is not None
    return submitted.approval


def focused(page: Page) -> str:
    """The id of the request whose row has the focus."""
    return str(page.evaluate("document.activeElement.closest('[data-row]')?.id ?? ''")).removeprefix("row-")


def batch(keyboard: Keyboard, keys: list[str], wanted: list[ApprovalRequest]) -> None:
    """Choose with `keys`, and decide what was chosen: every digest stands on the page, and on the one after."""
    page = keyboard.page
    keyboard.press(*keys)
    page.wait_for_url("**/approvals/batch?*")
    digests = {request.digest for request in wanted}
    assert set(page.locator("[data-shown-digest]").all_inner_texts()) == digests
    for shown in page.locator("[data-parameters]").all():
        expect(shown).to_be_visible()
    expect(page.get_by_role("button", name="Approve")).to_be_focused()
    keyboard.press("Enter")
    page.wait_for_url("**/approvals/batch/decide")
    assert set(page.locator("[data-decided-digest]").all_inner_texts()) == digests
    assert page.locator("[data-result=done]").count() == len(wanted)
    expect(page.get_by_role("link", name="Back to the approvals")).to_be_focused()
    keyboard.press("Enter")
    expect(page.locator("[data-row] a:focus")).to_have_count(1)
    keyboard.done(len(wanted))


def triage(keyboard: Keyboard, wanted: dict[str, str]) -> None:
    """Decide on the request that has the focus, in its row, as wanted."""
    page = keyboard.page
    request_id = focused(page)
    request = ApprovalRequest.objects.get(pk=request_id)
    row = page.locator(f"#row-{request_id}")
    keys = {"approve": "a", "reject": "r", "request_changes": "c"}
    keyboard.press(keys[wanted[request_id]])
    brief = row.locator("[data-brief]")
    expect(brief).to_be_visible()
    # Everything the decision is made on is there before it is made.
    assert brief.locator("[data-shown-digest]").inner_text() == request.digest
    expect(brief.locator("[data-parameters]")).to_be_visible()
    expect(brief.get_by_role("heading", name="What it would do")).to_be_visible()
    if wanted[request_id] != "approve":
        expect(brief.get_by_role("radio").first).to_be_focused()
        keyboard.press("1" if wanted[request_id] == "reject" else "4")
    keyboard.press("Enter")
    expect(row.locator("[data-decided]")).to_be_visible()
    keyboard.done(1)


def test_a_hundred_mixed_requests_cost_at_most_three_keystrokes_each(
    scene: Scene, visit: Callable[..., Visitor], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = hundred(scene)
    digests = {str(each.pk): each.digest for requests in asked.values() for each in requests}
    wanted = {
        str(each.pk): {"reject": "reject", "changes": "request_changes"}.get(kind, "approve")
        for kind, requests in asked.items()
        for each in requests
    }
    bea = visit()
    bea.log_in("bea")
    page, keyboard = bea.page, Keyboard(bea.page)
    bea.go("/#first")
    scores = page.locator("[data-row] .risk .num").all_inner_texts()
    assert len(scores) == 100
    _risk_first(page)
    # The four that cannot be taken back are the riskiest and stand first, as one group.
    assert focused(page) in {str(each.pk) for each in asked["purge"]}
    batch(keyboard, ["g", "a"], asked["purge"])
    # 22 nodes: the same type, other targets.
    drains = [each for each in asked["single"] if each.contract.action_type == "command.run"]
    _walk_to(keyboard, {str(each.pk) for each in drains})
    batch(keyboard, ["t", "a"], drains)
    for group in _groups(page):
        _walk_to(keyboard, set(group))
        batch(keyboard, ["g", "a"], [each for each in asked["alike"] if str(each.pk) in group])
    singles = page.locator("[data-rows] > .row [data-choice]").count()
    assert singles == 34
    for _ in range(singles):
        triage(keyboard, wanted)
    expect(page.get_by_role("link", name="Reload")).to_be_focused()
    expect(page.locator("[data-announce]")).to_contain_text("Nothing is left on this page")
    _ended_as_intended(asked, wanted, digests)
    assert bea.complaints == []
    average = keyboard.pressed / 100
    worst = max(keys / requests for requests, keys in keyboard.spent)
    with capsys.disabled():
        sys.stdout.write(f"\n100 requests, {keyboard.pressed} keystrokes: {average:.2f} each, {worst:.2f} at most.\n")
    assert sum(requests for requests, _ in keyboard.spent) == 100
    assert sum(keys for _, keys in keyboard.spent) == keyboard.pressed
    assert worst <= MOST
    assert average <= MOST


def _risk_first(page: Page) -> None:
    """Groups by the riskiest of each, and within them by risk."""
    groups = page.locator("[data-rows] > li")
    risks = [[int(each) for each in group.locator(".risk .num").all_inner_texts()] for group in groups.all()]
    assert all(scores == sorted(scores, reverse=True) for scores in risks)
    assert [scores[0] for scores in risks] == sorted((scores[0] for scores in risks), reverse=True)


def _groups(page: Page) -> Iterator[list[str]]:
    """The groups of like requests that are left, one after the other, by the ids of their requests."""
    while (groups := page.locator(".group:has([data-choice])")).count():
        rows = groups.first.locator("[data-row]")
        yield [each.removeprefix("row-") for each in rows.evaluate_all("rows => rows.map(row => row.id)")]


def _walk_to(keyboard: Keyboard, wanted: set[str]) -> None:
    """Go down until one of the wanted has the focus."""
    for _ in range(120):
        if focused(keyboard.page) in wanted:
            return
        keyboard.press("j")
    raise AssertionError("none of the wanted is in the list")


def _ended_as_intended(
    asked: dict[str, list[ApprovalRequest]], wanted: dict[str, str], digests: dict[str, str]
) -> None:
    decisions = {str(each.request_id): each for each in Decision.objects.select_related("request")}
    assert {key: each.verdict for key, each in decisions.items()} == wanted
    assert {key: each.digest for key, each in decisions.items()} == digests
    reasons = Counter(each.reason for each in decisions.values())
    assert reasons == {"": 76, "Not needed.": 12, "Wrong target or wrong values.": 12}
    states = {"alike": "approved", "single": "approved", "reject": "rejected", "changes": "changes_requested"}
    for kind, requests in asked.items():
        found = {ApprovalRequest.objects.get(pk=each.pk).state for each in requests}
        # Two people have to agree to what cannot be taken back.
        assert found == {states.get(kind, "pending")}, kind
    assert timezone.now() > min(each.created_at for each in decisions.values())
