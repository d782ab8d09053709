"""`manage.py demo --yes`, for real: it starts what is not running, plays the main job, and ends everything."""

from pathlib import Path

import psutil
import pytest

from grace_site.supervision import running
from missions.sandbox import CONFIG
from tests.harness.installation import Installation

pytestmark = pytest.mark.xdist_group("up")


def test_the_demo_plays_the_main_job(tmp_path: Path) -> None:
    here = Installation(tmp_path / "demo")
    played = here.manage("demo", "--yes", seconds=240)
    told = played.stdout
    assert played.returncode == 0, told + played.stderr
    chapters = [line for line in told.splitlines() if line[:2] in ("1.", "2.", "3.")]
    assert [chapter[:2] for chapter in chapters] == ["1.", "2.", "3."]
    healed, changed, undone = told.partition(chapters[1])[0], told.partition(chapters[1])[2], ""
    changed, _, undone = changed.partition(chapters[2])
    for fact in ("agentic.action_planned", "contract.authorized", "contract.verified", "agentic.problem_resolved"):
        assert fact in healed
    assert "approval.requested" not in healed
    for fact in ("approval.requested", "approval.granted", "contract.verified"):
        assert fact in changed
    for fact in ("contract.violated", "contract.rolling_back", "contract.rolled_back"):
        assert fact in undone
    # What the second chapter changed is there; what the third did is not.
    config = (here.var_dir / "sandbox" / "app.json").read_text()
    assert '"max_connections": 50' in config
    assert '"name": "billing"' in config
    assert CONFIG["max_connections"] != 50
    assert not (here.var_dir / "sandbox" / "app.lock").exists()
    assert running(here.var_dir) is None
    assert _left(here) == []


def _left(here: Installation) -> list[str]:
    """Processes of this installation that are still there."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            if process.environ().get("VAR_DIR") == str(here.var_dir):
                found.append(" ".join(process.info["cmdline"] or []))
        except psutil.Error:
            continue
    return found
