"""The example package in the documents: every command of its README is run as it stands, and it works."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.harness.installation import Installation
from tests.harness.processes import ROOT, wait_until
from tests.test_documents import blocks

pytestmark = pytest.mark.xdist_group("up")

README = ROOT / "docs" / "example-executor" / "README.md"
INSTALL, TEST, START, PROPOSE = blocks(README, "sh")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the README's first command put the package: beside the environment, which others use too."""
    target = tmp_path_factory.mktemp("packages")
    shell(INSTALL, PIP_TARGET=str(target), PIP_NO_DEPS="1", PIP_NO_BUILD_ISOLATION="0", PIP_NO_INDEX="1")
    return target


def shell(text: str, **env: str) -> str:
    """Run a block of a document, with this Python first in the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ours = {"PATH": path, "HOME": os.environ.get("HOME", "/"), "GRACE_ENV_FILE": "", "PIP_ROOT_USER_ACTION": "ignore"}
    ran = subprocess.run(
        ["sh", "-ec", text], cwd=ROOT, env=ours | env, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    for release in ("1.0", "1.1"):
        (root / "releases" / release).mkdir(parents=True)
    (root / "current").symlink_to("releases/1.0")
    return root


@pytest.fixture(scope="module")
def running(
    packages: Path, shop: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Installation, dict[str, Any]]]:
    assert START == "export RELEASES_ROOT=/srv/shop\npython manage.py up\n"
    here = Installation(tmp_path_factory.mktemp("example"), PYTHONPATH=str(packages), RELEASES_ROOT=str(shop))
    made = here.manage("bootstrap", "--json")
    assert made.returncode == 0, made.stderr
    with here.up():
        yield here, json.loads(made.stdout)


def test_its_own_tests_pass(packages: Path) -> None:
    assert " passed" in shell(TEST, PYTHONPATH=str(packages))


def test_it_leaves_nothing_behind_in_the_source(packages: Path) -> None:
    assert (packages / "grace_release.py").exists()
    known = {"README.md", "grace_release.py", "proposal.json", "pyproject.toml", "tests", "__pycache__"}
    assert {path.name for path in README.parent.iterdir()} <= known


def test_it_is_proposed_approved_and_verified(running: tuple[Installation, dict[str, Any]], shop: Path) -> None:
    here, told = running
    if shutil.which("curl") is None:
        pytest.fail("the example needs curl")
    answer = shell(PROPOSE.replace("http://localhost:8000", here.url), GRACE_KEY=told["agent"]["key"])
    asked = json.loads(answer)["data"]
    assert (asked["tier"], asked["state"]) == ("tier_3", "awaiting_approval")
    passwords = {user["username"]: user["password"] for user in told["users"]}
    for name in ("bea", "cem"):
        assert (shop / "current").readlink().name == "1.0"
        approve(here, asked["approval_id"], name, passwords[name])
    wait_until(lambda: (shop / "current").readlink().name == "1.1", seconds=30, what="the link is switched")
    wait_until(lambda: state(here, told, asked["id"]) == "verified", seconds=30, what="it is verified")


def test_a_release_that_is_not_there_is_refused(running: tuple[Installation, dict[str, Any]], shop: Path) -> None:
    here, told = running
    body = {**json.loads((README.parent / "proposal.json").read_text()), "parameters": {"release": "../.."}}
    answer = requests.post(f"{here.url}/api/verification/contracts", json=body, headers=agent(told), timeout=30)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/parameters/release")


def approve(here: Installation, approval_id: str, name: str, password: str) -> None:
    """One reviewer reads the preview and says yes."""
    with requests.Session() as person:
        login = {"username": name, "password": password}
        assert person.post(f"{here.url}/api/governance/session", json=login, timeout=30).ok
        person.get(f"{here.url}/api/governance/me", timeout=30)
        person.headers.update({"X-CSRFToken": person.cookies["csrftoken"], "Referer": f"{here.url}/"})
        approval = f"{here.url}/api/governance/approvals/{approval_id}"
        shown = person.get(approval, timeout=30).json()["data"]
        assert shown["preview"]["body"] == "-1.0\n+1.1"
        body = {"verdict": "approve", "digest": shown["digest"], "reason": "read it"}
        assert person.post(f"{approval}/decision", json=body, timeout=30).ok


def state(here: Installation, told: dict[str, Any], contract_id: str) -> str:
    """The state of a contract, as its agent sees it."""
    url = f"{here.url}/api/verification/contracts/{contract_id}"
    return str(requests.get(url, headers=agent(told), timeout=30).json()["data"]["state"])


def agent(told: dict[str, Any]) -> dict[str, str]:
    """The header of the agent made for this installation."""
    return {"Authorization": f"Bearer {told['agent']['key']}"}
