"""Files below allowed roots, reached component by component without following a single symbolic link.

Every step opens the next directory relative to the descriptor of the last one with O_NOFOLLOW, so it makes no
difference whether somebody swaps a component for a link between the check and the use: there is no second
look-up of the path to race with. A file that has another name (a hard link) is refused as well: that name may lie
outside.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MAX_FILE_BYTES = 1024 * 1024
LEFT_BEHIND_SECONDS = 3600.0
"""A temporary file this old is nobody's any more: no attempt lasts so long."""
_TEMPORARY = re.compile(r"\.grace-[0-9a-f]{16}\.tmp")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NotInside(Exception):
    """The path does not lead to a usable file inside an allowed root; `code` is stable."""

    def __init__(self, code: str, detail: str) -> None:
        """Keep the code beside the sentence."""
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True)
class Content:
    """A file as it was read: its bytes, mode bits and owner."""

    data: bytes
    mode: int
    uid: int
    gid: int


def normalised(path: str) -> str:
    """The one way this relative path is written; raises NotInside when it leaves a root or names no file."""
    if not path or path.startswith("/") or "\\" in path:
        raise NotInside("path_not_relative", "The path is relative to an allowed root.")
    if any(ord(char) < 32 or ord(char) == 127 for char in path) or len(path) > 400:
        raise NotInside("path_malformed", "The path has control characters or is too long.")
    parts = path.split("/")
    if ".." in parts:
        raise NotInside("path_outside_roots", "The path leaves the allowed roots.")
    kept = [part for part in parts if part not in ("", ".")]
    if not kept or parts[-1] in ("", ".") or any(len(part.encode()) > 255 for part in kept):
        raise NotInside("path_malformed", "The path names no file.")
    return "/".join(kept)


def root_for(path: str, roots: Sequence[Path]) -> Path:
    """The root this path is meant below: where the file is, else where its directory is, else the first.

    Raises NotInside when no root exists, or when the file exists below two of them.
    """
    usable = [root for root in roots if root.is_dir()]
    if not usable:
        raise NotInside("no_config_root", "No directory in CONFIG_ROOTS exists.")
    having = [root for root in usable if os.path.lexists(root / path)]
    if len(having) > 1:
        raise NotInside("path_ambiguous", "The file exists below more than one root.")
    near = [root for root in usable if os.path.lexists((root / path).parent)]
    return (having or near or usable)[0]


@contextmanager
def parent(root: Path, path: str) -> Iterator[tuple[int, str]]:
    """A descriptor of the directory that holds the file, and the file's name in it; raises NotInside."""
    *directories, name = path.split("/")
    current = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for directory in directories:
            try:
                further = os.open(directory, _DIRECTORY, dir_fd=current)
            except OSError as exc:
                raise _refusal(exc, directory, current) from exc
            os.close(current)
            current = further
        yield current, name
    finally:
        os.close(current)


def read(root: Path, path: str) -> Content | None:
    """The file, or None when it does not exist; raises NotInside and OSError."""
    try:
        with parent(root, path) as (directory, name):
            return _read_at(directory, name)
    except FileNotFoundError:
        return None


def replace(root: Path, path: str, data: bytes, *, like: Content | None = None) -> None:
    """Put these bytes there in one step, durably; mode and owner stay, or become those of `like`."""
    with parent(root, path) as (directory, name):
        old = like or _read_at(directory, name, limit=0)
        _tidy(directory)
        temporary = f".grace-{secrets.token_hex(8)}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(temporary, flags, 0o600, dir_fd=directory)
        try:
            _fill(handle, data, old)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)
            raise
        os.fsync(directory)


def remove(root: Path, path: str) -> None:
    """Take the file away, durably; that it is not there is fine."""
    with suppress(FileNotFoundError), parent(root, path) as (directory, name):
        os.unlink(name, dir_fd=directory)
        os.fsync(directory)


def _fill(handle: int, data: bytes, old: Content | None) -> None:
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        if old is not None:
            with suppress(PermissionError):  # only root may give a file away; the mode still follows
                os.fchown(handle, old.uid, old.gid)
        os.fchmod(handle, old.mode if old is not None else 0o644)
        file.flush()
        os.fsync(handle)


def _tidy(directory: int) -> None:
    """Take away the temporary files of writers that were killed before they could."""
    long_ago = time.time() - LEFT_BEHIND_SECONDS
    for name in filter(_TEMPORARY.fullmatch, os.listdir(directory)):
        with suppress(FileNotFoundError):
            about = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISREG(about.st_mode) and about.st_mtime < long_ago:
                os.unlink(name, dir_fd=directory)


def _read_at(directory: int, name: str, limit: int = MAX_FILE_BYTES) -> Content | None:
    """The file with this name; with limit 0 only its mode and owner."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise _refusal(exc, name, directory) from exc
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        raise NotInside("not_a_file", f"{name!r} is not a regular file.")
    if about.st_nlink > 1:
        os.close(handle)
        raise NotInside("hard_link", f"{name!r} is a hard link: the same file has another name, perhaps outside.")
    with os.fdopen(handle, "rb") as file:
        data = file.read(limit + 1) if limit else b""
        if limit and len(data) > limit:
            raise NotInside("file_too_large", f"{name!r} has more than {limit} bytes.")
        return Content(data, stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid)


def _refusal(exc: OSError, name: str, directory: int) -> Exception:
    if exc.errno == errno.ELOOP or (exc.errno == errno.ENOTDIR and _is_link(name, directory)):
        return NotInside("symlink", f"{name!r} is a symbolic link; none is followed.")
    if exc.errno == errno.ENOTDIR:
        return NotInside("not_a_directory", f"{name!r} is not a directory.")
    if exc.errno == errno.ENXIO:
        return NotInside("not_a_file", f"{name!r} is not a regular file.")
    return exc


def _is_link(name: str, directory: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False
