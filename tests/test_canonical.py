"""The exact bytes: agreement with an independent implementation, and clear words for what has no such bytes."""

import json
import math
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from auditlog import canonical

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAMES = st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True)
SCALARS = st.none() | st.booleans() | st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER) | TEXT
RESTRICTED = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=20
)
FOREIGN = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(RESTRICTED)
def test_the_restricted_form_has_the_bytes_of_rfc_8785(value: object) -> None:
    assert canonical.dumps(value) == rfc8785.dumps(value)


@given(FOREIGN)
def test_foreign_json_has_the_bytes_of_rfc_8785(value: object) -> None:
    assert canonical.foreign(value) == rfc8785.dumps(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_survives_the_way_through_text(value: float) -> None:
    assert float(json.loads(canonical.foreign(value))) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (333333333.33333329, "333333333.3333333"),
        (1e30, "1e+30"),
        (4.50, "4.5"),
        (2e-3, "0.002"),
        (0.000000000000000000000000001, "1e-27"),
        (-0.0, "0"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (5e-324, "5e-324"),
        (1e-7, "1e-7"),
        (123456789012345680000.0, "123456789012345680000"),
        (2**60, str(2**60)),
    ],
)
def test_numbers_are_written_as_ecmascript_writes_them(value: float, text: str) -> None:
    assert canonical.foreign(value).decode() == text


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05.000000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 6, timezone(timedelta(hours=2))), "2026-01-02T01:04:05.000006Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        ((1, 2), [1, 2]),
    ],
)
def test_times_ids_and_enums_become_text(value: object, plain: object) -> None:
    assert json.loads(canonical.dumps({"a": value})) == {"a": plain}


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"a": [1, {"b": 0.5}]}, "/a/1/b"),
        ({"Name": 1}, "/Name"),
        ({"a/b": 1}, "/a~1b"),
        ({1: 1}, "/1"),
        ({"a": 2**53}, "/a"),
        ({"a": {"b": "\ud800"}}, "/a/b"),
        ({"a": datetime(2026, 1, 1)}, "/a"),  # noqa: DTZ001 - naive on purpose
        ({"a": object()}, "/a"),
        ({"a": math.nan}, "/a"),
    ],
)
def test_what_has_no_canonical_form_is_named_by_its_pointer(value: object, pointer: str) -> None:
    with pytest.raises(canonical.NotCanonical) as refused:
        canonical.dumps(value)
    assert refused.value.pointer == pointer


@pytest.mark.parametrize(("value", "pointer"), [({"A b": math.inf}, "/A b"), ([{"x": "\udfff"}], "/0/x"), ({1: 2}, "")])
def test_foreign_json_that_is_no_json_is_named_by_its_pointer(value: object, pointer: str) -> None:
    with pytest.raises(canonical.NotCanonical) as refused:
        canonical.foreign(value)
    assert refused.value.pointer == pointer


def test_endless_nesting_is_refused() -> None:
    value: list[object] = []
    for _ in range(200):
        value = [value]
    for write in (canonical.dumps, canonical.foreign):
        with pytest.raises(canonical.NotCanonical, match="nested"):
            write(value)
