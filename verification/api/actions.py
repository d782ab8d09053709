"""Discovery: what Grace can do, and how to ask for it."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import LOGGED_IN, Endpoint, operation
from verification import executors
from verification.api import shapes


class ActionTypes(Endpoint):
    """`/action-types`"""

    @operation(
        "list_action_types",
        "Everything Grace can do",
        tag="contracts",
        asks=LOGGED_IN,
        answer=[shapes.ActionType],
        description="Every executor with the JSON Schema of its parameters, the criteria it supports and a whole "
        "proposal as an example.",
    )
    def get(self, request: Request) -> Response:
        """All of them on one page."""
        found = [_shown(executor) for executor in executors.all()]
        return self.answer(found, count=len(found), next=None, previous=None)


def _shown(executor: executors.Executor) -> dict[str, Any]:
    example = executor.example
    call = executors.Call(executor.action_type, example["target"], example["parameters"])
    return {
        "action_type": executor.action_type,
        "version": executor.version,
        "title": executor.title,
        "schema": executor.schema,
        "reversibility": _reversibility(executor, call),
        "criteria": list(executor.criteria),
        "retryable": executor.retryable,
        "example": example,
    }


def _reversibility(executor: executors.Executor, call: executors.Call) -> str | None:
    try:
        return executor.reversibility(call).value
    except executors.ExecutorError:
        # It depends on something the example only pretends to name (a snapshot, say).
        return None
