"""The one screen `up` prints: where to go, and how to log in."""

from collections.abc import Mapping
from typing import Any

WIDTH = 78
LOST = """\
  Logins and the agent's key were shown on the first run. Lost? Make new ones:
    python manage.py changepassword NAME
    python manage.py agent rotate NAME"""


def screen(*, url: str, var_dir: str, told: Mapping[str, Any]) -> str:
    """The text. `told` is what bootstrap answered; it holds logins on the first run only."""
    rule = "=" * WIDTH
    lines = ["", rule, "  Grace is running", "", f"  Console        {url}/", f"  API            {url}/docs"]
    lines += [f"  Files          {var_dir}", ""]
    lines += [secrets(told) or LOST, "", "  Ctrl-C ends everything.", rule, ""]
    return "\n".join(lines)


def secrets(told: Mapping[str, Any]) -> str:
    """Logins and key, which are shown once; "" on later runs."""
    lines: list[str] = []
    if users := [user for user in told.get("users", []) if user.get("password")]:
        lines += _logins(users)
    if key := (told.get("agent") or {}).get("key"):
        lines += ["", f"  Agent key for {told['agent'].get('name', 'the agent')}:", f"    {key}"]
    if lines:
        lines += ["", "  Passwords and key are shown this once and kept nowhere in the clear."]
    return "\n".join(lines)


def _logins(users: list[Mapping[str, Any]]) -> list[str]:
    width = max(len(str(user["username"])) for user in users) + 2
    widest = max(len(str(user["password"])) for user in users) + 2
    lines = ["  Log in as"]
    for user in users:
        groups = ", ".join(user.get("groups", [])) or ("everything" if user.get("superuser") else "")
        lines.append(f"    {user['username']:<{width}}{user['password']:<{widest}}{groups}".rstrip())
    return lines
