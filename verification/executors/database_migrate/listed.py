"""The databases an operator lists, and what is known of one at a moment.

[databases.shop]
url = "postgres://grace_shop@db.internal/shop"  # or sqlite:////srv/shop/shop.sqlite3
# url_file = "/etc/grace/shop.url"              # when it holds a password
timeout_seconds = 60                            # for dumping, and again for the script
max_dump_mb = 256                               # a larger database is not changed, unless way_back = "none"
way_back = "restore"                            # "none": irreversible; a violation is held for a person
programs = "/usr/lib/postgresql/18/bin"         # where pg_dump and psql are; without it, where commands usually are
allow_superuser = false                         # may the role run programs and read files on the server?

[databases.shop.queries]                        # each is a member of the observed `queries`
orders = "select count(*) from orders"
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import unquote, urlsplit

from verification.executors import observed, targets
from verification.executors.base import ExecutorError, SnapshotReader, SnapshotWriter
from verification.executors.targets import Table
from verification.json_schemas import Schema

LEDGER = "grace_migrations"
"""Grace's own table in every database it changes: which contracts were applied or brought back, in the same
transaction as what they did. It answers what observation alone could not: whether a script has run."""
LEDGER_COLUMNS = "contract_id text not null, what text not null, sha256 text not null, at text not null"
ALTERED = f"{LEDGER}, Grace's own table, is not as Grace wrote it."
LOOK_SECONDS = 3.0
MAX_ROWS, MAX_TEXT, MAX_COLUMNS = 100, 1000, 2000

_QUERY = {"type": "string", "pattern": "^\\s*([Ss][Ee][Ll][Ee][Cc][Tt]|[Ww][Ii][Tt][Hh])\\b[^;]*;?\\s*$"}
SCHEMA = Schema(
    {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "title": {"type": "string", "minLength": 1, "maxLength": 500},
            "url": {"type": "string", "minLength": 1},
            "url_file": {"type": "string", "pattern": "^/"},
            "timeout_seconds": {"type": "number", "minimum": 1, "maximum": 1800},
            "max_dump_mb": {"type": "integer", "minimum": 1, "maximum": 4096},
            "way_back": {"enum": ["restore", "none"]},
            "programs": {"type": "string", "pattern": "^/"},
            "allow_superuser": {"type": "boolean"},
            "queries": {
                "type": "object",
                "maxProperties": 50,
                "propertyNames": {"pattern": "^[a-z_][a-z0-9_]{0,62}$"},
                "additionalProperties": _QUERY,
            },
        },
    }
)
_SCHEMES = re.compile(r"sqlite:////|postgres(ql)?://")


class NotDone(ExecutorError):
    """Nothing was changed; `transient`: it may work another time."""

    def __init__(self, detail: str, *, transient: bool = False, late: bool = False) -> None:
        super().__init__(detail)
        self.transient, self.late = transient or late, late


class Unclear(ExecutorError):
    """Whether it was committed is not known here."""


@dataclass(frozen=True)
class Database:
    """One database that scripts may be applied to."""

    name: str
    digest: str
    title: str = ""
    url: str = field(default="", repr=False)
    url_file: str = ""
    timeout_seconds: float = 60.0
    max_dump_mb: int = 256
    way_back: Literal["restore", "none"] = "restore"
    programs: str = ""
    allow_superuser: bool = False
    queries: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError for what no schema can say."""
        if bool(self.url) == bool(self.url_file):
            raise ValueError("either url or url_file is expected")
        if self.url and not _SCHEMES.match(self.url):
            raise ValueError("/url: sqlite:////absolute/path or postgres:// is expected")

    @property
    def address(self) -> str:
        """Its URL with credentials; raises ExecutorError."""
        address = targets.secret(self.url, self.url_file)
        if not _SCHEMES.match(address):
            raise ExecutorError(f"The address of {self.name} is neither sqlite:////absolute/path nor postgres://.")
        return address

    @property
    def path(self) -> Path:
        """The file of a SQLite database; raises ExecutorError."""
        return Path(unquote(urlsplit(self.address).path)[1:])


@dataclass(frozen=True)
class Work:
    """One change to be made: for which contract, what, within how many seconds, and why to stop ("": go on)."""

    contract_id: str
    what: Literal["apply", "restore"]
    sha256: str
    seconds: float
    why_stop: Callable[[], str]
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat())

    @property
    def note(self) -> tuple[str, str, str, str]:
        """The row of it in the ledger. All of it is made here: a UUID, a word, a digest and a time."""
        return (self.contract_id, self.what, self.sha256, self.at)


@dataclass(frozen=True)
class Seen:
    """A database at a moment: its schema as sorted lines, its columns, what stands in the ledger, and its queries."""

    schema: Sequence[Sequence[str]]
    columns: Sequence[tuple[str, str, str]]
    ledger: Sequence[str]
    queries: Mapping[str, Any]

    def as_state(self) -> dict[str, Any]:
        """The observed state."""
        tables: dict[str, dict[str, str]] | None = {}
        for table, column, kind in self.columns:
            tables.setdefault(table, {})[column] = kind  # type: ignore[union-attr]  # it is a dict until below
        return {
            "applied": "apply" in self.ledger,
            "restored": "restore" in self.ledger,
            "schema_sha256": observed.digest([list(line) for line in self.schema]),
            "tables": tables if len(self.columns) <= MAX_COLUMNS else None,
            "queries": dict(self.queries),
        }


class Side(Protocol):
    """What the modules for SQLite and for PostgreSQL both offer."""

    def look(self, database: Database, contract_id: str) -> Seen:
        """The database now; raises ExecutorError."""
        ...

    def keep(self, database: Database, store: SnapshotWriter) -> None:
        """Keep all of it; raises ExecutorError, also when it could not be brought back."""
        ...

    def apply(self, database: Database, script: str, work: Work) -> bool:
        """Run and note a script in one transaction; False when it had been. Raises NotDone and Unclear.

        Whatever the script does, it is committed only with the ledger as Grace wrote it.
        """
        ...

    def bring_back(self, database: Database, snapshot: SnapshotReader, work: Work) -> None:
        """Write back what was kept, and note it, in one transaction; raises NotDone and KeyError."""
        ...


def asking(query: str) -> str:
    """An operator's query, answered with a bounded number of rows."""
    return f"SELECT * FROM ({query.strip().rstrip(';')}) AS answer LIMIT {MAX_ROWS}"  # noqa: S608 - the operator's own


def answered(rows: Sequence[Sequence[Any]]) -> Any:
    """One value where there is one, else the rows; long texts are cut."""
    cut = [[_cut(value) for value in row] for row in rows]
    return cut[0][0] if len(cut) == 1 and len(cut[0]) == 1 else cut


def _cut(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return observed.json_safe(value)
    text = value.hex() if isinstance(value, (bytes, memoryview)) else str(value)
    return observed.storable(text[:MAX_TEXT])


def inserting(work: Work, into: str) -> str:
    """The statement that notes a piece of work in the ledger."""
    return f"INSERT INTO {into} VALUES ({', '.join(repr(each) for each in work.note)})"  # noqa: S608


def script_sha256(script: str) -> str:
    """What the ledger remembers of a script."""
    return hashlib.sha256(script.encode()).hexdigest()


DATABASES: Table[Database] = Table("databases", SCHEMA, Database)
