"""JMESPaths that cannot cost more than the document they look into.

JMESPath has no limit of its own: a multi-select list names the same value again and again, and 170 characters of them
make gigabytes. What remains here (members, indexes, projections, filters, comparisons, and functions that answer
something no larger than what they are given) takes time in proportion to the document. Pure.
"""

from __future__ import annotations

from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

MAX_NODES = 80

NODES = frozenset(
    {
        *("field", "subexpression", "index", "index_expression", "slice", "projection", "value_projection"),
        *("filter_projection", "flatten", "comparator", "and_expression", "or_expression", "not_expression"),
        *("literal", "identity", "current", "pipe", "function_expression"),
    }
)
FUNCTIONS = frozenset(
    {
        *("abs", "avg", "ceil", "contains", "ends_with", "floor", "keys", "length", "max", "min", "not_null"),
        *("reverse", "sort", "starts_with", "sum", "to_number", "type", "values"),
    }
)


class PathRefused(ValueError):
    """The path does not parse, or could cost more than the document; the text says which part."""


def check(path: str) -> None:
    """Raise PathRefused unless the path may be taken."""
    try:
        tree: Any = jmespath.compile(path).parsed
    except (JMESPathError, RecursionError) as exc:
        raise PathRefused(f"Not a JMESPath: {str(exc).splitlines()[0]}") from exc
    _check(tree)


def _check(tree: dict[str, Any]) -> None:
    waiting, seen = [tree], 0
    while waiting:
        node = waiting.pop()
        seen += 1
        if seen > MAX_NODES:
            raise PathRefused(f"A path has at most {MAX_NODES} parts.")
        if node["type"] not in NODES:
            raise PathRefused(f"{node['type'].replace('_', ' ')} is not supported in a path.")
        if node["type"] == "function_expression" and node["value"] not in FUNCTIONS:
            raise PathRefused(f"{node['value']}() is not supported; there are {', '.join(sorted(FUNCTIONS))}.")
        if node["type"] != "slice":  # whose children are numbers
            waiting += node["children"]
