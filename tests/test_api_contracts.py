"""Contracts through the API: proposed, refused, listed, followed, cancelled."""

import base64
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connections

from auditlog import jobs
from auditlog.actors import SYSTEM
from governance import seeds
from governance.api import waiting
from tests.harness.clients import Api, agent_of, config_change
from tests.harness.people import People
from verification import contracts
from verification.models import Contract

CONTRACTS = "/api/verification/contracts"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _installed(var_dir: Path) -> None:
    """A policy, and a file in the sandbox to change."""
    cache.clear()
    seeds.seed(now=datetime.now(UTC))
    (var_dir / "sandbox" / "service.json").write_text('{"workers": 2}\n')


@pytest.fixture
def ada(users: People) -> Api:
    return Api(user=users.ada)


def propose(client: Api, body: Any = None, **headers: str) -> Any:
    return client.post(CONTRACTS, body or config_change({"workers": 4}), **headers)


def refused(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["code"] == code, document
    return document


def pointers(document: dict[str, Any]) -> set[str]:
    return {error["pointer"] for error in document["errors"]}


# --- proposing -------------------------------------------------------------------------------------------------


def test_it_answers_what_policy_made_of_a_proposal(ada: Api) -> None:
    answer = propose(ada)
    assert answer.status_code == 201, answer.content
    submitted = answer.json()["data"]
    assert submitted["state"] == "awaiting_approval"
    assert submitted["tier"] == "tier_2"
    assert len(submitted["digest"]) == 64
    assert submitted["approval_id"]
    assert submitted["evaluation"]["requirements"]["approvals"] == [{"group": "reviewers", "count": 1}]
    detail = ada.data(f"{CONTRACTS}/{submitted['id']}")
    assert detail["parameters"] == {"path": "service.json", "merge": {"workers": 4}}
    assert detail["approval"]["id"] == submitted["approval_id"]
    assert [revision["number"] for revision in detail["revisions"]] == [1]
    assert detail["executions"] == []
    assert detail["verification"] is None


def test_a_trailing_slash_is_neither_needed_nor_refused(ada: Api) -> None:
    assert ada.get(f"{CONTRACTS}/").status_code == 200
    assert ada.post(f"{CONTRACTS}/", config_change({"workers": 4})).status_code == 201


def test_the_same_key_and_body_answer_the_same_contract(ada: Api) -> None:
    first = propose(ada, Idempotency_Key="one").json()["data"]
    again = propose(ada, Idempotency_Key="one")
    assert again.status_code == 201
    assert again.json()["data"]["id"] == first["id"]
    assert again.json()["data"]["digest"] == first["digest"]
    assert again.json()["data"]["replayed"] is True
    other = propose(ada, config_change({"workers": 5}), Idempotency_Key="one")
    refused(other, 409, "idempotency_key_reused")
    assert Contract.objects.count() == 1


def test_a_key_that_is_too_long_is_refused(ada: Api) -> None:
    refused(propose(ada, Idempotency_Key="k" * 201), 400, "bad_idempotency_key")


def test_the_key_of_somebody_else_is_another_key(ada: Api, users: People) -> None:
    propose(ada, Idempotency_Key="one")
    assert propose(Api(user=users.bea), Idempotency_Key="one").json()["data"]["replayed"] is False


def test_a_dry_run_writes_nothing(ada: Api) -> None:
    answer = propose(ada, {**config_change({"workers": 4}), "dry_run": True})
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert (data["id"], data["dry_run"], data["tier"]) == (None, True, "tier_2")
    assert Contract.objects.count() == 0


@pytest.mark.parametrize(
    ("change", "status", "pointer"),
    [
        ({"action_type": "nobody.knows"}, 422, "/action_type"),
        ({"action_type": 7}, 400, "/action_type"),
        ({"surprise": 1}, 400, "/surprise"),
        ({"dry_run": "yes"}, 400, "/dry_run"),
        ({"parameters": {"path": "service.json"}}, 422, "/parameters"),
        ({"parameters": {"path": "../secret", "merge": {}}, "target": "file:../secret"}, 422, "/parameters/path"),
        ({"expected_effect": {}}, 422, "/expected_effect"),
        (
            {"expected_effect": {"success_criteria": [{"type": "state_match"}]}},
            422,
            "/expected_effect/success_criteria/0",
        ),
        ({"confidence": 2}, 400, "/confidence"),
        ({"not_before": "tomorrow"}, 400, "/not_before"),
        ({"mission_id": "x"}, 400, "/mission_id"),
    ],
)
def test_bad_input_is_named_by_pointer_and_nothing_is_written(
    change: dict[str, Any], status: int, pointer: str, ada: Api
) -> None:
    answer = propose(ada, {**config_change({"workers": 4}), **change})
    assert answer.status_code == status, answer.content
    assert any(each.startswith(pointer) for each in pointers(answer.json())), answer.json()
    assert Contract.objects.count() == 0


@pytest.mark.parametrize("name", ["action_type", "target"])
def test_a_missing_member_is_named(name: str, ada: Api) -> None:
    body = {key: value for key, value in config_change({"workers": 4}).items() if key != name}
    assert f"/{name}" in pointers(propose(ada, body).json())


def test_a_body_that_is_no_json_object_is_refused(ada: Api) -> None:
    refused(ada.post(CONTRACTS, [1]), 400, "invalid_input")
    broken = ada.client.post(CONTRACTS, "{", content_type="application/json")
    refused(broken, 400, "malformed")
    form = ada.client.post(CONTRACTS, "a=b", content_type="application/x-www-form-urlencoded")
    refused(form, 415, "unsupported_media_type")


def test_a_body_that_is_too_large_is_refused(ada: Api) -> None:
    refused(propose(ada, {"justification": "x" * 1_100_000}), 413, "too_large")


def test_a_method_that_is_not_there_is_refused(ada: Api) -> None:
    answer = ada.send("PUT", CONTRACTS, {})
    refused(answer, 405, "method_not_allowed")
    assert "POST" in answer["Allow"]
    refused(ada.send("OPTIONS", CONTRACTS), 405, "method_not_allowed")


def test_an_unknown_query_parameter_is_named(ada: Api) -> None:
    document = refused(ada.get(f"{CONTRACTS}?colour=red"), 400, "invalid_input")
    assert pointers(document) == {"/colour"}


def test_what_nobody_knows_is_404(ada: Api) -> None:
    refused(ada.get(f"{CONTRACTS}/01a20900-0000-7000-8000-000000000000"), 404, "not_found")
    refused(ada.get("/api/verification/nonsense"), 404, "not_found")


# --- who sees what ---------------------------------------------------------------------------------------------


def test_an_agent_sees_its_own_contracts_and_no_others(users: People, ada: Api) -> None:
    _, key = agent_of(users.ada, datetime.now(UTC))
    agent = Api(key=key)
    mine = propose(agent).json()["data"]["id"]
    theirs = propose(ada).json()["data"]["id"]
    assert [each["id"] for each in agent.data(CONTRACTS)] == [mine]
    refused(agent.get(f"{CONTRACTS}/{theirs}"), 404, "not_found")
    refused(agent.post(f"{CONTRACTS}/{theirs}/cancel", {}), 404, "not_found")
    refused(agent.get(f"{CONTRACTS}/{theirs}/events"), 404, "not_found")
    assert {each["id"] for each in ada.data(CONTRACTS)} == {mine, theirs}


def test_an_action_type_the_owner_did_not_allow_is_refused(users: People) -> None:
    _, key = agent_of(users.ada, datetime.now(UTC), allowed=("http.request",))
    refused(propose(Api(key=key)), 403, "action_type_not_allowed")


# --- lists -----------------------------------------------------------------------------------------------------


def many(count: int, users: People, *, day: int = 10) -> list[str]:
    """Contracts, made directly, oldest first."""
    start = datetime(2026, 11, day, tzinfo=UTC)
    made = [
        contracts.propose(
            draft=contracts.Draft("config.update", f"file:{number % 2}.json", {}, {}),
            requested_by_id=users.ada.pk,
            by=SYSTEM,
            idempotency_key=None,
            request_sha256="0" * 64,
            executor_version="1",
            now=start + timedelta(minutes=number // 3),
        )
        for number in range(count)
    ]
    return [str(each.pk) for each in made]


def test_pages_are_stable_both_ways_while_rows_are_added(users: People, ada: Api) -> None:
    made = many(10, users)
    newest_first = made[::-1]
    first = ada.get(f"{CONTRACTS}?limit=4").json()
    assert [each["id"] for each in first["data"]] == newest_first[:4]
    assert first["meta"]["count"] == 4
    assert first["meta"]["previous"] is None
    many(1, users, day=9)
    many(1, users, day=11)
    second = ada.get(first["meta"]["next"]).json()
    assert [each["id"] for each in second["data"]] == newest_first[4:8]
    back = ada.get(second["meta"]["previous"]).json()
    assert [each["id"] for each in back["data"]] == newest_first[:4]
    assert ada.get(back["meta"]["previous"]).json()["meta"]["previous"] is None
    assert ada.get(back["meta"]["next"]).json()["data"] == second["data"]


def test_following_next_sees_everything_once(users: People, ada: Api) -> None:
    made = many(11, users)
    address, seen = f"{CONTRACTS}?limit=3", []
    while address:
        page = ada.get(address).json()
        seen += [each["id"] for each in page["data"]]
        address = page["meta"]["next"]
    assert seen == made[::-1]


def forged(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps([False, *parts]).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        *("nonsense", "W10", "bnVsbA", "WzEsMl0", "W2ZhbHNlLCJ4IiwieSJd", "é"),
        forged("2026-01-01T00:00:00+00:00", "a\x00b"),
        forged(2**70, 2**70),
    ],
)
def test_a_cursor_of_another_list_is_refused(cursor: str, ada: Api) -> None:
    refused(ada.get(f"{CONTRACTS}?cursor={cursor}"), 400, "bad_cursor")


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("state=proposed", 6),
        ("state=verified", 0),
        ("state=verified,proposed", 6),
        ("target=file:1.json", 3),
        ("action_type=config.update", 6),
        ("agent=nobody", 0),
        ("created_after=2026-11-10T00:01:00Z", 3),
        ("created_before=2026-11-10T00:01:00Z", 3),
        ("mission_id=01a20900-0000-7000-8000-000000000000", 0),
    ],
)
def test_filters(query: str, count: int, users: People, ada: Api) -> None:
    many(6, users)
    assert len(ada.data(f"{CONTRACTS}?{query}")) == count


@pytest.mark.parametrize("query", ["state=asleep", "tier=4", "limit=0", "limit=1001", "created_after=x", "wait=3"])
def test_a_filter_that_makes_no_sense_is_refused(query: str, ada: Api) -> None:
    refused(ada.get(f"{CONTRACTS}?{query}"), 400, "invalid_input")


def test_lists_and_details_take_as_many_queries_for_many_rows_as_for_few(
    users: People, ada: Api, django_assert_num_queries: Any
) -> None:
    def queries(path: str) -> int:
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        with CaptureQueriesContext(connection) as captured:
            assert ada.get(path).status_code == 200
        return len(captured)

    paths = [CONTRACTS, "/api/governance/approvals", "/api/verification/events", f"{CONTRACTS}/{{id}}"]
    some = propose(ada).json()["data"]["id"]
    jobs.run_until_idle()
    paths[3] = f"{CONTRACTS}/{some}"
    few = [queries(path) for path in paths]
    for number in range(5):
        propose(ada, config_change({"workers": number}))
    jobs.run_until_idle()
    assert [queries(path) for path in paths] == few
    assert max(few) <= 14


# --- following -------------------------------------------------------------------------------------------------


def test_its_facts_are_listed_in_order(ada: Api) -> None:
    contract_id = propose(ada).json()["data"]["id"]
    jobs.run_until_idle()
    facts = [each["fact"] for each in ada.data(f"{CONTRACTS}/{contract_id}/events")]
    assert facts[0] == "contract.created"
    assert "approval.requested" in facts


def test_waiting_ends_at_its_deadline(ada: Api) -> None:
    started = datetime.now(UTC)
    answer = ada.post(f"{CONTRACTS}?wait=0.5", config_change({"workers": 4}))
    assert answer.status_code == 201
    assert answer.json()["data"]["state"] == "awaiting_approval"
    assert 0.4 < (datetime.now(UTC) - started).total_seconds() < 5
    refused(ada.get(f"{CONTRACTS}?wait=61"), 400, "invalid_input")


def test_waiting_ends_when_the_contract_settles(ada: Api) -> None:
    contract_id = propose(ada).json()["data"]["id"]

    def cancel() -> None:
        contracts.cancel(contract_id=contract_id, by=SYSTEM, reason="", now=datetime.now(UTC))
        connections.close_all()

    later = threading.Timer(0.5, cancel)
    later.start()
    detail = ada.data(f"{CONTRACTS}/{contract_id}?wait=20")
    later.join()
    assert detail["state"] == "cancelled"
    assert detail["settled"] is True


def test_when_too_many_wait_the_answer_comes_at_once(ada: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_places", threading.BoundedSemaphore(1))
    assert waiting._places.acquire(blocking=False)
    started = datetime.now(UTC)
    propose(ada)
    ada.post(f"{CONTRACTS}?wait=30", config_change({"workers": 5}))
    assert (datetime.now(UTC) - started).total_seconds() < 10


# --- stopping --------------------------------------------------------------------------------------------------


def test_who_asked_cancels_and_nobody_else(ada: Api, users: People) -> None:
    contract_id = propose(ada).json()["data"]["id"]
    refused(Api(user=users.bea).post(f"{CONTRACTS}/{contract_id}/cancel", {}), 403, "not_yours")
    answer = ada.post(f"{CONTRACTS}/{contract_id}/cancel", {"reason": "No longer needed."})
    assert answer.json()["data"]["state"] == "cancelled"
    refused(ada.post(f"{CONTRACTS}/{contract_id}/cancel", {}), 409, "contract_not_now")


def test_what_waits_for_another_attempt_is_cancelled_into_a_dead_letter(ada: Api) -> None:
    contract_id = propose(ada).json()["data"]["id"]
    Contract.objects.filter(pk=contract_id).update(state="failed")
    told = ada.post(f"{CONTRACTS}/{contract_id}/cancel", {"reason": "No longer needed."}).json()["data"]
    assert told["state"] == "failed"
    assert told["dead_lettered_at"]
    refused(ada.post(f"{CONTRACTS}/{contract_id}/cancel", {}), 409, "contract_not_now")


def test_only_what_needs_a_person_can_be_resolved(ada: Api, users: People) -> None:
    contract_id = propose(ada).json()["data"]["id"]
    body = {"verdict": "verified", "reason": "I looked."}
    refused(ada.post(f"{CONTRACTS}/{contract_id}/resolve", body), 403, "permission_denied")
    refused(Api(user=users.bea).post(f"{CONTRACTS}/{contract_id}/resolve", body), 409, "contract_not_now")
    document = refused(Api(user=users.bea).post(f"{CONTRACTS}/{contract_id}/resolve", {}), 400, "invalid_input")
    assert pointers(document) == {"/verdict", "/reason"}


def test_a_body_where_none_is_expected_is_refused(users: People, ada: Api) -> None:
    contract_id = propose(ada).json()["data"]["id"]
    document = refused(ada.post(f"{CONTRACTS}/{contract_id}/retry", {"force": True}), 400, "invalid_input")
    assert pointers(document) == {"/force"}
    refused(ada.post(f"{CONTRACTS}/{contract_id}/retry", {}), 409, "contract_not_now")


def test_reads_are_limited_for_each_caller(ada: Api, users: People, monkeypatch: pytest.MonkeyPatch) -> None:
    from grace_site.throttles import ReadRateThrottle

    monkeypatch.setattr(ReadRateThrottle, "get_rate", lambda self: "2/min")
    assert [ada.get(CONTRACTS).status_code for _ in range(3)] == [200, 200, 429]
    answer = ada.get(CONTRACTS)
    refused(answer, 429, "throttled")
    assert 0 < int(answer["Retry-After"]) <= 60
    assert Api(user=users.bea).get(CONTRACTS).status_code == 200


def test_action_types_describe_themselves(ada: Api) -> None:
    found = {each["action_type"]: each for each in ada.data("/api/verification/action-types")}
    assert {"config.update", "command.run", "http.request"} <= set(found)
    for each in found.values():
        assert each["schema"]["type"] == "object"
        assert each["reversibility"] in {"read_only", "reversible", "externally_reversible", "irreversible", None}
        assert each["example"]["action_type"] == each["action_type"]
        assert json.dumps(each["criteria"])


def test_proposals_and_reports_are_limited_by_the_minute(ada: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from grace_site.throttles import WriteRateThrottle

    monkeypatch.setattr(WriteRateThrottle, "THROTTLE_RATES", {"proposals": "2/min", "reports": "1/min"})
    assert [ada.post(CONTRACTS, {"dry_run": True}).status_code for _ in range(3)] == [400, 400, 429]
    assert ada.get(CONTRACTS).status_code == 200
    incidents = CONTRACTS.replace("contracts", "incidents")
    assert [ada.post(incidents, {}).status_code for _ in range(2)][-1] == 429


def test_a_verb_acts_only_on_the_contract_as_the_caller_saw_it(ada: Api) -> None:
    asked = propose(ada, config_change({"workers": 4})).json()["data"]
    address = f"{CONTRACTS}/{asked['id']}"
    seen = ada.client.get(address)["ETag"]
    assert ada.client.get(address)["ETag"] == seen
    other = ada.client.post(f"{address}/cancel", {}, content_type="application/json", headers={"If-Match": '"another"'})
    refused(other, 412, "contract_changed")
    assert ada.data(address)["state"] == asked["state"]
    good = ada.client.post(f"{address}/cancel", {}, content_type="application/json", headers={"If-Match": seen})
    assert good.status_code == 200, good.content
    assert ada.client.get(address)["ETag"] != seen
    late = ada.client.post(f"{address}/cancel", {}, content_type="application/json", headers={"If-Match": seen})
    refused(late, 412, "contract_changed")
