"""The executor alone: what it refuses, that it goes there and back, and that Grace finds it."""

from pathlib import Path
from typing import Any

import pytest

from verification import executors
from verification.executors.base import Call, Run, SnapshotItem


class Kept:
    """A snapshot in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def add_bytes(self, name: str, data: bytes, meta: dict[str, Any] | None = None) -> SnapshotItem:
        self.kept[name] = data
        return SnapshotItem(name, "", len(data), meta or {})

    def read(self, name: str) -> bytes:
        return self.kept[name]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for release in ("1.0", "1.1"):
        (tmp_path / "releases" / release).mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/1.0")
    monkeypatch.setenv("RELEASES_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def executor() -> executors.Executor:
    return executors.get("release.switch")


def call(release: str) -> Call:
    return Call("release.switch", "release:current", {"release": release})


@pytest.mark.parametrize("release", ["2.0", "..", "../1.1", "1.1/..", "/etc", "", "1.1\n"])
def test_it_refuses_what_is_no_release(executor: executors.Executor, root: Path, release: str) -> None:
    assert executor.check(call(release))


def test_it_refuses_everything_until_the_operator_says_where(
    executor: executors.Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RELEASES_ROOT", raising=False)
    assert [error.code for error in executor.check(call("1.1"))] == ["release_not_allowed"]


@pytest.mark.parametrize("linked", [True, False])
def test_it_goes_there_and_back(executor: executors.Executor, root: Path, linked: bool) -> None:
    if not linked:
        (root / "current").unlink()
    asked, kept = call("1.1"), Kept()
    assert executor.check(asked) == []
    before = executor.observe(asked)
    executor.snapshot(asked, kept)
    assert executor.execute(asked, Run()).ok
    after = executor.observe(asked)
    assert after.state == {"release": "1.1"}
    assert not executor.untouched(asked, before, after)
    for _ in range(2):
        assert executor.restore(asked, kept, before, Run()).ok
        assert executor.is_back(asked, before, executor.observe(asked), kept)


def test_its_example_is_of_its_schema(executor: executors.Executor, root: Path) -> None:
    assert executor.check(call(executor.example["parameters"]["release"])) == []
