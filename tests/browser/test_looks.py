"""Every page, in light, dark and narrow: accessible, within its own policy, and asking no other host for anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.conftest import Visitor
from tests.scenery import Scene
from verification.models import Contract, State

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LOOKS = {
    "light": {"color_scheme": "light", "width": 1280},
    "dark": {"color_scheme": "dark", "width": 1280},
    "narrow": {"color_scheme": "light", "width": 360, "height": 760},
}


def pages(scene: Scene) -> dict[str, str]:
    """Every page of the console, by name."""
    rolled_back = Contract.objects.get(state=State.ROLLED_BACK)
    rejected = Contract.objects.get(state=State.REJECTED).approval_requests.get()
    return {
        "inbox": "/",
        "approval": f"/approvals/{scene.requests['limits'].pk}",
        "approval-command": f"/approvals/{scene.requests['purge'].pk}",
        "approval-drifted": f"/approvals/{scene.requests['drifted'].pk}",
        "approval-closed": f"/approvals/{rejected.pk}",
        "approval-edit": f"/approvals/{scene.requests['limits'].pk}/edit",
        "batch": "/approvals/batch?" + "&".join(f"request={scene.requests[name].pk}" for name in ("pool", "purge")),
        "contracts": "/contracts",
        "contract": f"/contracts/{rolled_back.pk}",
        "holds": "/holds",
        "policies": "/policies?action_type=config.update&target=file:payments/limits.yaml&parameters={}",
        "agents": "/agents",
        "snapshots": "/snapshots",
        "benchmarks": "/benchmarks",
        "jobs": "/jobs",
        "webhooks": "/webhooks",
        "audit": "/audit",
        "audit-entry": "/audit/entries/0",
        "playbooks": "/playbooks",
        "learning": "/learning",
        "overview": "/overview",
        "missions": "/missions",
        "incidents": "/incidents",
        "admin": "/admin/",
        "admin-request": f"/admin/governance/approvalrequest/{scene.requests['limits'].pk}/change/",
        "admin-approve": f"/admin/governance/approvalrequest/{scene.requests['limits'].pk}/verb/approve/",
        "admin-contracts": "/admin/verification/contract/",
        "not-found": "/approvals/00000000-0000-0000-0000-000000000000",
    }


@pytest.mark.parametrize("look", LOOKS)
def test_it_shows_every_page_to_everybody(
    look: str, scene: Scene, visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    shots = Path(os.environ.get("SCREENSHOTS", tmp_path))
    bea = visit(**LOOKS[look])
    bea.go("/admin/login/")
    bea.page.screenshot(path=shots / f"login-{look}.png")
    bea.log_in("bea")
    wrong = {}
    for name, path in pages(scene).items():
        bea.go(path)
        bea.page.screenshot(path=shots / f"{name}-{look}.png", full_page=True)
        wide = bea.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        found = bea.violations() + ([f"{wide} px too wide"] if wide > 0 else [])
        if found:
            wrong[name] = found
    assert wrong == {}
    assert bea.complaints == []
    assert bea.elsewhere == []
