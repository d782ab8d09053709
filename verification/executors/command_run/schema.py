"""The parameters of `command.run`, and an example of a whole proposal."""

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "command.run",
    "type": "object",
    "description": "Run one of the commands listed in COMMANDS_FILE, without a shell.",
    "properties": {
        "command": {
            "type": "string",
            "pattern": "^[a-z][a-z0-9_.-]{0,63}$",
            "description": "The name of a listed command.",
        },
        "arguments": {
            "type": "object",
            "maxProperties": 32,
            "description": "Values for the placeholders of its argv, as that command declares them.",
        },
    },
    "required": ["command"],
    "additionalProperties": False,
}

EXAMPLE = {
    "action_type": "command.run",
    "target": "log:app",
    "parameters": {"command": "rotate-log", "arguments": {"name": "app"}},
    "expected_effect": {
        "success_criteria": [
            {"type": "expression", "expression": "result.exit_code == 0", "required": True},
        ],
    },
    "justification": "The log of the app fills the disk.",
}
