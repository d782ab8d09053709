"""Break-glass: now, on one's own word, once, and somebody else looks at it."""

import pytest
from django.utils import timezone

from auditlog.models import Entry
from auditlog.refusals import Refused
from governance import breakglass, holds, principals
from governance.models import BreakGlass
from governance.proposals import Proposal
from tests.harness.governed import Governed, at_once
from verification.models import Contract, State

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(var_dir, users):
    return Governed(var_dir / "sandbox", users)


def use(world, who="bea", port=9000, reason="customers see errors"):
    user = getattr(world.people, who)
    return breakglass.use(
        proposal=Proposal.from_body(world.body(port)),
        reason=reason,
        by=principals.actor_of(user),
        user=user,
        now=timezone.now(),
    )


def review(world, who="cem", finding="it was right"):
    user = getattr(world.people, who)
    return breakglass.review(
        break_glass_id=BreakGlass.objects.get().pk,
        finding=finding,
        by=principals.actor_of(user),
        user=user,
        now=timezone.now(),
    )


def code(act):
    with pytest.raises(Refused) as refusal:
        act()
    return refusal.value.code


def test_it_runs_now_and_everyone_is_told(world):
    submitted = use(world)
    assert (submitted.tier, submitted.state, submitted.approval) == ("tier_2", "authorized", None)
    world.settle()
    submitted.contract.refresh_from_db()
    assert (submitted.contract.state, world.read()) == ("verified", {"port": 9000})
    data = Entry.objects.get(fact="breakglass.used").document()["data"]
    assert (data["text"], data["person_id"]) == ("customers see errors", str(world.people.bea.pk))


def test_until_somebody_else_has_looked_the_same_person_cannot_do_it_again(world):
    use(world)
    assert code(lambda: use(world, port=9001)) == "review_open"
    assert use(world, "dee", port=9002).state == "authorized"
    assert code(lambda: breakglass_of(world, "bea")) == "separation_of_duties"
    row = BreakGlass.objects.get(person=world.people.bea)
    cem = world.people.cem
    breakglass.review(break_glass_id=row.pk, finding="right", by=principals.actor_of(cem), user=cem, now=timezone.now())
    assert use(world, port=9003).state == "authorized"
    assert Entry.objects.filter(fact="breakglass.reviewed").count() == 1


def breakglass_of(world, who):
    user = getattr(world.people, who)
    row = BreakGlass.objects.get(person=user)
    return breakglass.review(
        break_glass_id=row.pk, finding="fine", by=principals.actor_of(user), user=user, now=timezone.now()
    )


def test_a_review_is_closed_once_with_a_finding_by_who_may(world):
    use(world)
    assert code(lambda: review(world, finding=" ")) == "reason_missing"
    assert code(lambda: review(world, "eve")) == "not_permitted"
    assert review(world).finding == "it was right"
    assert code(lambda: review(world, "dee")) == "already_reviewed"


@pytest.mark.parametrize("who", ["ada", "eve", "cleo"])
def test_who_may_not_break_glass(world, who):
    assert code(lambda: use(world, who)) == "not_permitted"


def test_a_reason_is_part_of_it(world):
    assert code(lambda: use(world, reason=" ")) == "reason_missing"
    assert not Contract.objects.exists()


def test_what_the_policy_denies_stays_denied_and_no_glass_is_broken(world):
    world.policy({"name": "no", "effect": "deny", "reason": "no"})
    assert use(world).state == "denied"
    assert not BreakGlass.objects.exists()


def test_what_runs_by_itself_needs_no_glass(world):
    world.trust()
    assert use(world).tier == "tier_1"
    assert not BreakGlass.objects.exists()


def test_a_hold_stays_a_hold(world):
    bea = world.people.bea
    holds.engage(scope="everything", reason="x", by=principals.actor_of(bea), user=bea, now=timezone.now())
    submitted = use(world)
    world.settle()
    submitted.contract.refresh_from_db()
    assert (submitted.contract.state, world.read()) == ("authorized", {"port": 8000})


def test_m_glass_that_nobody_broke_lets_nothing_run(world):
    submitted = use(world)
    BreakGlass.objects.all().delete()
    world.settle()
    submitted.contract.refresh_from_db()
    assert (submitted.contract.state, world.read()) == (State.CANCELLED, {"port": 8000})


@pytest.mark.parametrize(
    "action_type", ["policy.change", "grant.create", "hold.release", "freeze.end", "freeze.except", "security.x"]
)
def test_d_permission_itself_never_changes_by_breaking_glass(world, action_type):
    proposal = Proposal(action_type=action_type, target="policy:current", parameters={"document": {"rules": []}})
    bea = world.people.bea
    told = {"reason": "I want to", "by": principals.actor_of(bea), "user": bea, "now": timezone.now()}
    assert code(lambda: breakglass.use(proposal=proposal, **told)) == "not_by_break_glass"
    assert not Contract.objects.exists()
    assert not BreakGlass.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_n_one_person_breaks_glass_once_at_a_time(world):
    assert world.people.bea
    answers = at_once([lambda port=port: use(world, port=port) for port in range(1, 5)])
    assert sorted(answers) == ["ok", "review_open", "review_open", "review_open"]
    assert Contract.objects.count() == BreakGlass.objects.count() == 1
