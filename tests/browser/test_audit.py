"""The log in a real browser: searched, a finding acknowledged, a receipt and a bundle taken away and checked."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone
from playwright.sync_api import expect

from auditlog import findings, jobs, sequencer, signer
from auditlog.findings import Found
from auditlog.models import Job, Leaf
from governance.models import ApprovalRequest
from missions import playbooks, seeds
from tests.browser.conftest import Visitor
from tests.scenery import Scene
from verification.benchmarks.checks import CheckResult
from verification.models import BenchmarkRun

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LOOKS = {
    "light": {"color_scheme": "light", "width": 1280},
    "dark": {"color_scheme": "dark", "width": 1280},
    "narrow": {"color_scheme": "light", "width": 390, "height": 800},
    "narrow-dark": {"color_scheme": "dark", "width": 390, "height": 800},
}


def measured() -> None:
    """Twelve runs of a suite, the third of them golden, the last two slower."""
    for number in range(12):
        slow = 2.5 if number > 9 else 1.0
        checks = [
            CheckResult("disk.write", True, tuple(slow * (40 + each + number % 3) for each in range(7)), tolerance=1.0),
            CheckResult("database.read", number != 5, tuple(0.4 + each / 50 for each in range(7)), error=""),
        ]
        BenchmarkRun.objects.create(
            suite="smoke",
            state=BenchmarkRun.State.COMPLETED,
            passed=number != 5,
            drifted=number > 9,
            is_golden=number == 2,
            checks=[each.as_dict() for each in checks],
            requested_by_label="Ada",
            created_at=timezone.now() - timedelta(hours=12 - number),
            finished_at=timezone.now() - timedelta(hours=12 - number),
        )


def taught(scene: Scene) -> None:
    """Playbooks there are, one of them changed, and a record of more than a handful of contracts."""
    seeds.seed(now=timezone.now())
    document = {**seeds.PLAYBOOKS[1], "by": scene.users.ada}
    document["by"] = seeds.SYSTEM
    document["title"] = "Bring the configuration back"
    document["steps"] = [{**step, "justification": "Changed."} for step in document["steps"]]
    playbooks.publish(**document, now=timezone.now())
    for size in range(20, 26):
        scene.decide(scene.ask(size), scene.users.bea)
        jobs.run_until_idle()


@pytest.fixture
def signed(scene: Scene) -> Scene:
    """The working day, signed."""
    sequencer.run(timezone.now())
    signer.sign(timezone.now())
    return scene


def decided(scene: Scene) -> ApprovalRequest:
    return ApprovalRequest.objects.get(decisions__person=scene.users.dee, state="rejected")


@pytest.mark.parametrize("look", LOOKS)
def test_the_pages_of_proof_and_learning_look_right(
    look: str, signed: Scene, visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    shots = Path(os.environ.get("SCREENSHOTS", tmp_path))
    measured()
    taught(signed)
    request = decided(signed)
    index = Leaf.objects.get(entry_id=request.decisions.get().entry_id).index
    findings.record([Found("truncated", "signer", "The log is shorter than 4200 entries.")], now=timezone.now())
    visitor = visit(**LOOKS[look])
    visitor.log_in("administrator")
    visitor.go("/audit")
    visitor.page.get_by_role("button", name="Make the bundle").click()
    visitor.page.wait_for_url("**/audit/exports/*")
    pages = {
        "bundle": visitor.page.url.removeprefix(visitor.address),
        "audit": "/audit",
        "audit-found": "/audit?fact=approval.*&actor=bea&hours=1",
        "audit-wrong": "/audit?fact=*.x",
        "entry": f"/audit/entries/{index}",
        "entry-waiting": f"/audit/entries/{Leaf.objects.order_by('-index').values_list('index', flat=True)[0]}",
        "approval-receipt": f"/approvals/{request.pk}",
        "receipts": f"/approvals/{request.pk}/receipts",
        "contract-receipt": f"/contracts/{request.contract_id}",
        "learning": "/learning",
        "learning-agent": "/learning?by=agent&days=7",
        "playbooks": "/playbooks",
        "playbook": "/playbooks/restore-sound-configuration",
        "benchmarks": "/benchmarks",
    }
    wrong = {}
    for name, path in pages.items():
        visitor.go(path)
        visitor.page.screenshot(path=shots / f"{name}-{look}.png", full_page=True)
        wide = visitor.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        found = visitor.violations() + ([f"{wide} px too wide"] if wide > 0 else [])
        if found:
            wrong[name] = found
    assert wrong == {}
    assert visitor.complaints == []
    assert visitor.elsewhere == []


def test_eve_searches_and_follows_an_entry_to_its_proof(signed: Scene, visit: Callable[..., Visitor]) -> None:
    eve = visit()
    eve.log_in("eve")
    page = eve.page
    eve.go("/audit")
    page.get_by_label("Fact", exact=True).fill("approval.decided")
    page.get_by_label("Actor, name or id").fill("dee")
    page.keyboard.press("Enter")
    page.wait_for_url("**/audit?*fact=approval.decided*")
    rows = page.locator("tbody tr", has_text="approval.decided")
    expect(rows).to_have_count(2)
    page.get_by_role("link", name="Entry ").first.click()
    page.wait_for_url("**/audit/entries/*")
    expect(page.get_by_text("Its bytes lead to the root that was signed")).to_be_visible()
    expect(page.locator("[data-bytes]")).to_contain_text('"fact":"approval.decided"')
    assert eve.complaints == []


def test_a_finding_is_acknowledged_and_signing_goes_on(signed: Scene, visit: Callable[..., Visitor]) -> None:
    findings.record([Found("entry_edited", "leaf 5", "The content of leaf 5 is not what it was.")], now=timezone.now())
    assert signer.sign_if_due(timezone.now()) is None
    administrator = visit()
    administrator.log_in("administrator")
    page = administrator.page
    administrator.go("/audit")
    page.get_by_text("Acknowledge it").click()
    page.get_by_label("Why signing may go on").fill("The backup of Sunday was restored on purpose.")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_text("The reason stands in the log.")).to_be_visible()
    expect(page.locator("[data-findings]")).to_have_count(0)
    signer.sign(timezone.now())
    assert administrator.complaints == []


def test_a_reviewer_takes_the_receipt_of_a_decision_as_soon_as_it_is_signed(
    scene: Scene, visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    bea = visit()
    bea.log_in("bea")
    page = bea.page
    bea.go(f"/approvals/{scene.requests['pool'].pk}")
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_text("You approved")).to_be_visible()
    receipts = page.locator("#receipts")
    expect(receipts).to_contain_text("not yet under a signed checkpoint")
    sequencer.run(timezone.now())
    signer.sign(timezone.now())
    # Nobody reloads: the page looks again by itself.
    link = receipts.get_by_role("link", name="Receipt of entry")
    expect(link).to_be_visible(timeout=15_000)
    expect(page.get_by_text("You approved")).to_be_visible()
    with page.expect_download() as waiting:
        link.click()
    kept = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(kept)
    out = io.StringIO()
    call_command("verify_receipt", str(kept), stdout=out)
    assert "holds: entry" in out.getvalue()
    assert "approval.decided" in out.getvalue()
    assert bea.complaints == []


def test_the_receipt_comes_without_any_script_too(scene: Scene, visit: Callable[..., Visitor], tmp_path: Path) -> None:
    bea = visit(java_script_enabled=False, width=390)
    bea.log_in("bea")
    page = bea.page
    bea.go(f"/approvals/{scene.requests['pool'].pk}")
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.locator("#receipts")).to_contain_text("not yet under a signed checkpoint")
    sequencer.run(timezone.now())
    signer.sign(timezone.now())
    page.locator("#receipts").get_by_role("link", name="Look again").click()
    with page.expect_download() as waiting:
        page.locator("#receipts").get_by_role("link", name="Receipt of entry").click()
    assert waiting.value.suggested_filename.endswith(".tlog-proof")


def test_a_bundle_of_a_search_is_made_fetched_and_holds(
    signed: Scene, visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    eve = visit()
    eve.log_in("eve")
    page = eve.page
    eve.go("/audit?fact=approval.*")
    page.get_by_role("button", name="Make the bundle").click()
    page.wait_for_url("**/audit/exports/*")
    expect(page.get_by_role("heading", name="It is being made")).to_be_visible()
    jobs.run_until_idle()
    link = page.get_by_role("link", name="Download the bundle")
    expect(link).to_be_visible(timeout=15_000)
    with page.expect_download() as waiting:
        link.click()
    packed = tmp_path / "bundle.zip"
    waiting.value.save_as(packed)
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "bundle")
    argv = [sys.executable, "-I", "-S", str(tmp_path / "bundle" / "verify.py")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env={}, cwd="/")
    assert done.returncode == 0, done.stderr
    job = Job.objects.get(kind="auditlog.export")
    assert f"a SUBSET: {job.result['entries']} entries" in done.stdout
    assert eve.complaints == []
