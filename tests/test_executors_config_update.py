"""config.update against real files, real links and the RFC's own table."""

import json
import os
import stat
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verification import executors
from verification.executors.base import Call, Observation, Reversibility, Run, SnapshotItem, Status
from verification.executors.config_update import formats, rooted
from verification.executors.config_update.merge_patch import merged


class Kept:
    """A snapshot in memory, for tests of one executor alone."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[SnapshotItem, bytes]] = {}

    def add_bytes(self, name: str, data: bytes, meta: dict[str, Any] | None = None) -> SnapshotItem:
        item = SnapshotItem(name, "", len(data), meta or {})
        self.kept[name] = (item, data)
        return item

    def item(self, name: str) -> SnapshotItem:
        return self.kept[name][0]

    def read(self, name: str) -> bytes:
        return self.kept[name][1]


@pytest.fixture
def sandbox(var_dir: Path) -> Path:
    return var_dir / "sandbox"


@pytest.fixture
def executor() -> executors.Executor:
    return executors.get("config.update")


def call(path: str, **parameters: Any) -> Call:
    return Call("config.update", f"file:{path}", {"path": path, **parameters})


def codes(executor: executors.Executor, asked: Call) -> list[tuple[str, str]]:
    return [(error.pointer, error.code) for error in executor.check(asked)]


def observe(executor: executors.Executor, asked: Call) -> dict[str, Any]:
    return executor.observe(asked).state


# --- RFC 7386, appendix A ---

RFC_TABLE = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]

SCALARS = st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
PATCHES = st.dictionaries(st.text(max_size=3), VALUES, max_size=4)


@pytest.mark.parametrize(("target", "patch", "result"), RFC_TABLE)
def test_it_merges_as_the_rfc_says(target: Any, patch: Any, result: Any) -> None:
    assert merged(target, patch) == result


@given(VALUES, PATCHES)
def test_it_merges_the_same_twice(target: Any, patch: dict[str, Any]) -> None:
    once = merged(target, patch)
    assert merged(once, patch) == once


@given(VALUES, PATCHES)
def test_no_null_of_a_patch_is_left_behind(target: Any, patch: dict[str, Any]) -> None:
    result = merged(target, patch)
    assert all(name not in result for name, value in patch.items() if value is None)
    assert all(name in result for name, value in patch.items() if value is not None)


@given(VALUES)
def test_an_empty_patch_changes_no_object(target: Any) -> None:
    assert merged(target, {}) == (target if isinstance(target, dict) else {})


# --- formats ---


def test_it_keeps_the_comments_of_toml(executor: executors.Executor, sandbox: Path) -> None:
    text = '# why\ntitle = "a"  # said so\n\n[cache]\nttl = 60\nold = true\n\n[[rule]]\nname = "x"\n'
    (sandbox / "app.toml").write_text(text)
    asked = call("app.toml", merge={"cache": {"ttl": 300, "old": None}, "new": {"deep": {"x": 1}}})
    assert executor.execute(asked, Run()).ok
    written = (sandbox / "app.toml").read_text()
    assert written.startswith('# why\ntitle = "a"  # said so\n')
    content = observe(executor, asked)["content"]
    assert content["cache"] == {"ttl": 300}
    assert content["new"] == {"deep": {"x": 1}}


@pytest.mark.parametrize(
    ("name", "text", "patch", "content"),
    [
        ("a.json", '{\n    "a": 1,\n    "b": {"c": 2}\n}\n', {"b": {"c": 3}}, {"a": 1, "b": {"c": 3}}),
        ("a.yaml", "a: 1\nb:\n  c: 2\n", {"b": {"c": 3}}, {"a": 1, "b": {"c": 3}}),
        ("a.yml", "", {"b": 3}, {"b": 3}),
        (
            "a.ini",
            "[Main]\nKey = 1\n",
            {"Main": {"Key": 5, "on": True}},
            {"Main": {"Key": "5", "on": "true"}},
        ),
        (
            "a.ini",
            "[DEFAULT]\na = 1\n[b]\n",
            {"b": {"c": "%(x)s"}},
            {"DEFAULT": {"a": "1"}, "b": {"c": "%(x)s"}},
        ),
        ("a.toml", "a = 1\n", {"b": [1, 2]}, {"a": 1, "b": [1, 2]}),
    ],
)
def test_it_merges_each_format(
    executor: executors.Executor, sandbox: Path, *, name: str, text: str, patch: Any, content: Any
) -> None:
    (sandbox / name).write_text(text)
    asked = call(name, merge=patch)
    assert executor.check(asked) == []
    assert executor.execute(asked, Run()).ok
    assert observe(executor, asked)["content"] == content


def test_json_keeps_its_indentation(executor: executors.Executor, sandbox: Path) -> None:
    (sandbox / "a.json").write_text('{\n    "a": 1\n}\n')
    executor.execute(call("a.json", merge={"b": 2}), Run())
    assert (sandbox / "a.json").read_text() == '{\n    "a": 1,\n    "b": 2\n}\n'


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("name", "text", "patch"),
    [
        ("a.json", "{not json", {"a": 1}),
        ("a.json", '{"a": NaN}', {"b": 1}),
        ("a.json", "[" * 100_000, {"a": 1}),
        ("a.yaml", "a: [", {"a": 1}),
        ("a.yaml", BOMB, {"z": 1}),
        ("a.yaml", "a: &a [*a]\n", {"z": 1}),
        ("a.yaml", "[" * 100_000, {"a": 1}),
        ("a.yaml", "!!python/object/apply:os.system ['true']", {"a": 1}),
        ("a.yaml", "- " * 50_000 + "a", {"a": 1}),
        ("a.yaml", "a: 1\n" * 60_000, {"a": 1}),
        ("a.toml", "a = ", {"a": 1}),
        ("a.toml", "a = 1\n", {"b": [None]}),
        ("a.ini", "no section\n", {"a": {"b": 1}}),
        ("a.ini", "[a]\n", {"a": {"b": [1]}}),
        ("a.ini", "[a]\n", {"a]\n[b": {"c": "1"}}),
        ("a.ini", "[a]\n", {"a": 1}),
    ],
)
def test_it_refuses_what_cannot_be_merged(
    executor: executors.Executor, sandbox: Path, name: str, text: str, patch: Any
) -> None:
    (sandbox / name).write_text(text)
    asked = call(name, merge=patch)
    assert codes(executor, asked) == [("/parameters/merge", "cannot_merge")]
    assert not executor.execute(asked, Run()).ok
    assert (sandbox / name).read_text() == text


def test_it_refuses_to_merge_bytes_that_are_no_text(executor: executors.Executor, sandbox: Path) -> None:
    (sandbox / "a.json").write_bytes(b'{"a": "\xff"}')
    asked = call("a.json", merge={"b": 1})
    assert codes(executor, asked) == [("/parameters/merge", "cannot_merge")]
    assert observe(executor, asked)["content"] is None


# --- where it may go ---


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("../a.json", "path_outside_roots"),
        ("a/../../b.json", "path_outside_roots"),
        ("/etc/passwd", "path_not_relative"),
        ("..\\a.json", "path_not_relative"),
        ("a//b.json", "path_not_normalised"),
        ("./a.json", "path_not_normalised"),
        ("a\x00.json", "path_malformed"),
        ("a\n.json", "path_malformed"),
        (".", "path_malformed"),
        ("a/", "path_malformed"),
        ("missing/a.json", "no_such_directory"),
        ("é" * 200, "path_malformed"),
    ],
)
def test_it_refuses_paths_outside_the_roots(executor: executors.Executor, sandbox: Path, path: str, code: str) -> None:
    assert codes(executor, call(path, content="x")) == [("/parameters/path", code)]


def test_it_refuses_links_anywhere_on_the_way(executor: executors.Executor, sandbox: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.json").write_text("{}")
    (sandbox / "direct.json").symlink_to(outside / "a.json")
    (sandbox / "directory").symlink_to(outside)
    (sandbox / "dangling.json").symlink_to(outside / "new.json")
    for path in ("direct.json", "directory/a.json", "dangling.json"):
        asked = call(path, content='{"a": 1}')
        assert codes(executor, asked) == [("/parameters/path", "symlink")]
        assert not executor.execute(asked, Run()).ok
        with pytest.raises(executors.ExecutorError):
            executor.observe(asked)
    assert (outside / "a.json").read_text() == "{}"
    assert not (outside / "new.json").exists()


def test_it_refuses_a_file_that_has_another_name(executor: executors.Executor, sandbox: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text('{"password": "x"}')
    os.link(outside, sandbox / "a.json")
    for asked in (call("a.json", content="{}"), call("a.json", merge={"a": 1})):
        assert codes(executor, asked) == [("/parameters/path", "hard_link")]
        assert "hard link" in str(executor.execute(asked, Run()).error)
        with pytest.raises(executors.ExecutorError, match="hard link"):
            executor.observe(asked)
    outside.unlink()
    assert executor.execute(call("a.json", content="{}"), Run()).ok
    assert (sandbox / "a.json").stat().st_nlink == 1


def test_a_race_with_a_link_never_writes_outside(executor: executors.Executor, sandbox: Path, tmp_path: Path) -> None:
    """A directory on the way is swapped for a link to the outside and back, as fast as possible."""
    outside, inside = tmp_path / "outside", sandbox / "d"
    outside.mkdir()
    inside.mkdir()
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(inside, sandbox / "aside")
            os.symlink(outside, inside)
            os.unlink(inside)
            os.rename(sandbox / "aside", inside)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for number in range(300):
            executor.execute(call("d/a.txt", content=str(number)), Run())
    finally:
        stop.set()
        swapper.join()
    # However often the race was lost, nothing is broken by it.
    assert executor.execute(call("d/a.txt", content="after"), Run()).ok
    assert (inside / "a.txt").read_text() == "after"
    assert list(outside.iterdir()) == []


def test_it_refuses_what_is_no_file(executor: executors.Executor, sandbox: Path) -> None:
    os.mkfifo(sandbox / "pipe.json")
    (sandbox / "directory.json").mkdir()
    for path in ("pipe.json", "directory.json"):
        assert codes(executor, call(path, content="x")) == [("/parameters/path", "not_a_file")]


def test_it_refuses_large_files_and_results(executor: executors.Executor, sandbox: Path) -> None:
    (sandbox / "a.json").write_bytes(b" " * (1024 * 1024) + b"{}")
    assert codes(executor, call("a.json", merge={"a": 1})) == [("/parameters/path", "file_too_large")]
    assert codes(executor, call("b.txt", content="é" * 600_000)) == [("/parameters/path", "file_too_large")]


@pytest.mark.parametrize(
    ("parameters", "pointer"),
    [
        ({}, "/parameters/path"),
        ({"path": "a.json"}, "/parameters"),
        ({"path": "a.json", "merge": {}, "content": ""}, "/parameters"),
        ({"path": 5, "merge": {}}, "/parameters/path"),
        ({"path": "a.json", "merge": []}, "/parameters/merge"),
        ({"path": "a.json", "merge": {}, "mode": 1}, "/parameters/mode"),
    ],
)
def test_it_names_the_parameter_that_misses_its_schema(
    executor: executors.Executor, sandbox: Path, parameters: Any, pointer: str
) -> None:
    errors = executor.check(Call("config.update", "file:a.json", parameters))
    assert pointer in [error.pointer for error in errors]


def test_the_target_has_one_spelling(executor: executors.Executor, sandbox: Path) -> None:
    asked = Call("config.update", "file:b.json", {"path": "a.json", "content": ""})
    assert codes(executor, asked) == [("/target", "target_mismatch")]


def test_text_cannot_be_merged(executor: executors.Executor, sandbox: Path) -> None:
    assert codes(executor, call("a.txt", merge={})) == [("/parameters/merge", "format_cannot_merge")]


def test_a_file_below_two_roots_is_ambiguous(
    executor: executors.Executor, sandbox: Path, tmp_path: Path, settings: Any
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    settings.CONFIG_ROOTS = [sandbox, other]
    (other / "only.txt").write_text("x")
    assert observe(executor, call("only.txt", content=""))["exists"]
    (sandbox / "only.txt").write_text("y")
    assert codes(executor, call("only.txt", content="")) == [("/parameters/path", "path_ambiguous")]


# --- there and back ---


def test_it_replaces_in_one_step_and_keeps_the_mode(executor: executors.Executor, sandbox: Path) -> None:
    path = sandbox / "a.txt"
    path.write_text("old")
    path.chmod(0o640)
    before = path.stat().st_ino
    result = executor.execute(call("a.txt", content="new"), Run())
    assert result.status is Status.SUCCESS
    assert result.result["changed"]
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_ino != before
    assert [entry.name for entry in sandbox.iterdir()] == ["a.txt"]


def test_what_a_killed_writer_left_behind_goes_with_the_next_write(executor: executors.Executor, sandbox: Path) -> None:
    left, fresh, other = (sandbox / f".grace-{each}.tmp" for each in ("0" * 16, "1" * 16, "notes"))
    for path in (left, fresh, other):
        path.write_text("half")
    for path in (left, other):
        os.utime(path, (0, time.time() - rooted.LEFT_BEHIND_SECONDS - 60))
    assert executor.execute(call("a.txt", content="new"), Run()).ok
    assert sorted(sandbox.iterdir()) == sorted([fresh, other, sandbox / "a.txt"])


@pytest.mark.parametrize("old", [b"", b"\xff\xfe\x00binary\r\n", b'{"a":1}', None])
def test_it_goes_back_byte_for_byte(executor: executors.Executor, sandbox: Path, old: bytes | None) -> None:
    path, asked = sandbox / "a.json", call("a.json", content='{"a": 2}')
    if old is not None:
        path.write_bytes(old)
        path.chmod(0o600)
    baseline, kept = executor.observe(asked), Kept()
    executor.snapshot(asked, kept)
    assert executor.execute(asked, Run()).ok
    assert executor.fingerprint(executor.observe(asked)) != executor.fingerprint(baseline)
    assert executor.restore(asked, kept, baseline, Run()).ok
    assert executor.fingerprint(executor.observe(asked)) == executor.fingerprint(baseline)
    assert (path.read_bytes() if path.exists() else None) == old
    if old is not None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_refuses_to_go_back_below_a_root_no_longer_allowed(
    executor: executors.Executor, sandbox: Path, tmp_path: Path, settings: Any
) -> None:
    asked, kept = call("a.txt", content="new"), Kept()
    (sandbox / "a.txt").write_text("old")
    baseline = executor.observe(asked)
    executor.snapshot(asked, kept)
    settings.CONFIG_ROOTS = [tmp_path]
    assert not executor.restore(asked, kept, baseline, Run()).ok


def test_a_file_that_is_as_wanted_is_left_alone(executor: executors.Executor, sandbox: Path) -> None:
    (sandbox / "a.txt").write_text("same")
    before = (sandbox / "a.txt").stat().st_ino
    result = executor.execute(call("a.txt", content="same"), Run())
    assert result.ok
    assert not result.result["changed"]
    assert (sandbox / "a.txt").stat().st_ino == before


def test_cancelled_it_writes_nothing(executor: executors.Executor, sandbox: Path) -> None:
    result = executor.execute(call("a.txt", content="x"), Run(cancelled=lambda: True))
    assert not result.ok
    assert result.retryable
    assert not (sandbox / "a.txt").exists()


def test_the_preview_is_a_diff(executor: executors.Executor, sandbox: Path) -> None:
    (sandbox / "a.json").write_text('{\n  "a": 1\n}\n')
    asked = call("a.json", merge={"a": 2})
    preview = executor.preview(asked, executor.observe(asked))
    assert preview.kind == "diff"
    assert '-  "a": 1\n+  "a": 2\n' in preview.body
    assert preview.summary == "change a.json"
    assert executor.preview(call("new.txt", content="x"), executor.observe(asked)).summary == "create new.txt"


def test_a_huge_preview_is_whole_and_quick(executor: executors.Executor, sandbox: Path) -> None:
    (sandbox / "a.txt").write_text("same\n" + "a\n" * 50_000)
    asked = call("a.txt", content="same\n" + "b\n" * 50_000)
    body = executor.preview(asked, executor.observe(asked)).body
    assert body.count("\n+b") == body.count("\n-a") == 50_000


def test_what_is_observed_can_be_stored_anywhere(executor: executors.Executor, sandbox: Path) -> None:
    (sandbox / "a.txt").write_bytes(b"a\x00b")
    (sandbox / "a.yaml").write_text('when: 2026-01-01\nn: .nan\n1: "\\0"\n')
    assert observe(executor, call("a.txt", content=""))["content"] == "a\ufffdb"
    content = observe(executor, call("a.yaml", content=""))["content"]
    assert content == {"when": "2026-01-01", "n": "nan", "1": "\ufffd"}
    assert "\\u0000" not in json.dumps(content)


def test_it_is_reversible_and_its_example_is_valid(executor: executors.Executor, sandbox: Path) -> None:
    example = executor.example
    asked = Call(example["action_type"], example["target"], example["parameters"])
    assert executor.check(asked) == []
    assert executor.reversibility(asked) is Reversibility.REVERSIBLE
    missing = Observation({"exists": False, "sha256": None}, datetime.now(UTC))
    assert executor.fingerprint(executor.observe(asked)) == executor.fingerprint(missing)


def test_nothing_may_be_touched_without_a_root(executor: executors.Executor, settings: Any, tmp_path: Path) -> None:
    settings.CONFIG_ROOTS = [tmp_path / "missing"]
    assert codes(executor, call("a.txt", content="x")) == [("/parameters/path", "no_config_root")]


def test_the_formats_are_told_by_extension() -> None:
    assert formats.format_of("a/b.JSON") is formats.JSON
    assert formats.format_of("a.conf") is None
    assert rooted.normalised("a/b") == "a/b"
