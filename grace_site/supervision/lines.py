"""Each line one JSON object, where lines are structured: what is none by itself becomes the event of one."""

import json
from datetime import UTC, datetime

from auditlog import redaction


def written(part: str, event: str, **more: object) -> str:
    """A line of a part, in the members that Grace's own lines have."""
    stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    line = {"event": event, "logger": part, "level": "info", "timestamp": stamp, **more}
    return json.dumps(line, ensure_ascii=False)


def as_object(part: str, line: str) -> str:
    """A line of a part as it is when it is a JSON object, else as the event of one, without its secrets."""
    try:
        if isinstance(json.loads(line), dict):
            return line
    except ValueError:
        pass
    return written(part, str(redaction.scrub(line)))
