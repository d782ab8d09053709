"""After a person is erased their name is in no dump of the database, and everything made before still verifies."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from auditlog import erasure, exports, findings, integrity, log, merkle, proofs, sequencer, signer, tree
from auditlog.actors import SYSTEM
from auditlog.facts import SystemFact
from auditlog.findings import Found
from auditlog.models import Disclosure, Entry, Leaf
from auditlog.subjects import Subject
from governance import agents, comments, delegations, holds, policies, principals, seeds, webhooks
from governance.models import ApprovalRequest
from tests.harness import postgres
from tests.harness.governed import Governed, fresh
from tests.harness.people import PASSWORD, People
from tests.test_log_export import checked
from tests.test_log_tlog import verify

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = (b"zenobia", b"quillfeather")


@pytest.fixture
def zenobia(users: People) -> User:
    """Somebody whose name stands nowhere by chance."""
    made = User.objects.create_user(
        "zenobia", "zenobia@example.org", PASSWORD, first_name="Zenobia", last_name="Quillfeather", is_staff=True
    )
    made.groups.set([Group.objects.get_or_create(name=name)[0] for name in ("operators", "reviewers")])
    return made


@pytest.fixture
def governed(var_dir: Path, users: People, settings: object) -> Governed:
    return Governed(var_dir / "sandbox", users)


def live(zenobia: User, governed: Governed) -> ApprovalRequest:
    """She does something of everything in which a name is kept; gives a request of hers that is still open."""
    by, now = principals.actor_of(zenobia), timezone.now()
    client = Client()
    assert client.post("/admin/login/", {"username": "zenobia", "password": PASSWORD}).status_code == 302
    Client().post("/admin/login/", {"username": "zenobia", "password": "wrong"})
    LogEntry.objects.log_actions(governed.people.administrator.pk, [zenobia], CHANGE, "a new address")
    decided = governed.ask()
    comments.add(request_id=decided.pk, text="looks fine", links=[], by=by, user=zenobia, now=now)
    governed.decide(decided, zenobia)
    governed.settle()
    holds.engage(scope="target", pattern="file:other", reason="a test", by=by, user=zenobia, now=now)
    governed.people.cem.groups.add(Group.objects.get(name="operators"))
    until = now + timedelta(days=1)
    delegations.create(delegate="cem", ends_at=until, reason="away", by=by, user=zenobia, now=now)
    agents.create(name="hers", owner=zenobia, by=by, now=now)
    webhooks.create(url="https://example.org/", facts=["hold.*"], by=by, now=now)
    rules = [*seeds.POLICY["rules"], {"name": "one more", "effect": "tier_3", "action_types": ["cache.clear"]}]
    policies.publish(document={**seeds.POLICY, "rules": rules}, note="one more", by=by, now=now)
    (row,) = findings.record([Found("projection_edited", "leaf 0", "a test")], now=now)
    findings.acknowledge(finding_id=row.pk, by=by, reason="a test", now=now)
    own = governed.submit(governed.body(port=9100), user=zenobia).approval
    assert own is not None
    sequencer.run(now)
    return own


def dump(tmp_path: Path) -> Iterator[bytes]:
    """The database as its own tools write it, and on SQLite the very files, free pages included."""
    if connection.vendor == "sqlite":
        name = str(connection.settings_dict["NAME"])
        with sqlite3.connect(name) as raw:
            yield "\n".join(raw.iterdump()).encode()
        for suffix in ("", "-wal"):
            path = Path(name + suffix)
            yield path.read_bytes() if path.exists() else b""
        return
    options = connection.settings_dict
    argv = [str(postgres.programs() / "pg_dump"), "--host", options["HOST"], "--username", options["USER"]]
    for form in ("plain", "custom"):
        out = tmp_path / f"dump.{form}"
        done = subprocess.run(
            [*argv, f"--format={form}", "--compress=0", f"--file={out}", options["NAME"]],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "PGPASSWORD": options["PASSWORD"]},
        )
        assert done.returncode == 0, done.stderr
        yield out.read_bytes()


def named(dumps: Iterator[bytes]) -> set[bytes]:
    return {name for each in dumps for name in NAMES if name in each.lower()}


def where() -> list[str]:
    """Tables and columns that name her: what to look at when the test fails."""
    found = set()
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - a table of ours
            columns = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                found |= {f"{table}.{column}" for column, value in zip(columns, row, strict=True) if names_her(value)}
    return sorted(found)


def names_her(value: object) -> bool:
    raw = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
    return any(name in raw.lower() for name in NAMES)


def test_after_erasing_a_person_no_dump_names_them_and_everything_made_before_verifies(
    zenobia: User, governed: Governed, tmp_path: Path
) -> None:
    own = live(zenobia, governed)
    now = timezone.now()
    first = signer.sign(now)
    log_one_more()
    before = exports.export(directory=tmp_path / "before", by=SYSTEM, now=now).directory
    subset = exports.export(
        directory=tmp_path / "subset", by=SYSTEM, now=now, wanted={"entry__actor_id": str(zenobia.pk)}
    ).directory
    last = signer.sign(timezone.now())
    hers = list(Leaf.objects.filter(entry__actor_id=str(zenobia.pk)).order_by("index"))
    receipts = [proofs.receipt(leaf.index) for leaf in hers]
    inclusion = {leaf.index: merkle.inclusion_proof(leaf.index, last.size, tree.Nodes()) for leaf in hers}
    consistency = merkle.consistency_proof(first.size, last.size, tree.Nodes())
    assert len(hers) > 8
    assert named(dump(tmp_path)) == set(NAMES), "there was something to erase"
    assert len(where()) > 15

    User.objects.filter(pk=zenobia.pk).update(is_active=False)
    call_command("erase", f"person:{zenobia.pk}", "--reason", "asked for it")

    assert where() == []
    assert named(dump(tmp_path)) == set()
    assert checked(before).returncode == 0
    assert checked(subset).returncode == 0
    assert all(verify(receipt, signer.key().verifier) for receipt in receipts)
    for leaf in hers:
        now_hashed = merkle.leaf_hash(bytes(Entry.objects.get(pk=leaf.entry_id).bytes))
        merkle.verify_inclusion(now_hashed, leaf.index, last.size, inclusion[leaf.index], bytes(last.root))
    merkle.verify_consistency(first.size, bytes(first.root), last.size, bytes(last.root), consistency)
    sequencer.run(timezone.now())
    assert integrity.check(timezone.now(), full=True).found == []
    after = exports.export(directory=tmp_path / "after", by=SYSTEM, now=timezone.now()).directory
    assert checked(after).returncode == 0
    assert named(path.read_bytes() for path in after.rglob("*") if path.is_file()) == set()
    governed.decide(own, governed.people.bea)
    assert fresh(own).state == ApprovalRequest.State.APPROVED, "what hangs on her digest still holds"


def log_one_more() -> None:
    with log.recording():
        log.append(
            SystemFact.HEARTBEAT, actor=SYSTEM, subject=Subject("x", "1"), data={"name": "x"}, now=timezone.now()
        )
    sequencer.run(timezone.now())


def test_somebody_who_is_still_here_keeps_their_account(zenobia: User, governed: Governed) -> None:
    live(zenobia, governed)
    assert erasure.erase(subject=f"person:{zenobia.pk}", by=SYSTEM, reason="asked", now=timezone.now()) > 8
    assert not Disclosure.objects.filter(subject=f"person:{zenobia.pk}").exists()
    zenobia.refresh_from_db()
    assert zenobia.get_full_name() == "Zenobia Quillfeather"
    assert {each.partition(".")[0] for each in where()} == {
        *("auth_user", "axes_accessattempt", "django_admin_log"),
    }
    User.objects.filter(pk=zenobia.pk).update(is_active=False)
    assert erasure.erase(subject=f"person:{zenobia.pk}", by=SYSTEM, reason="gone", now=timezone.now()) == 0
    assert where() == []
    with pytest.raises(erasure.NothingToErase):
        erasure.erase(subject=f"person:{zenobia.pk}", by=SYSTEM, reason="again", now=timezone.now())


def test_nobody_elses_names_are_touched(zenobia: User, governed: Governed) -> None:
    live(zenobia, governed)
    bea = governed.people.bea
    holds.engage(scope="everything", reason="a test", by=principals.actor_of(bea), user=bea, now=timezone.now())
    erasure.erase(subject=f"person:{zenobia.pk}", by=SYSTEM, reason="asked", now=timezone.now())
    assert Disclosure.objects.filter(subject=f"person:{bea.pk}", value="Bea").exists()
    bea.refresh_from_db()
    assert (bea.username, bea.first_name) == ("bea", "Bea")
    assert Entry.objects.filter(actor_id=str(bea.pk)).exists()


def test_every_column_that_freezes_a_name_is_called_so() -> None:
    """A new column for somebody's name is found by its own: `…_label`."""
    names = {
        f"{model._meta.label}.{field.name}"
        for model in apps.get_models()
        if model._meta.app_label in django_settings.OUR_APPS
        for field in model._meta.concrete_fields
        if field.get_internal_type() == "CharField" and field.name.endswith(("_by", "_name", "person", "_label"))
    }
    odd = {name for name in names if not name.endswith("_label")}
    assert odd == {"auditlog.Finding.acknowledged_by"}
