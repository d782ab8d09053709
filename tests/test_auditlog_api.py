"""The log from outside: entries, proofs that verify, findings, counts; the admin that shows and does not edit."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from auditlog import exports, findings, jobs, log, merkle, notes, sequencer, signer
from auditlog.actors import SYSTEM, Actor
from auditlog.facts import AuditlogFact, SystemFact
from auditlog.models import Disclosure, Entry, Finding, Job, JobState
from auditlog.subjects import Subject
from tests.harness.people import People
from tests.test_log_export import checked

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ADA = Actor("person", "user:1", "Ada", 1)
MISSION = UUID(int=7)
BASE = "/api/auditlog"

pytestmark = pytest.mark.django_db


@pytest.fixture
def as_(client: Client) -> Callable[[User], Client]:
    """A client logged in as somebody."""

    def login(user: User) -> Client:
        client.force_login(user)
        return client

    return login


@pytest.fixture
def eve(as_: Callable[[User], Client], users: People) -> Client:
    """The auditor's client."""
    return as_(users.eve)


@pytest.fixture
def entries() -> None:
    """Six entries."""
    with log.recording():
        for number in range(5):
            log.append(
                SystemFact.HEARTBEAT,
                actor=ADA if number % 2 else SYSTEM,
                subject=Subject("subsystem", f"s{number}"),
                data={"name": str(number)},
                mission_id=MISSION if number > 2 else None,
                now=NOW + timedelta(minutes=number),
            )
        log.append(
            AuditlogFact.ERASED,
            actor=ADA,
            subject=Subject("person", "user:9", "Nine"),
            data={"disclosures": 1, "reason": "asked"},
            outcome="failure",
            now=NOW + timedelta(minutes=9),
        )
    sequencer.run(NOW)


def data(client: Client, path: str, **query: Any) -> Any:
    response = client.get(f"{BASE}/{path}", query)
    assert response.status_code == 200, response.content
    return response.json()["data"]


def b64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


# --- entries ---------------------------------------------------------------------------------------------------


def test_entries_come_in_log_order_and_by_pages(entries: None, eve: Client) -> None:
    first = eve.get(f"{BASE}/entries?limit=4").json()
    assert [each["leaf_index"] for each in first["data"]] == [0, 1, 2, 3]
    assert (first["meta"]["count"], first["meta"]["previous"]) == (4, None)
    second = eve.get(first["meta"]["next"]).json()
    indices = [each["leaf_index"] for each in second["data"]]
    assert indices[:2] == [4, 5]
    assert second["meta"]["next"] is None
    back = eve.get(second["meta"]["previous"]).json()
    assert [each["leaf_index"] for each in back["data"]] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"fact": "system.*"}, [0, 1, 2, 3, 4]),
        ({"fact": "auditlog.erased"}, [5]),
        ({"fact": "*"}, [0, 1, 2, 3, 4, 5]),
        ({"actor": "user:1"}, [1, 3, 5]),
        ({"subject": "s2"}, [2]),
        ({"subject": "subsystem:s2"}, [2]),
        ({"subject": "person:user:9"}, [5]),
        ({"subject": "person:s2"}, []),
        ({"mission_id": str(MISSION)}, [3, 4]),
        ({"contract_id": str(MISSION)}, []),
        ({"since": "3"}, [4, 5]),
        ({"since": "1", "until": "4"}, [2, 3]),
        ({"fact": "system.*,auditlog.erased", "since": "3"}, [4, 5]),
        ({"since": "-1", "limit": "1"}, [0]),
        ({"outcome": "failure"}, [5]),
        ({"created_after": "2026-11-23T12:03:00Z", "created_before": "2026-11-23T12:09:00Z"}, [3, 4]),
        ({"order": "desc", "limit": "2", "fact": "system.*"}, [4, 3]),
    ],
)
def test_entries_are_filtered(entries: None, eve: Client, query: dict[str, str], expected: list[int]) -> None:
    found = [each["leaf_index"] for each in data(eve, "entries", **query) if each["leaf_index"] < 6]
    assert found == expected


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"limit": "0"}, "/limit"),
        ({"limit": "1001"}, "/limit"),
        ({"limit": "many"}, "/limit"),
        ({"since": "x"}, "/since"),
        ({"mission_id": "x"}, "/mission_id"),
        ({"fact": "a*b"}, "/fact"),
        ({"created_after": "yesterday"}, "/created_after"),
        ({"cursor": "nonsense"}, "/cursor"),
        ({"unknown": "x"}, "/unknown"),
        ({"order": "random"}, "/order"),
    ],
)
def test_nonsense_in_the_query_is_named(eve: Client, query: dict[str, str], pointer: str) -> None:
    response = eve.get(f"{BASE}/entries", query)
    assert response.status_code == 400
    assert [each["pointer"] for each in response.json()["errors"]] == [pointer]


def test_one_entry_comes_with_the_bytes_its_leaf_is_computed_from(entries: None, eve: Client) -> None:
    found = data(eve, "entries/5")
    assert b64(found["leaf_hash"]) == merkle.leaf_hash(b64(found["bytes"]))
    assert (found["fact"], found["outcome"]) == ("auditlog.erased", "failure")
    assert found["actor"] == {"kind": "person", "id": "user:1", "label": "Ada"}
    assert found["subject"]["label"] == "Nine"
    assert b"Ada" not in b64(found["bytes"])
    Disclosure.objects.all().delete()
    assert data(eve, "entries/5")["actor"]["label"] is None


@pytest.mark.parametrize("path", ["entries/4000", "entries/999999999999999999", "checkpoint"])
def test_what_is_not_there_is_not_found(eve: Client, path: str) -> None:
    assert eve.get(f"{BASE}/{path}").status_code == 404


PATHS = [
    "entries",
    "entries/0",
    "checkpoint",
    "proofs/inclusion?index=0",
    "proofs/consistency?old=0",
    "findings",
    "summary",
]


@pytest.mark.parametrize("path", PATHS)
def test_only_those_who_may_read_the_log_do(
    as_: Callable[[User], Client], client: Client, users: People, entries: None, path: str
) -> None:
    signer.sign(NOW)
    assert client.get(f"{BASE}/{path}").status_code == 401
    assert as_(users.cleo).get(f"{BASE}/{path}").status_code == 403
    assert as_(users.eve).get(f"{BASE}/{path}").status_code == 200
    for method in ("post", "put", "patch", "delete"):
        assert getattr(client, method)(f"{BASE}/{path}").status_code == 405


# --- proofs ----------------------------------------------------------------------------------------------------


def test_the_checkpoint_verifies_with_the_key(entries: None, eve: Client) -> None:
    signer.sign(NOW)
    found = data(eve, "checkpoint")
    head = notes.open_checkpoint(found["note"], notes.Verifier.parse(found["vkey"]))
    assert (head.origin, head.size, head.root) == (found["origin"], found["size"], b64(found["root"]))


def test_an_inclusion_proof_verifies(entries: None, eve: Client) -> None:
    checkpoint = signer.sign(NOW)
    for index in range(checkpoint.size):
        found = data(eve, "proofs/inclusion", index=index, size=checkpoint.size)
        leaf = merkle.leaf_hash(b64(data(eve, f"entries/{index}")["bytes"]))
        assert (b64(found["leaf_hash"]), b64(found["root"])) == (leaf, bytes(checkpoint.root))
        merkle.verify_inclusion(leaf, index, checkpoint.size, list(map(b64, found["hashes"])), bytes(checkpoint.root))


def test_a_consistency_proof_verifies(entries: None, eve: Client) -> None:
    for old in range(7):
        found = data(eve, "proofs/consistency", old=old, size=6)
        merkle.verify_consistency(old, b64(found["old_root"]), 6, b64(found["root"]), list(map(b64, found["hashes"])))
    assert data(eve, "proofs/consistency", old=2)["size"] >= 6


@pytest.mark.parametrize(
    ("path", "status", "pointer"),
    [
        ("proofs/inclusion?index=4000", 404, "/index"),
        ("proofs/inclusion?index=3&size=3", 404, "/index"),
        ("proofs/inclusion?index=3&size=4000", 404, "/size"),
        ("proofs/inclusion", 400, "/index"),
        ("proofs/inclusion?index=-1", 400, "/index"),
        ("proofs/inclusion?index=99999999999999999999", 400, "/index"),
        ("proofs/consistency?old=4&size=3", 404, "/old"),
        ("proofs/consistency?old=0&size=4000", 404, "/size"),
        ("proofs/consistency", 400, "/old"),
    ],
)
def test_no_proof_of_what_the_log_does_not_hold(
    entries: None, eve: Client, path: str, status: int, pointer: str
) -> None:
    response = eve.get(f"{BASE}/{path}")
    assert response.status_code == status
    assert [each["pointer"] for each in response.json()["errors"]] == [pointer]


# --- bundles ---------------------------------------------------------------------------------------------------


def test_a_bundle_is_asked_for_made_and_fetched(
    entries: None, as_: Callable[[User], Client], users: People, tmp_path: Path
) -> None:
    eve = as_(users.eve)
    asked = eve.post(f"{BASE}/exports", {"mission_id": str(MISSION)}, content_type="application/json")
    assert asked.status_code == 202
    path = f"exports/{asked.json()['data']['id']}"
    assert data(eve, path)["state"] == "queued"
    assert eve.get(f"{BASE}/{path}/bundle").status_code == 404
    jobs.run_until_idle()
    made = data(eve, path)
    assert (made["state"], made["entries"], made["subset"], made["progress"]) == ("completed", 2, True, 100)
    response = eve.get(f"{BASE}/{path}/bundle")
    assert response["Content-Disposition"].endswith('.zip"')
    packed = b"".join(response.streaming_content)  # type: ignore[attr-defined]
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(tmp_path / "bundle")
    done = checked(tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    assert "a SUBSET: 2 entries" in done.stdout
    exported = Entry.objects.get(fact="auditlog.exported")
    assert (exported.actor_kind, exported.actor_id) == ("person", Entry.objects.get(fact="job.enqueued").actor_id)


@pytest.mark.parametrize(
    ("wanted", "indices"),
    [
        ({"actor": "user:1", "fact": "system.*"}, [1, 3]),
        ({"subject": "subsystem:s2"}, [2]),
        ({"outcome": "failure"}, [5]),
        ({"created_after": "2026-11-23T12:03:00Z", "created_before": "2026-11-23T13:04:00+01:00"}, [3]),
        ({"since": "0", "until": "2"}, [1]),
    ],
)
def test_a_bundle_holds_what_the_same_search_finds(
    entries: None, eve: Client, wanted: dict[str, str], indices: list[int]
) -> None:
    asked = eve.post(f"{BASE}/exports", wanted, content_type="application/json").json()["data"]
    jobs.run_until_idle()
    made = Job.objects.get(pk=asked["id"])
    with zipfile.ZipFile(exports.path_of(made)) as archive:
        proofs = archive.read("proofs.jsonl").splitlines()
        manifest = json.loads(archive.read("manifest.json"))
    assert [json.loads(line)["index"] for line in proofs] == indices
    assert set(manifest["wanted"]) == set(wanted)
    assert [each["leaf_index"] for each in data(eve, "entries", **wanted)] == indices


def test_bundles_are_for_those_who_may_export(as_: Callable[[User], Client], users: People) -> None:
    bea = as_(users.bea)
    assert bea.post(f"{BASE}/exports", {}, content_type="application/json").status_code == 403
    eve = as_(users.eve)
    for wrong in ({"fact": "a*b"}, {"fact": "a,*b"}, {"since": -2}, {"unknown": 1}, {"mission_id": "x"}):
        response = eve.post(f"{BASE}/exports", wrong, content_type="application/json")
        assert response.status_code == 400
        assert response.json()["errors"][0]["pointer"] == f"/{next(iter(wrong))}"
    assert eve.get(f"{BASE}/exports/{uuid4()}").status_code == 404


# --- counts and findings ---------------------------------------------------------------------------------------


def test_the_summary_counts_by_actor_fact_and_subsystem(eve: Client) -> None:
    now = timezone.now()
    with log.recording():
        for hours, outcome in ((1, "success"), (2, "failure"), (30, "failure")):
            log.append(
                AuditlogFact.ERASED,
                actor=Actor("person", "user:77", "x"),
                subject=Subject("x", "1"),
                data={"disclosures": 1, "reason": "x"},
                outcome=outcome,
                now=now - timedelta(hours=hours),
            )
    found = data(eve, "summary", hours=24)
    assert {"name": "auditlog.erased", "count": 2} in found["by_fact"]
    assert {"name": "user:77", "count": 2} in found["by_actor"]
    assert found["failures"] == 1
    assert found["failures_by_subsystem"] == [{"name": "auditlog", "count": 1}]
    assert data(eve, "summary", hours=48)["failures"] == 2
    assert eve.get(f"{BASE}/summary?hours=0").status_code == 400


@pytest.fixture
def finding() -> Finding:
    """Something that was found."""
    return findings.record([findings.Found("entry_edited", "leaf 5", "it is another")], now=NOW)[0]


def test_findings_are_listed_and_acknowledged(as_: Callable[[User], Client], users: People, finding: Finding) -> None:
    path = f"{BASE}/findings/{finding.pk}/acknowledge"
    eve = as_(users.eve)
    assert [each["kind"] for each in data(eve, "findings", open="true")] == ["entry_edited"]
    assert eve.post(path, {"reason": "x"}, content_type="application/json").status_code == 403
    administrator = as_(users.administrator)
    response = administrator.post(path, {}, content_type="application/json")
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (400, "/reason")
    response = administrator.post(path, {"reason": "a backup"}, content_type="application/json")
    assert response.status_code == 200
    assert response.json()["data"]["stops_signing"] is False
    assert administrator.post(path, {"reason": "x"}, content_type="application/json").status_code == 409
    missing = administrator.post(f"{BASE}/findings/0/acknowledge", {"reason": "x"}, content_type="application/json")
    assert missing.status_code == 404
    assert data(administrator, "findings", open="true") == []
    assert len(data(administrator, "findings", open="false", kind="entry_edited")) == 1


# --- admin -----------------------------------------------------------------------------------------------------

ADMIN_LISTS = ["entry", "checkpoint", "finding", "job", "subscription"]


@pytest.mark.parametrize("model", ADMIN_LISTS)
def test_the_admin_shows_and_does_not_edit(
    entries: None, as_: Callable[[User], Client], users: People, finding: Finding, model: str
) -> None:
    administrator = as_(users.administrator)
    page = administrator.get(f"/admin/auditlog/{model}/")
    assert page.status_code == 200
    assert administrator.get(f"/admin/auditlog/{model}/add/").status_code == 403
    as_(users.cleo)
    assert administrator.get(f"/admin/auditlog/{model}/").status_code == 302


def test_an_entrys_page_shows_what_it_says(as_: Callable[[User], Client], users: People, entries: None) -> None:
    entry = Entry.objects.get(fact="auditlog.erased")
    page = as_(users.eve).get(f"/admin/auditlog/entry/{entry.pk}/change/").content.decode()
    assert "auditlog.erased" in page
    assert "Ada" in page


def test_a_finding_is_acknowledged_by_a_button(as_: Callable[[User], Client], users: People, finding: Finding) -> None:
    path = f"/admin/auditlog/finding/{finding.pk}/verb/acknowledge/"
    assert as_(users.eve).post(path, {"reason": "x"}).status_code == 403
    administrator = as_(users.administrator)
    assert administrator.get(path).status_code == 200, "looking at the form does nothing"
    finding.refresh_from_db()
    assert finding.acknowledged_at is None
    assert "Acknowledge" in administrator.get(f"/admin/auditlog/finding/{finding.pk}/change/").content.decode()
    assert administrator.post(path, {"reason": ""}).status_code == 422
    finding.refresh_from_db()
    assert finding.acknowledged_at is None
    administrator.post(path, {"reason": "a backup"})
    finding.refresh_from_db()
    assert finding.reason == "a backup"
    assert administrator.post(path.replace("acknowledge", "unknown")).status_code == 403


def test_a_job_is_cancelled_and_retried_by_buttons(
    as_: Callable[[User], Client], users: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_runners", {})
    jobs.runner("test.admin", visible=True)(lambda job, lease: None)
    with log.recording():
        job = jobs.enqueue(kind="test.admin", subject_id=str(uuid4()), now=NOW)
    administrator = as_(users.administrator)
    administrator.post(f"/admin/auditlog/job/{job.pk}/verb/cancel/", {"reason": "not now"})
    assert Job.objects.get().state == JobState.CANCELLED
    page = administrator.post(f"/admin/auditlog/job/{job.pk}/verb/cancel/", {"reason": "again"}, follow=True)
    assert "The job is cancelled." in page.content.decode()
    administrator.post(f"/admin/auditlog/job/{job.pk}/verb/retry/")
    assert Job.objects.get().state == JobState.QUEUED
