"""From a proposal over REST to what became of it: policy, another person's word, a real worker, the log."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from auditlog import entries, integrity, sequencer
from auditlog.models import Entry, Leaf
from tests.harness.clients import config_change
from tests.harness.people import People
from tests.harness.processes import wait_until
from tests.harness.story import CONTRACTS, Story, told
from verification.models import Contract, Snapshot

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("worker")]

PROPOSED = ["contract.created", "contract.proposed", "contract.awaiting_approval", "approval.requested"]
APPROVED = ["approval.decided", "approval.granted", "contract.authorized"]
BEGUN = ["contract.executing", "agentic.action_executing", "snapshot.created", "contract.verifying"]


@pytest.fixture
def story(worker: None, var_dir: Path, users: People) -> Story:
    """A real worker, and a service with two workers of its own."""
    made = Story(var_dir, users)
    (made.sandbox / "service.json").write_text('{"workers": 2}\n')
    return made


def test_it_is_proposed_approved_executed_and_verified(story: Story) -> None:
    asked = story.propose(config_change({"workers": 4}))
    assert (asked["state"], asked["tier"]) == ("awaiting_approval", "tier_2")
    assert json.loads((story.sandbox / "service.json").read_text()) == {"workers": 2}
    assert story.decide(asked, story.people.bea).status_code == 200
    contract = story.wait(asked)
    assert contract["state"] == "verified"
    assert json.loads((story.sandbox / "service.json").read_text()) == {"workers": 4}
    [execution] = contract["executions"]
    assert (execution["attempt"], execution["outcome"], execution["recovered"]) == (1, "verified", False)
    assert contract["approval"]["state"] == "spent"
    assert contract["confidence"] == 1.0
    observed = {each["title"]: each["observed"] for each in contract["verification"]["criteria"]}
    assert observed == {'"exists" equals true': True, "content.workers equals 4": 4}


def test_a_violation_is_rolled_back_byte_for_byte(story: Story) -> None:
    before = b'{ "workers":2,\t"comment": "kept as it was written" }'
    (story.sandbox / "service.json").write_bytes(before)
    # What it promises is not what it does.
    asked = story.propose(config_change({"workers": 4}, expect={"workers": 5}))
    story.decide(asked, story.people.bea)
    contract = story.wait(asked)
    assert contract["state"] == "rolled_back"
    assert (story.sandbox / "service.json").read_bytes() == before
    [execution] = contract["executions"]
    assert execution["result"]["ok"] is True
    assert execution["rollback_reason"] == "criteria_violated"
    assert execution["rollback_result"]["ok"] is True
    assert Snapshot.objects.get(contract_id=asked["id"]).kind == Snapshot.Kind.PRE_ACTION
    assert [each.fact for each in told(asked["id"])] == [
        *PROPOSED,
        *APPROVED,
        *BEGUN,
        "contract.violated",
        "agentic.action_failed",
        "contract.rolling_back",
        "snapshot.restored",
        "contract.rolled_back",
    ]


def test_the_log_tells_who_what_and_why_under_one_correlation_id(story: Story) -> None:
    asked = story.propose(config_change({"workers": 4}), X_Request_ID="from-the-agent")
    story.decide(asked, story.people.bea)
    story.wait(asked)
    agent, bea = f"agent {story.agent_id}", f"person {story.people.bea.pk}"
    said = told(asked["id"])
    assert [(each.fact, each.who, each.because_of) for each in said] == [
        ("contract.created", agent, None),
        ("contract.proposed", agent, "contract.created"),
        ("contract.awaiting_approval", "system", "contract.proposed"),
        ("approval.requested", agent, "contract.awaiting_approval"),
        ("approval.decided", bea, "approval.requested"),
        ("approval.granted", bea, "approval.decided"),
        ("contract.authorized", bea, "approval.granted"),
        ("contract.executing", "system", "contract.authorized"),
        ("agentic.action_executing", "system", "contract.authorized"),
        ("snapshot.created", "system", "contract.authorized"),
        ("contract.verifying", "system", "contract.authorized"),
        ("contract.verified", "system", "contract.authorized"),
        ("agentic.action_completed", "system", "contract.authorized"),
    ]
    # The reviewer's request had an id of its own; the story keeps the one it began with.
    assert {each.correlation_id for each in said} == {"from-the-agent"}
    assert Contract.objects.get(pk=asked["id"]).correlation_id == "from-the-agent"
    eve = story.person(story.people.eve)

    def shown() -> list[str]:
        return [each["fact"] for each in eve.data(f"{CONTRACTS}/{asked['id']}/events?limit=100")]

    # On PostgreSQL an entry is shown once it has its place.
    wait_until(lambda: len(shown()) == len(said), seconds=15, what="every entry has its place")
    assert shown() == [each.fact for each in said]


def test_the_chain_of_a_contract_is_in_the_tree_and_holds(story: Story) -> None:
    asked = story.propose(config_change({"workers": 4}))
    story.decide(asked, story.people.bea)
    story.wait(asked)
    sequencer.run()
    of_contract = Entry.objects.filter(contract_id=asked["id"])
    leaves = Leaf.objects.filter(entry__in=of_contract)
    assert leaves.count() == of_contract.count() == len(PROPOSED + APPROVED + BEGUN) + 2
    in_tree = [entry.fact for entry in entries.timeline(contract_id=asked["id"])]
    assert in_tree == [each.fact for each in told(asked["id"])]
    assert integrity.check(timezone.now()).found == []


def test_a_mission_tells_the_same_story(story: Story) -> None:
    started = story.person(story.people.ada).post("/api/verification/missions", {"goal": "More workers"})
    began: dict[str, Any] = started.json()["data"]
    asked = story.propose({**config_change({"workers": 4}), "mission_id": began["id"]})
    story.decide(asked, story.people.bea)
    story.wait(asked)
    told_by_mission = story.person(story.people.eve).data(
        f"/api/verification/missions/{began['id']}/timeline?limit=100"
    )
    facts = [each["fact"] for each in told_by_mission]
    assert facts[0] == "mission.started"
    # A moment later the mission counts the step, which is said of both.
    of_contract = [each.fact for each in told(asked["id"]) if not each.fact.startswith("mission.")]
    assert [fact for fact in facts if not fact.startswith("mission.")] == of_contract
    assert {each.mission_id for each in Entry.objects.filter(contract_id=asked["id"])} == {
        Contract.objects.get(pk=asked["id"]).mission_id
    }


@pytest.mark.parametrize("verdict", ["reject", "request_changes"])
def test_what_is_not_approved_is_not_executed(verdict: str, story: Story) -> None:
    asked = story.propose(config_change({"workers": 4}))
    assert story.decide(asked, story.people.cem, verdict).status_code == 200
    assert story.contract(asked)["executions"] == []
    assert json.loads((story.sandbox / "service.json").read_text()) == {"workers": 2}
