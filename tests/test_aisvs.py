"""The page on OWASP AISVS 1.0, C9 lists every control, and each test it names is there."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "aisvs-c9.md"

# The controls of chapter C9 in the text of version 1.0: how many each section has.
CONTROLS = {
    f"9.{section}.{number}"
    for section, count in {1: 5, 2: 6, 3: 7, 4: 5, 5: 4, 6: 5, 7: 5, 8: 7}.items()
    for number in range(1, count + 1)
}
ROW = re.compile(r"^\| (9\.\d\.\d) \| ([123]) \| (.+?) \| (yes|in part|no|not applicable) \| (.+) \|$", re.MULTILINE)
NAMED = re.compile(r"`([a-z_/]+\.py)::(test_[a-z0-9_]+)`")


def rows() -> list[tuple[str, str, str, str, str]]:
    return ROW.findall(PAGE.read_text())


def test_every_control_is_listed_once() -> None:
    listed = [control for control, *_ in rows()]
    assert len(listed) == len(set(listed))
    assert set(listed) == CONTROLS
    assert PAGE.read_text().count("\n| 9.") == len(CONTROLS), "a row does not read as one"


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_it_is_shown_by_a_test_or_the_reason_is_said(row: tuple[str, str, str, str, str]) -> None:
    _, _, _, met, how = row
    named = NAMED.findall(how)
    said = NAMED.sub("", how).strip(" ,.")
    if met in {"yes", "in part"}:
        assert named
    if met != "yes":
        assert len(said) > 20
    for file, name in named:
        written = ast.parse((TESTS / file).read_text())
        assert name in {each.name for each in ast.walk(written) if isinstance(each, ast.FunctionDef)}, (file, name)
