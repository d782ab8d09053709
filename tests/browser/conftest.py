"""A real browser on a real server. Chromium is Debian's; axe comes from npm (`make test-all` sees to both)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests import scenery
from tests.harness.people import PASSWORD, People

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
AXE = Path(os.environ.get("AXE", Path(__file__).resolve().parents[2] / ".ci/npm/node_modules/axe-core/axe.min.js"))
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

# Playwright runs its own event loop in this thread; Django would take that for an asynchronous view.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def scene(transactional_db: None, users: People, var_dir: Path) -> scenery.Scene:
    """A working day."""
    return scenery.whole(var_dir / "sandbox", users)


class Visitor:
    """Somebody at the console, and everything their browser complained about."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page: Page = context.new_page()
        self.address = address
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"{self.page.url}: {error}"))
        self.page.on("request", self._asked)

    def _heard(self, message: Any) -> None:
        # A refusal is an answer with its own status, which browsers note as an error.
        if message.type in ("error", "warning") and "the server responded with a status of 4" not in message.text:
            self.complaints.append(f"{self.page.url}: {message.text}")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:")):
            self.elsewhere.append(request.url)

    def go(self, path: str) -> None:
        """Open a page of the console."""
        self.page.goto(f"{self.address}{path}")

    def log_in(self, username: str) -> None:
        """Through the form everybody uses."""
        self.go("/")
        self.page.fill("#id_username", username)
        self.page.fill("#id_password", PASSWORD)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(f"{self.address}/")

    def violations(self) -> list[str]:
        """What axe finds wrong with the page as it is now, by WCAG 2.2 AA."""
        heard = list(self.complaints)
        # Evaluated through the debugger, so the page's own policy does not have to allow it.
        self.page.evaluate(AXE.read_text())
        wanted = json.dumps({"runOnly": RULES, "resultTypes": ["violations"]})
        found = self.page.evaluate(f"() => axe.run(document, {wanted})")
        # Axe itself tries styles which the policy refuses; that is no complaint about the page.
        self.complaints = heard
        return [
            f"{each['id']}: {node['target']} {node['failureSummary']}"
            for each in found["violations"]
            for node in each["nodes"]
        ]


@pytest.fixture
def visit(chromium: Browser, live_server: Any, settings: Any) -> Iterator[Callable[..., Visitor]]:
    """`visit(color_scheme="dark", width=390)` gives a Visitor with a browser of their own.

    This server has threads and no event loop, so streams are switched off: pages work by reloading.
    """
    settings.SSE_ENABLED = False
    contexts: list[BrowserContext] = []

    def visit(*, color_scheme: Any = "light", width: int = 1280, height: int = 860, **more: Any) -> Visitor:
        context = chromium.new_context(
            color_scheme=color_scheme,
            viewport={"width": width, "height": height},
            reduced_motion="reduce",
            **more,
        )
        contexts.append(context)
        return Visitor(context, live_server.url)

    yield visit
    for context in contexts:
        context.close()
