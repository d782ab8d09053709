"""CEL expressions with limits: the evaluator has none, so length, nesting and time are ours.

An expression without macros (`all`, `exists`, `map`, ...) costs no more than its own length and is evaluated
here. With macros its cost is a power of the sizes of the collections it walks: while that stays small it is
evaluated here too, otherwise in a child process that is killed at the deadline. Fails closed: a missing name,
a wrong type or a deadline raises ExpressionFailed; none of them is ever "true".
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import cel

MAX_CHARS = 2_000
MAX_NESTING = 24
MAX_MACROS = 4
MAX_STEPS_HERE = 100_000
DEADLINE_SECONDS = 1.0
START_SECONDS = 5.0  # what a loaded machine may need to start the child, on top

_MACROS = re.compile(r"\b(?:all|exists|exists_one|existsOne|map|filter)\b")
_BOUND = re.compile(r"\b(?:all|exists|exists_one|existsOne|map|filter)\s*\(\s*([A-Za-z_]\w*)")
_STRINGS = re.compile(r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'")


class InvalidExpression(ValueError):
    """The text is not an expression we are willing to evaluate."""


class ExpressionFailed(Exception):
    """The expression gave no answer: a missing name, a wrong type, or no answer in time."""


@dataclass(frozen=True)
class Expression:
    """A compiled expression; make one with `compile_expression`."""

    source: str
    program: cel.Program
    macro_count: int

    def evaluate(self, variables: Mapping[str, Any], *, deadline_seconds: float = DEADLINE_SECONDS) -> Any:
        """Its value; raises ExpressionFailed."""
        if self.macro_count == 0 or self._steps(variables) <= MAX_STEPS_HERE:
            return self._here(variables)
        return _in_child(self.source, variables, deadline_seconds)

    def holds(self, variables: Mapping[str, Any], *, deadline_seconds: float = DEADLINE_SECONDS) -> bool:
        """Whether it is true; anything but a boolean raises ExpressionFailed."""
        value = self.evaluate(variables, deadline_seconds=deadline_seconds)
        if not isinstance(value, bool):
            raise ExpressionFailed(f"gave {type(value).__name__}, not true or false")
        return value

    def _here(self, variables: Mapping[str, Any]) -> Any:
        try:
            return self.program.execute(dict(variables))
        except Exception as exc:
            raise ExpressionFailed(_reason(exc)) from exc

    def _steps(self, variables: Mapping[str, Any]) -> int:
        """An upper bound of what macros walk: concatenation multiplies sizes, each macro walks again."""
        size = (_items(variables) + self.source.count(",") + 2) * (1 + self.source.count("+"))
        return int(size**self.macro_count)


@lru_cache(maxsize=512)
def _compile(source: str) -> Expression:
    if not source.strip():
        raise InvalidExpression("is empty")
    if len(source) > MAX_CHARS:
        raise InvalidExpression(f"is longer than {MAX_CHARS} characters")
    if _nesting(source) > MAX_NESTING:
        raise InvalidExpression(f"is nested deeper than {MAX_NESTING} levels")
    macro_count = len(_MACROS.findall(source))
    if macro_count > MAX_MACROS:
        raise InvalidExpression(f"uses more than {MAX_MACROS} macros (all, exists, map, filter)")
    try:
        program = cel.compile(source)
    except Exception as exc:
        raise InvalidExpression(_reason(exc)) from exc
    return Expression(source, program, macro_count)


def compile_expression(source: str, *, names: Iterable[str] | None = None) -> Expression:
    """Compile, or raise InvalidExpression with the reason; with `names` it may use no other variables."""
    expression = _compile(source)
    if names is not None:
        allowed = set(names)
        bound = set(_BOUND.findall(_STRINGS.sub('""', source)))
        unknown = sorted(set(expression.program.variables()) - allowed - bound)
        if unknown:
            raise InvalidExpression(f"does not know {unknown[0]!r}; it may use {', '.join(sorted(allowed))}")
    return expression


def _nesting(source: str) -> int:
    deepest = depth = 0
    for char in source:
        if char in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]}":
            depth -= 1
        elif char in "?!-":
            deepest = max(deepest, depth + 1)
    return deepest


def _items(value: Any) -> int:
    """How many members and elements a JSON value holds in all."""
    count, pending = 0, [value]
    while pending:
        current = pending.pop()
        children = (
            current.values() if isinstance(current, Mapping) else current if isinstance(current, (list, tuple)) else ()
        )
        count += len(children)
        pending.extend(children)
    return count


def _in_child(source: str, variables: Mapping[str, Any], deadline_seconds: float) -> Any:
    request = json.dumps({"source": source, "variables": variables, "seconds": deadline_seconds}, default=_tagged_time)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _CHILD],
            input=request,
            capture_output=True,
            text=True,
            timeout=deadline_seconds + START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise ExpressionFailed(f"gave no answer within {deadline_seconds:g} s") from exc
    if done.returncode != 0:
        raise ExpressionFailed(f"gave no answer within {deadline_seconds:g} s of computing")
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise ExpressionFailed(answer["error"])
    return answer["value"]


_CHILD = """
import datetime, json, math, resource, sys, time
import cel
resource.setrlimit(resource.RLIMIT_AS, (512 * 1024 * 1024,) * 2)
def times(o):
    return datetime.datetime.fromisoformat(o["$time"]) if set(o) == {"$time"} else o
request = json.load(sys.stdin, object_hook=times)
resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + request["seconds"]),) * 2)
try:
    answer = {"value": cel.evaluate(request["source"], request["variables"])}
    text = json.dumps(answer)
except Exception as exc:
    text = json.dumps({"error": str(exc)[:300]})
print(text)
"""


def _tagged_time(value: object) -> dict[str, str]:
    if isinstance(value, datetime):
        return {"$time": value.isoformat()}
    raise TypeError(f"{type(value).__name__} is not JSON")


def _reason(exc: Exception) -> str:
    text = " ".join(str(exc).split())
    return text if len(text) <= 300 else text[:297] + "..."
