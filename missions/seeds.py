"""What a new installation can do by itself: playbooks for two patterns, in the sandbox."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from auditlog.actors import SYSTEM

from . import playbooks, sandbox
from .models import Playbook

PLAYBOOKS: tuple[dict[str, Any], ...] = (
    {
        "name": "release-stale-lock",
        "title": "Release the lock a program left behind",
        "error_pattern": "database_locked",
        "variables": {},
        "steps": [
            {
                "title": "Release the stale lock",
                "action_type": "command.run",
                "target": sandbox.LOCK_TARGET,
                "parameters": {"command": sandbox.RELEASE_COMMAND},
                "expected_effect": {"target_state": {"locked": False}},
                "justification": "The program that holds the lock has ended; nothing else will release it.",
            },
        ],
    },
    {
        "name": "restore-sound-configuration",
        "title": "Bring the configuration back into its range",
        "error_pattern": "validation_error",
        "variables": {
            "max_connections": {
                "schema": {"type": "integer", "minimum": 1, "maximum": 1000},
                "default": sandbox.CONFIG["max_connections"],
                "description": "Connections the service may hold at once.",
            }
        },
        "steps": [
            {
                "title": "Ask how the service stands",
                "action_type": "command.run",
                "target": sandbox.STATUS_TARGET,
                "parameters": {"command": "sandbox.status"},
                "expected_effect": {
                    "success_criteria": [
                        {"type": "expression", "expression": "result.exit_code == 0", "required": True}
                    ]
                },
                "justification": "What the service says of itself comes first, for the record.",
            },
            {
                "title": "Set max_connections to {{max_connections}}",
                "action_type": "config.update",
                "target": sandbox.CONFIG_TARGET,
                "parameters": {"path": "app.json", "merge": {"max_connections": "{{max_connections}}"}},
                "expected_effect": {
                    "success_criteria": [
                        {
                            "type": "state_match",
                            "path": "content.max_connections",
                            "equals": "{{max_connections}}",
                            "required": True,
                        }
                    ]
                },
                "justification": "The service refuses the value it has been given.",
            },
        ],
    },
)


def seed(*, now: datetime) -> list[str]:
    """Publish the seeded playbooks where there are none of their name, or an older seed; answers which."""
    published = []
    for document in PLAYBOOKS:
        current = Playbook.objects.filter(name=document["name"], is_active=True).first()
        if current is not None and current.created_by_label != SYSTEM.label:
            continue
        playbook = playbooks.publish(**document, by=SYSTEM, now=now)
        if playbook != current:
            published.append(playbook.name)
    return published
