"""A client that knows only docs/openapi.yaml: it logs in, proposes, follows, approves as somebody else, and reads the
verified result. Every body it sends and every answer it gets is held against the document.
"""

from datetime import UTC, datetime
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from django.core.cache import cache
from django.test import Client

from auditlog import jobs
from governance import seeds
from tests.harness.people import PASSWORD, People
from tests.harness.processes import ROOT

pytestmark = pytest.mark.django_db(transaction=True)


class Document:
    """docs/openapi.yaml, asked by operation id."""

    def __init__(self, path: Path) -> None:
        self.whole = yaml.safe_load(path.read_text())
        self.operations = {
            operation["operationId"]: (method, address, operation)
            for address, item in self.whole["paths"].items()
            for method, operation in item.items()
        }

    def follow(self, node: dict[str, Any]) -> dict[str, Any]:
        """What a reference stands for."""
        while "$ref" in node:
            target: Any = self.whole
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def check(self, schema: dict[str, Any], value: Any) -> None:
        """Fail unless the value has the shape."""
        whole = {**schema, "components": self.whole["components"]}
        problems = [
            f"{error.instance_path}: {error}" for error in jsonschema_rs.validator_for(whole).iter_errors(value)
        ]
        assert problems == []


class OpenApiClient:
    """Speaks HTTP by what the document says: paths, methods, cookies, the token, and the forms of everything."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.http = Client(enforce_csrf_checks=True)
        self.cookies: SimpleCookie = SimpleCookie()
        self.token = ""

    def call(self, name: str, body: Any = None, *, expect: int, query: str = "", **places: str) -> Any:
        """Call an operation by its id; the answer without its envelope."""
        method, address, operation = self.document.operations[name]
        headers = self._credentials(operation)
        more: dict[str, Any] = {"headers": headers}
        if body is not None:
            self.document.check(self._content(operation["requestBody"], "application/json"), body)
            more |= {"data": body, "content_type": "application/json"}
        response = getattr(self.http, method)(address.format(**places) + query, **more)
        assert response.status_code == expect, response.content
        described = self.document.follow(operation["responses"][str(expect)])
        if not described.get("content"):
            return None
        answer = response.json()
        content_type = response["Content-Type"]
        self.document.check(self._content(described, content_type), answer)
        return answer["data"] if content_type == "application/json" else answer

    def _credentials(self, operation: dict[str, Any]) -> dict[str, str]:
        schemes = self.document.whole["components"]["securitySchemes"]
        for asked in operation.get("security") or []:
            if "cookieAuth" in asked:
                return {schemes[name]["name"]: self.token for name in asked if schemes[name]["in"] == "header"}
        return {}

    @staticmethod
    def _content(holder: dict[str, Any], content_type: str) -> dict[str, Any]:
        schema: dict[str, Any] = holder["content"][content_type]["schema"]
        return schema

    def log_in(self, username: str) -> "OpenApiClient":
        """The example of the operation says which members it takes."""
        me = self.call("log_in", {"username": username, "password": PASSWORD}, expect=200)
        self.token = me["csrf_token"]
        return self

    def example(self, name: str) -> Any:
        """A whole body, as the document shows it."""
        operation = self.document.operations[name][2]
        examples = operation["requestBody"]["content"]["application/json"]["examples"]
        return next(iter(examples.values()))["value"]


@pytest.fixture(scope="module")
def document() -> Document:
    return Document(ROOT / "docs" / "openapi.yaml")


@pytest.fixture(autouse=True)
def _installed(var_dir: Path, users: People) -> None:
    cache.clear()
    seeds.seed(now=datetime.now(UTC))
    for person in (users.ada, users.bea, users.administrator):
        person.set_password(PASSWORD)
        person.save()
    (var_dir / "sandbox" / "service.json").write_text('{"workers": 2}\n')


def test_it_can_do_the_whole_main_job_by_the_document_alone(document: Document, var_dir: Path) -> None:
    ada = OpenApiClient(document).log_in("ada")
    known = {each["action_type"] for each in ada.call("list_action_types", expect=200)}
    proposal = ada.example("propose_contract")
    assert proposal["action_type"] in known

    submitted = ada.call("propose_contract", proposal, expect=201)
    assert submitted["state"] == "awaiting_approval"
    followed = ada.call("get_contract", expect=200, id=submitted["id"])
    assert followed["verification"] is None

    bea = OpenApiClient(document).log_in("bea")
    [waiting] = bea.call("list_approvals", expect=200, query="?state=pending")
    shown = bea.call("get_approval", expect=200, id=waiting["id"])
    decision = {**bea.example("decide_approval"), "digest": shown["digest"]}
    refused = ada.call("decide_approval", decision, expect=403, id=waiting["id"])
    assert refused["code"]
    decided = bea.call("decide_approval", decision, expect=200, id=waiting["id"])
    assert decided["state"] == "approved"

    jobs.run_until_idle()
    verified = ada.call("get_contract", expect=200, id=submitted["id"], query="?wait=10")
    assert verified["state"] == "verified"
    assert verified["verification"]["outcome"] == "verified"
    assert '"workers": 4' in (var_dir / "sandbox" / "service.json").read_text()
    facts = [each["fact"] for each in ada.call("contract_events", expect=200, id=submitted["id"])]
    assert facts[0] == "contract.created"
    assert "contract.verified" in facts
    bea.call("log_out", expect=204)
    assert bea.call("me", expect=401)["code"] == "not_authenticated"


LISTS = [
    *("list_contracts", "list_approvals", "list_events", "list_jobs", "list_snapshots", "list_benchmarks"),
    *("list_missions", "list_incidents", "list_playbooks", "list_summaries", "list_policies", "list_holds"),
    *("list_agents", "list_webhooks", "list_action_types", "learning_stats", "verification_health", "me"),
    *("get_active_policy", "list_entries", "list_findings", "get_activity_summary"),
]


def test_every_list_answers_in_its_shape_with_something_in_it(document: Document, users: People, settings: Any) -> None:
    settings.HTTP_ALLOWED_URLS = ["http://127.0.0.1:9/hook"]
    boss = OpenApiClient(document).log_in("administrator")
    boss.call("propose_contract", boss.example("propose_contract"), expect=201)
    boss.call("engage_hold", boss.example("engage_hold"), expect=201)
    boss.call("create_agent", boss.example("create_agent"), expect=201)
    boss.call("start_mission", boss.example("start_mission"), expect=201)
    boss.call("report_incident", boss.example("report_incident"), expect=201)
    boss.call("report_alerts", boss.example("report_alerts"), expect=201)
    boss.call("start_benchmark", boss.example("start_benchmark"), expect=202)
    boss.call("take_snapshot", boss.example("take_snapshot"), expect=201)
    boss.call("evaluate_policy", boss.example("evaluate_policy"), expect=200)
    body = {"url": "http://127.0.0.1:9/hook", "facts": ["contract.*"]}
    boss.call("create_webhook", body, expect=201)
    jobs.run_until_idle()
    filled = {name: boss.call(name, expect=200) for name in LISTS}
    empty = {name for name, data in filled.items() if data == []}
    assert empty <= {"list_playbooks", "list_summaries", "learning_stats", "list_findings"}
