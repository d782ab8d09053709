"""What waits for people survives everything that runs: it is a row, and nobody keeps it in mind (O)."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.harness.clients import config_change
from tests.harness.installation import Installation
from tests.harness.processes import wait_until

# It starts several processes, and shares the machine badly.
pytestmark = pytest.mark.xdist_group("up")

V, G = "/api/verification", "/api/governance"


class Somebody:
    """A person who logged in, or an agent with a key."""

    def __init__(self, here: Installation, *, login: dict[str, str] | None = None, key: str = "") -> None:
        self.url, self.http = here.url, requests.Session()
        if key:
            self.http.headers["Authorization"] = f"Bearer {key}"
        if login is not None:
            self.post(f"{G}/session", login, status=200)

    def get(self, path: str) -> Any:
        return self.http.get(f"{self.url}{path}", timeout=60).json()["data"]

    def post(self, path: str, body: Any, *, status: int) -> Any:
        csrf = {"X-CSRFToken": self.http.cookies.get("csrftoken", "")}
        answer = self.http.post(f"{self.url}{path}", json=body, headers=csrf, timeout=60)
        assert answer.status_code == status, answer.text
        return answer.json()["data"]


def test_o_a_pending_request_survives_restarts_and_nothing_waits_in_memory(tmp_path: Path) -> None:
    here = Installation(tmp_path)
    ran = here.manage("bootstrap", "--json", seconds=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads(ran.stdout)
    password = next(user["password"] for user in told["users"] if user["username"] == "bea")
    file = here.var_dir / "sandbox" / "service.json"
    file.write_text('{"workers": 2}')

    with here.up():
        agent = Somebody(here, key=told["agent"]["key"])
        asked = agent.post(f"{V}/contracts", config_change({"workers": 4}), status=201)
        assert asked["state"] == "awaiting_approval"
        here.kill()

    # Nothing runs now. All there is of the question is its row, and no work is owed for it.
    states = here.rows("SELECT state FROM governance_approvalrequest WHERE digest = ?", asked["digest"])
    assert states == [("pending",)]
    assert here.rows("SELECT kind FROM auditlog_job WHERE subject_id = ?", asked["id"]) == []

    with here.up():
        bea = Somebody(here, login={"username": "bea", "password": password})
        request = bea.get(f"{G}/approvals/{asked['approval_id']}")
        assert (request["state"], request["digest"]) == ("pending", asked["digest"])
        here.kill()

    with here.up():
        bea = Somebody(here, login={"username": "bea", "password": password})
        bea.post(
            f"{G}/approvals/{asked['approval_id']}/decision",
            {"verdict": "approve", "digest": asked["digest"], "reason": "read it"},
            status=200,
        )
        agent = Somebody(here, key=told["agent"]["key"])

        def verified() -> bool:
            return bool(agent.get(f"{V}/contracts/{asked['id']}")["state"] == "verified")

        wait_until(verified, seconds=60, what="what was approved has run")
    assert json.loads(file.read_text()) == {"workers": 4}
