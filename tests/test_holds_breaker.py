"""The circuit breaker: the third violation of the same kind holds the target by itself."""

from datetime import timedelta

import pytest
from django.utils import timezone

from auditlog import mesh
from auditlog.actors import SYSTEM
from governance import holding
from governance.models import Hold
from tests.harness.governed import Governed
from verification.models import Contract, State

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(var_dir, users):
    world = Governed(var_dir / "sandbox", users)
    world.trust()
    mesh.register_all()
    return world


def violate(world):
    """A contract that promises another port than it sets: executed, violated, rolled back."""
    body = world.body(9000)
    body["expected_effect"]["success_criteria"][0]["equals"] = 1
    contract = world.submit(body).contract
    world.settle()
    return Contract.objects.get(pk=contract.pk)


def test_the_third_violation_holds_the_target(world, clock):
    for _ in range(2):
        assert violate(world).state == State.ROLLED_BACK
        clock.shift(timedelta(minutes=5))
    assert not Hold.objects.exists()
    violate(world)
    hold = Hold.objects.get()
    assert (hold.scope, hold.pattern, hold.source) == ("target", "file:app.json", "circuit_breaker")
    assert "3 contracts of config.update went wrong here" in hold.reason
    assert violate(world).state == State.AUTHORIZED
    assert world.read() == {"port": 8000}


def test_old_violations_do_not_count(world, clock):
    for _ in range(4):
        violate(world)
        clock.shift(timedelta(minutes=31))
    assert not Hold.objects.exists()


def test_what_people_have_looked_at_does_not_count_again(world, clock):
    for _ in range(3):
        violate(world)
    clock.shift(timedelta(minutes=1))
    holding.mark_released(hold_id=Hold.objects.get().pk, by=SYSTEM, reason="fixed", now=timezone.now())
    clock.shift(timedelta(minutes=1))
    violate(world)
    assert not Hold.objects.filter(released_at=None).exists()


def test_another_target_is_another_circuit(world):
    other = world.file.parent / "b.json"
    other.write_text("{}")
    for _ in range(2):
        violate(world)
    body = {**world.body(1), "target": "file:b.json", "parameters": {"path": "b.json", "merge": {"port": 5}}}
    world.submit(body)
    world.settle()
    assert not Hold.objects.exists()
