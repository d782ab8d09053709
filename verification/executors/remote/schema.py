"""The parameters of `remote`, and an example of a whole proposal."""

from typing import Any

from verification.executors.targets import NAME

_URL = {
    "type": "string",
    "minLength": 8,
    "maxLength": 2048,
    "description": "Below a prefix of HTTP_ALLOWED_URLS.",
}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "remote",
    "type": "object",
    "description": "Hand a piece of work listed in TARGETS_FILE to an external agent, which claims a permit for it.",
    "properties": {
        "remote": {**NAME, "description": "The name of the listed work."},
        "arguments": {"type": "object", "maxProperties": 100, "description": "What the agent is told."},
        "observe": {
            "type": "object",
            "properties": {"url": _URL},
            "required": ["url"],
            "additionalProperties": False,
            "description": "What to GET to see the state of the target; only where the operator lists no such URL.",
        },
        "compensate": {
            "type": "object",
            "properties": {
                "method": {"enum": ["POST", "PUT", "PATCH", "DELETE"]},
                "url": _URL,
                "json": {"description": "The body, sent as JSON."},
            },
            "required": ["method", "url"],
            "additionalProperties": False,
            "description": "The request by which Grace takes the work back.",
        },
    },
    "required": ["remote"],
    "additionalProperties": False,
}

EXAMPLE: dict[str, Any] = {
    "action_type": "remote",
    "target": "remote:reindex",
    "parameters": {
        "remote": "reindex",
        "arguments": {"index": "products"},
        "compensate": {
            "method": "PUT",
            "url": "http://127.0.0.1:9000/indexes/products",
            "json": {"built_from": "yesterday"},
        },
    },
    "expected_effect": {
        "target_state": {"status": 200},
        "success_criteria": [{"type": "state_match", "path": "json.built_from", "equals": "today", "required": True}],
    },
    "justification": "Products of today are not found.",
}
