"""Reading once: what a verb asks the database about people and rules it does not ask twice.

Opened by a verb once it holds its locks, so that all of its questions are answered from one moment. Nothing outlives
the `with` block, and only what the verb itself does not change is read like this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")

_read: ContextVar[dict[Any, Any] | None] = ContextVar("auditlog_read", default=None)


@contextmanager
def once() -> Iterator[None]:
    """Inside, every function marked `@remembered` is asked once for the same arguments; a block inside joins."""
    if _read.get() is not None:
        yield
        return
    token = _read.set({})
    try:
        yield
    finally:
        _read.reset(token)


def remembered(read: Callable[Asked, Answer]) -> Callable[Asked, Answer]:
    """Mark a function that only reads; its arguments are hashable. Outside `once()` it is asked every time."""

    @wraps(read)
    def ask(*args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        known = _read.get()
        if known is None:
            return read(*args, **kwargs)
        question = (read.__module__, read.__qualname__, args, tuple(sorted(kwargs.items())))
        if question not in known:
            known[question] = read(*args, **kwargs)
        answer: Answer = known[question]
        return answer

    return ask


def tell(read: Callable[..., Any], *args: Any, answer: Any, **kwargs: Any) -> None:
    """Within `once()`: this is what a remembered function answers to these arguments, found out with others."""
    known = _read.get()
    if known is not None:
        known[(read.__module__, read.__qualname__, args, tuple(sorted(kwargs.items())))] = answer
