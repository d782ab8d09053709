"""Error reports: what comes in from agents, people and Alertmanager, read into one shape. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from auditlog.refusals import Kind, Refused
from verification.json_schemas import Schema

from . import patterns

SEVERITIES = ("info", "low", "medium", "warning", "error", "high", "critical")

MAX_ALERTS = 200

_BODY = Schema(
    {
        "type": "object",
        "required": ["error_type", "error_message", "severity", "source"],
        "additionalProperties": False,
        "properties": {
            "error_type": {"type": "string", "minLength": 1, "maxLength": 200},
            "error_message": {"type": "string", "minLength": 1, "maxLength": 20_000},
            "severity": {"enum": list(SEVERITIES)},
            "source": {"type": "string", "minLength": 1, "maxLength": 200},
            "error_id": {"type": ["string", "null"], "maxLength": 200},
            "mission_id": {"type": ["string", "null"], "format": "uuid"},
            "context": {"type": ["object", "null"], "maxProperties": 200},
        },
    }
)

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_ALERTS = Schema(
    {
        "type": "object",
        "required": ["alerts"],
        "properties": {
            "alerts": {
                "type": "array",
                "maxItems": MAX_ALERTS,
                "items": {
                    "type": "object",
                    "required": ["status", "labels"],
                    "properties": {
                        "status": {"enum": ["firing", "resolved"]},
                        "labels": {
                            **_TEXTS,
                            "required": ["alertname"],
                            "properties": {"alertname": {"type": "string", "minLength": 1}},
                        },
                        "annotations": _TEXTS,
                        "fingerprint": {"type": "string"},
                    },
                },
            }
        },
    }
)


class InvalidReport(Refused):
    """The report misses its shape; `errors` names each field."""

    code = "invalid_report"
    kind = Kind.MALFORMED


@dataclass(frozen=True)
class ErrorReport:
    """An error as it was reported. `problem` says what makes two reports the same problem, where the reporter
    knows better than the message does (an alert's own fingerprint)."""

    error_type: str
    error_message: str
    severity: str
    source: str
    error_id: str = ""
    mission_id: UUID | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    @classmethod
    def from_body(cls, body: object) -> ErrorReport:
        """Read a report from JSON. Raises InvalidReport with a pointer to each wrong field."""
        if errors := _BODY.errors(body):
            raise InvalidReport("This is not an error report.", errors=errors)
        assert isinstance(body, dict)
        mission_id = body.get("mission_id")
        return cls(
            error_type=body["error_type"],
            error_message=body["error_message"],
            severity=body["severity"],
            source=body["source"],
            error_id=body.get("error_id") or "",
            mission_id=UUID(mission_id) if mission_id else None,
            context=body.get("context") or {},
        )

    @property
    def fingerprint(self) -> str:
        """What makes two reports the same problem (SHA-256, hex)."""
        if self.problem:
            return patterns.fingerprint(self.source, self.error_type, problem=self.problem)
        return patterns.fingerprint(self.source, self.error_type, self.error_message)


def from_alertmanager(body: object) -> list[ErrorReport]:
    """A report for each firing alert of an Alertmanager webhook (version 4); resolved ones say nothing new.

    The alert's name is the error type unless a label `error_type` says otherwise, its description or summary
    the message, its label `service`, `job` or `instance` the source. Raises InvalidReport.
    """
    if errors := _ALERTS.errors(body):
        raise InvalidReport("This is not an Alertmanager notification.", errors=errors)
    assert isinstance(body, dict)
    return [_of_alert(alert) for alert in body["alerts"] if alert["status"] == "firing"]


def _of_alert(alert: Mapping[str, Any]) -> ErrorReport:
    labels, annotations = alert["labels"], alert.get("annotations", {})
    name = labels["alertname"]
    source = labels.get("service") or labels.get("job") or labels.get("instance") or "alertmanager"
    severity = labels.get("severity", "").lower()
    return ErrorReport(
        error_type=(labels.get("error_type") or name)[:200],
        error_message=(annotations.get("description") or annotations.get("summary") or name)[:20_000],
        severity=severity if severity in SEVERITIES else "warning",
        source=source[:200],
        error_id=alert.get("fingerprint", "")[:200],
        context={"labels": dict(labels), "annotations": dict(annotations)},
        problem=alert.get("fingerprint", ""),
    )
