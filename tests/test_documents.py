"""What the documents say is true: the README's proposal works verbatim, links lead somewhere, examples are taken."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from django.utils import timezone

from governance import seeds
from grace_site import schedules
from missions import sandbox
from tests.harness.clients import Api
from tests.harness.installation import Installation
from tests.harness.people import People
from tests.harness.processes import ROOT, wait_until
from tests.harness.story import CONTRACTS
from verification.models import Contract

pytestmark = pytest.mark.xdist_group("up")

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def blocks(path: Path, language: str) -> list[str]:
    """Every fenced block of that language."""
    return [text for found, text in BLOCK.findall(path.read_text()) if found == language]


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


EXAMPLES = [
    pytest.param(text, id=f"{names(path)}-{number}")
    for path in DOCUMENTS
    for number, text in enumerate(blocks(path, "json"), start=1)
    if '"action_type"' in text
]


# --- links -----------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The names of a document's headings, as they stand in links."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=names)
def test_links_lead_somewhere(path: Path) -> None:
    lost = []
    for link in LINK.findall(path.read_text()):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


# --- examples --------------------------------------------------------------------------------------------------


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 2
    assert DOCUMENTS


@pytest.mark.parametrize("path", DOCUMENTS, ids=names)
def test_what_is_called_json_is_json(path: Path) -> None:
    for text in blocks(path, "json"):
        json.loads(text)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("text", EXAMPLES)
def test_a_proposal_in_a_document_is_accepted(text: str, users: People, settings: Any) -> None:
    seeds.seed(now=timezone.now())
    sandbox.write()
    body = {**json.loads(text), "dry_run": True}
    answer = Api(user=users.ada).post(CONTRACTS, body)
    assert answer.status_code == 200, answer.content
    assert answer.json()["data"]["state"] in ("authorized", "awaiting_approval")
    assert not Contract.objects.exists()


# --- the README ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, dict[str, Any]]]:
    """An installation as `make run` leaves it, and what was told once."""
    here = Installation(tmp_path_factory.mktemp("documents"))
    made = here.manage("bootstrap", "--json")
    assert made.returncode == 0, made.stderr
    with here.up():
        yield here, json.loads(made.stdout)


def curl(here: Installation, told: dict[str, Any]) -> dict[str, Any]:
    """Run the README's curl as it stands; only the port is this installation's."""
    if shutil.which("curl") is None:
        pytest.fail("the README's example needs curl")
    [example] = [text for text in blocks(ROOT / "README.md", "sh") if text.startswith("curl")]
    env = {**here.env, "GRACE_KEY": told["agent"]["key"]}
    ran = subprocess.run(
        ["sh", "-c", example.replace("http://localhost:8000", here.url)],
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    answered: dict[str, Any] = json.loads(ran.stdout)
    return answered


def test_the_readmes_proposal_is_approved_and_verified(running: tuple[Installation, dict[str, Any]]) -> None:
    here, told = running
    [asked] = [curl(here, told)["data"]]
    assert asked["state"] == "awaiting_approval"
    # "Log in as Bea, read the diff, approve."
    passwords = {user["username"]: user["password"] for user in told["users"]}
    with requests.Session() as bea:
        entered = bea.post(
            f"{here.url}/api/governance/session",
            json={"username": "bea", "password": passwords["bea"]},
            timeout=30,
        )
        assert entered.ok, entered.text
        bea.get(f"{here.url}/api/governance/me", timeout=30)
        bea.headers.update({"X-CSRFToken": bea.cookies["csrftoken"], "Referer": f"{here.url}/"})
        approval = f"{here.url}/api/governance/approvals/{asked['approval_id']}"
        shown = bea.get(approval, timeout=30).json()["data"]
        assert '"max_connections": 50' in shown["preview"]["body"]
        body = {"verdict": "approve", "digest": shown["digest"], "reason": "read it"}
        assert bea.post(f"{approval}/decision", json=body, timeout=30).ok
        contract = f"{here.url}/api/verification/contracts/{asked['id']}"

        def verified() -> bool:
            return bool(bea.get(contract, timeout=30).json()["data"]["state"] == "verified")

        wait_until(verified, seconds=30, what="the contract becomes verified")
        assert bea.get(f"{here.url}/contracts/{asked['id']}", timeout=30).ok
    assert json.loads((here.var_dir / "sandbox" / "app.json").read_text())["max_connections"] == 50


def test_the_readmes_proposal_sent_twice_is_one(running: tuple[Installation, dict[str, Any]]) -> None:
    here, told = running
    assert curl(here, told)["data"]["id"] == curl(here, told)["data"]["id"]


def test_every_make_target_a_document_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = {
        target for path in DOCUMENTS for target in re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(), re.MULTILINE)
    }
    assert told <= targets, told - targets


def test_every_command_a_document_names_is_there(running: tuple[Installation, dict[str, Any]]) -> None:
    here, _ = running
    there = set(re.findall(r"^    ([a-z_]+)$", here.manage("help").stdout, re.MULTILINE))
    told = {command for path in DOCUMENTS for command in re.findall(r"manage\.py ([a-z_]+)", path.read_text())}
    assert told <= there, told - there


def test_the_table_of_beats_is_complete() -> None:
    _, _, rest = (ROOT / "docs" / "operating.md").read_text().partition("## What runs by the clock")
    written = re.findall(r"^\| `([a-z-]+)` \|", rest.partition("\n## ")[0], flags=re.MULTILINE)
    assert sorted(written) == sorted(schedules.intervals())
