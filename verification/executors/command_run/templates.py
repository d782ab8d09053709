"""The commands an operator allows: read from the TOML file COMMANDS_FILE, checked, and filled in.

    [commands.rotate-log]
    argv = ["/usr/sbin/logrotate", "--force", "/etc/logrotate.d/{name}"]
    arguments = { name = { type = "string", pattern = "^[a-z]+$" } }   # or a whole JSON Schema of an object
    reversibility = "irreversible"      # the default; or read_only, reversible, externally_reversible
    probe = ["/usr/local/bin/log-state", "{name}"]      # prints the state of the target as a JSON object
    undo = ["/usr/local/bin/unrotate", "{name}"]        # gets the state before on its standard input
    target = "log:{name}"               # the target; without it command:rotate-log
    timeout_seconds = 60
    probe_timeout_seconds = 10
    output_limit_bytes = 1048576        # standard output and error together
    memory_limit_mb = 512               # address space of each process; 0 for none
    cwd = "/"
    environment = { TZ = "UTC" }        # beside PATH, LANG, GRACE_TOKEN, GRACE_CONTRACT_ID
    idempotent = false                  # true: may be run again after a failure
    leaves_running = false              # true: processes that left its group are not ended

Filling in never splits a value into several arguments, and a value never becomes an option: where an argument
begins with a placeholder, a value that begins with "-" is refused unless its schema says so itself (an `enum`
or `const` that has it, a `pattern` that begins with `^-`, or `leading_dash = true`).
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from auditlog.refusals import FieldError
from verification import configuration
from verification.executors.base import Reversibility
from verification.json_schemas import InvalidSchema, Schema, pointer

MAX_ARGUMENT_CHARS = 4096
_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_TEXT = {"type": "string"}
_ARGV = {"type": "array", "minItems": 1, "maxItems": 64, "items": {"type": "string", "minLength": 1}}
_FILE_SCHEMA = Schema(
    {
        "type": "object",
        "required": ["argv"],
        "additionalProperties": False,
        "properties": {
            "title": _TEXT,
            "argv": _ARGV,
            "arguments": {"type": "object"},
            "reversibility": {"enum": list(Reversibility)},
            "probe": _ARGV,
            "undo": _ARGV,
            "target": _TEXT,
            "timeout_seconds": {"type": "number", "exclusiveMinimum": 0, "maximum": 3600},
            "probe_timeout_seconds": {"type": "number", "exclusiveMinimum": 0, "maximum": 60},
            "output_limit_bytes": {"type": "integer", "minimum": 1024, "maximum": 16777216},
            "memory_limit_mb": {"type": "integer", "minimum": 0},
            "cwd": {"type": "string", "pattern": "^/"},
            "environment": {"type": "object", "additionalProperties": _TEXT},
            "idempotent": {"type": "boolean"},
            "leaves_running": {"type": "boolean"},
        },
    }
)


class CommandsUnusable(Exception):
    """The file of commands, or one command in it, cannot be used; the text says why."""


class UnknownCommand(Exception):
    """No such command is listed."""


@dataclass(frozen=True)
class Command:
    """One listed command."""

    name: str
    argv: tuple[str, ...]
    arguments: Schema
    properties: Mapping[str, Any]
    reversibility: Reversibility
    probe: tuple[str, ...] | None = None
    undo: tuple[str, ...] | None = None
    target: str | None = None
    timeout_seconds: float = 60.0
    probe_timeout_seconds: float = 10.0
    output_limit_bytes: int = 1024 * 1024
    memory_limit_mb: int = 512
    cwd: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict)
    idempotent: bool = False
    leaves_running: bool = False
    digest: str = ""

    def with_defaults(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments, completed by the defaults their schema declares."""
        defaults = {n: s["default"] for n, s in self.properties.items() if "default" in s}
        return {**defaults, **arguments}

    def check(self, arguments: Mapping[str, Any], at: str) -> list[FieldError]:
        """What is wrong with the arguments."""
        complete = self.with_defaults(arguments)
        errors = self.arguments.errors(complete, at)
        if errors:
            return errors
        for name, value in complete.items():
            errors.extend(_value_errors(value, at + pointer([name])))
        if errors:
            return errors
        for template in (self.argv, self.probe or (), self.undo or ()):
            errors.extend(self._options(template, complete, at))
        return list(dict.fromkeys(errors))

    def filled(self, template: tuple[str, ...], arguments: Mapping[str, Any]) -> list[str]:
        """The argv with its placeholders filled in, one argument for one argument."""
        complete = self.with_defaults(arguments)
        return [_fill(part, complete) for part in template]

    def _options(self, template: tuple[str, ...], arguments: Mapping[str, Any], at: str) -> list[FieldError]:
        found = []
        for part in template:
            names = _PLACEHOLDER.findall(part)
            if not part.startswith("{") or not names or not _fill(part, arguments).startswith("-"):
                continue
            if not _may_begin_with_dash(self.properties.get(names[0], {}), arguments[names[0]]):
                detail = "A value that begins with '-' could be taken for an option."
                found.append(FieldError(at + pointer([names[0]]), "looks_like_option", detail))
        return found


def get(name: str) -> Command:
    """The listed command with this name; raises UnknownCommand and CommandsUnusable."""
    found = _commands().get(name)
    if found is None:
        raise UnknownCommand(f"No command {name[:64]!r} is listed in COMMANDS_FILE.")
    if isinstance(found, str):
        raise CommandsUnusable(f"The command {name!r} is not usable: {found}")
    return found


def names() -> list[str]:
    """The names of all usable commands; an unusable file lists none."""
    try:
        return sorted(name for name, command in _commands().items() if isinstance(command, Command))
    except CommandsUnusable:
        return []


def problems() -> dict[str, str]:
    """What is wrong with the file (name "") or with single commands; for the system checks."""
    try:
        return {name: reason for name, reason in _commands().items() if isinstance(reason, str)}
    except CommandsUnusable as exc:
        return {"": str(exc)}


def _commands() -> Mapping[str, Command | str]:
    path = configuration.commands_file()
    if path is None:
        return {}
    try:
        about = path.stat()
    except OSError as exc:
        raise CommandsUnusable(f"COMMANDS_FILE cannot be read: {exc.strerror}.") from exc
    return _read(path, about.st_mtime_ns, about.st_size, about.st_ino)


@lru_cache(maxsize=4)
def _read(path: Path, mtime_ns: int, size: int, inode: int) -> Mapping[str, Command | str]:
    """The file as it is now; whatever changes in the file changes the arguments of this cache."""
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, ValueError) as exc:
        raise CommandsUnusable(f"COMMANDS_FILE cannot be read: {exc}.") from exc
    listed = document.get("commands", {})
    if not isinstance(listed, dict):
        raise CommandsUnusable("COMMANDS_FILE has no table of commands.")
    return {name: _command(name, about) for name, about in listed.items()}


def _command(name: str, about: Any) -> Command | str:
    """The command, or why it cannot be used."""
    errors = _FILE_SCHEMA.errors(about)
    if errors:
        return f"{errors[0].pointer}: {errors[0].detail}"
    try:
        properties, schema = _argument_schema(about.get("arguments", {}))
    except InvalidSchema as exc:
        return f"/arguments: {exc}"
    fields = {key: value for key, value in about.items() if key not in ("arguments", "title")}
    for key in ("argv", "probe", "undo"):
        if key in fields:
            fields[key] = tuple(fields[key])
            reason = _argv_problem(fields[key], properties)
            if reason:
                return f"/{key}: {reason}"
    default = Reversibility.EXTERNALLY_REVERSIBLE if "undo" in fields else Reversibility.IRREVERSIBLE
    fields["reversibility"] = Reversibility(fields.get("reversibility", default))
    written = json.dumps(about, sort_keys=True, default=str).encode()
    digest = hashlib.sha256(written).hexdigest()
    return Command(name=name, arguments=schema, properties=properties, digest=digest, **fields)


def _argument_schema(declared: Mapping[str, Any]) -> tuple[Mapping[str, Any], Schema]:
    """A whole JSON Schema, or a table of name = schema (or "type"); what is undeclared never passes."""
    if "properties" in declared and isinstance(declared["properties"], dict):
        properties = declared["properties"]
        document = {"required": sorted(properties), **declared}
    else:
        properties = {n: {"type": s} if isinstance(s, str) else s for n, s in declared.items()}
        document = {"required": sorted(properties), "properties": properties}
    if not all(isinstance(schema, dict) for schema in properties.values()):
        raise InvalidSchema("each argument has a table or the name of a type")
    return properties, Schema({**document, "type": "object", "additionalProperties": False})


def _argv_problem(argv: tuple[str, ...], properties: Mapping[str, Any]) -> str:
    if not argv[0].startswith("/") or "{" in argv[0]:
        return "the program is an absolute path without placeholders"
    unknown = {name for part in argv for name in _PLACEHOLDER.findall(part)} - properties.keys()
    return f"{min(unknown)} is no argument" if unknown else ""


def _value_errors(value: Any, at: str) -> list[FieldError]:
    if not isinstance(value, (str, int, float)):
        return [FieldError(at, "wrong_type", "An argument is a text, a number or a boolean.")]
    if isinstance(value, str):
        try:
            unusable = "\x00" in value or len(value.encode()) > MAX_ARGUMENT_CHARS
        except UnicodeEncodeError:
            unusable = True
        if unusable:
            return [FieldError(at, "invalid", "The text is too long, or no program can be given it.")]
    return []


def _fill(part: str, arguments: Mapping[str, Any]) -> str:
    return _PLACEHOLDER.sub(lambda match: _text(arguments.get(match.group(1), "")), part)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _may_begin_with_dash(schema: Mapping[str, Any], value: Any) -> bool:
    if value in schema.get("enum", []) or schema.get("const") == value:
        return True
    return schema.get("leading_dash") is True or str(schema.get("pattern", "")).startswith("^-")
