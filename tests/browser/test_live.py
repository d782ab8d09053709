"""The inbox, live: what an agent proposes appears without anybody reloading, and is announced."""

from __future__ import annotations

import socket
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.hashers import make_password
from playwright.sync_api import Browser, expect

from auditlog import jobs
from tests import scenery
from tests.browser.conftest import Visitor
from tests.harness import processes
from tests.harness.people import PASSWORD, People

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def address(
    transactional_db: None, worker_environment: dict[str, str], session_var_dir: Path, tmp_path: Path
) -> Iterator[str]:
    """A real web process with an event loop, on the database of the tests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "uvicorn", "grace_site.asgi:application", "--port", str(port)]
    log = tmp_path / "web.log"
    with processes.process(argv, env=worker_environment, log=log):
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            try:
                with urllib.request.urlopen(f"{url}/healthz", timeout=2) as response:
                    return bool(response.status == 200)
            except OSError:
                return False

        processes.wait_until(answers, seconds=30, what="the web process answers")
        yield url


def test_a_new_request_appears_by_itself(users: People, var_dir: Path, address: str, chromium: Browser) -> None:
    scene = scenery.minimal(var_dir / "sandbox", users)
    # The real server does not know the quick hash the tests use.
    users.bea.password = make_password(PASSWORD, hasher="argon2")
    users.bea.save()
    scene.ask(11)
    jobs.run_until_idle()
    context = chromium.new_context()
    bea = Visitor(context, address)
    bea.log_in("bea")
    expect(bea.page.locator("[data-live]")).to_have_text("Live", timeout=10_000)
    bea.page.keyboard.press("j")
    focused = bea.page.evaluate("document.activeElement.id")
    scene.change("checkout.json", {"log_level": "debug"}, justification="It came by itself.")
    jobs.run_until_idle()
    expect(bea.page.get_by_role("link", name="It came by itself.")).to_be_visible(timeout=15_000)
    expect(bea.page.locator("[data-announce]")).to_have_text("2 approvals pending")
    expect(bea.page.locator("#pending-count")).to_contain_text("2")
    assert bea.page.evaluate("document.activeElement.id") == focused, "where somebody reads stays where it is"
    bea.page.keyboard.press("x")
    bea.page.keyboard.press("v")
    bea.page.fill("#reason", "I am still reading.")
    scene.change("checkout.json", {"log_level": "trace"}, justification="It came meanwhile.")
    jobs.run_until_idle()
    expect(bea.page.locator("[data-announce]")).to_contain_text("The list has changed", timeout=15_000)
    expect(bea.page.locator("#reason")).to_have_value("I am still reading.")
    unasked = bea.page.get_by_role("link", name="It came meanwhile.")
    assert unasked.count() == 0, "the list waits while somebody reads in it"
    bea.page.keyboard.press("Escape")
    bea.page.keyboard.press("Escape")
    expect(unasked).to_be_visible(timeout=15_000)
    expect(bea.page.locator("[data-choice]:checked")).to_have_count(1)
    assert bea.page.evaluate("document.activeElement.id") == focused
    assert bea.complaints == []
    context.close()
