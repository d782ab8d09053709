"""CEL with limits: what it evaluates, what it refuses, and that it ends."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from verification import expressions
from verification.expressions import ExpressionFailed, InvalidExpression, compile_expression

WORLD: dict[str, Any] = {
    "observed": {"count": 3, "name": "grace", "items": [{"size": 1}, {"size": 2}], "none": None},
    "baseline": {"count": 2},
}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("observed.count > baseline.count", True),
        ("observed.name.startsWith('gr') && observed.count == 3", True),
        ("observed.items.exists(i, i.size == 2)", True),
        ("observed.items.all(i, i.size > 1)", False),
        ("has(observed.missing) || observed.none == null", True),
        ("observed.name.matches('^(g+)+race$')", True),
        ("observed.count == 3.0", True),
        ("'all exists map' == 'x'", False),
    ],
)
def test_it_says_whether_something_holds(source: str, value: bool) -> None:
    assert compile_expression(source).holds(WORLD) is value


@pytest.mark.parametrize(
    "source",
    ["observed.missing > 1", "missing", "1 / 0 == 1", "observed.count", "'text'", "observed.name > 5"],
)
def test_what_gives_no_answer_is_never_true(source: str) -> None:
    with pytest.raises(ExpressionFailed):
        compile_expression(source).holds(WORLD)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "   ",
        "a ==",
        "a b",
        "1 + " * 600 + "1",
        "(" * 25 + "1" + ")" * 25,
        "[" * 500 + "]" * 500,
        "a.all(b, a.all(c, a.all(d, a.all(e, a.all(f, true)))))",
        "\x00",
    ],
)
def test_it_refuses_what_it_will_not_evaluate(source: str) -> None:
    with pytest.raises(InvalidExpression):
        compile_expression(source)


def test_it_knows_only_the_names_it_is_given() -> None:
    compile_expression("observed.items.all(each, each.size > 0)", names=["observed"])
    with pytest.raises(InvalidExpression, match="'secrets'"):
        compile_expression("observed.a == secrets.b", names=["observed"])
    with pytest.raises(InvalidExpression):
        compile_expression("'a.map(secrets, x)' == secrets", names=["observed"])


@pytest.mark.parametrize(
    "source",
    [
        "l.all(a, l.all(b, l.all(c, a + b + c >= 0)))",
        "(l + l + l + l).all(a, (l + l + l + l).all(b, l.all(c, a + b + c >= 0)))",
        "l.map(a, l.map(b, l.map(c, l))).size() > 0",
    ],
)
def test_it_ends_at_its_deadline(source: str) -> None:
    expression = compile_expression(source)
    started = time.perf_counter()
    with pytest.raises(ExpressionFailed):
        expression.evaluate({"l": list(range(400))}, deadline_seconds=0.5)
    assert time.perf_counter() - started < 8


def test_a_larger_evaluation_that_ends_in_time_gives_its_value() -> None:
    items = {"l": list(range(500)), "now": datetime(2026, 11, 23, tzinfo=UTC)}
    expression = compile_expression("l.all(a, l.exists(b, a == b)) && now > timestamp('2026-01-01T00:00:00Z')")
    assert expression._steps(items) > expressions.MAX_STEPS_HERE
    assert expression.holds(items, deadline_seconds=5)


def test_a_small_evaluation_needs_no_process() -> None:
    expression = compile_expression("observed.items.all(i, i.size > 0)")
    started = time.perf_counter()
    for _ in range(200):
        expression.holds(WORLD)
    assert time.perf_counter() - started < 1
