"""Snapshots of scopes: files, databases and answers, kept on request, compared, and brought back as contracts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from auditlog.actors import SYSTEM
from governance.models import ApprovalRequest
from tests.harness import postgres, targets, web_server
from tests.harness.governed import Governed
from tests.harness.people import People
from tests.harness.shop import OnPostgres, OnSqlite, Shop
from tests.harness.web_server import WebServer
from verification import snapshotting
from verification.models import Contract, Snapshot
from verification.snapshots import providers

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(var_dir: Path, users: People) -> Governed:
    return Governed(var_dir / "sandbox", users)


def taken(scope: str) -> Snapshot:
    return snapshotting.take_of(scope=scope, kind=Snapshot.Kind.MANUAL, by=SYSTEM, now=timezone.now())


def difference(snapshot: Snapshot) -> str:
    return providers.get(snapshot.scope).diff(snapshotting.open_verified(snapshot))


def brought_back(world: Governed, snapshot: Snapshot, **state: Any) -> Contract:
    """Propose to go back, have two people approve it, and let it be done."""
    submitted = world.submit(
        {
            "action_type": "snapshot.restore",
            "target": snapshot.scope,
            "parameters": {"snapshot_id": str(snapshot.pk)},
            "expected_effect": {"target_state": state},
        }
    )
    assert submitted.approval is not None
    for person in (world.people.bea, world.people.cem):
        world.decide(ApprovalRequest.objects.get(pk=submitted.approval.pk), person)
    world.settle()
    assert submitted.contract is not None
    return Contract.objects.get(pk=submitted.contract.pk)


# --- files ---


@pytest.fixture
def tree(world: Governed, var_dir: Path) -> Path:
    folder = var_dir / "sandbox" / "etc"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.conf").write_text("a = 1\n")
    (folder / "deep" / "b.bin").write_bytes(b"\x00\xff")
    (folder / "deep" / "b.bin").chmod(0o640)
    (folder / "link").symlink_to(folder / "a.conf")
    return folder


def test_files_are_kept_compared_and_brought_back(world: Governed, tree: Path) -> None:
    snapshot = taken("files:etc")
    assert [item.name for item in snapshotting.open_verified(snapshot).items()] == ["etc/a.conf", "etc/deep/b.bin"]
    assert difference(snapshot) == ""
    (tree / "a.conf").write_text("a = 2\n")
    (tree / "deep" / "b.bin").unlink()
    (tree / "new.conf").write_text("new\n")
    shown = difference(snapshot)
    assert "-a = 1\n+a = 2" in shown
    assert "+++ now/etc/new.conf" in shown
    contract = brought_back(world, snapshot, items=snapshot.baseline["items"])
    assert contract.state == "verified"
    assert difference(snapshot) == ""
    assert not (tree / "new.conf").exists()
    assert (tree / "deep" / "b.bin").stat().st_mode & 0o777 == 0o640
    assert (tree / "link").is_symlink()
    snapshot.refresh_from_db()
    assert snapshot.state == Snapshot.State.RESTORED


def test_going_back_wrongly_is_rolled_back_too(world: Governed, tree: Path) -> None:
    snapshot = taken("files:etc")
    (tree / "a.conf").write_text("a = 2\n")
    (tree / "new.conf").write_text("new\n")
    contract = brought_back(world, snapshot, items={})
    assert contract.state == "rolled_back"
    assert ((tree / "a.conf").read_text(), (tree / "new.conf").read_text()) == ("a = 2\n", "new\n")


@pytest.mark.parametrize(
    "scope", ["files:..", "files:/etc", "files:etc/../..", "files:", "file:../x", "file:/etc/passwd"]
)
def test_a_path_outside_the_roots_is_no_scope(world: Governed, scope: str) -> None:
    with pytest.raises(providers.UnknownScope):
        taken(scope)


def test_a_link_on_the_way_is_not_followed(world: Governed, tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (tree / "way").symlink_to(outside)
    assert "etc/way/secret" not in taken("files:etc").manifest
    with pytest.raises(snapshotting.NotReadable):
        taken("files:etc/way")


def test_a_file_is_kept_as_its_executor_would(world: Governed) -> None:
    snapshot = taken("file:app.json")
    world.write({"port": 1})
    contract = brought_back(world, snapshot, sha256=snapshot.baseline["sha256"])
    assert contract.state == "verified"
    assert world.read() == {"port": 8000}


# --- databases ---


@pytest.fixture(params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, var_dir: Path, settings: Any) -> Shop:
    made: Shop
    if request.param == "sqlite":
        made = OnSqlite(tmp_path)
    else:
        made = OnPostgres(request.getfixturevalue("postgres_socket"), postgres.programs())
    settings.TARGETS_FILE = targets.write(var_dir / "targets.toml", databases={"shop": made.members()})
    return made


def test_a_database_is_kept_and_brought_back(world: Governed, shop: Shop) -> None:
    snapshot = taken("database:shop")
    with shop.connected() as connection:
        connection.execute("DELETE FROM orders")
        connection.execute("CREATE TABLE later (a int)")
    rows = [[1, 100], [2, 250]]
    contract = brought_back(world, snapshot, queries={"orders": 2, "sum": 350, "notes": None, "rows": rows})
    assert contract.state == "verified"
    assert shop.rows("SELECT id, total FROM orders ORDER BY id") == [(1, 100), (2, 250)]


def test_data_that_changes_does_not_make_the_approval_stale(world: Governed, shop: Shop) -> None:
    """The fingerprint is the executor's own: of the schema, not of what its queries answer."""
    snapshot = taken("database:shop")
    body = {
        "action_type": "snapshot.restore",
        "target": snapshot.scope,
        "parameters": {"snapshot_id": str(snapshot.pk)},
        "expected_effect": {"target_state": {"restored": True}},
    }
    submitted = world.submit(body)
    assert submitted.approval is not None
    world.decide(ApprovalRequest.objects.get(pk=submitted.approval.pk), world.people.bea)
    with shop.connected() as connection:
        connection.execute("INSERT INTO orders VALUES (3, 1)")
    world.decide(ApprovalRequest.objects.get(pk=submitted.approval.pk), world.people.cem)
    world.settle()
    assert submitted.contract is not None
    assert Contract.objects.get(pk=submitted.contract.pk).state == "verified"
    assert shop.rows("SELECT count(*) FROM orders") == [(2,)]


def test_only_listed_databases_are_scopes(world: Governed, settings: Any) -> None:
    settings.TARGETS_FILE = None
    with pytest.raises(providers.UnknownScope):
        taken("database:shop")


# --- answers ---


@pytest.fixture
def server(settings: Any) -> Iterator[WebServer]:
    with web_server.running() as running:
        settings.HTTP_ALLOWED_URLS = [running.url + "/"]
        yield running


def test_an_answer_is_kept_and_compared_but_not_brought_back(world: Governed, server: WebServer) -> None:
    snapshot = taken(f"{server.url}/document")
    assert difference(snapshot) == ""
    server.document = {"enabled": True}
    assert '-  "enabled": false\n+  "enabled": true' in difference(snapshot)
    submitted = {
        "action_type": "snapshot.restore",
        "target": snapshot.scope,
        "parameters": {"snapshot_id": str(snapshot.pk)},
        "expected_effect": {"target_state": {"items": {}}},
    }
    with pytest.raises(Exception, match="comparison"):
        world.submit(submitted)


@pytest.mark.parametrize("path", ["/large", "/never", "/drip-body", "/hangs-up"])
def test_an_answer_that_is_too_large_or_never_whole_is_not_kept(
    world: Governed, server: WebServer, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verification.snapshots import families

    monkeypatch.setattr(families, "SECONDS", 0.5)
    with pytest.raises(snapshotting.NotReadable):
        taken(f"{server.url}{path}")
    assert not Snapshot.objects.exists()


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "http://127.0.0.1:1/", "http://x@127.0.0.1/"])
def test_only_allowed_addresses_are_scopes(world: Governed, server: WebServer, url: str) -> None:
    with pytest.raises(providers.UnknownScope):
        taken(url)


def test_a_redirect_is_kept_as_the_answer_it_is(world: Governed, server: WebServer) -> None:
    kept = snapshotting.open_verified(taken(f"{server.url}/redirect"))
    assert kept.read("status") == b"302\n"
    assert not any(request["path"] == "/secret" for request in server.requests)


def test_what_can_be_kept_is_said(world: Governed) -> None:
    with pytest.raises(providers.UnknownScope) as refused:
        taken("nothing")
    assert json.loads(json.dumps(refused.value.detail)).endswith(
        "known scopes: database:…, file:…, files:…, grace, http://…, https://…."
    )
