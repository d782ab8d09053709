"""Schemathesis over the whole API, in a size for every run: nothing it thinks of is a fault of ours, and every
answer has the shape that is promised.
"""

import os
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from django.core.cache import cache
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as within
from hypothesis.errors import Unsatisfiable
from rest_framework.throttling import SimpleRateThrottle
from schemathesis import Case, GenerationMode

from governance import seeds
from governance.api import waiting
from tests.harness.clients import Api
from tests.harness.people import People
from tests.harness.processes import ROOT

EXAMPLES = int(os.environ.get("API_EXAMPLES", "5"))
"""For each operation; a campaign asks for hundreds, and for others each time."""

schema = schemathesis.openapi.from_path(ROOT / "docs" / "openapi.yaml")
OPERATIONS = {found.ok().definition.raw["operationId"]: found.ok() for found in schema.get_all_operations()}


@pytest.fixture
def administrator(transactional_db: None, users: People, var_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    """Somebody who may everything that may be done, as often as they like, without waiting."""
    cache.clear()
    monkeypatch.setattr(SimpleRateThrottle, "allow_request", lambda self, request, view: True)
    monkeypatch.setattr(waiting, "_places", threading.Semaphore(0))
    seeds.seed(now=datetime.now(UTC))
    (var_dir / "sandbox" / "service.json").write_text('{"workers": 2}\n')
    return Api(user=users.administrator)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fitting", "unfitting"])
@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"log_out"}))
def test_nothing_it_thinks_of_is_a_fault_of_ours(name: str, mode: GenerationMode, administrator: Api) -> None:
    operation = OPERATIONS[name]

    @within(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize="API_EXAMPLES" not in os.environ,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case) -> None:
        check(operation, send(administrator, case), case)

    # An operation that takes nothing cannot be asked wrongly.
    with suppress(Unsatisfiable):
        ask()


def send(client: Api, case: Case) -> Any:
    """The case as a request of the test client."""
    asked = case.as_transport_kwargs(base_url="http://localhost")
    body = asked.get("json", asked.get("data"))
    kind = (asked.get("headers") or {}).get("Content-Type", "application/json")
    headers = {
        name: value
        for name, value in (case.headers or {}).items()
        if name.lower() not in ("content-type", "authorization", "cookie", "x-csrftoken") and value.isprintable()
    }
    path = asked["url"].removeprefix("http://localhost")
    more: dict[str, Any] = {"headers": headers, "query_params": asked.get("params") or {}}
    if body is not None:
        data = client.client._encode_json(body, "application/json") if "json" in asked else body
        more |= {"data": data, "content_type": kind}
    else:
        more["data"] = b""
    return client.client.generic(case.method, path, **more)


def check(operation: Any, response: Any, case: Case) -> None:
    """Documented, in shape, and no fault of ours."""
    where = f"{case.method} {case.formatted_path} {case.query} {case.body!r}"[:1000]
    status = response.status_code
    assert status < 500 or status == 503, f"{status}: {where}: {response.content[:500]!r}"
    described = operation.definition.raw["responses"]
    if status == 404 and "404" not in described:
        return  # a path no pattern of ours matches
    assert str(status) in described, f"{status} is not documented: {where}: {response.content[:300]!r}"
    if status >= 400:
        assert response["Content-Type"] == "application/problem+json", where
        assert response.json()["status"] == status
    elif response.content:
        form = described[str(status)]["content"]["application/json"]["schema"]
        whole = {**form, "components": schema.raw_schema["components"]}
        problems = [str(error) for error in jsonschema_rs.validator_for(whole).iter_errors(response.json())]
        assert problems == [], where
