"""The scopes an operator's settings open: files, listed databases, and the answers of allow-listed addresses.

file:<path>             one file below CONFIG_ROOTS, as config.update keeps it
files:<directory>       every file below a directory of CONFIG_ROOTS (files:. for all of a root)
database:<name>         a database of TARGETS_FILE: SQLite by online backup, PostgreSQL by pg_dump
http://… and https://…  what a GET of an address below HTTP_ALLOWED_URLS answers; for comparison only
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from verification import configuration, outgoing
from verification.executors.base import Call, ExecutorError, SnapshotItem, SnapshotReader, SnapshotWriter
from verification.executors.config_update import rooted
from verification.executors.database_migrate.listed import DATABASES
from verification.executors.targets import Unknown, Unusable

from . import providers
from .providers import Provider

MAX_FILES = 1000
MAX_BYTES = 64 * 2**20
SECONDS = 10.0


def register() -> None:
    """Let snapshots of these scopes be taken."""
    providers.register_family("file:", _file)
    providers.register_family("files:", _files)
    providers.register_family("database:", _database)
    providers.register_family("http://", _state)
    providers.register_family("https://", _state)


# --- what executors keep ---


def _file(scope: str) -> Provider:
    try:
        path = rooted.normalised(scope.removeprefix("file:"))
    except rooted.NotInside as problem:
        raise providers.unknown(str(problem)) from None
    call = Call("config.update", f"file:{path}", {"path": path, "content": ""})
    return Provider(scope, _nothing, _no_difference, call=call)


def _database(scope: str) -> Provider:
    name = scope.removeprefix("database:")
    try:
        DATABASES.get(name)
    except (Unknown, Unusable) as problem:
        raise providers.unknown(str(problem)) from None
    call = Call("database.migrate", scope, {"database": name, "script": "SELECT 1"})
    return Provider(scope, _nothing, _no_difference, call=call)


def _nothing(writer: SnapshotWriter) -> None:
    """The executor of the call does it."""


def _no_difference(snapshot: SnapshotReader) -> str:
    return ""


# --- files ---


def _files(scope: str) -> Provider:
    directory = scope.removeprefix("files:")
    if directory != ".":
        try:
            directory = rooted.normalised(directory)
        except rooted.NotInside as problem:
            raise providers.unknown(str(problem)) from None

    def take(writer: SnapshotWriter) -> None:
        for path, (root, content) in _found(directory).items():
            about = {"root": str(root), "mode": content.mode, "uid": content.uid, "gid": content.gid}
            writer.add_bytes(path, content.data, about)

    def diff(snapshot: SnapshotReader) -> str:
        then = {item.name: snapshot.read(item.name) for item in snapshot.items()}
        return _difference(then, {path: content.data for path, (_, content) in _found(directory).items()})

    def restore(snapshot: SnapshotReader) -> None:
        _put_back(snapshot, _found(directory))

    return Provider(scope, take, diff, restore)


def _found(directory: str) -> Mapping[str, tuple[Path, rooted.Content]]:
    """Every regular file below the directory, by its path; links are not followed. Raises ExecutorError."""
    try:
        root = rooted.root_for(directory, configuration.config_roots())
        found: dict[str, tuple[Path, rooted.Content]] = {}
        for path in _paths(root, directory):
            if content := rooted.read(root, path):
                found[path] = (root, content)
            if len(found) > MAX_FILES or sum(len(each.data) for _, each in found.values()) > MAX_BYTES:
                raise ExecutorError(f"More than {MAX_FILES} files or {MAX_BYTES // 2**20} MB are not kept.")
    except rooted.NotInside as problem:
        raise ExecutorError(str(problem)) from None
    except OSError as problem:
        raise ExecutorError(f"{directory} cannot be read: {problem.strerror}") from None
    return found


def _paths(root: Path, directory: str) -> Iterator[str]:
    """Names only: each file is reached again, component by component, when it is read."""
    for each in sorted((root / directory).rglob("*")):
        if each.is_file() and not each.is_symlink():
            yield each.relative_to(root).as_posix()


def _put_back(snapshot: SnapshotReader, now: Mapping[str, tuple[Path, rooted.Content]]) -> None:
    """Write what differs and take away what was not there; raises ExecutorError."""
    roots = {str(root): root for root in configuration.config_roots()}
    try:
        for item in snapshot.items():
            root = roots.get(item.meta["root"])
            if root is None:
                raise ExecutorError("The root this snapshot was taken below is no longer allowed.")
            _write(root, item, snapshot.read(item.name))
        for path in now.keys() - {item.name for item in snapshot.items()}:
            rooted.remove(now[path][0], path)
    except rooted.NotInside as problem:
        raise ExecutorError(str(problem)) from None
    except OSError as problem:
        raise ExecutorError(f"A file could not be put back: {problem.strerror}") from None


def _write(root: Path, item: SnapshotItem, data: bytes) -> None:
    like = rooted.Content(b"", item.meta["mode"], item.meta["uid"], item.meta["gid"])
    rooted.replace(root, rooted.normalised(item.name), data, like=like)


# --- what an address answers ---


def _state(scope: str) -> Provider:
    try:
        url = str(outgoing.permission(scope).url)
    except outgoing.UrlNotAllowed as problem:
        raise providers.unknown(str(problem)) from None

    def take(writer: SnapshotWriter) -> None:
        for name, data in _answer(url).items():
            writer.add_bytes(name, data)

    def diff(snapshot: SnapshotReader) -> str:
        return _difference({item.name: snapshot.read(item.name) for item in snapshot.items()}, _answer(url))

    return Provider(scope, take, diff)


def _answer(url: str) -> Mapping[str, bytes]:
    """Status and body, JSON in one form; raises ExecutorError."""
    try:
        answer = outgoing.request("GET", url, deadline_seconds=SECONDS)
    except (outgoing.NoAnswer, outgoing.UrlNotAllowed) as problem:
        raise ExecutorError(f"{url} could not be asked: {problem}") from None
    if answer.truncated:
        raise ExecutorError(f"{url} answered more than 1 MiB.")
    document = answer.json()
    written = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return {
        "status": f"{answer.status}\n".encode(),
        "body": answer.body if document is None else written.encode("utf-8", "replace"),
    }


def _difference(then: Mapping[str, bytes], now: Mapping[str, bytes]) -> str:
    """A unified diff of what was kept against what is there, file by file; "" when equal."""
    parts = []
    for name in sorted(then.keys() | now.keys()):
        old, new = then.get(name), now.get(name)
        if old != new:
            lines = difflib.unified_diff(_lines(old), _lines(new), f"snapshot/{name}", f"now/{name}", lineterm="")
            parts.append("\n".join(lines) or f"snapshot/{name} and now/{name} differ")
    return "\n".join(parts)


def _lines(data: bytes | None) -> list[str]:
    return (data or b"").decode("utf-8", "replace").splitlines()
