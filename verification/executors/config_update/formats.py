"""The file formats `config.update` can read and patch, told apart by the extension.

JSON keeps its indentation, TOML keeps its comments and layout. YAML and INI are written anew: their comments
are lost (say so to reviewers: the preview shows it). Anything else is text, which can be replaced but not
merged.
"""

from __future__ import annotations

import configparser
import io
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NoReturn

import tomlkit
import tomlkit.exceptions
import yaml

from verification.executors.config_update.merge_patch import merged

MAX_NODES = 100_000
MAX_DEPTH = 60
MAX_PARSED_CHARS = 256 * 1024
_STRUCTURE = re.compile(r"^[ \t?:-]+", re.MULTILINE)
_YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_YamlDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class Unreadable(ValueError):
    """The text is not what its extension says, or the merged value cannot be written in that format."""


@dataclass(frozen=True)
class Format:
    """How one format is read, and how a merge patch is applied to a text of it."""

    name: str
    parse: Callable[[str], Any]
    patch: Callable[[str, Mapping[str, Any]], str]


def format_of(path: str) -> Format | None:
    """The format of a file with this name; None for plain text."""
    return _BY_EXTENSION.get(PurePosixPath(path).suffix.lower())


def _guarded(read: Callable[[str], Any], *, longest: int = MAX_PARSED_CHARS) -> Callable[[str], Any]:
    """Every way a parser can fail becomes Unreadable; a value that explodes (YAML aliases) is refused."""

    def parse(text: str) -> Any:
        if len(text) > longest:
            raise Unreadable(f"a file of this format has at most {longest} characters")
        try:
            value = read(text)
        except (ValueError, TypeError, yaml.YAMLError, configparser.Error, RecursionError) as exc:
            raise Unreadable(_reason(exc)) from exc
        _refuse_explosion(value)
        return value

    return parse


def _refuse_explosion(value: Any) -> None:
    count, pending = 0, [value]
    while pending:
        current = pending.pop()
        count += 1
        if count > MAX_NODES:
            raise Unreadable(f"it holds more than {MAX_NODES} values")
        if isinstance(current, Mapping):
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)


def _read_json(text: str) -> Any:
    return json.loads(text, parse_constant=_no_constant) if text.strip() else {}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _patch_json(text: str, patch: Mapping[str, Any]) -> str:
    indent = re.search(r"^[\[{]\r?\n( +|\t+)", text)
    value = merged(JSON.parse(text), patch)
    return json.dumps(value, indent=indent.group(1) if indent else 2, ensure_ascii=False) + "\n"


def _read_yaml(text: str) -> Any:
    _refuse_depth(text)
    value = yaml.load(text, Loader=_YamlLoader)  # noqa: S506 - the safe loader, in C where there is one
    return {} if value is None else value


def _refuse_depth(text: str) -> None:
    """The C loader builds nested values recursively without a limit of its own, and would end the process.

    A text with few brackets and little indentation cannot be nested deeply; others are read event by event first.
    """
    brackets = text.count("[") + text.count("{")
    if brackets <= MAX_DEPTH and max(map(len, _STRUCTURE.findall(text)), default=0) <= MAX_DEPTH:
        return
    depth = 0
    for event in yaml.parse(text, Loader=_YamlLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _patch_yaml(text: str, patch: Mapping[str, Any]) -> str:
    value = merged(YAML.parse(text), patch)
    return yaml.dump(value, Dumper=_YamlDumper, sort_keys=False, allow_unicode=True)


def _patch_toml(text: str, patch: Mapping[str, Any]) -> str:
    """Patch the document in place, so that comments stay; then make sure it says what the RFC says."""
    wanted = merged(TOML.parse(text), patch)
    try:
        document = tomlkit.parse(text)
        _merge_into(document, patch)
        patched = tomlkit.dumps(document)
        written = tomllib.loads(patched)
    except (ValueError, TypeError, tomlkit.exceptions.TOMLKitError, RecursionError) as exc:
        raise Unreadable(_reason(exc)) from exc
    if written != wanted:
        raise Unreadable("the result cannot be written as TOML")
    return patched


def _merge_into(table: Any, patch: Mapping[str, Any]) -> None:
    for name, value in patch.items():
        if value is None:
            if name in table:
                del table[name]
        elif isinstance(value, Mapping):
            if not isinstance(table.get(name), Mapping):
                table[name] = tomlkit.table()
            _merge_into(table[name], value)
        else:
            table[name] = value


def _read_ini(text: str) -> dict[str, dict[str, str | None]]:
    parser = _ini_parser()
    parser.read_string(text)
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _patch_ini(text: str, patch: Mapping[str, Any]) -> str:
    value = merged(INI.parse(text), patch)
    wanted = {str(section): _ini_options(options) for section, options in value.items()}
    parser = _ini_parser()
    try:
        parser.read_dict(wanted)
        out = io.StringIO()
        parser.write(out)
        patched = out.getvalue()
    except (ValueError, configparser.Error) as exc:
        raise Unreadable(_reason(exc)) from exc
    if INI.parse(patched) != wanted:
        raise Unreadable("the result cannot be written as INI")
    return patched


def _ini_options(options: Any) -> dict[str, str | None]:
    if not isinstance(options, Mapping):
        raise Unreadable("an INI file has sections of options, nothing else")
    return {str(name): _ini_value(value) for name, value in options.items()}


def _ini_value(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return str(value)
    raise Unreadable("an INI option has one plain value")


def _ini_parser() -> configparser.RawConfigParser:
    """Names keep their case, no section is special, nothing is interpolated."""
    parser = configparser.RawConfigParser(default_section="\x00", allow_no_value=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    return parser


def _reason(exc: Exception) -> str:
    if isinstance(exc, RecursionError):
        return "it is nested too deeply"
    text = " ".join(str(exc).split())
    return text if len(text) <= 200 else text[:197] + "..."


JSON = Format("json", _guarded(_read_json, longest=1024 * 1024), _patch_json)
YAML = Format("yaml", _guarded(_read_yaml), _patch_yaml)
TOML = Format("toml", _guarded(tomllib.loads), _patch_toml)
INI = Format("ini", _guarded(_read_ini), _patch_ini)

_BY_EXTENSION = {
    ".json": JSON,
    ".yaml": YAML,
    ".yml": YAML,
    ".toml": TOML,
    ".ini": INI,
    ".cfg": INI,
}
