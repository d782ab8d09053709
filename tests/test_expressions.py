"""CEL with limits: what it evaluates, what it refuses, and that it ends."""

import multiprocessing
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


HOSTS = r"l.all(h, h.matches('^[a-z0-9-]{1,63}(\\.[a-z0-9-]{1,63}){1,4}$'))"


@pytest.mark.parametrize(
    ("source", "variables"),
    [
        ("l.all(a, l.all(b, l.all(c, a + b + c >= 0)))", {"l": list(range(400))}),
        ("(l + l + l + l).all(a, (l + l + l + l).all(b, l.all(c, a + b + c >= 0)))", {"l": list(range(400))}),
        ("l.map(a, l.map(b, l.map(c, l))).size() > 0", {"l": list(range(400))}),
        (HOSTS, {"l": [f"a{number:05}.example.org" for number in range(40_000)]}),
        ("l.all(x, !t.contains(x))", {"l": [f"b{number}" for number in range(50_000)], "t": "ab" * 100_000}),
        ("(" + "+".join(["l"] * 300) + ").size() > 3", {"l": list(range(20_000))}),
        (" && ".join(["t.matches(p)"] * 50), {"t": "ab" * 20, "p": "((a|b){1,30}){1,30}|([^x]{1,30}){1,30}"}),
    ],
)
def test_it_ends_at_its_deadline(source: str, variables: dict[str, Any]) -> None:
    expression = compile_expression(source)
    compile_expression("'a'.matches('a')").holds({})  # a child is there
    started = time.perf_counter()
    with pytest.raises(ExpressionFailed, match="no answer within"):
        expression.evaluate(variables, deadline_seconds=0.3)
    assert time.perf_counter() - started < 3


def test_a_larger_evaluation_that_ends_in_time_gives_its_value() -> None:
    items = {"l": list(range(500)), "now": datetime(2026, 11, 23, tzinfo=UTC)}
    expression = compile_expression("l.all(a, l.exists(b, a == b)) && now > timestamp('2026-01-01T00:00:00Z')")
    assert expression._cost(items) > expressions.MAX_COST_HERE
    assert expression.holds(items, deadline_seconds=5)


def test_a_small_evaluation_needs_no_process() -> None:
    expression = compile_expression("observed.items.all(i, i.size > 0)")
    expressions._end_all()
    for _ in range(200):
        expression.holds(WORLD)
    assert expressions._kept == []


def test_what_it_does_not_look_at_costs_nothing() -> None:
    expression = compile_expression("action == 'x'")
    assert not expression.holds({"action": "y", "parameters": {"l": ["x" * 100] * 100_000}})
    assert expression._cost({"action": "y"}) < expressions.MAX_COST_HERE


def test_one_process_answers_one_evaluation_after_the_other() -> None:
    expression = compile_expression("a.matches('^g+race$')")
    expressions._end_all()
    assert [expression.holds({"a": word}) for word in ("grace", "other", "ggrace")] == [True, False, True]
    (kept,) = expressions._kept
    assert expression.holds({"a": "grace"})
    assert expressions._kept == [kept]


def test_a_process_that_was_ended_behind_its_back_is_replaced() -> None:
    expression = compile_expression("a.matches('^g+race$')")
    expression.holds({"a": "grace"})
    for child in expressions._kept:
        child.kill()
        child.wait()
    assert expression.holds({"a": "grace"})


def test_several_evaluations_can_share_their_patience() -> None:
    slow = compile_expression("l.all(a, l.all(b, l.all(c, a + b + c >= 0)))")
    patience = expressions.Patience(0.5)
    started = time.perf_counter()
    for _ in range(20):
        with pytest.raises(ExpressionFailed):
            slow.holds({"l": list(range(400))}, patience=patience)
    assert time.perf_counter() - started < 8
    assert compile_expression("1 == 1").holds({}, patience=patience)


def test_a_forked_process_uses_none_of_what_its_parent_keeps() -> None:
    expression = compile_expression("a.matches('^g+race$')")
    expression.holds({"a": "grace"})
    forked = multiprocessing.get_context("fork").Process(target=_evaluates_anew)
    forked.start()
    forked.join(timeout=30)
    assert forked.exitcode == 0
    assert expression.holds({"a": "grace"})


def _evaluates_anew() -> None:
    assert expressions._kept == []
    assert compile_expression("a.matches('^g+race$')").holds({"a": "grace"})
