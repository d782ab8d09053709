"""The parameters of `service.restart`, and an example of a whole proposal."""

from typing import Any

from verification.executors.targets import NAME

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "service.restart",
    "type": "object",
    "description": "Restart one of the services listed in TARGETS_FILE, and wait until it runs and is healthy.",
    "properties": {"service": {**NAME, "description": "The name of a listed service."}},
    "required": ["service"],
    "additionalProperties": False,
}

EXAMPLE: dict[str, Any] = {
    "action_type": "service.restart",
    "target": "service:checkout",
    "parameters": {"service": "checkout"},
    "expected_effect": {
        "target_state": {"state": "RUNNING"},
        "success_criteria": [
            {"type": "expression", "expression": "observed.pid != baseline.pid", "required": True},
            {"type": "state_match", "path": "health.ok", "equals": True, "required": True},
        ],
    },
    "justification": "Its workers have been stuck since 14:02; a restart has helped before.",
}
