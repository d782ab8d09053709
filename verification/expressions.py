"""CEL expressions with limits: the evaluator has none, so length, nesting and time are ours.

What an expression can cost at worst follows from its text and the size of what it looks at: macros (`all`, `exists`,
`map`, ...) walk collections, `+` makes larger ones, comparing and searching reads texts to their end. While that stays
small it is evaluated here. Otherwise, and always with `matches` (a short pattern can take half a second to prepare),
a child process does it, which dies at the deadline. Children are kept for the next evaluation. Fails closed: a
missing name, a wrong type or a deadline raises ExpressionFailed; none of them is ever "true".
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import cel

MAX_CHARS = 2_000
MAX_NESTING = 24
MAX_MACROS = 4
MAX_COST_HERE = 5_000_000  # about nanoseconds, at worst
READING_COST = 2_000  # one member or element made ready for the evaluator
STEP_COST = 300  # one operation on something small
DEADLINE_SECONDS = 1.0
START_SECONDS = 5.0  # what a loaded machine may need to start a child, on top
MOST_KEPT = 4

_MACROS = re.compile(r"\b(?:all|exists|exists_one|existsOne|map|filter)\b")
_BOUND = re.compile(r"\b(?:all|exists|exists_one|existsOne|map|filter)\s*\(\s*([A-Za-z_]\w*)")
_OPERATIONS = re.compile(r"[^\w\s.,'\"]|\bin\b")
_STRINGS = re.compile(r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'")


class InvalidExpression(ValueError):
    """The text is not an expression we are willing to evaluate."""


class ExpressionFailed(Exception):
    """The expression gave no answer: a missing name, a wrong type, or no answer in time."""


@dataclass
class Patience:
    """The seconds that several evaluations may take together."""

    seconds: float


@dataclass(frozen=True)
class Expression:
    """A compiled expression; make one with `compile_expression`."""

    source: str
    program: cel.Program
    names: frozenset[str]
    macro_count: int
    operation_count: int
    uses_patterns: bool

    def evaluate(
        self,
        variables: Mapping[str, Any],
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        patience: Patience | None = None,
    ) -> Any:
        """Its value; raises ExpressionFailed. What costs little is answered even when the patience is at its end."""
        used = {name: variables[name] for name in self.names if name in variables}
        if not self.uses_patterns and self._cost(used) <= MAX_COST_HERE:
            return self._here(used)
        if patience is None:
            return _in_child(self.source, used, deadline_seconds)
        started = time.monotonic()
        try:
            return _in_child(self.source, used, min(deadline_seconds, patience.seconds))
        finally:
            patience.seconds -= time.monotonic() - started

    def holds(
        self,
        variables: Mapping[str, Any],
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        patience: Patience | None = None,
    ) -> bool:
        """Whether it is true; anything but a boolean raises ExpressionFailed."""
        value = self.evaluate(variables, deadline_seconds=deadline_seconds, patience=patience)
        if not isinstance(value, bool):
            raise ExpressionFailed(f"gave {type(value).__name__}, not true or false")
        return value

    def _here(self, variables: Mapping[str, Any]) -> Any:
        try:
            return self.program.execute(dict(variables))
        except Exception as exc:
            raise ExpressionFailed(_reason(exc)) from exc

    def _cost(self, variables: Mapping[str, Any]) -> int:
        """An upper bound in about nanoseconds: each macro walks everything once more, each `+` makes it larger.

        In each step of the innermost walk every operation may read all there is.
        """
        items, chars = _size(variables)
        larger = 1 + self.source.count("+")
        turns = ((items + self.source.count(",") + 2) * larger) ** self.macro_count
        step = STEP_COST + (items + chars + len(self.source)) * larger
        return int(items * READING_COST + turns * self.operation_count * step)


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
    words = _STRINGS.sub('""', source)
    return Expression(
        source=source,
        program=program,
        names=frozenset(program.variables()),
        macro_count=macro_count,
        operation_count=1 + len(_OPERATIONS.findall(words)),
        uses_patterns="matches" in words,
    )


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


def _size(value: Any) -> tuple[int, int]:
    """How many members and elements a JSON value holds in all, and how many characters."""
    items, chars, pending = 0, 0, [value]
    while pending:
        current = pending.pop()
        if isinstance(current, str):
            chars += len(current)
        elif isinstance(current, Mapping):
            items += len(current)
            chars += sum(map(len, current))
            pending.extend(current.values())
        elif isinstance(current, (list, tuple)):
            items += len(current)
            pending.extend(current)
    return items, chars


# --- children ---

_kept: list[subprocess.Popen[bytes]] = []


def _in_child(source: str, variables: Mapping[str, Any], seconds: float) -> Any:
    if seconds <= 0:
        raise ExpressionFailed("was not evaluated: there was no time left")
    request = json.dumps({"source": source, "variables": variables}, default=_tagged_time)
    child = _child()
    try:
        line = _asked(child, f"{seconds:.6f}\n{request}\n".encode(), seconds + START_SECONDS)
    except OSError as exc:
        _end(child)
        raise ExpressionFailed(f"could not be evaluated: {exc.strerror}") from exc
    if not line.endswith(b"\n"):
        _end(child)
        raise ExpressionFailed(f"gave no answer within {seconds:g} s")
    _keep(child)
    answer = json.loads(line)
    if "error" in answer:
        raise ExpressionFailed(answer["error"])
    return answer["value"]


def _asked(child: subprocess.Popen[bytes], request: bytes, seconds: float) -> bytes:
    """The line a child answers; empty when it died of its deadline, or is not heard of at all."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(request)
    child.stdin.flush()
    heard = select.poll()
    heard.register(child.stdout, select.POLLIN)
    return child.stdout.readline() if heard.poll(seconds * 1000) else b""


def _child() -> subprocess.Popen[bytes]:
    """A child that waits for work: one that was kept, or another."""
    while _kept:
        try:
            child = _kept.pop()
        except IndexError:  # another thread took the last
            break
        if child.poll() is None:
            return child
        _end(child)
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _keep(child: subprocess.Popen[bytes]) -> None:
    if len(_kept) < MOST_KEPT:
        _kept.append(child)
    else:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    _let_go(child)


def _let_go(child: subprocess.Popen[bytes]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what could not be written any more
                pipe.close()


@atexit.register
def _end_all() -> None:
    while _kept:
        _end(_kept.pop())


def _forget() -> None:
    """In a process that was forked: the children are not its own."""
    while _kept:
        child = _kept.pop()
        child.returncode = 0
        _let_go(child)


os.register_at_fork(after_in_child=_forget)


_CHILD = """
import datetime, json, resource, signal, sys
import cel
resource.setrlimit(resource.RLIMIT_AS, (512 * 1024 * 1024,) * 2)
signal.signal(signal.SIGINT, signal.SIG_IGN)
def times(o):
    return datetime.datetime.fromisoformat(o["$time"]) if set(o) == {"$time"} else o
while line := sys.stdin.buffer.readline():
    # The alarm ends the process whatever it computes, also when nobody waits for it any more.
    signal.setitimer(signal.ITIMER_REAL, float(line))
    try:
        request = json.loads(sys.stdin.buffer.readline(), object_hook=times)
        text = json.dumps({"value": cel.evaluate(request["source"], request["variables"])})
    except Exception as exc:
        text = json.dumps({"error": " ".join(str(exc).split())[:300]})
    signal.setitimer(signal.ITIMER_REAL, 0)
    sys.stdout.write(text + "\\n")
    sys.stdout.flush()
"""


def _tagged_time(value: object) -> dict[str, str]:
    if isinstance(value, datetime):
        return {"$time": value.isoformat()}
    raise TypeError(f"{type(value).__name__} is not JSON")


def _reason(exc: Exception) -> str:
    text = " ".join(str(exc).split())
    return text if len(text) <= 300 else text[:297] + "..."
