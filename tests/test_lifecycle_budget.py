"""What a contract costs from proposal to settlement, in SQL statements: a budget, on both databases.

Counted is what the verbs send: `proposals.submit`, `approvals.decide` and the run of the execution's job, with
everything they write in the log. What begins and ends transactions (BEGIN, COMMIT, SAVEPOINT) is counted apart.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from auditlog import jobs
from auditlog.models import Entry, Job
from governance import approvals, principals, proposals
from governance.proposals import Proposal
from tests.harness.governed import Governed, contract_of
from tests.harness.ledger import Ledger
from verification import executors
from verification.models import State

CONTROL = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")
# SQLite's writer places its entries in the tree itself: two statements more in each transaction that logs.
BUDGET = {
    "sqlite": {"read_only": 54, "reversible": 60},
    "postgresql": {"read_only": 44, "reversible": 48},
}
TRANSACTIONS = {"read_only": 6, "reversible": 7}

pytestmark = pytest.mark.django_db(transaction=True)


class Counting:
    """Counts statements by what is going on, and remembers them for the message of a failure."""

    def __init__(self) -> None:
        self.phase = ""
        self.sent: list[tuple[str, str]] = []

    def __call__(self, execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        self.sent.append((self.phase, sql))
        return execute(sql, *rest)

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Count what is sent meanwhile; entries of the log go into PostgreSQL by COPY, which Django does not see."""
        self.phase, copy = phase, psycopg.Cursor.copy

        def count_copy(cursor: Any, statement: str, *rest: Any, **more: Any) -> Any:
            self.sent.append((self.phase, statement))
            return copy(cursor, statement, *rest, **more)

        with connection.execute_wrapper(self), mock.patch.object(psycopg.Cursor, "copy", count_copy):
            yield

    @property
    def statements(self) -> list[tuple[str, str]]:
        """What was sent, without what only begins and ends transactions."""
        return [each for each in self.sent if not each[1].startswith(CONTROL)]

    def __str__(self) -> str:
        lines = "\n".join(f"{phase:8} {sql[:160]}" for phase, sql in self.statements)
        return f"{Counter(phase for phase, _ in self.statements)}\n{lines}"


@pytest.fixture
def world(var_dir, users):
    return Governed(var_dir / "sandbox", users)


@pytest.fixture
def ledger(tmp_path):
    executor = executors.register(Ledger(tmp_path))
    yield executor
    executors.unregister(executor.action_type)


def live(world: Governed, reversibility: str, target: str, count: Counting | None = None) -> None:
    """One contract of the agent's, approved by Bea, run and verified."""
    count = count or Counting()
    robot, bea = world.robot, world.people.bea
    by, reviewer = principals.actor_of(robot), principals.actor_of(bea)
    body = {
        "action_type": "ledger.append",
        "target": target,
        "parameters": {"line": "one", "reversibility": reversibility},
        "expected_effect": {"target_state": {"count": 1}},
    }
    with count.during("submit"):
        asked = proposals.submit(
            proposal=Proposal.from_body(body), by=by, user=robot, idempotency_key=target, now=timezone.now()
        )
    assert asked.approval is not None
    with count.during("decide"):
        approvals.decide(
            request_id=asked.approval.pk,
            by=reviewer,
            user=bea,
            verdict="approve",
            digest=asked.digest,
            now=timezone.now(),
        )
    job = Job.objects.get(kind="execution.run", subject_id=str(asked.approval.contract_id))
    with count.during("run"):
        jobs.run(job.pk)
    contract = contract_of(asked.approval)
    assert contract.state == State.VERIFIED
    assert Entry.objects.filter(contract_id=contract.pk).count() >= 11


@pytest.mark.parametrize("reversibility", ["read_only", "reversible"])
def test_a_lifecycle_stays_within_its_budget(world, ledger, reversibility):
    world.policy({"name": "ledgers", "effect": "tier_2", "action_types": ["ledger.append"]})
    live(world, reversibility, "ledger:first")
    count = Counting()
    live(world, reversibility, "ledger:second", count)
    assert len(count.statements) <= BUDGET[connection.vendor][reversibility], str(count)
    assert not [sql for _, sql in count.sent if sql.startswith("SAVEPOINT")], str(count)


@pytest.mark.sqlite
@pytest.mark.parametrize("reversibility", ["read_only", "reversible"])
def test_a_lifecycle_takes_few_transactions(world, ledger, reversibility):
    world.policy({"name": "ledgers", "effect": "tier_2", "action_types": ["ledger.append"]})
    live(world, reversibility, "ledger:first")
    count = Counting()
    live(world, reversibility, "ledger:second", count)
    begun = [sql for _, sql in count.sent if sql.startswith("BEGIN")]
    assert len(begun) == TRANSACTIONS[reversibility], str(count)


def test_a_lifecycle_costs_no_more_when_many_went_before(world, ledger):
    world.policy({"name": "ledgers", "effect": "tier_2", "action_types": ["ledger.append"]})
    live(world, "read_only", "ledger:0")
    first, last = Counting(), Counting()
    live(world, "read_only", "ledger:1", first)
    for number in range(2, 12):
        live(world, "read_only", f"ledger:{number}")
    live(world, "read_only", "ledger:12", last)
    assert len(last.statements) <= len(first.statements), str(last)
