"""The log as others read it: checkpoint, tiles and bundles are enough to recompute and prove everything."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from django.test import Client

from auditlog import log, merkle, notes, proofs, sequencer, signer
from auditlog.actors import SYSTEM
from auditlog.facts import SystemFact
from auditlog.models import Checkpoint, Entry
from auditlog.subjects import Subject
from tests.harness.people import People

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def checkpoint() -> Checkpoint:
    """A signed log of 700 entries."""
    with log.recording():
        for number in range(700):
            subject = Subject("subsystem", str(number))
            log.append(SystemFact.HEARTBEAT, actor=SYSTEM, subject=subject, data={"name": "x"}, now=NOW)
    sequencer.run(NOW)
    return signer.sign(NOW)


@pytest.fixture
def eve(checkpoint: Checkpoint, client: Client, users: People) -> Client:
    """The auditor's client, after the log was signed."""
    client.force_login(users.eve)
    return client


def fetched(client: Client, path: str) -> Any:
    response = client.get(f"/tlog/{path}")
    assert response.status_code == 200, path
    return response


def unbundled(raw: bytes) -> list[bytes]:
    entries = []
    while raw:
        length = int.from_bytes(raw[:2], "big")
        entries.append(raw[2 : 2 + length])
        raw = raw[2 + length :]
    return entries


def test_bundles_tiles_and_checkpoint_agree(eve: Client) -> None:
    head = notes.open_checkpoint(fetched(eve, "checkpoint").content.decode(), signer.key().verifier)
    paths = ["000", "001", "002.p/188"]
    entries = [entry for path in paths for entry in unbundled(fetched(eve, f"tile/entries/{path}").content)]
    hashes = [merkle.leaf_hash(entry) for entry in entries]
    assert b"".join(fetched(eve, f"tile/0/{path}").content for path in paths) == b"".join(hashes)
    assert fetched(eve, "tile/1/000.p/2").content == merkle.root_of(hashes[:256]) + merkle.root_of(hashes[256:512])
    assert (head.size, head.root) == (700, merkle.root_of(hashes))


def test_hashes_are_open_and_entries_are_not(checkpoint: Checkpoint, client: Client, users: People) -> None:
    for path in ("checkpoint", "tile/0/000", "tile/0/002.p/188"):
        fetched(client, path)
    assert client.get("/tlog/tile/entries/000").status_code == 401
    client.force_login(users.cleo)
    assert client.get("/tlog/tile/entries/000").status_code == 403


def test_what_never_changes_may_be_kept(eve: Client) -> None:
    assert fetched(eve, "checkpoint")["Cache-Control"] == "no-cache"
    assert fetched(eve, "checkpoint")["Content-Type"] == "text/plain; charset=utf-8"
    assert fetched(eve, "tile/0/000")["Cache-Control"] == "public, max-age=31536000, immutable"
    assert fetched(eve, "tile/entries/000")["Cache-Control"] == "private, max-age=31536000, immutable"
    assert fetched(eve, "tile/0/000")["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/002",
        "tile/0/003",
        "tile/0/002.p/256",
        "tile/0/002.p/0",
        "tile/0/002.p/255",
        "tile/0/002.p/01",
        "tile/1/000",
        "tile/1/000.p/3",
        "tile/63/000",
        "tile/64/000.p/1",
        "tile/00/000",
        "tile/0/x000/000",
        "tile/0/x999/x999/999",
        "tile/0/0",
        "tile/entries/002",
        "tile/entries/002.p/250",
        "tile/entries/x001/000",
        "nothing",
    ],
)
def test_what_is_no_tile_is_not_found(eve: Client, path: str) -> None:
    assert eve.get(f"/tlog/{path}").status_code == 404


def test_there_is_no_checkpoint_before_the_first(client: Client) -> None:
    assert client.get("/tlog/checkpoint").status_code == 404
    assert client.post("/tlog/checkpoint").status_code == 405


# --- receipts --------------------------------------------------------------------------------------------------


def verify(receipt: str, verifier: notes.Verifier) -> bytes:
    """Verify a C2SP tlog-proof as somebody would who only has the specification; the entry it proves."""
    head_text, _, checkpoint = receipt.partition("\n\n")
    header, extra, index_line, *hashes = head_text.split("\n")
    assert header == "c2sp.org/tlog-proof@v1"
    entry = base64.b64decode(extra.removeprefix("extra "), validate=True)
    index = int(index_line.removeprefix("index "))
    head = notes.open_checkpoint(checkpoint, verifier)
    path = [base64.b64decode(each, validate=True) for each in hashes]
    merkle.verify_inclusion(sha256(b"\0" + entry).digest(), index, head.size, path, head.root)
    return entry


def test_a_receipt_proves_an_entry_with_nothing_but_the_key(eve: Client) -> None:
    verifier = signer.key().verifier
    for index in (0, 255, 256, 699):
        response = eve.get(f"/api/auditlog/entries/{index}/receipt", HTTP_ACCEPT="text/html")
        assert response.status_code == 200
        assert response["Content-Disposition"] == f'attachment; filename="entry-{index}.tlog-proof"'
        receipt = response.content.decode()
        assert verify(receipt, verifier) == bytes(Entry.objects.get(leaf__index=index).bytes)
        tampered = receipt.replace("extra ey", "extra eY")
        with pytest.raises((merkle.ProofInvalid, ValueError)):
            verify(tampered, verifier)


def test_a_receipt_stays_the_same(checkpoint: Checkpoint) -> None:
    first = proofs.receipt(5)
    with log.recording():
        log.append(SystemFact.HEARTBEAT, actor=SYSTEM, subject=Subject("x", "1"), data={"name": "x"}, now=NOW)
    sequencer.run(NOW)
    signer.sign(NOW)
    assert proofs.receipt(5) == first


def test_what_is_not_signed_yet_has_no_receipt_yet(eve: Client) -> None:
    sequencer.run(NOW)
    response = eve.get("/api/auditlog/entries/700/receipt")
    assert (response.status_code, response.json()["code"]) == (409, "not_yet_signed")
    assert response["Retry-After"] == "10"
    assert eve.get("/api/auditlog/entries/9999/receipt").status_code == 404
