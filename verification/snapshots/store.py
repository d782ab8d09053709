"""The store of snapshots: content kept by its SHA-256, and a signed manifest of what belongs together.

Content goes through Django's storage API: `STORAGES["snapshots"]` if set, else files under VAR_DIR/snapshots.

Nothing is restored from a snapshot before the signature of its manifest and the hash of each item were
checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, InvalidStorageError, Storage, storages

from auditlog import canonical
from verification import configuration
from verification.executors.base import JsonDict, SnapshotItem

from . import keys

VERSION = 1
STORAGE_ALIAS = "snapshots"


class Damaged(Exception):
    """A manifest or an item is not what was kept; the text names it."""


@dataclass(frozen=True)
class Sealed:
    """A finished manifest: its exact text, SHA-256 and signature (both hex), and what it holds."""

    manifest: str
    sha256: str
    signature: str
    item_count: int
    byte_count: int


class BlobStorage(FileSystemStorage):
    """Files that appear under their name only when they are whole and on the disk."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """Content is named by its hash: writing it again puts the same there."""
        return name

    def _save(self, name: str, content: File[bytes]) -> str:
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{os.urandom(8).hex()}.tmp")
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                for chunk in content.chunks():
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return name


class Writer:
    """Collects the items of one snapshot; `seal` ends it."""

    def __init__(self) -> None:
        self._items: list[SnapshotItem] = []

    def add_bytes(self, name: str, data: bytes, meta: JsonDict | None = None) -> SnapshotItem:
        """Keep these bytes under this name, which must be free; content that is there is stored once."""
        return self._add(name, ContentFile(data), meta)

    def add_file(self, path: Path, *, name: str = "", meta: JsonDict | None = None) -> SnapshotItem:
        """Keep a file byte for byte, under its own name unless told otherwise. It is never in memory as a whole."""
        with path.open("rb") as file:
            return self._add(name or path.name, File(file), meta)

    def _add(self, name: str, content: File[bytes], meta: JsonDict | None) -> SnapshotItem:
        if any(item.name == name for item in self._items):
            raise ValueError(f"the snapshot holds an item named {name!r} already")
        digest, size = _measured(content)
        _keep(digest, content)
        item = SnapshotItem(name, digest, size, meta or {})
        self._items.append(item)
        return item

    def digests(self) -> JsonDict:
        """The SHA-256 of every item by its name, as going back to a scope observes it."""
        return {"items": {item.name: item.sha256 for item in self._items}}

    def seal(self) -> Sealed:
        """The signed manifest of everything added so far."""
        items = [
            {"name": i.name, "sha256": i.sha256, "size": i.size, "meta": canonical.foreign(i.meta).decode()}
            for i in self._items
        ]
        manifest = canonical.dumps({"version": VERSION, "items": items})
        return Sealed(
            manifest.decode(),
            sha256(manifest).hexdigest(),
            keys.sign(manifest),
            len(items),
            sum(item.size for item in self._items),
        )


class Reader:
    """A verified snapshot. Make one with `open_sealed`."""

    def __init__(self, items: list[SnapshotItem]) -> None:
        self._items = {item.name: item for item in items}

    def items(self) -> Iterator[SnapshotItem]:
        """The items in the order they were written."""
        return iter(self._items.values())

    def item(self, name: str) -> SnapshotItem:
        """The item with this name; raises KeyError."""
        return self._items[name]

    def read(self, name: str) -> bytes:
        """The bytes of the item with this name, checked once more; raises KeyError and Damaged."""
        return _content(self._items[name])


def open_sealed(manifest: str, digest: str, signature: str) -> Reader:
    """A reader of a sealed snapshot; raises Damaged unless signature and every hash hold."""
    written = manifest.encode()
    if sha256(written).hexdigest() != digest:
        raise Damaged("the manifest is not the one that was sealed")
    if not keys.is_signed(written, signature):
        raise Damaged("the manifest is not signed by this installation")
    items = [
        SnapshotItem(each["name"], each["sha256"], each["size"], json.loads(each["meta"]))
        for each in json.loads(manifest)["items"]
    ]
    for item in items:
        with _opened(item) as file:
            _unchanged(item, _measured(file)[0])
    return Reader(items)


def _content(item: SnapshotItem) -> bytes:
    with _opened(item) as file:
        data = bytes(file.read())
    _unchanged(item, sha256(data).hexdigest())
    return data


def _opened(item: SnapshotItem) -> File[bytes]:
    try:
        return _storage().open(_path(item.sha256))
    except FileNotFoundError:
        raise Damaged(f"the content of {item.name!r} is gone") from None


def _unchanged(item: SnapshotItem, digest: str) -> None:
    if digest != item.sha256:
        raise Damaged(f"the content of {item.name!r} was changed")


def _keep(digest: str, content: File[bytes]) -> None:
    """Store content once. What is there but damaged is written again."""
    storage, path = _storage(), _path(digest)
    if storage.exists(path):
        with storage.open(path) as file:
            if _measured(file)[0] == digest:
                return
        storage.delete(path)
    storage.save(path, content)


def _measured(content: File[bytes]) -> tuple[str, int]:
    """SHA-256 (hex) and size, read piece by piece."""
    digest, size = sha256(), 0
    for piece in content.chunks():
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


def _path(digest: str) -> str:
    return f"{digest[:2]}/{digest}"


def _storage() -> Storage:
    try:
        return storages[STORAGE_ALIAS]
    except InvalidStorageError:
        return BlobStorage(location=configuration.var_dir() / "snapshots")
