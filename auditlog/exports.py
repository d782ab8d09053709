"""Bundles that prove themselves: the entries' exact bytes, what was signed, and a program that checks both."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import file_digest, sha256
from pathlib import Path
from shutil import make_archive
from tempfile import TemporaryDirectory
from typing import IO, Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils.module_loading import import_string

from . import canonical, entries, findings, jobs, log, merkle, notes, sequencer, signer, tree
from .actors import SYSTEM, Actor
from .facts import AuditlogFact
from .models import Checkpoint, Disclosure, Job, Leaf, Payload
from .refusals import Refused
from .subjects import Subject

FORMAT = "grace-log-bundle/1"
KIND = "auditlog.export"
CHUNK = 1000

Progress = Callable[[int, int], None]


class NotEmpty(Refused):
    """The directory holds something already."""

    code = "export_directory_not_empty"
    kind = Refused.Kind.CONFLICT


class BadFilter(Refused):
    """What was asked for means nothing: no fact, or no id."""

    code = "bad_filter"
    kind = Refused.Kind.INVALID


@dataclass(frozen=True)
class Export:
    """What was written where."""

    directory: Path
    size: int
    entries: int
    subset: bool


def export(
    *,
    directory: Path,
    by: Actor,
    now: datetime,
    wanted: Mapping[str, Any] | None = None,
    disclose: bool = True,
    progress: Progress | None = None,
) -> Export:
    """Sign, and write a bundle of the log as it was signed into an empty directory.

    With `wanted` (as `entries.chosen` understands it), only those entries, each with its proof; the bundle says that
    it is a subset and what was asked for. Raises ValueError for a fact that is none, NotEmpty, signer.SigningRefused.
    """
    wanted = {name: value for name, value in (wanted or {}).items() if value not in (None, "")}
    chosen = entries.chosen(wanted)
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise NotEmpty(f"{directory} is not empty.")
    checkpoint = _signed(now)
    writer = _Writer(directory, checkpoint, subset=bool(wanted), disclose=disclose)
    count = writer.write(chosen.filter(index__lt=checkpoint.size), progress)
    writer.finish(wanted, count, now)
    with log.recording():
        log.append(
            AuditlogFact.EXPORTED,
            actor=by,
            subject=Subject("log", signer.key().name),
            data={"size": checkpoint.size, "entries": count, "subset": bool(wanted)},
            now=now,
        )
    return Export(directory, checkpoint.size, count, bool(wanted))


def request(*, wanted: Mapping[str, Any], disclose: bool, by: Actor, now: datetime) -> Job:
    """Have a job make a bundle of `wanted` (see `export`). Raises BadFilter."""
    try:
        entries.chosen(wanted)
    except (ValueError, ValidationError) as problem:
        raise BadFilter("; ".join(getattr(problem, "messages", [str(problem)]))) from None
    with log.recording():
        return jobs.enqueue(
            kind=KIND,
            subject_id=by.id,
            arguments={"wanted": canonical.plain(dict(wanted)), "disclose": disclose, "user_id": by.user_id},
            by=by,
            now=now,
        )


@jobs.runner(KIND, visible=True)
def _make(job: Job, lease: jobs.Lease) -> dict[str, Any]:
    """The bundle as a ZIP file under VAR_DIR; nothing of an earlier attempt is left in it."""
    path = path_of(job)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with TemporaryDirectory(dir=path.parent) as folder:
        done = export(
            directory=Path(folder) / "bundle",
            by=_actor(job.arguments["user_id"]),
            now=lease.now(),
            wanted=job.arguments["wanted"],
            disclose=job.arguments["disclose"],
            progress=lambda count, total: lease.progress(count * 90 // max(total, 1), f"{count} of {total}"),
        )
        packed = make_archive(str(Path(folder) / "packed"), "zip", done.directory)
        Path(packed).replace(path)
    return {"size": done.size, "entries": done.entries, "subset": done.subset}


def path_of(job: Job) -> Path:
    """Where the bundle a job makes is kept."""
    return Path(settings.VAR_DIR) / "exports" / f"{job.pk}.zip"


def _actor(user_id: int | None) -> Actor:
    user = get_user_model()._default_manager.filter(pk=user_id).first() if user_id else None
    found: Actor = import_string(settings.GRACE_ACTOR_OF)(user) if user else SYSTEM
    return found


def _signed(now: datetime) -> Checkpoint:
    """A checkpoint of everything up to now; on a host that does not sign, the last there is. Raises SigningRefused."""
    sequencer.run(now)
    last = signer.latest()
    if last is not None and (last.size == tree.head().size or not signer.signs_here()):
        # The bundle is signed as well, whoever signs the log.
        if findings.stop_signing():
            raise signer.SigningRefused("An integrity finding has not been acknowledged.")
        return last
    return signer.sign(now)


class _Writer:
    """Writes a bundle, holding one chunk of it at a time."""

    def __init__(self, directory: Path, checkpoint: Checkpoint, *, subset: bool, disclose: bool) -> None:
        self.directory = directory
        self.checkpoint = checkpoint
        self.subset = subset
        self.disclose = disclose
        self._nodes = tree.Nodes()

    def write(self, leaves: QuerySet[Leaf], progress: Progress | None) -> int:
        """Entries, proofs, disclosures and payloads; how many entries."""
        total = leaves.count() if progress else 0
        count = 0
        with (
            (self.directory / "entries.jsonl").open("wb") as entries,
            (self.directory / "proofs.jsonl").open("w", encoding="utf-8") as proven,
            (self.directory / "disclosures.jsonl").open("w", encoding="utf-8") as disclosed,
        ):
            for chunk in _chunks(leaves):
                self._entries(chunk, entries, proven)
                if self.disclose:
                    self._disclosures(chunk, count, disclosed)
                count += len(chunk)
                if progress:
                    progress(count, total)
        if not self.subset:
            (self.directory / "proofs.jsonl").unlink()
        return count

    def _entries(self, chunk: list[Leaf], entries: IO[bytes], proven: IO[str]) -> None:
        for leaf in chunk:
            raw = bytes(leaf.entry.bytes)
            entries.write(raw + b"\n")
            if self.disclose:
                self._payload(leaf)
            if self.subset:
                hashes = merkle.inclusion_proof(leaf.index, self.checkpoint.size, self._nodes)
                line = {"index": leaf.index, "hashes": [base64.b64encode(each).decode() for each in hashes]}
                proven.write(json.dumps(line) + "\n")
        # A long export would otherwise remember every tile of the log.
        self._nodes = tree.Nodes()

    def _disclosures(self, chunk: list[Leaf], first: int, disclosed: IO[str]) -> None:
        line_of = {leaf.entry_id: first + offset for offset, leaf in enumerate(chunk)}
        rows = list(Disclosure.objects.filter(entry_id__in=line_of))
        for row in sorted(rows, key=lambda row: (line_of[row.entry_id], row.pointer)):
            line = {
                "line": line_of[row.entry_id],
                "pointer": row.pointer,
                "value": row.value,
                "salt": bytes(row.salt).hex(),
            }
            disclosed.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _payload(self, leaf: Leaf) -> None:
        key = entries.payload_key(leaf.entry.data) if b'"data":{"bytes":' in bytes(leaf.entry.bytes) else None
        payload = Payload.objects.filter(pk=key).first() if key else None
        if payload is not None:
            (self.directory / "payloads").mkdir(exist_ok=True)
            (self.directory / "payloads" / f"{payload.pk}.json").write_bytes(bytes(payload.bytes))

    def finish(self, wanted: Mapping[str, Any], count: int, now: datetime) -> None:
        """Checkpoints, key, policy, the program, and the signed manifest over all of them."""
        vkey = signer.key().verifier.vkey
        with (self.directory / "checkpoints.jsonl").open("w", encoding="utf-8") as file:
            for note in self._notes():
                file.write(json.dumps(note, ensure_ascii=False) + "\n")
        self._text("vkey.txt", f"{vkey}\n")
        # https://c2sp.org/tlog-policy
        self._text("policy.txt", f"log {vkey}\nquorum none\n")
        self._text("verify.py", (Path(__file__).parent / "bundle" / "verify.py").read_text("utf-8"))
        manifest = {
            "format": FORMAT,
            "origin": signer.key().name,
            "size": self.checkpoint.size,
            "root": bytes(self.checkpoint.root).hex(),
            "entries": count,
            "subset": self.subset,
            "wanted": canonical.plain(dict(wanted)),
            "exported_at": canonical.stamp(now),
            "files": {str(path.relative_to(self.directory)): _digest(path) for path in self._files()},
        }
        seal(self.directory, manifest, signer.key())

    def _notes(self) -> Iterator[str]:
        """What was signed, oldest first and ours last; a subset needs only the last."""
        if not self.subset:
            older = Checkpoint.objects.filter(pk__lt=self.checkpoint.pk, size__lt=self.checkpoint.size).order_by("pk")
            yield from older.values_list("note", flat=True).iterator()
        yield self.checkpoint.note

    def _files(self) -> list[Path]:
        return sorted(path for path in self.directory.rglob("*") if path.is_file())

    def _text(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text, "utf-8")


def seal(directory: Path, manifest: Mapping[str, Any], by: notes.Signer) -> None:
    """Write a manifest, and a note signed by the log over its hash: who was given a bundle cannot take from it.

    The note cannot be taken for a checkpoint: its first line is another, and its second no number.
    """
    text = json.dumps(manifest, indent=2) + "\n"
    (directory / "manifest.json").write_text(text, "utf-8")
    note = by.sign(f"{by.name}/bundle\n{sha256(text.encode()).hexdigest()}\n")
    (directory / "manifest.note").write_text(note, "utf-8")


def _chunks(leaves: QuerySet[Leaf]) -> Iterator[list[Leaf]]:
    last = -1
    ordered = leaves.select_related("entry").order_by("index")
    while chunk := list(ordered.filter(index__gt=last)[:CHUNK]):
        yield chunk
        last = chunk[-1].index


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
