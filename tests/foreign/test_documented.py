"""The commands in docs/audit-log.md are the ones anybody can run: they are run here as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from auditlog import sequencer, signer
from tests.foreign.conftest import DOCUMENT, SIGSTORE, Verifier
from tests.foreign.evidence import MISSION, NOW, export, fetched, grow
from tests.harness.people import People
from tests.harness.processes import ROOT

pytestmark = [pytest.mark.foreign, pytest.mark.django_db(transaction=True)]

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def block(word: str) -> list[str]:
    """The lines of the only block of the section that has this word."""
    _, _, section = DOCUMENT.read_text().partition("## Checking it with tools nobody here wrote")
    [found] = [text for text in BLOCK.findall(section.partition("\n## ")[0]) if word in text]
    return str(found).splitlines()


@pytest.fixture
def home(live_server: LiveServer, client: Client, users: People, tmp_path: Path) -> Path:
    """A directory with what the documents speak of: the log's key, a receipt, bundles, and the programs."""
    grow(300)
    (tmp_path / "log.vkey").write_text(signer.key().verifier.vkey)
    signer.sign(NOW)
    sequencer.run(NOW)
    client.force_login(users.eve)
    receipt = fetched(client, "/api/auditlog/entries/256/receipt")
    (tmp_path / "entry-256.tlog-proof").write_bytes(receipt)
    export(tmp_path / "DIR")
    export(tmp_path / "SUBSET", "--mission", str(MISSION))
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    return tmp_path


def run(command: str, home: Path, url: str, session: str = "") -> str:
    """What a documented command prints; only where the log is served differs."""
    done = subprocess.run(
        ["sh", "-c", command.replace("https://grace.example.org", url)],
        cwd=home,
        env={**os.environ, "SESSION": session, "HOME": os.environ.get("HOME", str(home))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def test_go_checks_what_the_documents_say(go: Verifier, home: Path, live_server: LiveServer, client: Client) -> None:
    build, note, *checks = block("go build")
    # The fixture has run the first line.
    assert build.startswith("GO111MODULE=off")
    shutil.copy(go.command[0], home / "checklog")
    run(note, home, live_server.url)
    session = client.cookies["sessionid"].value
    said = [run(check, home, live_server.url, session).removeprefix("holds: ").strip() for check in checks]
    assert [re.sub(r"\d+", "N", each) for each in said] == [
        "N hashes, and N checkpoints noted earlier",
        "N entries, and N checkpoints noted earlier",
        "entry N, in a log of N",
        "all N entries of the log, and N checkpoints",
    ]


def test_sigstore_checks_what_the_documents_say(sigstore: Verifier, home: Path, live_server: LiveServer) -> None:
    venv, install, *checks = block("with_sigstore")
    # What `make foreign` has done for the environment used here.
    assert venv == "python3 -m venv sigstore"
    assert install == "sigstore/bin/pip install --no-deps --require-hashes -r .ci/sigstore/requirements.txt"
    (home / "sigstore").symlink_to(SIGSTORE.parents[1])
    said = [run(check, home, live_server.url).strip() for check in checks]
    assert said[0] == "holds: entry 256, in a log of 300"
    assert said[1].startswith("holds: a SUBSET: 30 entries proved")
