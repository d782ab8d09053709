"""The parameters of `http.request`, and an example of a whole proposal."""

from typing import Any

_URL = {
    "type": "string",
    "minLength": 8,
    "maxLength": 2048,
    "description": "Below a prefix of HTTP_ALLOWED_URLS.",
}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "http.request",
    "type": "object",
    "description": "Call an allow-listed API once; redirects are not followed.",
    "properties": {
        "method": {"enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]},
        "url": _URL,
        "headers": {
            "type": "object",
            "maxProperties": 20,
            "additionalProperties": {"type": "string", "maxLength": 1000},
            "description": "Neither credentials nor headers that the connection needs for itself.",
        },
        "json": {"description": "The body, sent as JSON."},
        "observe": {
            "type": "object",
            "properties": {"url": _URL},
            "required": ["url"],
            "additionalProperties": False,
            "description": "What to GET to see the state of the target.",
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
            "description": "The request that takes this one back.",
        },
    },
    "required": ["method", "url"],
    "additionalProperties": False,
}

EXAMPLE: dict[str, Any] = {
    "action_type": "http.request",
    "target": "http://127.0.0.1:9000/features/dark-mode",
    "parameters": {
        "method": "PUT",
        "url": "http://127.0.0.1:9000/features/dark-mode",
        "json": {"enabled": True},
        "observe": {"url": "http://127.0.0.1:9000/features/dark-mode"},
        "compensate": {
            "method": "PUT",
            "url": "http://127.0.0.1:9000/features/dark-mode",
            "json": {"enabled": False},
        },
    },
    "expected_effect": {
        "target_state": {"status": 200},
        "success_criteria": [{"type": "state_match", "path": "json.enabled", "equals": True, "required": True}],
    },
    "justification": "The feature was accepted by the product owner.",
}
