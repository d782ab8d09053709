"""What every operation of OpenAPI has in common, added in one place: how it says no."""

from __future__ import annotations

from typing import Any

PROBLEM = {
    "type": "object",
    "description": "RFC 9457. `code` is stable; `errors` names what is wrong in the input.",
    "required": ["type", "title", "status", "detail", "instance", "code", "correlation_id"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:grace:problem:invalid_input"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string"},
        "correlation_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "RFC 6901, into the body or the query."},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}

WORDS = {
    400: ("BadRequest", "The shape of the request is wrong; `errors` says where."),
    401: ("Unauthorized", "Nobody is logged in, or the key is not known."),
    403: ("Forbidden", "You may not."),
    404: ("NotFound", "There is nothing here, or nothing you may see."),
    405: ("MethodNotAllowed", "This address does not know the method."),
    406: ("NotAcceptable", "The answer cannot have the form the request accepts."),
    409: ("Conflict", "Not now: the state does not allow it."),
    412: ("Stale", "What you saw is no longer what there is."),
    413: ("TooLarge", "The body is too large."),
    415: ("UnsupportedMediaType", "The body must be JSON."),
    422: ("Unprocessable", "A rule of the domain refuses it."),
    429: ("TooManyRequests", "Too often; `Retry-After` says when to come back."),
    503: ("Unavailable", "Switched off, held, or something it needs is away; `Retry-After` may say when."),
}

CSRF_TOKEN = {
    "type": "apiKey",
    "in": "header",
    "name": "X-CSRFToken",
    "description": "The value of `csrf_token` in the answer to POST /api/governance/session or GET /api/governance/me.",
}

_WITH_BODY = {"post", "put", "patch", "delete"}


def add_problems(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """A post-processing hook of drf-spectacular: every operation says how it refuses."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = PROBLEM
    components["responses"] = {name: _response(status, words) for status, (name, words) in WORDS.items()}
    components.setdefault("securitySchemes", {})["csrfToken"] = CSRF_TOKEN
    for path, item in result["paths"].items():
        for method, operation in item.items():
            if isinstance(operation, dict) and "responses" in operation:
                _refuse(operation, path=path, method=method)
                _guard(operation, method=method)
    components["schemas"] = _renamed(components["schemas"])
    _tidy(result)
    return result


def _name(name: str) -> str:
    """A component as readers should know it: what our classes are called is our own affair."""
    return name.replace("Shape", "").replace("RequestRequest", "Request")


def _renamed(schemas: dict[str, Any]) -> dict[str, Any]:
    renamed = {_name(name): schema for name, schema in schemas.items()}
    if len(renamed) != len(schemas):
        raise RuntimeError("two components of the API have one name")
    return dict(sorted(renamed.items()))


def _guard(operation: dict[str, Any], *, method: str) -> None:
    """A session that changes something needs the token as well."""
    if method in _WITH_BODY:
        for scheme in operation.get("security", []):
            if "cookieAuth" in scheme:
                scheme["csrfToken"] = []


def _tidy(node: Any) -> None:
    """Take out what the generator notes for itself, and follow the components to their names."""
    if isinstance(node, dict):
        node.pop("x-spec-enum-id", None)
        if isinstance(reference := node.get("$ref"), str):
            node["$ref"] = _name(reference)
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _tidy(inner)


def _response(status: int, words: str) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": words,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in (429, 503):
        response["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    if status == 401:
        response["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return response


def _refuse(operation: dict[str, Any], *, path: str, method: str) -> None:
    statuses = {400, 405, 406, 429, 503}
    if operation.get("security") != [] and operation.get("security") != [{}]:
        statuses |= {401, 403}
    if "{" in path:
        statuses |= {404, 409}
    if method in _WITH_BODY:
        statuses |= {403, 409, 413, 415, 422}
    if any(each.get("name") == "If-Match" for each in operation.get("parameters", [])):
        statuses |= {412}
    for status in sorted(statuses):
        reference = {"$ref": f"#/components/responses/{WORDS[status][0]}"}
        operation["responses"].setdefault(str(status), reference)
