"""The work an operator lets external agents do.

[remotes.reindex]
agents = ["indexer"]                                # names of agents; nobody else can claim its permits
observe = "http://127.0.0.1:9000/indexes/products"  # below HTTP_ALLOWED_URLS; without it each proposal names one
claim_seconds = 300                                 # how long a permit is offered
heartbeat_seconds = 30                              # an agent silent for that long is taken for lost
timeout_seconds = 600                               # how long the work may take
arguments = { index = { type = "string" } }         # or a whole JSON Schema of an object
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from verification import outgoing
from verification.executors.targets import Table
from verification.json_schemas import Schema

SCHEMA = Schema(
    {
        "type": "object",
        "required": ["agents"],
        "additionalProperties": False,
        "properties": {
            "title": {"type": "string", "minLength": 1, "maxLength": 500},
            "agents": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$"},
            },
            "observe": {"type": "string", "minLength": 1, "maxLength": outgoing.MAX_URL_CHARS},
            "arguments": {"type": "object"},
            "claim_seconds": {"type": "number", "minimum": 1, "maximum": 86_400},
            "heartbeat_seconds": {"type": "number", "minimum": 1, "maximum": 3_600},
            "timeout_seconds": {"type": "number", "minimum": 1, "maximum": 86_400},
        },
    }
)


@dataclass(frozen=True)
class Work:
    """One kind of work, and who may do it."""

    name: str
    digest: str
    agents: Sequence[str]
    title: str = ""
    observe: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    claim_seconds: float = 300.0
    heartbeat_seconds: float = 30.0
    timeout_seconds: float = 600.0

    def __post_init__(self) -> None:
        """Raise ValueError for what no schema can say."""
        if self.observe:
            try:
                outgoing.parse(self.observe)
            except outgoing.UrlNotAllowed as problem:
                raise ValueError(f"/observe: {problem}") from None
        self.accepted  # noqa: B018 - compiles it

    @property
    def accepted(self) -> Schema:
        """What its arguments must satisfy; raises InvalidSchema, which is a ValueError."""
        if not self.arguments:
            return Schema({"type": "object"})
        if self.arguments.get("type") == "object":
            return Schema(self.arguments)
        properties = dict(self.arguments)
        closed = {"type": "object", "properties": properties, "required": sorted(properties)}
        return Schema({**closed, "additionalProperties": False})


REMOTES: Table[Work] = Table("remotes", SCHEMA, Work)
