"""What a process's log says of a contract's life: a line for each step, found by one id."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.db import transaction
from django.utils import timezone

from auditlog import jobs, log, observers
from auditlog.actors import SYSTEM
from auditlog.facts import named
from auditlog.subjects import Subject
from governance import holds
from grace_site import logs, steps
from tests.harness.clients import config_change
from tests.harness.people import People
from tests.harness.story import Story

pytestmark = pytest.mark.django_db(transaction=True)

STEPS = [
    ("contract.proposed", "proposed"),
    ("contract.awaiting_approval", "awaiting_approval"),
    ("approval.decided", "approve"),
    ("contract.authorized", "authorized"),
    ("contract.executing", "executing"),
    ("contract.verifying", "verifying"),
    ("contract.verified", "verified"),
]


class Written(logging.Handler):
    """The lines a process would have written, as they are in production."""

    def __init__(self) -> None:
        super().__init__()
        line = logs.configuration(structured=True, level="INFO")["formatters"]["line"]
        self.setFormatter(structlog.stdlib.ProcessorFormatter(**{k: v for k, v in line.items() if k != "()"}))
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.lines.append(json.loads(self.format(record)))

    def of(self, contract_id: str) -> list[dict[str, Any]]:
        """The steps of a contract."""
        return [line for line in self.lines if line.get("contract_id") == contract_id and "status" in line]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """What this process writes while it tells steps, as web and workers do."""
    monkeypatch.setattr(observers, "_observers", [*observers._observers])
    steps.watch()
    handler = Written()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def story(var_dir: Path, users: People) -> Story:
    """A service with two workers, in this process."""
    made = Story(var_dir, users)
    (made.sandbox / "service.json").write_text('{"workers": 2}\n')
    return made


def test_each_step_is_a_line_under_the_id_of_the_proposal(story: Story, written: Written) -> None:
    asked = story.propose(config_change({"workers": 4}), X_Request_ID="from-the-agent")
    story.decide(asked, story.people.bea)
    jobs.run_until_idle()
    lines = written.of(asked["id"])
    assert [(line["event"], line["status"]) for line in lines] == STEPS
    assert {line["correlation_id"] for line in lines} == {"from-the-agent"}
    assert {line["action_type"] for line in lines} == {"config.update"}
    assert {line.get("tier") for line in lines[1:]} == {"tier_2"}


def test_it_names_who_took_the_step_and_in_which_request(story: Story, written: Written) -> None:
    asked = story.propose(config_change({"workers": 4}), X_Request_ID="from-the-agent")
    story.decide(asked, story.people.bea)
    by_event = {line["event"]: line for line in written.of(asked["id"])}
    assert by_event["contract.proposed"]["actor"] == f"agent:{story.agent_id}"
    assert by_event["approval.decided"]["actor"] == f"person:{story.people.bea.pk}"
    # The story stays under the proposal's id, and the approver's own request is found as well.
    assert by_event["approval.decided"]["request_id"] == "decision"
    assert "request_id" not in by_event["contract.proposed"]


def test_a_hold_has_a_line_too(users: People, written: Written) -> None:
    holds.engage(scope="target", pattern="file:*", reason="look", by=SYSTEM, user=None, now=timezone.now())
    [line] = [line for line in written.lines if line["event"] == "hold.engaged"]
    assert (line["status"], line["actor"], line["scope"], line["pattern"]) == ("engaged", "system", "target", "file:*")


def test_what_did_not_happen_has_no_line(story: Story, written: Written) -> None:
    with transaction.atomic():
        with log.recording():
            log.append(
                named("hold.engaged"),
                actor=SYSTEM,
                subject=Subject("hold", "1", "everything"),
                data={"scope": "everything", "pattern": "", "reason": "as a test", "source": "person"},
                now=timezone.now(),
            )
        transaction.set_rollback(True)
    assert [line for line in written.lines if line["event"] == "hold.engaged"] == []


def test_what_the_executor_has_to_say_carries_the_ids(story: Story, written: Written) -> None:
    asked = story.propose(config_change({"workers": 4}, expect={"workers": 5}), X_Request_ID="from-the-agent")
    story.decide(asked, story.people.bea)
    jobs.run_until_idle()
    [line] = [line for line in written.lines if line["event"] == "rolled_back"]
    assert line["logger"] == "verification.running"
    assert (line["contract_id"], line["correlation_id"]) == (asked["id"], "from-the-agent")
    assert (line["action_type"], line["tier"]) == ("config.update", "tier_2")
