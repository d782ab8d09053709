"""The order of locks on PostgreSQL: job, contract, then request or attempt, also where one statement takes several."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connection, connections, transaction

from auditlog import jobs, log
from auditlog.models import Job
from governance.models import ApprovalRequest
from tests.harness.governed import Governed, contract_of, fresh
from tests.harness.processes import wait_until
from verification import contracts, executions
from verification.models import Contract, Execution

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def world(var_dir, users):
    return Governed(var_dir / "sandbox", users)


def waiting() -> int:
    """How many sessions wait for a lock."""
    with connection.cursor() as cursor:
        # Within a transaction PostgreSQL would say what it said before.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return int(cursor.fetchone()[0])


class Aside:
    """Something done in a thread of its own, with a connection of its own."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.errors: list[BaseException] = []
        self.thread = threading.Thread(target=self._run, args=(act,))

    def _run(self, act: Callable[[], object]) -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - looked at by whoever waits
            self.errors.append(error)
        finally:
            connections.close_all()

    def __enter__(self) -> "Aside":
        self.thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.thread.join(20)
        assert not self.thread.is_alive()
        assert not self.errors, self.errors


def test_a_decision_locks_the_contract_and_then_the_request(world):
    request = world.ask()
    bea = world.people.bea
    with ExitStack() as until_decided, transaction.atomic():
        contracts.lock(request.contract_id)
        until_decided.enter_context(Aside(lambda: world.decide(request, bea)))
        wait_until(waiting, seconds=10, what="the decision waits for the contract")
        # Held here already, so that this asks of the request alone.
        assert ApprovalRequest.objects.select_for_update(nowait=True, of=("self",)).get(pk=request.pk)
    assert fresh(request).state == ApprovalRequest.State.APPROVED


def test_an_attempt_is_recorded_under_the_locks_of_job_contract_and_attempt_in_this_order(world):
    request = world.ask()
    world.decide(request, world.people.bea)
    job = Job.objects.get(kind=contracts.EXECUTION_JOB)
    claimed = jobs.claim(job.pk)
    assert claimed is not None
    _, lease = claimed
    execution: Execution = lease.taken

    def lock() -> None:
        with log.recording():
            executions.locked(execution.pk, lease)

    with ExitStack() as until_locked, transaction.atomic():
        Job.objects.select_for_update().get(pk=job.pk)
        until_locked.enter_context(Aside(lock))
        wait_until(waiting, seconds=10, what="the attempt waits for the job")
        assert Contract.objects.select_for_update(nowait=True, of=("self",)).get(pk=contract_of(request).pk)
        assert Execution.objects.select_for_update(nowait=True, of=("self",)).get(pk=execution.pk)
    with ExitStack() as until_locked, transaction.atomic():
        Contract.objects.select_for_update().get(pk=execution.contract_id)
        until_locked.enter_context(Aside(lock))
        wait_until(waiting, seconds=10, what="the attempt waits for the contract")
        assert Execution.objects.select_for_update(nowait=True, of=("self",)).get(pk=execution.pk)
