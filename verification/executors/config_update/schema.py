"""The parameters of `config.update`, and an example of a whole proposal."""

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "config.update",
    "type": "object",
    "description": "Change one configuration file below an allowed root.",
    "properties": {
        "path": {
            "type": "string",
            "minLength": 1,
            "maxLength": 400,
            "description": "Relative to an allowed root; one way to write it: no `..`, `.`, `//`.",
        },
        "merge": {
            "type": "object",
            "description": "RFC 7386 merge patch (JSON, YAML, TOML, INI); null removes, arrays are replaced. "
            "Comments survive in TOML only.",
        },
        "content": {
            "type": "string",
            "maxLength": 1048576,
            "description": "The whole new text of the file.",
        },
    },
    "required": ["path"],
    "additionalProperties": False,
    "oneOf": [{"required": ["merge"]}, {"required": ["content"]}],
}

EXAMPLE = {
    "action_type": "config.update",
    "target": "file:app.json",
    "parameters": {"path": "app.json", "merge": {"cache": {"ttl_seconds": 300}}},
    "expected_effect": {
        "target_state": {"exists": True},
        "success_criteria": [
            {
                "type": "state_match",
                "path": "content.cache.ttl_seconds",
                "equals": 300,
                "required": True,
            }
        ],
        "rollback_threshold": 0.3,
    },
    "justification": "Pages are stale for an hour; five minutes is what the team agreed on.",
}
