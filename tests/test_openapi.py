"""The document of the API: committed, complete, true."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiYamlRenderer
from drf_spectacular.validation import validate_schema

from tests.harness.processes import ROOT

COMMITTED = ROOT / "docs" / "openapi.yaml"
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def document() -> Any:
    return yaml.safe_load(COMMITTED.read_text())


def operations(document: Any) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, item[method]) for path, item in document["paths"].items() for method in METHODS if method in item
    ]


def test_the_committed_document_is_what_the_code_says() -> None:
    generated = SchemaGenerator().get_schema(request=None, public=True)
    text = OpenApiYamlRenderer().render(generated, renderer_context={}).decode()
    assert text == COMMITTED.read_text(), "run: manage.py spectacular --file docs/openapi.yaml"


def test_it_is_valid_openapi_3_1(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    validate_schema(document)


def test_every_operation_has_a_name_words_and_one_tag(document: Any) -> None:
    found = operations(document)
    names = [operation["operationId"] for _, _, operation in found]
    assert len(names) == len(set(names))
    for method, path, operation in found:
        where = f"{method} {path}"
        assert re.fullmatch(r"[a-z_]+", operation["operationId"]), where
        assert operation["summary"], where
        assert operation["description"], where
        assert len(operation["tags"]) == 1, where


def test_every_tag_is_described(document: Any) -> None:
    used = {operation["tags"][0] for _, _, operation in operations(document)}
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    assert used == described


def test_every_operation_says_how_it_refuses(document: Any) -> None:
    for method, path, operation in operations(document):
        expected = {"400", "405", "429", "503"}
        if operation.get("security"):
            expected |= {"401", "403"}
        if "{" in path:
            expected |= {"404"}
        if method != "get":
            expected |= {"409", "413", "415", "422"}
        assert expected <= set(operation["responses"]), f"{method} {path}"
    for response in document["components"]["responses"].values():
        assert list(response["content"]) == ["application/problem+json"]


def test_every_body_has_an_example_or_nothing_in_it(document: Any) -> None:
    for method, path, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        if not content:
            continue
        body = content["application/json"]
        schema = document["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
        assert "examples" in body or not schema.get("required"), f"{method} {path}"


def test_every_answer_is_in_the_envelope(document: Any) -> None:
    for method, path, operation in operations(document):
        for status, response in operation["responses"].items():
            content = response.get("content", {}).get("application/json")
            if not status.startswith("2") or content is None:
                continue
            name = content["schema"]["$ref"].rpartition("/")[2]
            schema = document["components"]["schemas"][name]
            assert set(schema["required"]) == {"data", "meta"}, f"{method} {path}"


def test_a_session_that_changes_something_is_said_to_need_its_token(document: Any) -> None:
    for method, path, operation in operations(document):
        for scheme in operation.get("security", []):
            if "cookieAuth" in scheme:
                assert ("csrfToken" in scheme) == (method != "get"), f"{method} {path}"


def test_every_reference_leads_somewhere(document: Any) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [each for inner in node.values() for each in references(inner)]
        return [each for inner in node for each in references(inner)] if isinstance(node, list) else []

    for reference in set(references(document)):
        target = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_it_names_no_machine(document: Any) -> None:
    assert str(Path.home()) not in COMMITTED.read_text()
    assert "localhost" not in COMMITTED.read_text()
