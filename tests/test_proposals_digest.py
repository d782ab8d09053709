"""What is approved has one spelling, and it survives the database."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from governance import digest

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BOUND = digest.Bound(
    action_type="config.update",
    executor_version="1",
    target="file:app.json",
    parameters={"b": 1.0, "a": [True, None, "é\u2028"]},
    expected_effect={"success_criteria": [{"type": "state_match", "path": "x", "equals": 1}]},
    preconditions=[],
    tier="tier_2",
    requirements={"approvals": [{"group": "reviewers", "count": 1}]},
    policy_digest="0" * 64,
    mission_id="",
    on_behalf_of="",
    agent="agent:7:deployer",
    not_before=None,
    expires_at=NOON,
    fingerprint="f" * 64,
)


def test_the_document_is_rfc_8785_and_names_everything_that_matters():
    text = digest.document(BOUND)
    members = json.loads(text)
    assert list(members) == sorted(members)
    assert '"parameters":{"a":[true,null,"é\u2028"],"b":1}' in text
    assert members["criteria"] == [{"type": "state_match", "path": "x", "equals": 1}]
    assert members["expires_at"] == "2026-11-23T12:00:00.000000Z"
    assert set(members) == {*vars(BOUND), "criteria", "version"}


def test_e_whatever_differs_is_another_digest():
    changes = {
        "parameters": {},
        "expected_effect": {},
        "preconditions": [{}],
        "requirements": {},
        "not_before": NOON,
        "expires_at": NOON + timedelta(microseconds=1),
    }
    same = digest.sha256(digest.document(BOUND))
    for name in vars(BOUND):
        other = replace(BOUND, **{name: changes.get(name, "other")})
        assert digest.sha256(digest.document(other)) != same, name


def test_the_same_moment_is_the_same_in_every_time_zone():
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5)))
    assert digest.document(replace(BOUND, expires_at=elsewhere)) == digest.document(BOUND)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=()), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.django_db
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON)
def test_what_is_not_refused_comes_back_from_the_database_with_the_same_digest(value):
    if digest.unfaithful(value):
        return
    before = digest.canonical(value)
    with connection.cursor() as cursor:
        kind = "jsonb" if connection.vendor == "postgresql" else "text"
        cursor.execute(f"SELECT CAST(CAST(%s AS {kind}) AS text)", [json.dumps(value)])
        [text] = cursor.fetchone()
    assert digest.canonical(json.loads(text)) == before
