"""A playbook's variables as fields of a form, and what was typed as values.

Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auditlog.refusals import FieldError
from missions.templates import InvalidVariables

PREFIX = "v-"
"""Before the names of a form's fields, so that no variable is taken for something else."""


@dataclass(frozen=True)
class Field:
    """One variable: what it is called and means, what may be chosen (() for anything), and what stands in it."""

    name: str
    description: str
    schema: Mapping[str, Any]
    required: bool
    choices: tuple[str, ...]
    is_text: bool
    default: str

    @property
    def sent_as(self) -> str:
        """The name of the field in the form."""
        return PREFIX + self.name


def fields(declared: Mapping[str, Any]) -> list[Field]:
    """The fields for the variables of a playbook, by name."""
    return [_field(name, said) for name, said in sorted(declared.items())]


def values(declared: Mapping[str, Any], sent: Mapping[str, str]) -> dict[str, Any]:
    """What was typed, with its types; an empty field says nothing, so that the default counts.

    Raises InvalidVariables for what should be JSON and is not.
    """
    found: dict[str, Any] = {}
    errors = []
    for name, said in declared.items():
        typed = sent.get(PREFIX + name, "").strip()
        if not typed:
            continue
        try:
            found[name] = typed if _is_text(said["schema"]) else json.loads(typed)
        except (ValueError, RecursionError):
            errors.append(FieldError(f"/variables/{name}", "not_json", f"{typed[:100]!r} is not a JSON value."))
    if errors:
        raise InvalidVariables("The playbook cannot be run with these variables.", errors=errors)
    return found


def _field(name: str, said: Mapping[str, Any]) -> Field:
    schema = said["schema"]
    is_text = _is_text(schema)
    options = schema.get("enum") or ([True, False] if schema.get("type") == "boolean" else [])
    default = said.get("default")
    return Field(
        name=name,
        description=said.get("description", ""),
        schema=schema,
        required="default" not in said,
        choices=tuple(_written(option, is_text=is_text) for option in options),
        is_text=is_text,
        default="" if "default" not in said else _written(default, is_text=is_text),
    )


def _is_text(schema: Mapping[str, Any]) -> bool:
    """Whether what is typed is meant as it stands; everything else is JSON."""
    return schema.get("type") == "string"


def _written(value: Any, *, is_text: bool) -> str:
    return value if is_text and isinstance(value, str) else json.dumps(value, ensure_ascii=False)
