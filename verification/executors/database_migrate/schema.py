"""The parameters of `database.migrate`, and an example of a whole proposal."""

from typing import Any

from verification.executors.targets import NAME

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "database.migrate",
    "type": "object",
    "description": "Apply a SQL script to one of the databases listed in TARGETS_FILE, in one transaction, once.",
    "properties": {
        "database": {**NAME, "description": "The name of a listed database."},
        "script": {
            "type": "string",
            "minLength": 1,
            "maxLength": 200_000,
            "pattern": r"[^\s;]",
            "description": "SQL statements, which run in one transaction of Grace's and cannot end it.",
        },
    },
    "required": ["database", "script"],
    "additionalProperties": False,
}

EXAMPLE: dict[str, Any] = {
    "action_type": "database.migrate",
    "target": "database:shop",
    "parameters": {
        "database": "shop",
        "script": "ALTER TABLE orders ADD COLUMN note text;\nUPDATE orders SET note = '' WHERE note IS NULL;\n",
    },
    "expected_effect": {
        "target_state": {"applied": True},
        "success_criteria": [
            {"type": "state_match", "path": "tables.orders.note", "equals": "text", "required": True},
            {"type": "expression", "expression": "observed.queries.orders == baseline.queries.orders"},
        ],
    },
    "justification": "The packers need a place for the customer's wishes.",
}
