"""The parameters of `snapshot.restore`, and an example of a whole proposal."""

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "snapshot.restore",
    "type": "object",
    "description": "Bring a target back to what a snapshot of it holds.",
    "properties": {"snapshot_id": {"type": "string", "format": "uuid", "minLength": 36, "maxLength": 36}},
    "required": ["snapshot_id"],
    "additionalProperties": False,
}

EXAMPLE = {
    "action_type": "snapshot.restore",
    "target": "file:app.json",
    "parameters": {"snapshot_id": "01900000-0000-7000-8000-000000000000"},
    "expected_effect": {"target_state": {"exists": True}},
    "justification": "The change of this morning made logins slow.",
}
