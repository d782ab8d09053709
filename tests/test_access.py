"""Who may what: one table, asked by every door."""

import pytest
from django.contrib.auth.models import AnonymousUser, Group
from django.utils import timezone

from governance import access, agents, principals
from governance.models import ApprovalRequest, Hold
from tests.harness.governed import Governed
from verification.models import Contract

pytestmark = pytest.mark.django_db

MAY = {
    "ada": {"contracts.propose", "contracts.cancel", "holds.engage", "playbooks.run", "benchmarks.run"},
    "bea": {"contracts.propose", "holds.engage", "approvals.decide", "approvals.withdraw", "contracts.resolve"},
    "eve": {"contracts.read", "auditlog.read", "auditlog.export", "policies.evaluate"},
    # Permits are for the agents who do the work.
    "administrator": set(access.PERMISSIONS) - {"permits.claim"},
}
MAY_NOT = {
    "ada": {"approvals.decide", "contracts.resolve", "agents.manage", "auditlog.export"},
    "bea": {"agents.manage", "webhooks.manage", "auditlog.acknowledge"},
    "eve": {"contracts.propose", "contracts.cancel", "approvals.decide", "holds.engage", "incidents.report"},
    "cleo": set(access.PERMISSIONS),
}


@pytest.mark.parametrize("who", MAY)
def test_people_may_what_their_groups_may(users, who):
    user = getattr(users, who)
    assert {each for each in MAY[who] if not access.may(user, each)} == set()


@pytest.mark.parametrize("who", MAY_NOT)
def test_and_nothing_else(users, who):
    user = getattr(users, who)
    assert {each for each in MAY_NOT[who] if access.may(user, each)} == set()


def test_auditors_change_nothing():
    changing = {each for each in access.ROLES["auditors"] if not each.endswith((".read", ".evaluate", ".export"))}
    assert changing == set()


@pytest.mark.parametrize("user", [None, AnonymousUser()])
def test_nobody_may_nothing(user):
    assert not any(access.may(user, permission) for permission in access.PERMISSIONS)


def test_somebody_inactive_may_nothing(users):
    users.administrator.is_active = False
    assert not access.may(users.administrator, "contracts.read")


def test_a_permission_nobody_has_heard_of_is_our_own_mistake(users):
    with pytest.raises(access.UnknownPermission):
        access.may(users.bea, "approvals.decode")
    with pytest.raises(access.Forbidden):
        access.require(users.cleo, "approvals.decide")


@pytest.fixture
def world(var_dir, users):
    return Governed(var_dir / "sandbox", users)


def test_agents_propose_read_their_own_and_report_whatever_group_they_were_put_into(world):
    world.robot.groups.add(*Group.objects.all())
    robot = world.robot
    robot.is_superuser = True
    robot.save()
    assert access.permissions(robot) == access.AGENT_PERMISSIONS
    assert {"contracts.propose", "contracts.read", "incidents.report"} <= access.permissions(robot)
    assert not {"approvals.decide", "holds.engage", "holds.release"} & access.permissions(robot)


def test_agents_see_their_own_rows_and_people_see_all(world):
    other, _ = agents.create(
        name="other", owner=world.people.cem, by=principals.actor_of(world.people.cem), now=timezone.now()
    )
    mine, request = world.submit().contract, ApprovalRequest.objects.get()
    for user, seen in ((world.robot, 1), (other.user, 0), (world.people.eve, 1)):
        assert access.visible(user, Contract.objects.all()).count() == seen
        assert access.visible(user, ApprovalRequest.objects.all()).count() == seen
        assert access.may(user, "contracts.read", mine) is bool(seen)
        assert access.may(user, "approvals.read", request) is bool(seen)
    assert access.visible(world.robot, Hold.objects.all()).count() == 0


def test_any_group_the_policy_names_may_what_reviewers_may(world):
    sre = Group.objects.create(name="sre")
    world.people.cleo.groups.add(sre)
    assert not access.may(world.people.cleo, "approvals.decide")
    world.policy(tiers={"tier_3": {"approvals": [{"group": "sre", "count": 1}]}})
    assert access.may(world.people.cleo, "approvals.decide")
