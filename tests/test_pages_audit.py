"""The log in the console: searched, proved, acknowledged, taken away; each by the verb the API has."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from auditlog import erasure, exports, findings, integrity, jobs, log, merkle, mesh, proofs, receipts, sequencer, signer
from auditlog.actors import SYSTEM
from auditlog.facts import SystemFact
from auditlog.findings import Found
from auditlog.models import Entry, Finding, Job, Leaf, Pending, Subscription
from auditlog.subjects import Subject
from governance.models import ApprovalRequest, Decision
from governance.pages.audit import ANCHOR
from tests import scenery
from tests.harness.people import People
from tests.scenery import Scene
from tests.test_log_export import checked

pytestmark = pytest.mark.django_db


@pytest.fixture
def scene(users: People, var_dir: Path) -> Scene:
    return scenery.minimal(var_dir / "sandbox", users)


@pytest.fixture
def as_(client: Client) -> Callable[[User], Client]:
    def log_in(user: User) -> Client:
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def decided(scene: Scene, users: People) -> ApprovalRequest:
    """Bea approved something; the log knows it and nothing is signed."""
    request = scene.ask()
    scene.decide(request, users.bea, reason="Looks right.")
    sequencer.run(timezone.now())
    return request


def place_of(decision: Decision) -> int:
    return Leaf.objects.get(entry_id=decision.entry_id).index


def text(response: Any) -> str:
    return str(response.content.decode())


def beat(count: int, *, name: str = "x", outcome: str = "success", subject: str = "beat") -> None:
    with log.recording():
        for _ in range(count):
            about = Subject("subsystem", subject)
            log.append(
                SystemFact.HEARTBEAT,
                actor=SYSTEM,
                subject=about,
                data={"name": name},
                outcome=outcome,
                now=timezone.now(),
            )
    sequencer.run(timezone.now())


# --- search ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "facts"),
    [
        ("fact=approval.*", {"approval.requested", "approval.decided", "approval.granted"}),
        ("fact=approval.decided,approval.granted", {"approval.decided", "approval.granted"}),
        ("fact=approval.decided&actor=bea", {"approval.decided"}),
        ("fact=approval.decided&actor=BEA", {"approval.decided"}),
        ("fact=approval.decided&actor=ada", set()),
        ("fact=approval.*&actor=deployer", {"approval.requested"}),
        ("fact=approval.*&outcome=failure", set()),
        ("fact=approval.*&before=2020-01-01T00:00", set()),
        ("fact=approval.*&after=2020-01-01T00:00%2B01:00&outcome=success&actor=deployer", {"approval.requested"}),
        ("fact=approval.*&after=2999-01-01T00:00", set()),
        ("subject=nothing", set()),
        ("mission=00000000-0000-0000-0000-000000000000", set()),
    ],
)
def test_it_finds_what_was_asked_for(
    as_: Any, users: People, decided: ApprovalRequest, query: str, facts: set[str]
) -> None:
    response = as_(users.eve).get(f"/audit?{query}")
    assert response.status_code == 200
    assert {moment.fact for moment in response.context["moments"]} == facts


def test_it_finds_by_contract_and_by_subject(as_: Any, users: People, decided: ApprovalRequest) -> None:
    of_contract = as_(users.eve).get(f"/audit?contract={decided.contract_id}").context["moments"]
    assert {moment.contract_id for moment in of_contract} == {decided.contract_id}
    entry = Entry.objects.get(fact="approval.decided")
    for subject in (entry.subject_id, f"{entry.subject_kind}:{entry.subject_id}"):
        found = as_(users.eve).get(f"/audit?subject={subject}&fact=approval.decided").context["moments"]
        assert [moment.fact for moment in found] == ["approval.decided"]
    assert as_(users.eve).get(f"/audit?subject=other:{entry.subject_id}").context["moments"] == []


@pytest.mark.parametrize(
    "query",
    [
        "fact=*.decided",
        "contract=x",
        "mission=x",
        "after=yesterday",
        "before=2026-13-01T00:00",
        "after=0001-01-01T00:00%2B14:00",
    ],
)
def test_what_means_nothing_is_said_in_words(as_: Any, users: People, decided: ApprovalRequest, query: str) -> None:
    response = as_(users.eve).get(f"/audit?{query}")
    assert response.status_code == 200
    assert 'role="alert"' in text(response)
    assert response.context["moments"] == []


def test_pages_go_on_by_key_and_lose_nothing(as_: Any, users: People, scene: Scene, monkeypatch: Any) -> None:
    monkeypatch.setattr("governance.pages.base.PAGE_SIZE", 3)
    beat(8, subject="mine")
    seen: list[int] = []
    address: str | None = "?subject=mine"
    while address:
        shown = as_(users.eve).get(f"/audit{address}")
        seen += [moment.index for moment in shown.context["moments"]]
        address = shown.context["shown"].next
    assert len(seen) == len(set(seen)) == 8
    assert seen == sorted(seen, reverse=True)


def test_what_waits_for_its_place_is_found_and_has_no_number(as_: Any, users: People, scene: Scene) -> None:
    beat(1, subject="placed")
    entry = Entry.objects.get(subject_id="placed")
    waiting = Entry.objects.create(
        **{f.attname: getattr(entry, f.attname) for f in Entry._meta.fields} | {"id": SAMPLE}
    )
    Pending.objects.create(entry_id=waiting.pk, leaf_hash=b"0" * 32, recorded_at=timezone.now())
    shown = as_(users.eve).get("/audit?subject=placed")
    assert [moment.index for moment in shown.context["moments"]].count(None) == 1
    assert re.search(r"\d+ wait for their place", text(shown))


SAMPLE = "01a20900-0000-7000-8000-000000000000"


def test_a_page_far_back_costs_what_the_first_does(as_: Any, users: People, scene: Scene, monkeypatch: Any) -> None:
    monkeypatch.setattr("governance.pages.base.PAGE_SIZE", 5)
    beat(40)
    client = as_(users.eve)
    costs = []
    address: str | None = "?subject=beat"
    while address:
        with CaptureQueriesContext(connection) as queries:
            response = client.get(f"/audit{address}")
        costs.append(len(queries))
        address = response.context["shown"].next
    assert len(costs) == 8
    assert max(costs[1:]) == min(costs[1:]) <= 25


# --- state and activity ----------------------------------------------------------------------------------------


def test_it_says_what_is_signed_and_who_else_has_the_root(as_: Any, users: People, scene: Scene) -> None:
    shown = text(as_(users.eve).get("/audit"))
    assert "the signer has not run yet" in shown
    checkpoint = signer.sign(timezone.now())
    beat(2)
    shown = text(as_(users.eve).get("/audit"))
    assert bytes(checkpoint.root).hex() in shown
    assert signer.key().verifier.vkey in shown
    assert re.search(rf"agrees up to\s*<span class=\"num\">{checkpoint.size}<", shown)
    assert "told at every signing" in shown, "what was told to syslog cannot be read back"


def test_an_anchor_that_saw_another_root_does_not_agree(as_: Any, users: People, scene: Scene) -> None:
    signer.sign(timezone.now())
    lies = signer.notes.Head(signer.key().name, 1, b"x" * 32)
    signer.anchors.publish(lies, signer.key().sign(lies.text()), timezone.now())
    assert "does not agree" in text(as_(users.eve).get("/audit"))


@pytest.mark.parametrize("name", ["keys/log.key", "log/signer.json", "log/anchors.log", "log/accepted.jsonl"])
def test_a_broken_file_is_said_and_breaks_no_page(
    as_: Any, users: People, scene: Scene, var_dir: Path, name: str
) -> None:
    signer.sign(timezone.now())
    (var_dir / name).write_bytes(b"\xff garbage\n")
    client = as_(users.eve)
    shown = text(client.get("/audit"))
    answer = client.get("/api/auditlog/checkpoint")
    if name == "keys/log.key":
        assert "key cannot be read" in shown
        assert (answer.status_code, answer.json()["code"]) == (409, "log_key_unreadable")
        assert "garbage" not in answer.content.decode()
    else:
        assert answer.status_code == 200
    assert ("does not agree" in shown) == (name == "log/anchors.log")
    assert client.get("/tlog/checkpoint").status_code == 200
    assert not integrity.check_incrementally(timezone.now()).passed


def test_a_webhook_that_is_told_of_roots_is_an_anchor_too(as_: Any, users: People, scene: Scene, settings: Any) -> None:
    mesh.register_all(timezone.now())
    anchor = Subscription.objects.get(name=ANCHOR)
    assert "webhook" not in text(as_(users.eve).get("/audit")).partition('id="verification"')[2]
    settings.LOG_ANCHOR_URL = "https://anchor.example.org/heads"
    assert "webhook, told never" in text(as_(users.eve).get("/audit"))
    Subscription.objects.filter(pk=anchor.pk).update(failures=3)
    assert "does not answer" in text(as_(users.eve).get("/audit"))


@pytest.mark.parametrize("hours", [1, 24, 168])
def test_the_counts_are_those_of_the_api(as_: Any, users: People, decided: ApprovalRequest, hours: int) -> None:
    beat(3, outcome="failure")
    client = as_(users.eve)
    page = client.get(f"/audit?hours={hours}").context["summary"]
    told = client.get(f"/api/auditlog/summary?hours={hours}").json()["data"]
    assert (page.entries, page.failures) == (told["entries"], told["failures"])
    assert page.failures >= 3
    for name in ("by_fact", "by_actor", "by_subsystem", "failures_by_subsystem"):
        assert getattr(page, name) == [(each["name"], each["count"]) for each in told[name]]


@pytest.mark.parametrize("hours", ["", "0", "x", "²", "99999999999", "-1"])
def test_nonsense_for_hours_is_a_day_or_the_nearest_there_is(as_: Any, users: People, scene: Scene, hours: str) -> None:
    response = as_(users.eve).get("/audit", {"hours": hours})
    assert 1 <= response.context["hours"] <= 24 * 366


# --- findings --------------------------------------------------------------------------------------------------


@pytest.fixture
def finding(db: None) -> Finding:
    found = Found("entry_edited", "leaf 5", "The content of leaf 5 is not what it was.")
    return findings.record([found], now=timezone.now())[0]


def test_a_finding_is_shown_to_readers_and_acknowledged_by_who_may(
    as_: Any, users: People, scene: Scene, finding: Finding
) -> None:
    address = f"/audit/findings/{finding.pk}/acknowledge"
    for reader in (users.eve, users.bea):
        shown = text(as_(reader).get("/audit"))
        assert "The content of leaf 5 is not what it was." in shown
        assert address not in shown
        assert as_(reader).post(address, {"reason": "I looked."}).status_code == 403
    assert findings.stop_signing()
    assert address in text(as_(users.administrator).get("/audit"))
    response = as_(users.administrator).post(address, {"reason": "The backup was restored on purpose."}, follow=True)
    assert "Acknowledged" in text(response)
    assert "The backup was restored on purpose." in text(response)
    assert not findings.stop_signing()
    entry = Entry.objects.get(fact="auditlog.finding_acknowledged")
    assert (entry.actor_id, entry.data["reason"]) == (
        str(users.administrator.pk),
        "The backup was restored on purpose.",
    )


def test_acknowledging_says_why_and_happens_once(as_: Any, users: People, scene: Scene, finding: Finding) -> None:
    address = f"/audit/findings/{finding.pk}/acknowledge"
    client = as_(users.administrator)
    refused = client.post(address, {"reason": " "})
    assert refused.status_code == 422
    assert "Say why signing may go on" in text(refused)
    assert client.get(address).status_code == 302
    assert findings.stop_signing()
    client.post(address, {"reason": "Once."})
    assert client.post(address, {"reason": "Twice."}).status_code == 409
    assert client.post("/audit/findings/999999/acknowledge", {"reason": "x"}).status_code == 404


def test_that_the_log_is_another_one_is_said_on_the_host_that_signs(as_: Any, users: People, scene: Scene) -> None:
    (row,) = findings.record([Found("truncated", "signer", "The log is shorter.")], now=timezone.now())
    client = as_(users.administrator)
    address = f"/audit/findings/{row.pk}/acknowledge"
    shown = text(client.get("/audit"))
    assert f"manage.py acknowledge {row.pk}" in shown
    assert address not in shown
    assert client.post(address, {"reason": "It was me."}).status_code == 409
    assert client.post(f"/admin/auditlog/finding/{row.pk}/verb/acknowledge/", {"reason": "It was."}).status_code == 409
    assert findings.stop_signing()


def test_the_admin_acknowledges_by_the_same_verb(as_: Any, users: People, scene: Scene, finding: Finding) -> None:
    address = f"/admin/auditlog/finding/{finding.pk}/verb/acknowledge/"
    assert as_(users.bea).post(address, {"reason": "No right to."}).status_code == 403
    client = as_(users.administrator)
    assert "Acknowledge" in text(client.get(f"/admin/auditlog/finding/{finding.pk}/change/"))
    client.post(address, {"reason": "By the admin."})
    finding.refresh_from_db()
    assert (finding.reason, finding.acknowledged_by) == ("By the admin.", "Administrator")
    assert Entry.objects.filter(fact="auditlog.finding_acknowledged").count() == 1


# --- one entry -------------------------------------------------------------------------------------------------


def test_an_entry_shows_its_exact_bytes_and_the_proof(as_: Any, users: People, decided: ApprovalRequest) -> None:
    index = place_of(decided.decisions.get())
    waiting = text(as_(users.eve).get(f"/audit/entries/{index}"))
    assert "No checkpoint covers this entry yet" in waiting
    assert "hx-get" in waiting
    assert "/receipt" not in waiting
    signer.sign(timezone.now())
    response = as_(users.eve).get(f"/audit/entries/{index}")
    raw = bytes(Entry.objects.get(leaf__index=index).bytes)
    assert response.context["raw"].encode() == raw
    assert response.context["proof"].leaf_hash == merkle.leaf_hash(raw).hex()
    assert response.context["proof"].holds
    assert f"/api/auditlog/entries/{index}/receipt" in text(response)
    assert "hx-get" not in text(response)


def test_a_value_is_shown_until_it_is_erased_and_its_salt_to_who_may_export(
    as_: Any, users: People, decided: ApprovalRequest
) -> None:
    index = place_of(decided.decisions.get())
    (to_eve,) = as_(users.eve).get(f"/audit/entries/{index}").context["committed"]
    assert (to_eve.pointer, to_eve.value) == ("/actor/label", "Bea")
    assert log.commitment(to_eve.value, bytes.fromhex(to_eve.salt)) == to_eve.sha256
    (to_bea,) = as_(users.bea).get(f"/audit/entries/{index}").context["committed"]
    assert (to_bea.value, to_bea.salt) == ("Bea", "")
    erasure.erase(subject=f"person:{users.bea.pk}", reason="She asked.", by=SYSTEM, now=timezone.now())
    shown = as_(users.eve).get(f"/audit/entries/{index}")
    assert shown.context["committed"][0].value is None
    assert "erased" in text(shown)


def test_bytes_that_do_not_lead_to_what_was_signed_are_said_not_to(
    as_: Any, users: People, decided: ApprovalRequest, monkeypatch: Any
) -> None:
    signer.sign(timezone.now())
    index = place_of(decided.decisions.get())
    monkeypatch.setattr("auditlog.merkle.leaf_hash", lambda raw: b"x" * 32)
    shown = text(as_(users.eve).get(f"/audit/entries/{index}"))
    assert "do not lead to the root that was signed" in shown
    assert "/receipt" not in shown


def test_entries_lead_to_their_neighbours_and_what_led_to_them(
    as_: Any, users: People, decided: ApprovalRequest
) -> None:
    index = place_of(decided.decisions.get())
    shown = as_(users.eve).get(f"/audit/entries/{index}")
    assert shown.context["cause"].fact == "approval.requested"
    for there in (index - 1, index + 1, shown.context["cause"].leaf_index):
        assert f'"/audit/entries/{there}"' in text(shown)
    assert 'rel="prev"' not in text(as_(users.eve).get("/audit/entries/0"))
    assert as_(users.eve).get("/audit/entries/999999").status_code == 404


def test_a_large_payload_is_shown_beside_its_entry(as_: Any, users: People, scene: Scene) -> None:
    beat(1, name="y" * 70_000, subject="large")
    index = Leaf.objects.get(entry__subject_id="large").index
    shown = as_(users.eve).get(f"/audit/entries/{index}")
    assert shown.context["payload"]["content"] == {"name": "y" * 70_000}


# --- receipts --------------------------------------------------------------------------------------------------


def test_a_decision_has_its_receipt_once_it_is_signed(as_: Any, users: People, decided: ApprovalRequest) -> None:
    client = as_(users.bea)
    index = place_of(decided.decisions.get())
    link = f"/api/auditlog/entries/{index}/receipt"
    for path in (f"/approvals/{decided.pk}", f"/approvals/{decided.pk}/receipts"):
        shown = text(client.get(path))
        assert "not yet under a signed checkpoint" in shown
        assert f'hx-get="/approvals/{decided.pk}/receipts"' in shown
        assert link not in shown
    assert "Its receipt comes with the next checkpoint" in text(client.get(f"/contracts/{decided.contract_id}"))
    signer.sign(timezone.now())
    pages = (f"/approvals/{decided.pk}", f"/approvals/{decided.pk}/receipts", f"/contracts/{decided.contract_id}")
    for path in pages:
        shown = text(client.get(path))
        assert link in shown, path
        assert f'hx-get="/approvals/{decided.pk}/receipts"' not in shown
    proven = receipts.check(client.get(link).content.decode(), signer.key().verifier)
    assert proven.document["fact"] == "approval.decided"
    assert proven.document["data"]["digest"] == decided.digest


def test_before_anybody_decided_there_is_nothing_to_keep(as_: Any, users: People, scene: Scene) -> None:
    request = scene.ask()
    assert 'id="receipts"' not in text(as_(users.bea).get(f"/approvals/{request.pk}"))
    assert "Nobody has decided yet" in text(as_(users.bea).get(f"/approvals/{request.pk}/receipts"))


def test_an_agent_gets_no_receipts(as_: Any, scene: Scene, decided: ApprovalRequest) -> None:
    client = as_(scene.deployer.user)
    assert 'id="receipts"' not in text(client.get(f"/approvals/{decided.pk}"))
    assert client.get(f"/approvals/{decided.pk}/receipts").status_code == 403


def test_a_receipt_is_checked_without_the_database(
    decided: ApprovalRequest, tmp_path: Path, django_assert_num_queries: Any
) -> None:
    signer.sign(timezone.now())
    kept, key = tmp_path / "kept.tlog-proof", tmp_path / "log.vkey"
    kept.write_text(proofs.receipt(place_of(decided.decisions.get())))
    key.write_text(signer.key().verifier.vkey)
    for arguments in ([], ["--vkey", str(key)], ["--json"]):
        out = io.StringIO()
        with django_assert_num_queries(0):
            call_command("verify_receipt", str(kept), *arguments, stdout=out)
        assert "holds" in out.getvalue()
        assert "approval.decided" in out.getvalue()


@pytest.mark.parametrize(
    "tamper",
    [
        lambda receipt: receipt.replace("index ", "index 1"),
        lambda receipt: receipt.replace("extra ey", "extra eY"),
        lambda receipt: receipt.replace("extra ", "extra !"),
        lambda receipt: receipt.replace("@v1", "@v2"),
        lambda receipt: receipt[:-20],
        lambda receipt: receipt.replace("\n\n", "\n", 1),
        lambda receipt: "",
        lambda receipt: "nonsense\n\nnonsense\n",
    ],
)
def test_a_receipt_that_was_tampered_with_does_not_hold(
    decided: ApprovalRequest, tmp_path: Path, tamper: Callable[[str], str]
) -> None:
    signer.sign(timezone.now())
    kept = tmp_path / "kept.tlog-proof"
    kept.write_text(tamper(proofs.receipt(place_of(decided.decisions.get()))))
    with pytest.raises(CommandError, match="DOES NOT HOLD") as failed:
        call_command("verify_receipt", str(kept))
    assert failed.value.returncode == 1


def test_a_receipt_of_another_log_does_not_hold(decided: ApprovalRequest, tmp_path: Path) -> None:
    signer.sign(timezone.now())
    kept, key = tmp_path / "kept.tlog-proof", tmp_path / "other.vkey"
    kept.write_text(proofs.receipt(0))
    key.write_text(signer.notes.Signer(signer.key().name, bytes(32)).verifier.vkey)
    with pytest.raises(CommandError, match="DOES NOT HOLD"):
        call_command("verify_receipt", str(kept), "--vkey", str(key))
    with pytest.raises(CommandError) as failed:
        call_command("verify_receipt", str(tmp_path / "nowhere"))
    assert failed.value.returncode == 2


# --- bundles ---------------------------------------------------------------------------------------------------


def test_a_bundle_of_what_the_search_finds_is_made_and_holds(
    as_: Any, users: People, decided: ApprovalRequest, tmp_path: Path
) -> None:
    client = as_(users.eve)
    search = client.get("/audit?fact=approval.*&actor=bea")
    assert '<input type="hidden" name="fact" value="approval.*">' in text(search)
    response = client.post("/audit/export", {"fact": "approval.*", "actor": "bea", "disclose": "yes"}, follow=True)
    assert "Waits for a worker" in text(response)
    assert "hx-get" in text(response)
    jobs.run_until_idle()
    job = Job.objects.get(kind=exports.KIND)
    shown = text(client.get(f"/audit/exports/{job.pk}"))
    assert f"/api/auditlog/exports/{job.pk}/bundle" in shown
    assert "hx-get" not in shown
    with zipfile.ZipFile(exports.path_of(job)) as archive:
        archive.extractall(tmp_path / "bundle")
    done = checked(tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    assert "a SUBSET: 2 entries" in done.stdout
    assert "Bea" in (tmp_path / "bundle" / "disclosures.jsonl").read_text()
    assert f"/audit/exports/{job.pk}" in text(client.get("/audit"))


def test_a_bundle_of_everything_without_names(as_: Any, users: People, decided: ApprovalRequest) -> None:
    as_(users.eve).post("/audit/export")
    job = Job.objects.get(kind=exports.KIND)
    assert job.arguments["wanted"] == {}
    assert job.arguments["disclose"] is False


def test_only_who_may_export_is_offered_to(as_: Any, users: People, scene: Scene) -> None:
    assert "/audit/export" not in text(as_(users.bea).get("/audit"))
    assert as_(users.bea).post("/audit/export").status_code == 403
    assert not Job.objects.filter(kind=exports.KIND).exists()


def test_a_bundle_of_nonsense_is_refused_with_what_was_typed(as_: Any, users: People, scene: Scene) -> None:
    response = as_(users.eve).post("/audit/export", {"fact": "*.x", "after": "2026-11-23T12:00"})
    assert response.status_code == 422
    assert "is not the name of a fact" in text(response)
    assert 'value="2026-11-23T12:00"' in text(response)
    assert not Job.objects.filter(kind=exports.KIND).exists()


def test_a_bundle_that_is_gone_or_failed_says_so(as_: Any, users: People, scene: Scene) -> None:
    client = as_(users.eve)
    client.post("/audit/export")
    job = Job.objects.get(kind=exports.KIND)
    jobs.run_until_idle()
    exports.path_of(job).unlink()
    assert "The file is not here any more" in text(client.get(f"/audit/exports/{job.pk}"))
    Job.objects.filter(pk=job.pk).update(state="dead", error="SigningRefused: a finding")
    assert "It could not be made" in text(client.get(f"/audit/exports/{job.pk}"))
    assert client.get(f"/audit/exports/{SAMPLE}").status_code == 404
