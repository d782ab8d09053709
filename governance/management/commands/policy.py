"""`manage.py policy test`: what would happen, and nothing does."""

from __future__ import annotations

import json as json_
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import yaml
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from governance import agents, policies, policy
from governance.management.acting import acting_as, add_as, refusals_end_it
from governance.policy import STRICTNESS


class Command(BaseCommand):
    """Ask a policy, the one in force or one in a file."""

    help = (
        "Ask what the policy says, without side effects. `policy test --action config.update --target file:app.json "
        '--parameters \'{"path": "app.json", "merge": {}}\'` prints effect, tier, requirements and the rules that '
        "said so. `policy test --file my-policy.yaml` asks a file instead of the policy in force; a file may hold "
        "`tests: [{name?, action_type, target, parameters?, agent?, expect}]`, which are run, and the exit code is "
        "1 when one fails. `policy show` prints the policy in force as JSON."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`show`, or `test` with an action or a file."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        show = verbs.add_parser("show", help="Print the policy in force.")
        test = verbs.add_parser("test", help="Ask it.")
        test.add_argument("--file", type=Path, help="A policy as JSON or YAML, perhaps with tests of its own.")
        test.add_argument("--action", metavar="ACTION_TYPE", help="For example config.update.")
        test.add_argument("--target", default="", help="For example file:app.json.")
        test.add_argument("--parameters", default="{}", metavar="JSON", help="The parameters (default {}).")
        test.add_argument("--agent", help="Ask for this agent.")
        test.add_argument("--expect", choices=list(STRICTNESS)[1:], help="Exit with 1 unless this is the effect.")
        test.add_argument("--json", action="store_true", help="Print JSON.")
        add_as(test)
        add_as(show)

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        """One of the two."""
        with refusals_end_it():
            if verb == "show":
                row = policies.current()
                document = {"version": row.version, "digest": row.digest, **policies.document_of(row)}
                self.stdout.write(json_.dumps(document, indent=2, ensure_ascii=False))
            else:
                self._test(**options)

    def _test(
        self,
        *,
        file: Path | None,
        action: str | None,
        json: bool,
        username: str | None,
        expect: str | None,
        **options: Any,
    ) -> None:
        document = _read(file) if file else None
        cases = list(document.pop("tests", [])) if document else []
        parsed = policy.parse(document) if document is not None else None
        if action:
            asked = {"action_type": action, "parameters": _json(options["parameters"]), "expect": expect}
            cases = [{**asked, "target": options["target"], "agent": options["agent"]}]
        if not cases:
            self.stdout.write("The policy parses." if file else "Say what to ask: --action and --target.")
            return
        results = [_ask(case, parsed, username) for case in cases]
        self._print(results, json)
        failed = [each for each in results if each["expected"] not in (None, each["effect"])]
        if failed:
            raise CommandError(f"{len(failed)} of {len(results)} did not come out as expected.", returncode=1)

    def _print(self, results: list[dict[str, Any]], json: bool) -> None:
        if json:
            self.stdout.write(json_.dumps(results))
            return
        for each in results:
            asked = each["requirements"]["approvals"]
            people = " and ".join(f"{slot['count']} of {slot['group']}" for slot in asked) or "nobody"
            verdict = "" if each["expected"] in (None, each["effect"]) else f"  EXPECTED {each['expected']}"
            self.stdout.write(f"{each['name']}: {each['effect']}, asks {people}{verdict}")
            for rule in each["rules"]:
                self.stdout.write(f"    {rule['effect']:7} {rule['rule'] or '-'}: {rule['why']}")


def _ask(case: dict[str, Any], parsed: policy.Policy | None, username: str | None) -> dict[str, Any]:
    user = agents.named(case["agent"]).user if case.get("agent") else acting_as(username)[1]
    action_type, target = case["action_type"], case.get("target", "")
    situation, _ = policies.situation(
        action_type=action_type,
        target=target,
        parameters=case.get("parameters", {}),
        user=user,
        now=timezone.now(),
    )
    ruling = (parsed or policies.parsed(policies.current())).decide(situation)
    name = case.get("name") or f"{action_type} on {target or 'anything'}"
    return {"name": name, "expected": case.get("expect"), **ruling.as_dict()}


def _read(file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CommandError(f"{file} cannot be read: {error}", returncode=2) from None
    if not isinstance(document, dict):
        raise CommandError(f"{file} is not a policy: an object is expected.", returncode=2)
    return document


def _json(text: str) -> dict[str, Any]:
    try:
        found = json_.loads(text)
    except ValueError as error:
        raise CommandError(f"--parameters is not JSON: {error}", returncode=2) from None
    if not isinstance(found, dict):
        raise CommandError("--parameters is a JSON object.", returncode=2)
    return found
