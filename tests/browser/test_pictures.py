"""The pictures of the README: `make screenshots` makes them anew, of pages as they are, with what really happened."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.conftest import Visitor
from tests.scenery import Scene

pytestmark = [pytest.mark.screenshots, pytest.mark.django_db(transaction=True)]

IMAGES = Path(os.environ.get("IMAGES", Path(__file__).resolve().parents[2] / "docs/images"))
MOST_BYTES = 300 * 1024


def test_pictures_for_the_readme(scene: Scene, visit: Callable[..., Visitor]) -> None:
    bea = visit(width=1280, height=860)
    bea.log_in("bea")
    IMAGES.mkdir(exist_ok=True)
    for name, path in {"console-inbox": "/", "console-approval": f"/approvals/{scene.requests['limits'].pk}"}.items():
        bea.go(path)
        picture = IMAGES / f"{name}.png"
        bea.page.screenshot(path=picture)
        assert picture.stat().st_size < MOST_BYTES
