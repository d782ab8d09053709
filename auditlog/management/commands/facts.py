"""Print the vocabulary of the log: each fact, who says it, and who reacts."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from auditlog import entries, facts, mesh


class Command(BaseCommand):
    """`manage.py facts [--json]`."""

    help = "List every fact with the app that says it and the subscribers that react; --json adds the shapes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print JSON, with the JSON Schema of each fact's data.")

    def handle(self, *args: Any, json: bool, **options: Any) -> None:
        self.stdout.write(_as_json() if json else _as_text())


def _reactors(fact: str) -> list[str]:
    return [name for name, each in mesh.subscribers().items() if entries.matches(each.glob, fact)]


def _as_text() -> str:
    known = facts.registered()
    width = max((len(name) for name in known), default=0)
    return "\n".join(
        f"{name:<{width}}  {fact.subsystem:<12}  {', '.join(_reactors(name)) or '-'}" for name, fact in known.items()
    )


def _as_json() -> str:
    return json.dumps(
        [
            {
                "fact": name,
                "emitter": fact.subsystem,
                "reactors": _reactors(name),
                "about": (fact.shape.__doc__ or "").strip(),
                "shape": facts.schema(fact),
            }
            for name, fact in facts.registered().items()
        ],
        indent=2,
    )
