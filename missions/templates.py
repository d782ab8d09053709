"""Templates: the typed face of a playbook's JSON. Pure: documents in, planned steps or field errors out.

A step is a proposal with holes: `{{name}}` inside any text. A text that is nothing but a hole takes the value
with its type. Every hole is a declared variable with a JSON Schema; values from outside are checked against
it before they go anywhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from auditlog.refusals import FieldError, Kind, Refused
from verification.json_schemas import InvalidSchema, Schema

JsonDict = dict[str, Any]

MAX_DELAY_SECONDS = 7 * 24 * 3600
_HOLE = re.compile(r"\{\{([a-z][a-z0-9_]*)\}\}")

_DOCUMENT = Schema(
    {
        "type": "object",
        "required": ["variables", "steps"],
        "properties": {
            "variables": {
                "type": "object",
                "maxProperties": 50,
                "propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,49}$"},
                "additionalProperties": {
                    "type": "object",
                    "required": ["schema"],
                    "additionalProperties": False,
                    "properties": {
                        "schema": {"type": "object"},
                        "default": {},
                        "description": {"type": "string"},
                    },
                },
            },
            "steps": {
                "type": "array",
                "minItems": 1,
                "maxItems": 100,
                "items": {
                    "type": "object",
                    "required": ["title", "action_type", "target", "parameters", "expected_effect"],
                    "additionalProperties": False,
                    "properties": {
                        "title": {"type": "string", "minLength": 1, "maxLength": 200},
                        "action_type": {"type": "string", "minLength": 1, "maxLength": 100},
                        "target": {"type": "string", "minLength": 1, "maxLength": 500},
                        "parameters": {"type": "object"},
                        "expected_effect": {"type": "object"},
                        "preconditions": {"type": "array"},
                        "justification": {"type": "string", "maxLength": 2000},
                        "delay_seconds": {"type": "integer", "minimum": 0, "maximum": MAX_DELAY_SECONDS},
                    },
                },
            },
        },
    }
)


class InvalidPlaybook(Refused):
    """The document is not a playbook; `errors` names each field."""

    code = "invalid_playbook"
    kind = Kind.INVALID


class InvalidVariables(Refused):
    """A variable is unknown, missing or does not fit its schema."""

    code = "invalid_variables"
    kind = Kind.INVALID


@dataclass(frozen=True)
class Variable:
    """A hole's name and what may fill it."""

    name: str
    schema: Schema
    has_default: bool = False
    default: Any = None


@dataclass(frozen=True)
class PlannedStep:
    """A step with its holes filled: a title for people, a proposal's body, and a delay in seconds before it
    runs."""

    title: str
    proposal: JsonDict
    delay_seconds: int = 0


@dataclass(frozen=True)
class Template:
    """A playbook that was read: its variables by name, and its steps as written."""

    variables: Mapping[str, Variable]
    steps: tuple[JsonDict, ...]
    document: JsonDict = field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the document."""
        written = json.dumps(self.document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(written.encode()).hexdigest()

    def fill(self, values: Mapping[str, Any]) -> list[PlannedStep]:
        """The steps with these values, defaults where none is given. Raises InvalidVariables."""
        filled = self._checked(values)
        return [
            PlannedStep(
                title=str(_filled(step["title"], filled)),
                proposal={
                    name: _filled(value, filled)
                    for name, value in step.items()
                    if name not in ("title", "delay_seconds")
                },
                delay_seconds=step.get("delay_seconds", 0),
            )
            for step in self.steps
        ]

    def known(self, context: Mapping[str, Any]) -> JsonDict:
        """Of these values, those this playbook has a variable for."""
        return {name: context[name] for name in self.variables if name in context}

    def _checked(self, values: Mapping[str, Any]) -> JsonDict:
        errors = [
            FieldError(f"/variables/{name}", "unknown_member", f"The playbook has no variable {name!r}.")
            for name in values
            if name not in self.variables
        ]
        filled: JsonDict = {}
        for name, variable in self.variables.items():
            if name not in values and not variable.has_default:
                errors.append(FieldError(f"/variables/{name}", "missing", f"{name!r} is required."))
                continue
            filled[name] = values.get(name, variable.default)
            errors += variable.schema.errors(filled[name], f"/variables/{name}")
        if errors:
            raise InvalidVariables("The playbook cannot be run with these variables.", errors=errors)
        return filled


def parse(*, variables: Mapping[str, Any], steps: list[Any]) -> Template:
    """Read a playbook. Raises InvalidPlaybook with a pointer to each wrong field."""
    document = {"variables": dict(variables), "steps": steps}
    errors = _DOCUMENT.errors(document)
    if not errors:
        known, errors = _variables(variables)
        errors += [
            FieldError(pointer, "unknown_variable", f"No variable {name!r} is declared.")
            for pointer, name in _holes(steps, "/steps")
            if name not in variables
        ]
    if errors:
        raise InvalidPlaybook("This is not a playbook.", errors=errors)
    return Template(variables=known, steps=tuple(steps), document=document)


def _variables(declared: Mapping[str, Any]) -> tuple[dict[str, Variable], list[FieldError]]:
    known: dict[str, Variable] = {}
    errors: list[FieldError] = []
    for name, said in declared.items():
        at = f"/variables/{name}"
        try:
            schema = Schema(said["schema"])
        except InvalidSchema as invalid:
            errors.append(FieldError(f"{at}/schema", "invalid", str(invalid)))
            continue
        if "default" in said:
            errors += schema.errors(said["default"], f"{at}/default")
        known[name] = Variable(name, schema, "default" in said, said.get("default"))
    return known, errors


def _holes(value: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield from ((at, name) for name in _HOLE.findall(value))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _holes(item, f"{at}/{name}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _holes(item, f"{at}/{place}")


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        if whole := _HOLE.fullmatch(value):
            return values[whole.group(1)]
        return _HOLE.sub(lambda hole: _text(values[hole.group(1)]), value)
    if isinstance(value, Mapping):
        return {name: _filled(item, values) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
