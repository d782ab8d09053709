"""Sixteen people at once through every door: what comes out is what some order of one after the other gives (N)."""

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from auditlog.models import Entry, Job
from governance.models import ApprovalRequest, Decision
from tests.harness.clients import Api
from tests.harness.governed import Governed, at_once, contract_of, fresh
from tests.harness.people import People
from verification import contracts

pytestmark = pytest.mark.django_db(transaction=True)

G = "/api/governance"
NEEDED = 5
Door = Callable[[ApprovalRequest, User, str], bool]


def by_the_api(request: ApprovalRequest, person: User, verdict: str) -> bool:
    body = {"verdict": verdict, "digest": request.digest, "reason": "at once"}
    answer = Api(user=person).post(f"{G}/approvals/{request.pk}/decision", body)
    assert answer.status_code in {200, 409}, answer.content
    return bool(answer.status_code == 200)


def by_a_batch(request: ApprovalRequest, person: User, verdict: str) -> bool:
    one = {"approval_id": str(request.pk), "verdict": verdict, "digest": request.digest, "reason": "at once"}
    answer = Api(user=person).post(f"{G}/approvals/decisions", {"decisions": [one]})
    assert answer.status_code == 200, answer.content
    return answer.json()["data"][0]["code"] is None


def by_the_console(request: ApprovalRequest, person: User, verdict: str) -> bool:
    form = {"verdict": verdict, "digest": request.digest, "reason": "at once"}
    return _pressed(person, f"/approvals/{request.pk}/decide", form)


def by_the_admin(request: ApprovalRequest, person: User, verdict: str) -> bool:
    form = {"digest": request.digest, "reason": "at once"}
    return _pressed(person, f"/admin/governance/approvalrequest/{request.pk}/verb/{verdict}/", form)


def _pressed(person: User, address: str, form: dict[str, str]) -> bool:
    client = Client(raise_request_exception=False)
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    answer = client.post(address, form)
    assert answer.status_code in {302, 403, 409}, (address, answer.status_code)
    return answer.status_code == 302


DOORS: tuple[Door, ...] = (by_the_api, by_a_batch, by_the_console, by_the_admin)


def withdraws(request: ApprovalRequest, person: User) -> bool:
    answer = Api(user=person).post(f"{G}/approvals/{request.pk}/withdraw", {"reason": "on second thoughts"})
    assert answer.status_code in {200, 409}, answer.content
    return bool(answer.status_code == 200)


@pytest.fixture
def world(var_dir: Path, users: People) -> Governed:
    made = Governed(var_dir / "sandbox", users)
    made.policy(tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": NEEDED}]}})
    return made


@pytest.fixture
def crowd(world: Governed) -> list[User]:
    people = [User.objects.create(username=f"reviewer-{number}", is_staff=True) for number in range(16)]
    Group.objects.get(name="reviewers").user_set.add(*people)
    return people


@pytest.mark.parametrize("seed", range(3))
def test_n_sixteen_deciders_through_every_door_equal_some_order(world: Governed, crowd: list[User], seed: int) -> None:
    chance = random.Random(seed)
    request = world.ask()
    before = crowd[:2]
    for person in before:
        world.decide(request, person)
    verdicts = ["withdraw"] * 2 + [chance.choice(["approve"] * 9 + ["reject"]) for _ in crowd[2:]]
    went: list[bool | None] = [None] * len(crowd)

    def act(number: int) -> None:
        person, verdict = crowd[number], verdicts[number]
        if verdict == "withdraw":
            went[number] = withdraws(request, person)
        else:
            went[number] = DOORS[number % len(DOORS)](request, person, verdict)

    answers = at_once([lambda number=number: act(number) for number in range(len(crowd))])
    assert answers == ["ok"] * len(crowd)
    state = fresh(request).state
    assert is_some_order(tuple(zip(verdicts, went, strict=True)), state), (
        list(zip(verdicts, went, strict=True)),
        state,
    )
    _once_at_most(world, request)


def is_some_order(acts: tuple[tuple[str, Any], ...], final: str) -> bool:
    """Whether these acts, one after the other in some order, go just so and leave the request in this state."""

    @cache
    def reaches(left: frozenset[int], yes: int, state: str) -> bool:
        if not left:
            return state == final
        return any(
            after is not None and reaches(left - {number}, *after)
            for number in left
            if (after := _after(acts[number], yes, state)) is not None
        )

    return reaches(frozenset(range(len(acts))), 2, "pending")


def _after(act: tuple[str, Any], yes: int, state: str) -> tuple[int, str] | None:
    """How many have said yes and the state after one act; None when it would not have gone as it did."""
    verdict, went = act
    may = state != "rejected" if verdict == "withdraw" else state == "pending"
    if may != went:
        return None
    if not went:
        return yes, state
    if verdict == "reject":
        return yes, "rejected"
    yes += 1 if verdict == "approve" else -1
    return yes, "approved" if yes >= NEEDED else "pending"


def test_the_search_for_an_order_can_fail() -> None:
    assert is_some_order((("approve", True), ("approve", True), ("approve", True), ("approve", False)), "approved")
    assert not is_some_order((("approve", True), ("approve", False)), "pending")
    assert not is_some_order((("reject", True), ("reject", True)), "rejected")


def _once_at_most(world: Governed, request: ApprovalRequest) -> None:
    approved = fresh(request).state == "approved"
    assert (contract_of(request).state == "authorized") is approved
    standing = Decision.objects.filter(request=request, withdrawn_at=None).values_list("person", flat=True)
    assert len(set(standing)) == len(standing)
    assert Entry.objects.filter(fact="approval.decided").count() == Decision.objects.count()
    assert Job.objects.filter(kind=contracts.EXECUTION_JOB, state="queued").count() == int(approved)
    world.settle()
    assert contract_of(request).executions.count() == int(approved)
    assert (world.read() == {"port": 9000}) is approved
