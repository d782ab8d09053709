"""`config.update`: merge into, or replace, one configuration file below an allowed root."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from auditlog.refusals import FieldError
from verification import configuration
from verification.executors import observed
from verification.executors.base import (
    Call,
    ExecutionResult,
    Executor,
    ExecutorError,
    Observation,
    Preview,
    Reversibility,
    Run,
    SnapshotReader,
    SnapshotWriter,
)
from verification.executors.config_update import diffs, formats, rooted
from verification.executors.config_update.schema import EXAMPLE, SCHEMA
from verification.json_schemas import Schema

_PATH = "/parameters/path"
_ITEM = "file"


class ConfigUpdate(Executor):
    """Changes one file in one step; the way back is the file as it was, byte for byte."""

    action_type = "config.update"
    version = "1"
    title = "Change a configuration file"
    schema: dict[str, Any] = SCHEMA
    criteria = ("state_match", "health_check", "metric_threshold", "benchmark", "expression")
    example: dict[str, Any] = EXAMPLE
    retryable = True
    restore_is_repeatable = True

    def __init__(self) -> None:
        """Compile the schema once."""
        self._schema = Schema(SCHEMA)

    def check(self, call: Call) -> list[FieldError]:
        """Schema, path, roots, links, size; when merging, also that the file can be read and patched."""
        errors = self._schema.errors(dict(call.parameters), "/parameters")
        if errors:
            return errors
        try:
            path = rooted.normalised(call.parameters["path"])
        except rooted.NotInside as exc:
            return [FieldError(_PATH, exc.code, str(exc))]
        if path != call.parameters["path"]:
            return [FieldError(_PATH, "path_not_normalised", f"Write it as {path!r}.")]
        if call.target != f"file:{path}":
            return [FieldError("/target", "target_mismatch", f"The target of this path is 'file:{path}'.")]
        return self._check_file(call)

    def reversibility(self, call: Call) -> Reversibility:
        """A file can always be put back."""
        return Reversibility.REVERSIBLE

    def observe(self, call: Call) -> Observation:
        """Whether the file exists, its digest, and its content (parsed where possible, else text)."""
        content = _observed(call)
        if content is None:
            return observed.now({"exists": False, "sha256": None, "content": None})
        return observed.now(
            {
                "exists": True,
                "sha256": hashlib.sha256(content.data).hexdigest(),
                "content": _shown(call.parameters["path"], content.data),
            }
        )

    def fingerprint(self, observation: Observation) -> str:
        """Over existence and digest."""
        return observed.digest([observation.state.get("exists"), observation.state.get("sha256")])

    def preview(self, call: Call, observation: Observation) -> Preview:
        """A unified diff between the file as it is and as it would be."""
        path = call.parameters["path"]
        content = _observed(call)
        try:
            new = _wanted(call, content)
        except (formats.Unreadable, rooted.NotInside) as exc:
            raise ExecutorError(f"{path} cannot be patched: {exc}") from exc
        old_text = "" if content is None else content.data.decode("utf-8", "replace")
        if content is not None and content.data == new:
            return Preview("diff", "", f"{path} already has this content")
        verb = "create" if content is None else "change"
        diff = diffs.unified(observed.storable(old_text), observed.storable(new.decode()), path)
        return Preview("diff", diff, f"{verb} {path}")

    def snapshot(self, call: Call, store: SnapshotWriter) -> None:
        """The file as it is: bytes, mode and owner; or that there is none."""
        root, content = _read(call)
        where = {"path": call.parameters["path"], "root": str(root)}
        if content is None:
            store.add_bytes(_ITEM, b"", {**where, "exists": False})
            return
        about = {"exists": True, "mode": content.mode, "uid": content.uid, "gid": content.gid}
        store.add_bytes(_ITEM, content.data, {**where, **about})

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Replace the file in one step; a file that already is as wanted is left alone."""
        started = time.perf_counter()
        path = call.parameters["path"]
        try:
            root, content = _read(call)
            wanted = _wanted(call, content)
            if run.cancelled():
                return ExecutionResult.failure("Cancelled before anything was written.", retryable=True)
            changed = content is None or content.data != wanted
            if changed:
                rooted.replace(root, path, wanted)
        except (ExecutorError, formats.Unreadable, rooted.NotInside) as exc:
            return ExecutionResult.failure(f"{path}: {exc}", duration_ms=_since(started))
        except OSError as exc:
            return ExecutionResult.failure(
                f"{path} could not be written: {exc.strerror}", duration_ms=_since(started), retryable=True
            )
        result = {"path": path, "changed": changed, "sha256": hashlib.sha256(wanted).hexdigest()}
        return ExecutionResult.success(
            result, metrics={"bytes_written": len(wanted) if changed else 0}, duration_ms=_since(started)
        )

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Put the bytes back, or take the file away when there was none."""
        started = time.perf_counter()
        try:
            item = snapshot.item(_ITEM)
            root, path = _root_of(item.meta), rooted.normalised(item.meta["path"])
            if item.meta["exists"]:
                like = rooted.Content(b"", item.meta["mode"], item.meta["uid"], item.meta["gid"])
                rooted.replace(root, path, snapshot.read(_ITEM), like=like)
            else:
                rooted.remove(root, path)
        except KeyError:
            return ExecutionResult.failure("The snapshot holds no file.", duration_ms=_since(started))
        except (ExecutorError, rooted.NotInside) as exc:
            return ExecutionResult.failure(str(exc), duration_ms=_since(started))
        except OSError as exc:
            return ExecutionResult.failure(
                f"{path} could not be put back: {exc.strerror}", duration_ms=_since(started), retryable=True
            )
        return ExecutionResult.success({"path": path, "existed": item.meta["exists"]}, duration_ms=_since(started))

    def _check_file(self, call: Call) -> list[FieldError]:
        if "merge" in call.parameters and formats.format_of(call.parameters["path"]) is None:
            detail = "Only JSON, YAML, TOML and INI files can be merged into; give the whole content."
            return [FieldError("/parameters/merge", "format_cannot_merge", detail)]
        try:
            root, content = _read(call)
            with rooted.parent(root, call.parameters["path"]):
                pass
            _wanted(call, content)
        except (rooted.NotInside, formats.Unreadable, OSError) as exc:
            return [_field_error(exc)]
        return []


def _field_error(exc: Exception) -> FieldError:
    if isinstance(exc, rooted.NotInside):
        return FieldError(_PATH, exc.code, str(exc))
    if isinstance(exc, formats.Unreadable):
        return FieldError("/parameters/merge", "cannot_merge", f"The file cannot be patched: {exc}.")
    if isinstance(exc, FileNotFoundError):
        return FieldError(_PATH, "no_such_directory", "The directory of the file does not exist.")
    return FieldError(_PATH, "cannot_read", "The file cannot be read.")


def _read(call: Call) -> tuple[Path, rooted.Content | None]:
    path = call.parameters["path"]
    root = rooted.root_for(rooted.normalised(path), configuration.config_roots())
    return root, rooted.read(root, path)


def _observed(call: Call) -> rooted.Content | None:
    """The file for looking at it; raises ExecutorError."""
    try:
        return _read(call)[1]
    except rooted.NotInside as exc:
        raise ExecutorError(str(exc)) from exc
    except OSError as exc:
        raise ExecutorError(f"{call.parameters['path']} cannot be read: {exc.strerror}") from exc


def _wanted(call: Call, content: rooted.Content | None) -> bytes:
    """The bytes the file would have; raises Unreadable and NotInside."""
    if "content" in call.parameters:
        text = str(call.parameters["content"])
    else:
        kind = formats.format_of(call.parameters["path"])
        if kind is None:
            raise formats.Unreadable("it is plain text")
        text = kind.patch(_decoded(content), call.parameters["merge"])
    try:
        data = text.encode()
    except UnicodeEncodeError as exc:
        raise formats.Unreadable("the text is not Unicode") from exc
    if len(data) > rooted.MAX_FILE_BYTES:
        raise rooted.NotInside("file_too_large", f"The result has more than {rooted.MAX_FILE_BYTES} bytes.")
    return data


def _decoded(content: rooted.Content | None) -> str:
    try:
        return "" if content is None else content.data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise formats.Unreadable("it is not UTF-8") from exc


def _shown(path: str, data: bytes) -> Any:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    kind = formats.format_of(path)
    if kind is None:
        return text
    try:
        return kind.parse(text)
    except formats.Unreadable:
        return text


def _root_of(meta: dict[str, Any]) -> Path:
    """The root the snapshot was taken below, while it is still allowed."""
    for root in configuration.config_roots():
        if str(root) == meta["root"]:
            return root
    raise ExecutorError("The root this snapshot was taken below is no longer allowed.")


def _since(started: float) -> int:
    return int((time.perf_counter() - started) * 1000)
