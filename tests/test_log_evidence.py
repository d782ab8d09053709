"""Evidence that is honestly not there (switched off, not written yet, lost in a crash, erased) is no finding."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from auditlog import anchors, erasure, integrity, outside, sequencer, signer
from auditlog.models import Checkpoint, Disclosure, Finding
from auditlog.testing import flushable
from tests.test_verify_log import (
    ADA,
    NOW,
    anchor_file,
    delete_all_checkpoints,
    details,
    kinds,
    lose_the_key,
    signed,
    write,
)

__all__ = ["signed"]

LATER = NOW + timedelta(hours=1)


@pytest.mark.django_db
def test_before_the_first_signature_nothing_is_missing() -> None:
    write(3)
    assert kinds() == set()
    assert integrity.check_incrementally(NOW).passed
    signer.sign(NOW)
    assert kinds() == set()


@pytest.mark.django_db
def test_anchors_that_were_switched_off_hold_nothing(settings: Any) -> None:
    switched = settings.LOG_ANCHORS
    for places in ([], switched, [], switched):
        settings.LOG_ANCHORS = places
        write(3)
        signer.sign(NOW)
        assert kinds() == set()
        assert integrity.check_incrementally(NOW).passed
    assert len(anchor_file().read_text().splitlines()) == 2
    settings.LOG_ANCHORS = []
    anchor_file().unlink()
    assert kinds() == set()


@pytest.mark.django_db
def test_an_anchor_that_took_nothing_holds_nothing() -> None:
    write(3)
    anchor_file().mkdir(parents=True)
    signer.sign(NOW)
    anchor_file().rmdir()
    assert kinds() == set()
    signer.sign(NOW)
    assert kinds() == set()


@pytest.mark.django_db
def test_a_line_that_was_cut_off_spoils_no_other(signed: Checkpoint) -> None:
    anchor_file().write_bytes(anchor_file().read_bytes()[:-10])
    signer.sign(NOW)
    lines = list(anchors.read(signer.key().verifier))
    assert [line.head is not None for line in lines] == [True, True]
    assert kinds() == {"anchor_missing"}


@pytest.mark.django_db
def test_what_was_erased_is_gone_and_what_is_deleted_after_that_is_missing(signed: Checkpoint) -> None:
    write(5)
    assert erasure.erase(subject="person:user:1", by=ADA, reason="asked", now=NOW) > 700
    sequencer.run(NOW)
    assert kinds() == set()
    write(5)
    assert kinds() == set()
    Disclosure.objects.filter(subject="person:user:1").delete()
    assert kinds() == {"disclosure_missing"}
    assert "5 personal values of person:user:1" in details()


@pytest.mark.django_db
def test_with_every_checkpoint_deleted_no_other_key_is_made(signed: Checkpoint) -> None:
    with flushable():
        delete_all_checkpoints()
    lose_the_key()
    with pytest.raises(signer.SigningRefused):
        signer.sign(LATER)
    assert "key_missing" in kinds()


@pytest.mark.django_db
def test_with_every_checkpoint_deleted_a_lost_memory_is_missed(signed: Checkpoint) -> None:
    with flushable():
        delete_all_checkpoints()
    (outside.directory() / "signer.json").unlink()
    with pytest.raises(signer.SigningRefused, match="memory is gone"):
        signer.sign(LATER)


KILLED = """
import os, signal, sys
import django
django.setup()
from django.conf import settings
from django.utils import timezone
from auditlog import anchors, signer

settings.LOG_ANCHORS = sys.argv[1].split(",")
anchors.register("death")(lambda anchor: os.kill(os.getpid(), signal.SIGKILL))
signer.sign(timezone.now())
"""


@pytest.mark.parametrize("places", ["death,file", "file,death"], ids=["before the anchor", "after the anchor"])
@pytest.mark.django_db(transaction=True)
def test_a_signer_that_was_killed_leaves_nothing_to_be_found(
    places: str, database_url: str, var_dir: Path, tmp_path: Path
) -> None:
    for _ in range(3):
        write(5)
        signer.sign(NOW)
    write(5)
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    ours = {"DATABASE_URL": database_url, "VAR_DIR": str(var_dir), "DJANGO_SETTINGS_MODULE": "grace_site.settings"}
    environment = {**os.environ, **ours, "PYTHONPATH": str(Path(__file__).parent.parent)}
    argv = [sys.executable, str(script), places]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == -9, done.stderr
    remembered, line = outside.memory(), anchors.last(signer.key().verifier)
    assert Checkpoint.objects.count() == 3
    assert remembered is not None
    assert line is not None
    assert line.head is not None
    assert (line.head.size < remembered.size) == (places == "death,file")
    for now in (NOW, LATER):
        assert kinds() == set()
        assert integrity.check_incrementally(now).passed
        signer.sign(now)
    assert not Finding.objects.exists()
