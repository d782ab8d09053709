"""The parameters of `cache.clear`, and an example of a whole proposal."""

from typing import Any

from verification.executors.targets import NAME

PREFIX_PATTERN = r"^[^*?\[\]\\^\x00-\x20\x7f]{1,200}$"
"""One to 200 characters, none of which a pattern of keys would take for something else."""

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "cache.clear",
    "type": "object",
    "description": "Delete the keys that begin with a prefix from one of the caches listed in TARGETS_FILE.",
    "properties": {
        "cache": {**NAME, "description": "The name of a listed cache."},
        "prefix": {
            "type": "string",
            "pattern": PREFIX_PATTERN,
            "description": "Begins with one of the prefixes listed for this cache; taken literally.",
        },
    },
    "required": ["cache", "prefix"],
    "additionalProperties": False,
}

EXAMPLE: dict[str, Any] = {
    "action_type": "cache.clear",
    "target": "cache:pages",
    "parameters": {"cache": "pages", "prefix": "page:/products/"},
    "expected_effect": {
        "success_criteria": [
            {
                "type": "expression",
                "expression": "observed.keys == 0 || observed.keys < baseline.keys",
                "required": True,
            }
        ],
    },
    "justification": "Yesterday's prices are still shown.",
}
