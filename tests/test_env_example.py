"""`.env.example` and the settings know the same variables, and its examples are no nonsense."""

import re

from django.core.exceptions import ImproperlyConfigured

from grace_site import settings
from tests.harness.processes import ROOT

LINE = re.compile(r"^#? ?([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)


def examples() -> dict[str, str]:
    """Every variable the file shows, with the value it shows."""
    return dict(LINE.findall((ROOT / ".env.example").read_text()))


def documented() -> set[str]:
    """The names, where `X_FILE` of a secret counts as the secret itself."""
    secrets = set(settings.env.secrets)
    return {name.removesuffix("_FILE") if name.removesuffix("_FILE") in secrets else name for name in examples()}


def test_every_setting_is_documented() -> None:
    assert set(settings.env.names) - documented() == set()


def test_everything_documented_is_a_setting() -> None:
    assert documented() - set(settings.env.names) == set()


def test_every_secret_is_named_as_one_that_may_stand_in_a_file() -> None:
    introduction = (ROOT / ".env.example").read_text().partition("# ---")[0]
    assert {name for name in settings.env.secrets if name not in introduction} == set()


def test_no_name_is_read_twice() -> None:
    assert len(settings.env.names) == len(set(settings.env.names))


def test_no_setting_is_explained_twice() -> None:
    names = [name for name, _ in LINE.findall((ROOT / ".env.example").read_text())]
    assert sorted(names) == sorted(set(names))


def test_the_examples_are_acceptable() -> None:
    """Each is read by the reader the settings use for it, in a fresh process's stead."""
    import os
    import subprocess
    import sys

    shown = {name: value for name, value in examples().items() if value and not name.endswith("_FILE")}
    shown["GRACE_ENV_FILE"] = ""
    env = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "grace_site.settings", **shown}
    code = "import django; django.setup()"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert ImproperlyConfigured.__name__ not in answer.stderr
