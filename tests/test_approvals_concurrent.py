"""Many people at once: the outcome is that of some order of one after the other, and one execution (N)."""

import random
from itertools import permutations

import pytest
from django.contrib.auth.models import Group, User

from auditlog.models import Entry, Job
from governance.models import ApprovalRequest, Decision
from tests.harness.governed import Governed, at_once, contract_of, fresh
from verification import contracts

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(var_dir, users):
    return Governed(var_dir / "sandbox", users)


def crowd(size):
    """That many reviewers."""
    reviewers = Group.objects.get(name="reviewers")
    people = [User.objects.create(username=f"reviewer-{n}") for n in range(size)]
    for person in people:
        person.groups.add(reviewers)
    return people


def asks(world, count):
    world.policy(tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": count}]}})
    return world.ask()


@pytest.mark.parametrize("needed", [3, 8])
def test_n_eight_people_approving_at_once_authorize_once_and_it_runs_once(world, needed):
    people, request = crowd(8), asks(world, needed)
    answers = at_once([lambda person=person: world.decide(request, person) for person in people])
    assert sorted(answers) == sorted(["ok"] * needed + ["request_not_pending"] * (8 - needed))
    assert Decision.objects.filter(request=request).count() == needed
    assert Entry.objects.filter(fact="contract.authorized").count() == 1
    assert Entry.objects.filter(fact="approval.granted").count() == 1
    assert Job.objects.filter(kind=contracts.EXECUTION_JOB).count() == 1
    world.settle()
    assert contract_of(request).state == "verified"
    assert contract_of(request).executions.count() == 1


def test_n_one_person_deciding_through_many_doors_at_once_counts_once(world):
    [person], request = crowd(1), asks(world, 2)
    answers = at_once([lambda: world.decide(request, person) for _ in range(6)])
    assert sorted(answers) == ["already_decided"] * 5 + ["ok"]


class Model:
    """One request as a few lines of arithmetic, to compare the real one with."""

    def __init__(self, needed, approved):
        self.needed, self.yes, self.state = needed, set(approved), "pending"

    def act(self, person, verb):
        return getattr(self, verb)(person)

    def approve(self, person):
        if self.state != "pending":
            return "request_not_pending"
        if person in self.yes:
            return "already_decided"
        self.yes.add(person)
        if len(self.yes) == self.needed:
            self.state = "approved"
        return "ok"

    def reject(self, person):
        if self.state != "pending":
            return "request_not_pending"
        if person in self.yes:
            return "already_decided"
        self.state = "rejected"
        return "ok"

    def withdraw(self, person):
        if self.state == "rejected":
            return "already_started"
        if person not in self.yes:
            return "nothing_to_withdraw"
        self.yes.discard(person)
        self.state = "pending"
        return "ok"


@pytest.mark.parametrize("seed", range(4))
def test_n_mixed_decisions_at_once_equal_some_order(world, seed):
    chance = random.Random(seed)
    people, request = crowd(5), asks(world, 3)
    world.decide(request, people[0])
    acts = [
        ("withdraw", people[0]),
        *[(chance.choice(["approve", "approve", "reject"]), person) for person in people[1:]],
        ("approve", people[1]),
    ]

    def real(verb, person):
        if verb == "withdraw":
            return lambda: world.withdraw(request, person)
        return lambda: world.decide(request, person, verb)

    answers = at_once([real(*act) for act in acts])
    outcome = (answers, fresh(request).state)
    assert outcome in _serial(acts, people)
    authorized = contract_of(request).state == "authorized"
    assert authorized is (fresh(request).state == ApprovalRequest.State.APPROVED)


def _serial(acts, people):
    """What every order of one after the other would give."""
    outcomes = []
    for order in permutations(range(len(acts))):
        model, answers = Model(3, {people[0].pk}), [None] * len(acts)
        for index in order:
            verb, person = acts[index]
            answers[index] = model.act(person.pk, verb)
        outcomes.append((answers, model.state))
    return outcomes
