"""The systems an operator lets executors act on by name: read from the TOML file TARGETS_FILE, and checked.

A proposal names one of them and nothing else, so no address, path or credential ever stands in a proposal. Each
executor declares the table it reads: `services`, `caches`, `databases`; `docs/targets.example.toml` shows every member.
Credentials may stand in files of their own, named by a member that ends in `_file`.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from auditlog.refusals import FieldError
from verification import configuration
from verification.executors.base import Call, Executor, ExecutorError
from verification.json_schemas import Schema

NAME = {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,63}$"}
MAX_SECRET_BYTES = 64 * 1024


class Unknown(Exception):
    """No target of this name is listed."""


class Unusable(Exception):
    """The file, or one target in it, cannot be used; the text says why."""


class Named(Protocol):
    """One listed target: its name, and a digest of how the operator wrote it."""

    @property
    def name(self) -> str:
        """The name it is listed under."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of its definition without credentials."""
        ...


N = TypeVar("N", bound=Named)


@dataclass(frozen=True)
class Table(Generic[N]):
    """One table of TARGETS_FILE: its name, the JSON Schema of an entry, and how an entry is made of its members.

    `make(name, digest, **members)` raises ValueError, with a text for the operator, when they do not fit together.
    """

    name: str
    schema: Schema
    make: Callable[..., N]

    def get(self, name: str) -> N:
        """The target of this name; raises Unknown and Unusable."""
        entries = _tables().get(self.name, {})
        if not isinstance(entries, dict) or name not in entries:
            raise Unknown(f"No {name[:64]!r} is listed under {self.name} in TARGETS_FILE.")
        return self._made(name, entries[name])

    def problems(self) -> dict[str, str]:
        """What is wrong, by name of the target ("" for the file); for the system checks."""
        try:
            entries = _tables().get(self.name, {})
        except Unusable as problem:
            return {"": str(problem)}
        if not isinstance(entries, dict):
            return {self.name: "it is no table"}
        found = {}
        for name, members in entries.items():
            try:
                self._made(name, members)
            except Unusable as problem:
                found[f"{self.name}.{name}"] = str(problem)
        return found

    def names(self) -> list[str]:
        """The names of what can be used; an unusable file lists none."""
        try:
            entries = _tables().get(self.name, {})
        except Unusable:
            return []
        wrong = self.problems()
        return sorted(name for name in entries if f"{self.name}.{name}" not in wrong)

    def _made(self, name: str, members: Any) -> N:
        if not _NAME.accepts(name):
            raise Unusable("a name has small letters, digits, - and _, and begins with a letter")
        if errors := self.schema.errors(members):
            raise Unusable(f"{errors[0].pointer}: {errors[0].detail}")
        try:
            return self.make(name=name, digest=_digest(members), **members)
        except ValueError as problem:
            raise Unusable(str(problem)) from None


class ForTarget(Executor, Generic[N]):
    """What executors that act on a listed target share: `parameter` names the target, `kind:<name>` is the contract's.

    A contract is bound to the target as its operator defined it when it was authorized.
    """

    table: Table[N]
    parameter: str
    compiled: Schema

    def check(self, call: Call) -> list[FieldError]:
        """The schema, that the target is listed and usable, that the contract names it, and `check_more`."""
        if errors := self.compiled.errors(dict(call.parameters), "/parameters"):
            return errors
        at, name = f"/parameters/{self.parameter}", call.parameters[self.parameter]
        try:
            entry = self.table.get(name)
        except Unknown as problem:
            return [FieldError(at, f"{self.parameter}_not_allowed", str(problem))]
        except Unusable as problem:
            return [FieldError(at, f"{self.parameter}_unusable", f"{name!r} is not usable: {problem}")]
        wanted = f"{self.parameter}:{name}"
        if call.target != wanted:
            return [FieldError("/target", "target_mismatch", f"The target of this action is {wanted!r}.")]
        return self.check_more(call, entry)

    def check_more(self, call: Call, entry: N) -> list[FieldError]:
        """What else is wrong, when the target itself is fine."""
        return []

    def edition(self, call: Call) -> str:
        """The version, and the digest of the target's definition: a target that was redefined is another one."""
        try:
            return self._edition_of(self.table.get(call.parameters[self.parameter]))
        except (KeyError, Unknown, Unusable):
            return f"{self.version}+none"

    def entry(self, call: Call) -> N:
        """The target of a call; raises ExecutorError, also when it was redefined since the call was authorized."""
        try:
            entry = self.table.get(call.parameters[self.parameter])
        except (Unknown, Unusable) as problem:
            raise ExecutorError(str(problem)) from None
        if call.edition and call.edition != self._edition_of(entry):
            raise ExecutorError(f"{entry.name} was redefined after this was authorized.")
        return entry

    def _edition_of(self, entry: N) -> str:
        return f"{self.version}+{entry.digest[:32]}"


def secret(value: str, file: str) -> str:
    """A credential as it stands in the settings, or in the file they name; raises ExecutorError."""
    if not file:
        return value
    try:
        with Path(file).open() as source:
            return source.read(MAX_SECRET_BYTES).strip()
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or "it is no text"
        raise ExecutorError(f"{file} cannot be read: {reason}.") from None


def _digest(members: Mapping[str, Any]) -> str:
    """Independent of credentials, so that changing a password does not undo approvals (nor can it be guessed)."""
    open_members = {n: _without_password(v) for n, v in members.items() if n != "password"}
    return hashlib.sha256(json.dumps(open_members, sort_keys=True, default=str).encode()).hexdigest()


def _without_password(value: Any) -> Any:
    if not isinstance(value, str) or "@" not in value or "://" not in value:
        return value
    parts = urlsplit(value)
    user = parts.username or ""
    return parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}", query="").geturl()


def _tables() -> Mapping[str, Any]:
    path = configuration.targets_file()
    if path is None:
        return {}
    try:
        about = path.stat()
    except OSError as problem:
        raise Unusable(f"TARGETS_FILE cannot be read: {problem.strerror}.") from problem
    return _read(path, about.st_mtime_ns, about.st_size, about.st_ino)


@lru_cache(maxsize=4)
def _read(path: Path, mtime_ns: int, size: int, inode: int) -> Mapping[str, Any]:
    """The file as it is now; whatever changes in the file changes the arguments of this cache."""
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as problem:
        raise Unusable(f"TARGETS_FILE cannot be read: {problem}.") from problem


_NAME = Schema(NAME)
