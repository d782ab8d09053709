"""How fast one person may decide, whichever doors they take."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from auditlog.refusals import Refused
from governance import approvals, pacing, principals
from grace_site.caches import ForgivingRedisCache
from tests.conftest import NOON
from tests.harness.governed import Governed

BEA, CEM = 1, 2


@pytest.fixture(autouse=True)
def _nobody_has_decided_yet(settings):
    cache.clear()
    settings.APPROVAL_DECISION_RATE_PER_MIN = 3


def after(seconds, user_id=BEA):
    """Whether a call this many seconds after noon is let through, or how long it has to wait."""
    try:
        pacing.take(user_id, now=NOON + timedelta(seconds=seconds))
    except pacing.TooManyDecisions as refusal:
        return refusal.retry_after
    return "taken"


def test_it_lets_through_as_many_a_minute_as_the_setting_says():
    assert [after(0), after(1), after(2)] == ["taken"] * 3
    assert after(3) == 77


def test_it_lets_the_next_one_through_when_it_said():
    assert [after(0), after(1), after(2)] == ["taken"] * 3
    assert after(79) == 1
    assert after(80) == "taken"


def test_a_minute_is_any_sixty_seconds_and_not_that_of_the_clock():
    assert [after(57), after(58), after(59)] == ["taken"] * 3
    assert after(61) == 19
    assert after(80) == "taken"


def test_a_refused_call_does_not_count():
    assert [after(0), after(1), after(2)] == ["taken"] * 3
    assert all(after(3) != "taken" for _ in range(50))
    assert after(80) == "taken"


def test_everybody_has_a_minute_of_their_own():
    assert [after(0), after(0), after(0)] == ["taken"] * 3
    assert after(0, CEM) == "taken"


@pytest.fixture
def world(db, var_dir, users):
    return Governed(var_dir / "sandbox", users)


def code(act):
    with pytest.raises(Refused) as refusal:
        act()
    return refusal.value.code


def test_a_decision_a_batch_and_a_withdrawal_count_once_each(world, clock):
    bea = world.people.bea
    request = world.ask()
    item = {"request_id": request.pk, "verdict": "approve", "digest": "0" * 64}
    tried = approvals.decide_many(items=[item] * 20, by=principals.actor_of(bea), user=bea, now=timezone.now())
    assert {each.refused.code for each in tried} == {"stale_digest"}
    world.decide(request, bea)
    world.withdraw(request, bea)
    assert code(lambda: world.decide(request, bea)) == "too_many_decisions"
    assert code(lambda: world.withdraw(request, bea)) == "too_many_decisions"
    assert (
        code(
            lambda: approvals.decide_many(items=[item], by=principals.actor_of(bea), user=bea, now=timezone.now()),
        )
        == "too_many_decisions"
    )
    world.decide(request, world.people.cem)


@pytest.mark.django_db(transaction=True)
def test_the_console_and_the_admin_count_too(world, client):
    bea = world.people.bea
    client.force_login(bea)
    request = world.ask()
    wrong = {"verdict": "approve", "digest": "0" * 64}
    admin = f"/admin/governance/approvalrequest/{request.pk}/verb/approve/"
    assert client.post(f"/approvals/{request.pk}/decide", wrong).status_code == 409
    assert client.post(admin, wrong).status_code == 409
    assert client.post(f"/approvals/{request.pk}/decide", wrong).status_code == 409
    for address in (admin, f"/approvals/{request.pk}/decide"):
        answer = client.post(address, {**wrong, "digest": request.digest})
        assert answer.status_code == 429
        assert int(answer["Retry-After"]) > 0
        assert "At most 3 decisions a minute" in answer.content.decode()


# --- where it is counted ---------------------------------------------------------------------------------------


def cache_at(location):
    """The product's cache, on a Redis at this address."""
    return ForgivingRedisCache(location, {"OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1}})


def test_without_a_cache_nobody_is_kept_from_deciding(monkeypatch, tmp_path):
    monkeypatch.setattr(pacing, "cache", cache_at(f"unix://{tmp_path}/nobody-listens.sock"))
    assert {after(second) for second in range(10)} == {"taken"}


def test_sixteen_calls_at_once_are_counted_one_by_one(monkeypatch, valkey):
    shared = cache_at(valkey.replace("redis+socket://", "unix://"))
    shared.clear()
    monkeypatch.setattr(pacing, "cache", shared)
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: after(5), range(16)))
    assert answers.count("taken") == 3
