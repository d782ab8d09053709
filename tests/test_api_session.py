"""Who is asking: sessions of people, keys of agents, and what either gets to hear when it is not right."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from knox.models import AuthToken

from governance import agents
from governance.models import Agent
from tests.harness.clients import Api, agent_of
from tests.harness.people import PASSWORD, People

pytestmark = pytest.mark.django_db
ME = "/api/governance/me"
SESSION = "/api/governance/session"


def problem(response: Any, status: int, code: str) -> Any:
    """The problem document, checked for form."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    document = response.json()
    assert document["code"] == code
    assert document["status"] == status
    assert document["correlation_id"] == response["X-Request-ID"]
    return document


def now() -> datetime:
    return datetime.now(UTC)


def test_a_person_logs_in_sees_who_they_are_and_logs_out(users: People) -> None:
    users.bea  # noqa: B018  (she must exist)
    program = Api(enforce_csrf=True)
    answer = program.post(SESSION, {"username": "bea", "password": PASSWORD})
    assert answer.status_code == 200
    me = answer.json()["data"]
    assert me["username"] == "bea"
    assert me["kind"] == "person"
    assert "reviewers" in me["groups"]
    assert "approvals.decide" in me["permissions"]
    assert {"sessionid", "csrftoken"} <= set(answer.cookies)
    token = program.data(ME)["csrf_token"]
    assert program.send("DELETE", SESSION, X_CSRFToken=token).status_code == 204
    problem(program.get(ME), 401, "not_authenticated")


def test_a_session_that_changes_something_needs_the_csrf_token(users: People) -> None:
    program = Api(user=users.bea, enforce_csrf=True)
    problem(program.delete(SESSION), 403, "permission_denied")
    token = program.data(ME)["csrf_token"]
    assert program.send("DELETE", SESSION, X_CSRFToken=token).status_code == 204


def test_logging_in_again_does_not_stumble_over_an_old_session(users: People) -> None:
    program = Api(user=users.bea, enforce_csrf=True)
    assert program.post(SESSION, {"username": "bea", "password": PASSWORD}).status_code == 200


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(users: People) -> None:
    users.bea  # noqa: B018
    wrong = Api().post(SESSION, {"username": "bea", "password": "no"})
    unknown = Api().post(SESSION, {"username": "nobody", "password": "no"})
    assert problem(wrong, 401, "wrong_credentials")["detail"] == problem(unknown, 401, "wrong_credentials")["detail"]
    assert wrong["WWW-Authenticate"] == "Bearer"


def test_too_many_failures_lock_the_door(users: People, settings: Any) -> None:
    users.bea  # noqa: B018
    settings.AXES_FAILURE_LIMIT = 3
    for _ in range(3):
        answer = Api().post(SESSION, {"username": "bea", "password": "no"})
    answer = Api().post(SESSION, {"username": "bea", "password": PASSWORD})
    problem(answer, 429, "too_many_logins")
    assert int(answer["Retry-After"]) > 0


def test_somebody_whose_account_is_closed_cannot_log_in(users: People) -> None:
    users.bea.is_active = False
    users.bea.save()
    problem(Api().post(SESSION, {"username": "bea", "password": PASSWORD}), 401, "wrong_credentials")


def test_an_agent_says_who_it_is_by_its_key(users: People) -> None:
    agent, key = agent_of(users.ada, now(), allowed=("config.update",))
    me = Api(key=key).data(ME)
    assert me["kind"] == "agent"
    assert me["csrf_token"] is None
    assert me["agent"] == {
        "id": str(agent.pk),
        "name": "deployer",
        "owner": "ada",
        "allowed_action_types": ["config.update"],
    }
    assert "contracts.propose" in me["permissions"]
    assert "approvals.decide" not in me["permissions"]
    assert agent.keys.get().last_used_at is not None


def revoked(agent: Agent) -> None:
    agents.revoke(agent_id=agent.pk, by=_by(), now=now())


def suspended(agent: Agent) -> None:
    Agent.objects.filter(pk=agent.pk).update(state=Agent.State.SUSPENDED)


def rotated(agent: Agent) -> None:
    agents.rotate(agent_id=agent.pk, overlap=timedelta(0), by=_by(), now=now())


def without_owner(agent: Agent) -> None:
    agent.owner.is_active = False
    agent.owner.save()


def expired(agent: Agent) -> None:
    AuthToken.objects.filter(user=agent.user).update(expiry=now() - timedelta(seconds=1))


def _by() -> Any:
    from auditlog.actors import SYSTEM

    return SYSTEM


@pytest.mark.parametrize("ended", [revoked, suspended, rotated, without_owner, expired])
def test_a_key_stops_working_when_it_should(ended: Any, users: People) -> None:
    agent, key = agent_of(users.ada, now())
    assert Api(key=key).get(ME).status_code == 200
    ended(agent)
    answer = Api(key=key).get(ME)
    problem(answer, 401, "authentication_failed")
    assert answer["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "header", ["Bearer nonsense", "Bearer", "Bearer a b", "Bearer \xff\xfe", "Bearer " + "x" * 500]
)
def test_a_key_that_never_was_gets_401(header: str, db: None) -> None:
    problem(Api().get(ME, Authorization=header), 401, "authentication_failed")


def test_a_key_of_a_person_is_no_key(users: People) -> None:
    _, key = AuthToken.objects.create(user=users.bea)
    problem(Api(key=key).get(ME), 401, "authentication_failed")


def test_nobody_gets_401_and_is_told_how(db: None) -> None:
    answer = Api().get(ME)
    problem(answer, 401, "not_authenticated")
    assert answer["WWW-Authenticate"] == "Bearer"
