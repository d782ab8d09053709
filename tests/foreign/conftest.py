"""The verifiers, and a log for them. `make foreign` installs what they need; without it these tests fail."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings

from tests.foreign import evidence
from tests.foreign.evidence import Evidence
from tests.harness.processes import ROOT

HERE = Path(__file__).resolve().parent
DOCUMENT = ROOT / "docs" / "audit-log.md"

GO = Path(os.environ.get("GO", "/usr/bin/go"))
GOCODE = Path(os.environ.get("GOCODE", "/usr/share/gocode"))
SIGSTORE = ROOT / os.environ.get("SIGSTORE", ".ci/sigstore/.venv") / "bin" / "python"


class Verifier:
    """A program that others trust, called the way the documents say."""

    def __init__(self, *command: str | Path) -> None:
        self.command = [str(part) for part in command]

    def __call__(self, vkey: Path, *arguments: str | Path) -> str:
        """What holds; fails the test when it does not."""
        done = self._run(vkey, *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("holds: ")
        return done.stdout.removeprefix("holds: ").strip()

    def refuses(self, vkey: Path, *arguments: str | Path) -> str:
        """Why it does not hold; fails the test when it does, or when the program itself is at fault."""
        done = self._run(vkey, *arguments)
        assert done.returncode == 1, done.stdout or done.stderr
        assert done.stderr.startswith("DOES NOT HOLD: "), done.stderr
        return done.stderr.removeprefix("DOES NOT HOLD: ").strip()

    def refuses_each(self, vkey: Path, what: str, forged: Sequence[Path], *, genuine: Path) -> None:
        """Fails the test unless it refuses every one of these by name, and not the one they were made from."""
        why = self.refuses(vkey, what, genuine, *forged)
        named = [line.partition(": ")[0] for line in why.splitlines() if line.startswith("/")]
        assert named == [str(path) for path in forged], why
        assert self(vkey, what, genuine)

    def _run(self, vkey: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        argv = [*self.command, "--vkey", str(vkey), *map(str, arguments)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def documented(start: str) -> str:
    """The command in docs/audit-log.md that begins like this."""
    [found] = re.findall(rf"^ *({re.escape(start)}.*)$", DOCUMENT.read_text(), re.MULTILINE)
    return str(found)


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Verifier:
    """`tests/foreign/go`, built as the documents say."""
    missing = [path for path in (GO, GOCODE / "src/golang.org/x/mod/sumdb/tlog") if not path.exists()]
    if missing:
        pytest.fail(
            f"{missing[0]} is not there; `make foreign` installs Debian's golang-go and golang-golang-x-mod-dev"
        )
    built = tmp_path_factory.mktemp("go") / "checklog"
    command = documented("GO111MODULE=off").replace("/usr/share/gocode", str(GOCODE))
    command = command.replace("go build -o checklog", f"{GO} build -o {built}")
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Verifier(built)


@pytest.fixture(scope="session")
def sigstore() -> Verifier:
    """`tests/foreign/with_sigstore.py`, in sigstore's own environment."""
    if not SIGSTORE.exists():
        pytest.fail(f"{SIGSTORE} is not there; `make foreign` makes it")
    return Verifier(SIGSTORE, "-I", HERE / "with_sigstore.py")


@pytest.fixture(params=["go", "sigstore"])
def verifier(request: pytest.FixtureRequest) -> Verifier:
    """Each of them."""
    found: Verifier = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def held(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """What a third party holds of a log: made once, through the doors, in a transaction that is rolled back."""
    home = tmp_path_factory.mktemp("held")
    with django_db_blocker.unblock(), transaction.atomic(), override_settings(VAR_DIR=home / "var"):
        found = evidence.write(home)
        transaction.set_rollback(True)
    return found
