"""The services an operator lists, and how each is reached.

[services.checkout]
supervisor = "unix:///run/supervisor.sock"      # or http://127.0.0.1:9001
username = "grace"                              # when its server asks for one
password_file = "/etc/grace/supervisor.password"
program = "shop:checkout"                       # as `supervisorctl status` names it
health_url = "http://127.0.0.1:9000/health"     # healthy is a 2xx answer
timeout_seconds = 60                            # to stop, start and become healthy
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from verification import outgoing
from verification.executors.targets import Table
from verification.json_schemas import Schema

_TEXT = {"type": "string", "minLength": 1, "maxLength": 500}
SCHEMA = Schema(
    {
        "type": "object",
        "required": ["supervisor", "program"],
        "additionalProperties": False,
        "properties": {
            "title": _TEXT,
            "supervisor": {"type": "string", "pattern": "^(unix:///|https?://)"},
            "username": _TEXT,
            "password": _TEXT,
            "password_file": {"type": "string", "pattern": "^/"},
            "program": {"type": "string", "pattern": "^[^\\s*]{1,200}$"},
            "health_url": {"type": "string", "pattern": "^https?://"},
            "timeout_seconds": {"type": "number", "minimum": 1, "maximum": 600},
        },
    }
)


@dataclass(frozen=True)
class Service:
    """One program under supervisord. `socket` is set when its server listens on a unix socket."""

    name: str
    digest: str
    supervisor: str
    program: str
    title: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    health_url: str = ""
    timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Raise ValueError for what no schema can say."""
        if self.program.endswith(":") or self.program == "all":
            raise ValueError("/program: one program is named, not a group")
        for url in filter(None, (self.health_url, "" if self.socket else self.supervisor)):
            try:
                outgoing.parse(url)
            except outgoing.UrlNotAllowed as problem:
                raise ValueError(f"{url} cannot be used: {problem}") from None

    @property
    def socket(self) -> str:
        """The path of the server's socket, "" when it listens over TCP."""
        return urlsplit(self.supervisor).path if self.supervisor.startswith("unix:") else ""


SERVICES: Table[Service] = Table("services", SCHEMA, Service)
