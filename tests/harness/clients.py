"""Programs that talk to the API in tests: one for each person and for an agent, speaking JSON."""

import json
from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from auditlog.actors import SYSTEM


class Api:
    """A client that speaks JSON and answers with what is in the envelope."""

    def __init__(self, *, user: User | None = None, key: str = "", enforce_csrf: bool = False) -> None:
        """Anonymous, as a person with a session, or as an agent with its key."""
        self.client = Client(enforce_csrf_checks=enforce_csrf, raise_request_exception=False)
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        if user is not None:
            self.client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The response, whatever it is. Header names are written with `_` for `-`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = b"" if body is None else json.dumps(body).encode()
        return self.client.generic(
            method, path, data, content_type="application/json", headers={**self.headers, **sent}
        )

    def get(self, path: str, **headers: str) -> Any:
        """The response to GET."""
        return self.send("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """The response to POST; no body is sent when there is none."""
        return self.send("POST", path, body, **headers)

    def delete(self, path: str) -> Any:
        """The response to DELETE."""
        return self.send("DELETE", path)

    def data(self, path: str) -> Any:
        """What GET answers, without its envelope; fails when it is not 200."""
        response = self.get(path)
        assert response.status_code == 200, response.content
        return response.json()["data"]


def agent_of(owner: User, now: Any, *, name: str = "deployer", allowed: tuple[str, ...] = ()) -> tuple[Any, str]:
    """An agent of this owner and its key."""
    from governance import agents

    made, key = agents.create(name=name, owner=owner, allowed_action_types=list(allowed), by=SYSTEM, now=now)
    return made, key


def config_change(
    merge: dict[str, Any], *, path: str = "service.json", expect: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A proposal to change a file in the sandbox; `expect` says what is promised, unless it is what is merged."""
    promised = merge if expect is None else expect
    return {
        "action_type": "config.update",
        "target": f"file:{path}",
        "parameters": {"path": path, "merge": merge},
        "expected_effect": {
            "target_state": {"exists": True},
            "success_criteria": [
                {"type": "state_match", "path": f"content.{name}", "equals": value, "required": True}
                for name, value in promised.items()
            ],
        },
        "justification": "because a test says so",
    }


__all__ = ["Api", "agent_of", "config_change"]
