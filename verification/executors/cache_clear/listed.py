"""The caches an operator lists.

[caches.pages]
url = "redis://127.0.0.1:6379/1"        # or rediss://, unix:///run/valkey.sock?db=1
# url_file = "/etc/grace/pages.url"     # when it holds a password
prefixes = ["page:", "fragment:"]       # only keys that begin with one of them
max_keys = 100000                       # more are neither counted nor deleted
max_dump_mb = 64                        # more could not be brought back, so nothing is deleted
timeout_seconds = 60
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from verification.executors import targets
from verification.executors.cache_clear.schema import PREFIX_PATTERN
from verification.executors.targets import Table
from verification.json_schemas import Schema

_SCHEMES = re.compile(r"(rediss?|unix)://")
SCHEMA = Schema(
    {
        "type": "object",
        "required": ["prefixes"],
        "additionalProperties": False,
        "properties": {
            "title": {"type": "string", "minLength": 1, "maxLength": 500},
            "url": {"type": "string", "minLength": 1},
            "url_file": {"type": "string", "pattern": "^/"},
            "prefixes": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": PREFIX_PATTERN}},
            "max_keys": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
            "max_dump_mb": {"type": "integer", "minimum": 1, "maximum": 1024},
            "timeout_seconds": {"type": "number", "minimum": 1, "maximum": 600},
        },
    }
)


@dataclass(frozen=True)
class Cache:
    """One Redis or Valkey, and the keys in it that may be deleted."""

    name: str
    digest: str
    prefixes: Sequence[str]
    title: str = ""
    url: str = field(default="", repr=False)
    url_file: str = ""
    max_keys: int = 100_000
    max_dump_mb: int = 64
    timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Raise ValueError for what no schema can say."""
        if bool(self.url) == bool(self.url_file):
            raise ValueError("either url or url_file is expected")
        if self.url and not _SCHEMES.match(self.url):
            raise ValueError("/url: redis://, rediss:// or unix:// is expected")

    @property
    def address(self) -> str:
        """Its URL with credentials; raises ExecutorError."""
        return targets.secret(self.url, self.url_file)

    def allows(self, prefix: str) -> bool:
        """Whether every key that begins with this prefix begins with a listed one."""
        return prefix.startswith(tuple(self.prefixes))


CACHES: Table[Cache] = Table("caches", SCHEMA, Cache)
