"""Who works while the house is shaken: an agent that proposes until it is answered, and a reviewer who reads all."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.faults.world import Act

V, G = "/api/verification", "/api/governance"


@dataclass
class Asked:
    """A contract that was proposed: what kind of act, under which name, and its id."""

    act: Act
    name: str
    contract_id: str
    state: str = ""


@dataclass
class Agent:
    """Proposes one act after the other; what is not answered is sent again under the same key."""

    url: str
    key: str
    acts: Sequence[Act]
    asked: list[Asked] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        for number, act in zip(itertools.count(), itertools.cycle(self.acts)):
            if self.stop.is_set():
                return
            name = f"act-{number}"
            if (contract_id := self._propose(act, name)) is not None:
                self.asked.append(Asked(act, name, contract_id))
            self.stop.wait(0.4)

    def ask(self, count: int) -> None:
        """Propose that many, one right after the other."""
        for number, act in zip(range(count), itertools.cycle(self.acts), strict=False):
            name = f"act-{number}"
            contract_id = self._propose(act, name)
            assert contract_id is not None
            self.asked.append(Asked(act, name, contract_id))

    def _propose(self, act: Act, name: str) -> str | None:
        """The id of the contract, once it is known; None when it never was before the campaign ended."""
        for _ in self._until(seconds=120):
            with suppress(requests.RequestException):
                answer = requests.post(
                    f"{self.url}{V}/contracts",
                    json=act.proposal(name),
                    headers={"Authorization": f"Bearer {self.key}", "Idempotency-Key": name},
                    timeout=15,
                )
                if answer.status_code == 201:
                    contract_id: str = answer.json()["data"]["id"]
                    return contract_id
                # What is wrong with the house passes, also what looked at the target for it having been killed; what is
                # wrong with the proposal would not.
                assert answer.status_code >= 429 or "target_not_observable" in answer.text, answer.text
        return None

    def _until(self, *, seconds: float) -> Iterator[None]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            yield
            time.sleep(0.3)

    def look(self, asked: Asked) -> dict[str, Any] | None:
        """The contract as it is now; None while nobody answers."""
        with suppress(requests.RequestException, ValueError):
            answer = requests.get(
                f"{self.url}{V}/contracts/{asked.contract_id}",
                headers={"Authorization": f"Bearer {self.key}"},
                timeout=15,
            )
            if answer.status_code == 200:
                data: dict[str, Any] = answer.json()["data"]
                return data
        return None


@dataclass
class Contractor:
    """An external agent: takes over what is handed out, does it, and reports until it is heard."""

    url: str
    key: str
    stop: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        while not self.stop.wait(0.5):
            with suppress(requests.RequestException, ValueError):
                answer = self._post("claim", {})
                assert answer.status_code == 200 or answer.status_code >= 429, answer.text
                answer.raise_for_status()
                permit = answer.json()["data"]["permit"]
                if permit is not None:
                    self._do(permit)

    def _do(self, permit: dict[str, Any]) -> None:
        requests.post(permit["arguments"]["url"], timeout=15).raise_for_status()
        for _ in range(20):
            with suppress(requests.RequestException):
                body = {"permit": permit["permit"], "status": "success"}
                if self._post(f"{permit['id']}/report", body).status_code < 500:
                    return
            self.stop.wait(0.5)

    def _post(self, what: str, body: dict[str, Any]) -> requests.Response:
        bearer = {"Authorization": f"Bearer {self.key}"}
        return requests.post(f"{self.url}{V}/permits/{what}", json=body, headers=bearer, timeout=15)


@dataclass
class Reviewer:
    """Approves whatever waits, each by the digest shown, and logs in again when the session is gone."""

    url: str
    username: str
    password: str
    stop: threading.Event = field(default_factory=threading.Event)
    session: requests.Session | None = None

    def work(self) -> None:
        while not self.stop.wait(0.5):
            with suppress(requests.RequestException, ValueError, KeyError):
                self._review()

    def get(self, path: str, **query: Any) -> Any:
        """What GET answers, without its envelope."""
        answer = (self.session or self._log_in()).get(f"{self.url}{path}", params=query, timeout=15)
        answer.raise_for_status()
        return answer.json()["data"]

    def post(self, path: str, body: Any) -> Any:
        """What POST answers, without its envelope."""
        session = self.session or self._log_in()
        csrf = {"X-CSRFToken": session.cookies["csrftoken"]}
        answer = session.post(f"{self.url}{path}", json=body, headers=csrf, timeout=15)
        answer.raise_for_status()
        return answer.json()["data"]

    def _review(self) -> None:
        session = self.session or self._log_in()
        waiting = session.get(f"{self.url}{G}/approvals", params={"state": "pending", "limit": 50}, timeout=15)
        if waiting.status_code in {401, 403}:
            self.session = None
        for request in waiting.json()["data"]:
            session.post(
                f"{self.url}{G}/approvals/{request['id']}/decision",
                json={"verdict": "approve", "digest": request["digest"]},
                headers={"X-CSRFToken": session.cookies["csrftoken"]},
                timeout=15,
            )

    def _log_in(self) -> requests.Session:
        session = requests.Session()
        body = {"username": self.username, "password": self.password}
        session.post(f"{self.url}{G}/session", json=body, timeout=15).raise_for_status()
        self.session = session
        return session
