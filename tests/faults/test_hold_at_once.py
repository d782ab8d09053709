"""The big switch on a busy installation: within a second nothing more begins, also when the database is not there."""

import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.faults.conftest import Estate
from tests.faults.people import Agent, Reviewer
from tests.harness.processes import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

QUEUED = 50
ASKED = 75
A_SECOND = timedelta(seconds=1)
# A sweep sends again what is due every ten seconds: what would begin in spite of the hold has begun by then.
LONGER_THAN_A_SWEEP = 13


def begun(reader: Reviewer) -> list[datetime]:
    """When each execution began, by the log, oldest first.

    By the fact that only a claim makes: `contract.executing` is also said of a doubt that is settled by nothing having
    happened, before the contract is said to have failed; that begins nothing.
    """
    events = reader.get("/api/verification/events", fact="agentic.action_executing", limit=1000)
    return sorted(datetime.fromisoformat(each["at"]) for each in events)


def states(agent: Agent) -> list[str]:
    found: list[Any] = [agent.look(each) for each in agent.asked]
    return [each["state"] for each in found]


def verified(agent: Agent) -> bool:
    return states(agent) == ["verified"] * ASKED


def begin_fifty(estate: Estate) -> Agent:
    """More than fifty actions are queued, however long asking takes, and the first have begun."""
    eve = estate.person("eve")
    before = len(begun(eve))
    agent = estate.agent(estate.lines)
    estate.lines.linger(2)
    dam = estate.installation.var_dir / "HOLD"
    dam.write_text("until all of them are asked for\n")
    agent.ask(ASKED)
    assert states(agent) == ["authorized"] * ASKED
    dam.unlink()
    wait_until(lambda: len(begun(eve)) > before, seconds=90, what="the first has begun")
    return agent


def test_a_hold_stops_new_claims_within_a_second_while_fifty_are_queued(estate: Estate) -> None:
    eve, bea = estate.person("eve"), estate.person("bea")
    agent = begin_fifty(estate)
    held = estate.installation.manage("hold", "everything", "--reason", "smoke in the cellar")
    assert held.returncode == 0, held.stderr
    [hold] = eve.get("/api/governance/holds", engaged="true")
    assert states(agent).count("authorized") >= QUEUED
    time.sleep(LONGER_THAN_A_SWEEP)
    late = [at for at in begun(eve) if at > datetime.fromisoformat(hold["engaged_at"]) + A_SECOND]
    assert late == []
    assert states(agent).count("authorized") >= QUEUED / 2

    released = bea.post(f"/api/governance/holds/{hold['id']}/release", {"reason": "it was toast"})
    assert (released["tier"], released["state"]) == ("tier_3", "awaiting_approval")
    for name in ("cem", "dee"):
        assert [state for state in states(agent) if state == "executing"] == []
        body = {"verdict": "approve", "digest": released["digest"]}
        estate.person(name).post(f"/api/governance/approvals/{released['approval_id']}/decision", body)
    estate.lines.linger(0)
    wait_until(lambda: verified(agent), seconds=180, what="what waited has run")


def test_a_file_holds_everything_also_with_the_database_stopped(estate: Estate) -> None:
    eve = estate.person("eve")
    agent = begin_fifty(estate)
    postgres, file = estate.house.postgres, estate.installation.var_dir / "HOLD"
    postgres.stop()
    file.write_text("smoke in the cellar\n")
    held_at = datetime.now().astimezone()
    time.sleep(1)
    postgres.start()
    wait_until(lambda: estate.installation.status("/readyz") == 200, seconds=120, what="it is ready by itself")
    time.sleep(LONGER_THAN_A_SWEEP)
    assert [at for at in begun(eve) if at > held_at + A_SECOND] == []
    assert states(agent).count("authorized") >= QUEUED / 2
    file.unlink()
    estate.lines.linger(0)
    wait_until(lambda: verified(agent), seconds=180, what="what waited has run")
