"""The house polices itself: what no single module's tests would notice."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.urls import URLPattern, URLResolver, get_resolver

from auditlog.api.endpoint import ANYBODY, Endpoint
from tests.harness.processes import ROOT

PACKAGES = ("auditlog", "verification", "governance", "missions", "grace_site")
METHODS = ("get", "post", "put", "patch", "delete")

# Module names that say nothing about what is inside.
CATCH_ALL = {"utils", "helpers", "helper", "misc", "common", "services", "managers", "processors", "engine", "signals"}

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|[Ll]orem ipsum)\b")
# Directories of whoever wrote it.
MACHINE = re.compile(r"(?<![\w.])/(work|root|home/\w+)/")
PICTURES = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file of the project that people read, except this one."""
    for path in sorted(ROOT.rglob("*")):
        relative = path.relative_to(ROOT)
        hidden = any(part.startswith(".") and part != ".ci" for part in relative.parts[:-1])
        skipped = {"var", "node_modules", "__pycache__", "static", "staticfiles"} & set(relative.parts)
        if hidden or skipped or not path.is_file() or path == Path(__file__):
            continue
        if path.suffix in {".py", ".md", ".html", ".toml", ".in", ".txt", ".yaml", ".yml", ".css"} or path.name in {
            "Makefile",
            "run",
            ".env.example",
        }:
            yield relative, path.read_text(errors="replace")


@pytest.mark.django_db
def test_no_model_lacks_its_migration() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_packages_import_only_rightwards() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_system_checks_are_content() -> None:
    call_command("check", "--fail-level", "WARNING")


def test_no_module_is_named_after_nothing() -> None:
    names = {path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert {name for name in names if name.stem in CATCH_ALL or set(name.parts[:-1]) & CATCH_ALL} == set()


@pytest.mark.parametrize(
    ("pattern", "what"), [(UNFINISHED, "unfinished"), (MACHINE, "a place of one machine"), (PICTURES, "a picture")]
)
def test_no_text_holds(pattern: re.Pattern[str], what: str) -> None:
    found = {f"{path}: {match.group(0)}" for path, text in texts() if (match := pattern.search(text)) is not None}
    assert found == set(), what


def test_no_model_of_ours_sends_signals() -> None:
    """Facts speak upwards; a receiver on one of our own models would be a second, hidden way."""
    from django.db.models import signals

    ours = [model for name in PACKAGES if apps.is_installed(name) for model in apps.get_app_config(name).get_models()]
    for signal in (signals.pre_save, signals.post_save, signals.pre_delete, signals.post_delete):
        assert [model for model in ours if _receivers(signal, model)] == []


def _receivers(signal: Any, model: type) -> list[Any]:
    return [key for key, *_ in signal.receivers if key[1] == id(model)]


# --- who may, at every address -----------------------------------------------------------------

# Addresses of the API anybody may ask, each for a reason.
FOR_ANYBODY = {
    "GET /api/verification/health": "names and states only",
    "POST /api/governance/session": "this is where one logs in",
}

# Everything else that is reached without the API's base class, and who answers for it.
OTHER = {
    "/api/schema": "a description, no data",
    "/api/docs": "the same, to be read",
    "/docs": "leads to it",
    "/healthz": "grace_site.health.may_look",
    "/readyz": "grace_site.health.may_look",
    "/metrics": "grace_site.health.may_look",
}


def addresses() -> Iterator[tuple[str, Any]]:
    """Every address with its view."""

    def walk(patterns: list[Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for pattern in patterns:
            path = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, path)
            elif isinstance(pattern, URLPattern):
                yield path, pattern.callback

    yield from walk(get_resolver("grace_site.urls").url_patterns, "/")


def api_operations() -> Iterator[tuple[str, Any]]:
    """Every method of every address of the API, with its declaration (None: undeclared)."""
    for path, view in addresses():
        view_class = getattr(view, "view_class", getattr(view, "cls", None))
        if path.startswith("/api/") and path not in OTHER and view_class is not None:
            for method in METHODS:
                if handler := getattr(view_class, method, None):
                    yield f"{method.upper()} {path}", getattr(handler, "operation", None)


def test_every_operation_says_what_it_asks_for() -> None:
    assert [name for name, operation in api_operations() if operation is None] == []


def test_what_anybody_may_ask_is_listed() -> None:
    assert {name for name, operation in api_operations() if operation and operation.asks == ANYBODY} == set(FOR_ANYBODY)


def test_every_address_of_the_api_stands_on_the_common_ground() -> None:
    strangers = [
        path
        for path, view in addresses()
        if path.startswith("/api/")
        and path not in OTHER
        and not issubclass(getattr(view, "view_class", getattr(view, "cls", object)), Endpoint)
    ]
    assert strangers == []


def test_no_listed_exception_is_stale() -> None:
    known = {path for path, _ in addresses()}
    assert set(OTHER) - known == set()
    assert set(FOR_ANYBODY) - {name for name, _ in api_operations()} == set()


def test_no_address_is_taken_twice() -> None:
    paths = [path for path, _ in addresses() if not path.startswith("/admin/")]
    assert sorted({path for path in paths if paths.count(path) > 1}) == []
