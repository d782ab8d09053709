"""What the record of settled contracts teaches."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, Query, operation
from verification import learning


class LearningQuery(Query):
    """How to group the record."""

    group_by = s.CharField(
        default=",".join(learning.DIMENSIONS),
        max_length=200,
        help_text="Any of action_type, playbook, error_pattern and agent, separated by commas.",
    )
    since = s.DateTimeField(required=False, help_text="Only what settled at or after this time.")

    def validate_group_by(self, value: str) -> list[str]:
        """Each must be a dimension there is."""
        names = [name.strip() for name in value.split(",")]
        if unknown := [name for name in names if name not in learning.DIMENSIONS]:
            raise s.ValidationError(f"{unknown[0][:40]!r} is not a dimension.", code="invalid_choice")
        return names


class CalibrationShape(s.Serializer[Any]):
    """Contracts whose stated confidence lay in one tenth: what was said, and what came true."""

    low = s.FloatField()
    high = s.FloatField()
    runs = s.IntegerField()
    stated = s.FloatField()
    succeeded = s.FloatField()


class Stat(s.Serializer[Any]):
    """How one group fared. Only the members it was grouped by are there."""

    action_type = s.CharField(required=False)
    playbook = s.CharField(required=False)
    error_pattern = s.CharField(required=False)
    agent = s.CharField(required=False)
    runs = s.IntegerField()
    successes = s.IntegerField()
    success_rate = s.FloatField()
    lower_bound = s.FloatField(help_text="Of the Wilson score interval (95 %): low while there is little to go by.")
    mean_confidence = s.FloatField(allow_null=True)
    brier_score = s.FloatField(allow_null=True)
    calibration = CalibrationShape(many=True)


class LearningStats(Endpoint):
    """`/learning/stats`"""

    @operation(
        "learning_stats",
        "How actions fared",
        tag="learning",
        asks="learning.read",
        query=LearningQuery,
        answer=[Stat],
    )
    def get(self, request: Request) -> Response:
        """Best lower bound first."""
        found = learning.stats(group_by=self.query["group_by"], since=self.query.get("since"))
        return self.answer([stat.as_dict() for stat in found], count=len(found), next=None, previous=None)
