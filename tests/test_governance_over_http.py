"""What makes an approval worth something, asked over HTTP of a real server: a reviewer gets exactly what they saw.

People log in with their passwords and agents send their keys; only the worker's part is done in this process.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.contrib.auth.models import Group, User
from django.utils import timezone

from auditlog import jobs
from auditlog.actors import SYSTEM
from auditlog.models import Entry
from governance import policies, seeds
from governance.models import ApprovalRequest, Decision
from tests.harness.clients import agent_of, config_change
from tests.harness.people import PASSWORD, People
from verification.models import Contract, Revision

pytestmark = pytest.mark.django_db(transaction=True)

V, G = "/api/verification", "/api/governance"
TWO = {"tier_2": {"approvals": [{"group": "reviewers", "count": 2}]}}


class Caller:
    """Somebody who speaks HTTP to a real server: a person who logged in, or a program with a key."""

    def __init__(self, url: str, *, user: User | None = None, key: str = "") -> None:
        self.url, self.http = url, requests.Session()
        if key:
            self.http.headers["Authorization"] = f"Bearer {key}"
        if user is not None:
            self.post(f"{G}/session", {"username": user.username, "password": PASSWORD}, status=200)

    def get(self, path: str) -> Any:
        answer = self.http.get(f"{self.url}{path}", timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def post(self, path: str, body: Any, *, status: int) -> Any:
        """What is answered, data or problem; fails on any other status."""
        csrf = {"X-CSRFToken": self.http.cookies.get("csrftoken", "")}
        answer = self.http.post(f"{self.url}{path}", json=body, headers=csrf, timeout=30)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json().get("data", answer.json())


class Place:
    """A server, an agent of Ada's, and a file with two workers in it."""

    def __init__(self, url: str, people: People, var_dir: Path) -> None:
        self.url, self.people = url, people
        self.file = var_dir / "sandbox" / "service.json"
        self.file.write_text('{"workers": 2}\n')
        seeds.seed(now=timezone.now(), passwords={person.username: PASSWORD for person in seeds.PEOPLE})
        self.robot, self.key = agent_of(people.ada, timezone.now())
        self.agent = Caller(url, key=self.key)

    def who(self, name: str) -> Caller:
        return Caller(self.url, user=getattr(self.people, name))

    def ask(self, **merge: Any) -> dict[str, Any]:
        asked: dict[str, Any] = self.agent.post(f"{V}/contracts", config_change(merge or {"workers": 4}), status=201)
        assert asked["state"] == "awaiting_approval"
        return asked

    def decide(self, asked: dict[str, Any], caller: Caller, *, status: int = 200, **body: Any) -> Any:
        body = {"verdict": "approve", "digest": asked["digest"], "reason": "read it", **body}
        return caller.post(f"{G}/approvals/{asked['approval_id']}/decision", body, status=status)

    def run(self) -> None:
        jobs.run_until_idle()

    def state(self, asked: dict[str, Any]) -> str:
        return str(self.agent.get(f"{V}/contracts/{asked['id']}")["state"])

    def is_untouched(self) -> bool:
        return bool(json.loads(self.file.read_text()) == {"workers": 2})

    def newest(self, asked: dict[str, Any]) -> Any:
        """The newest request about a contract, as a reviewer sees it."""
        request = ApprovalRequest.objects.filter(contract_id=asked["id"]).latest("created_at")
        return self.who("bea").get(f"{G}/approvals/{request.pk}")


@pytest.fixture
def place(live_server: Any, users: People, var_dir: Path) -> Place:
    return Place(live_server.url, users, var_dir)


def policy(*rules: dict[str, Any], tiers: dict[str, Any] | None = None) -> None:
    document = {**seeds.POLICY, "rules": [*seeds.POLICY["rules"], *rules]}
    document["tiers"] = {**seeds.POLICY["tiers"], **(tiers or {})}
    policies.publish(document=document, note="a test", by=SYSTEM, now=timezone.now())


def test_i_a_late_approval_is_refused(place: Place, clock: Any) -> None:
    asked = place.ask()
    clock.shift(timedelta(hours=24))
    assert place.decide(asked, place.who("bea"), status=409)["code"] == "request_expired"
    place.run()
    assert place.is_untouched()


@pytest.mark.parametrize(
    "edit",
    [
        lambda asked: Revision.objects.filter(contract_id=asked["id"]).update(
            parameters={"path": "service.json", "merge": {"workers": 400}}
        ),
        lambda asked: Contract.objects.filter(pk=asked["id"]).update(target="file:other.json"),
        lambda asked: ApprovalRequest.objects.filter(contract_id=asked["id"]).update(requirements={"approvals": []}),
        lambda asked: Contract.objects.filter(pk=asked["id"]).update(authorized_digest="0" * 64),
    ],
    ids=["parameters", "target", "requirements", "the digest itself"],
)
def test_m_a_row_edited_in_the_database_after_approval_is_not_run(place: Place, edit: Callable[[Any], Any]) -> None:
    asked = place.ask()
    place.decide(asked, place.who("bea"))
    edit(asked)
    place.run()
    assert place.is_untouched()
    assert place.state(asked) in {"cancelled", "awaiting_approval"}


def test_m_a_decision_edited_or_forged_in_the_database_is_not_run(place: Place) -> None:
    policy(tiers=TWO)
    edited, forged, people = place.ask(), place.ask(workers=5), place.people
    place.decide(edited, place.who("bea"))
    place.decide(edited, place.who("cem"))
    Decision.objects.filter(person=people.cem).update(person=people.dee)
    for person in (people.bea, people.cem):
        Decision.objects.create(
            request_id=forged["approval_id"],
            person=person,
            verdict="approve",
            digest=forged["digest"],
            entry_id=Entry.objects.latest("id").pk,
            created_at=timezone.now(),
        )
    place.decide(forged, place.who("dee"))
    place.run()
    assert place.is_untouched()
    for asked in (edited, forged):
        assert place.state(asked) == "cancelled"
        reason = Entry.objects.get(contract_id=asked["id"], fact="contract.cancelled").data["reason"]
        assert "The log does not say what the rows do: decision" in reason


def test_e_a_replayed_decision_is_refused(place: Place) -> None:
    asked, bea = place.ask(), place.who("bea")
    place.decide(asked, bea)
    assert place.decide(asked, bea, status=409)["code"] == "request_not_pending"
    place.run()
    assert place.state(asked) == "verified"
    assert place.decide(asked, bea, status=409)["code"] == "request_not_pending"
    assert Decision.objects.count() == 1
    assert Contract.objects.get(pk=asked["id"]).executions.count() == 1


def test_e_a_decision_is_not_for_another_request(place: Place) -> None:
    one, other, bea = place.ask(workers=4), place.ask(workers=5), place.who("bea")
    refused = place.decide(other, bea, status=409, digest=one["digest"])
    assert refused["code"] == "stale_digest"
    place.run()
    assert place.is_untouched()


def test_m_a_policy_tightened_after_approval_asks_again(place: Place) -> None:
    asked = place.ask()
    place.decide(asked, place.who("bea"))
    policy(tiers=TWO)
    place.run()
    assert place.is_untouched()
    assert place.state(asked) == "awaiting_approval"
    again = place.newest(asked)
    assert [slot["person"] for slot in again["slots"]] == [None, None]


def test_h_an_approver_removed_from_the_group_is_not_dispatched(place: Place) -> None:
    asked = place.ask()
    place.decide(asked, place.who("bea"))
    place.people.bea.groups.remove(Group.objects.get(name="reviewers"))
    place.run()
    assert place.is_untouched()
    assert place.state(asked) == "awaiting_approval"


def test_m_a_drifted_target_is_stale_and_the_difference_is_shown(place: Place) -> None:
    asked, bea = place.ask(), place.who("bea")
    place.decide(asked, bea)
    place.file.write_text('{"workers": 3}\n')
    place.run()
    assert json.loads(place.file.read_text()) == {"workers": 3}
    assert bea.get(f"{G}/approvals/{asked['approval_id']}")["state"] == "stale"
    again = place.newest(asked)
    assert again["state"] == "pending"
    assert again["drift"]["before"]["content"] == {"workers": 2}
    assert again["drift"]["after"]["content"] == {"workers": 3}


def test_f_neither_the_agent_nor_its_owner_nor_a_delegate_of_either_approves(place: Place) -> None:
    asked, ada = place.ask(), place.who("ada")
    place.people.ada.groups.add(Group.objects.get(name="reviewers"))
    assert place.decide(asked, place.agent, status=403)["code"] == "separation_of_duties"
    assert place.decide(asked, ada, status=403)["code"] == "separation_of_duties"
    # Somebody who may decide nothing by themselves lends no vote to Ada's delegate: it is Ada's own.
    people = place.people
    operator = User.objects.create_user("finn", password=PASSWORD)
    operator.groups.add(Group.objects.get(name="operators"))
    body = {
        "delegate": operator.username,
        "ends_at": (timezone.now() + timedelta(days=1)).isoformat(),
        "reason": "away",
    }
    ada.post(f"{G}/delegations", body, status=201)
    finn = Caller(place.url, user=operator)
    assert place.decide(asked, finn, status=403)["code"] == "separation_of_duties"
    # Nor does a delegate who reviews in their own right, until the delegation is over.
    given = ada.post(f"{G}/delegations", {**body, "delegate": people.cem.username}, status=201)
    cem = place.who("cem")
    assert place.decide(asked, cem, status=403)["code"] == "separation_of_duties"
    assert not Decision.objects.exists()
    place.run()
    assert place.is_untouched()
    # What somebody else asks for, the same delegate may decide in Ada's name.
    other = place.who("dee").post(f"{V}/contracts", config_change({"workers": 6}), status=201)
    place.decide(other, finn)
    assert Decision.objects.get(person=operator).request.contract.requested_by == people.dee
    ada.post(f"{G}/delegations/{given['id']}/revoke", {"reason": "back"}, status=200)
    place.decide(asked, cem)
    assert place.state(asked) == "authorized"


def test_g_one_person_in_two_groups_fills_one_slot(place: Place) -> None:
    security = Group.objects.create(name="security")
    place.people.bea.groups.add(security)
    both = {"approvals": [{"group": "reviewers", "count": 1}, {"group": "security", "count": 1}]}
    policy(tiers={"tier_2": both})
    asked = place.ask()
    place.decide(asked, place.who("bea"))
    assert place.state(asked) == "awaiting_approval"
    place.decide(asked, place.who("cem"))
    assert place.state(asked) == "authorized"


def test_k_a_withdrawn_approval_stops_a_queued_execution(place: Place) -> None:
    asked, bea = place.ask(), place.who("bea")
    place.decide(asked, bea)
    assert place.state(asked) == "authorized"
    bea.post(f"{G}/approvals/{asked['approval_id']}/withdraw", {"reason": "on second thoughts"}, status=200)
    place.run()
    assert place.is_untouched()
    assert place.state(asked) == "awaiting_approval"
