"""Grace's own configuration as a scope that can be kept in a snapshot: the policy, the playbooks, the settings."""

from __future__ import annotations

import difflib
import json
from typing import Any

from django.conf import settings

from governance import policies
from missions.models import Playbook
from verification.executors.base import SnapshotReader, SnapshotWriter
from verification.snapshots import providers

SCOPE = "grace"
SETTINGS = (
    "GRACE_ENV",
    "VERIFICATION_ENABLED",
    "MISSION_TRACKING_ENABLED",
    "SELF_HEAL_OBSERVE_ONLY",
    "SELF_HEAL_EXECUTE",
    "SSE_ENABLED",
    "APPROVAL_DECISION_RATE_PER_MIN",
    "AGGREGATION_INTERVAL_HOURS",
    "INTEGRITY_INTERVAL_MINUTES",
    "JOB_MAX_RETRIES",
    "HTTP_ALLOWED_URLS",
)
"""Settings that decide what Grace does; none of them is a secret."""


def register() -> None:
    """Let snapshots of the scope `grace` be taken."""
    providers.register(providers.Provider(SCOPE, take, difference))


def take(writer: SnapshotWriter) -> None:
    """Keep every document of the configuration as it is now."""
    for name, document in documents().items():
        writer.add_bytes(name, _text(document).encode())


def difference(snapshot: SnapshotReader) -> str:
    """A unified diff from what the snapshot holds to what is in force now; "" when nothing changed."""
    now = {name: _text(document) for name, document in documents().items()}
    then = {item.name: snapshot.read(item.name).decode() for item in snapshot.items()}
    parts = [_diff(name, then.get(name, ""), now.get(name, "")) for name in sorted(now.keys() | then.keys())]
    return "\n".join(part for part in parts if part)


def documents() -> dict[str, Any]:
    """The policy in force, the active playbooks, and the settings, by file name."""
    policy = policies.current()
    return {
        "policy.json": {"version": policy.version, **policies.document_of(policy)},
        "playbooks.json": list(
            Playbook.objects.filter(is_active=True)
            .order_by("name")
            .values("name", "version", "title", "error_pattern", "steps")
        ),
        "settings.json": {name: getattr(settings, name) for name in SETTINGS},
    }


def _diff(name: str, then: str, now: str) -> str:
    lines = difflib.unified_diff(then.splitlines(), now.splitlines(), f"snapshot/{name}", f"now/{name}", lineterm="")
    return "\n".join(lines)


def _text(document: Any) -> str:
    return json.dumps(document, indent=2, sort_keys=True, default=str) + "\n"
