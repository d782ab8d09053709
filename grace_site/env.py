"""Reading the environment: typed, every complaint at once, each with its cure.

The reader remembers every name it was asked for, so that a test can hold `.env.example` against the settings.
"""

import ipaddress
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

TRUE = {"true", "yes", "on", "1"}
FALSE = {"false", "no", "off", "0"}


class Complaint(ValueError):
    """A value that makes no sense; its text says what would."""


class Environment:
    """The environment of this process, read by type.

    Every reader returns its default (or a value of the right type, so that reading goes on) when the variable
    is missing or empty or wrong; `finish()` raises for all that were wrong together.
    """

    def __init__(self, source: Mapping[str, str]) -> None:
        self.source = source
        self.names: list[str] = []
        self.secrets: list[str] = []
        self.complaints: list[str] = []

    def complain(self, text: str) -> None:
        """Note a complaint `finish()` will raise."""
        self.complaints.append(text)

    def finish(self) -> None:
        """Raise if anything read so far made no sense.

        Raises:
            ImproperlyConfigured: names every variable that is wrong, and what to write instead.
        """
        if self.complaints:
            lines = "".join(f"\n  - {complaint}" for complaint in self.complaints)
            raise ImproperlyConfigured(
                f"Grace cannot start with these settings:{lines}\nEvery setting is explained in .env.example."
            )

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        return self._read(name, default, str)

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """One of a few words."""

        def parse(value: str) -> str:
            if value not in choices:
                raise Complaint(f"must be one of {', '.join(choices)}")
            return value

        return self._read(name, default, parse)

    def flag(self, name: str, default: bool) -> bool:
        """A yes or a no."""

        def parse(value: str) -> bool:
            if value.lower() not in TRUE | FALSE:
                raise Complaint("must be true or false")
            return value.lower() in TRUE

        return self._read(name, default, parse)

    def integer(self, name: str, default: int, *, at_least: int, at_most: int) -> int:
        """A whole number within bounds."""

        def parse(value: str) -> int:
            if not value.isascii() or not value.lstrip("-").isdigit() or not at_least <= int(value) <= at_most:
                raise Complaint(f"must be a whole number from {at_least} to {at_most}")
            return int(value)

        return self._read(name, default, parse)

    def path(self, name: str, default: Path | None) -> Path | None:
        """An absolute path; a relative one is taken from the working directory."""
        return self._read(name, default, lambda value: Path(value).expanduser().absolute())

    def paths(self, name: str, default: list[Path]) -> list[Path]:
        """Absolute paths, separated by commas."""

        def parse(value: str) -> list[Path]:
            paths = [Path(part).expanduser() for part in _parts(value)]
            if not all(path.is_absolute() for path in paths):
                raise Complaint("must be absolute paths separated by commas")
            return paths

        return self._read(name, default, parse)

    def words(self, name: str, default: list[str]) -> list[str]:
        """Strings, separated by commas."""
        return self._read(name, default, _parts)

    def url(self, name: str, default: str, *, schemes: Sequence[str] = ("http", "https")) -> str:
        """An absolute URL with one of these schemes, without a trailing slash."""
        return self._read(name, default, lambda value: _checked_url(value, schemes).rstrip("/"))

    def urls(self, name: str, default: list[str]) -> list[str]:
        """http(s) URLs, separated by commas, as written."""
        return self._read(
            name, default, lambda value: [_checked_url(part, ("http", "https")) for part in _parts(value)]
        )

    def networks(self, name: str) -> list[Network]:
        """IP addresses or networks in CIDR form, separated by commas."""

        def parse(value: str) -> list[Network]:
            try:
                return [ipaddress.ip_network(part) for part in _parts(value)]
            except ValueError as error:
                raise Complaint("must be IP addresses or networks such as 10.0.0.0/8") from error

        return self._read(name, [], parse)

    def database(self, name: str, default: str) -> dict[str, object]:
        """Django's description of the database at a URL: SQLite (`sqlite:///path`) or PostgreSQL."""
        return self._read(name, _database(default), _database, secret=True)

    def mail_server(self, name: str) -> dict[str, object]:
        """Django's settings of the mail server at a URL, `EMAIL_HOST` and so on; none when there is none."""
        return self._read(name, {}, _mail_server, secret=True)

    def secret(self, name: str, default: str = "") -> str:
        """A string that may also stand in the file named by `<name>_FILE`."""
        return self._read(name, default, str, secret=True)

    def _read(self, name: str, default: T, parse: Callable[[str], T], *, secret: bool = False) -> T:
        self.names.append(name)
        if secret:
            self.secrets.append(name)
        value = self._secret_value(name) if secret else self.source.get(name, "").strip()
        if not value:
            return default
        try:
            return parse(value)
        except Complaint as complaint:
            shown = "" if secret else f" (it is {value!r})"
            self.complain(f"{name} {complaint}{shown}.")
            return default

    def _secret_value(self, name: str) -> str:
        value = self.source.get(name, "").strip()
        file = self.source.get(f"{name}_FILE", "").strip()
        if value and file:
            self.complain(f"{name} and {name}_FILE are both set; keep one of them.")
        if value or not file:
            return value
        try:
            return Path(file).read_text().strip()
        except (OSError, UnicodeDecodeError):
            self.complain(f"{name}_FILE names {file}, which cannot be read as text; correct the path or the rights.")
            return ""


def read(base_dir: Path) -> Environment:
    """The process's environment, over the file `.env` beside manage.py when there is one.

    `GRACE_ENV_FILE` names another file; set to nothing it means none.
    """
    file = os.environ.get("GRACE_ENV_FILE", str(base_dir / ".env"))
    values: dict[str, str] = {}
    if file and Path(file).is_file():
        reader = environ.Env()
        reader.ENVIRON = values
        reader.read_env(file)
    environment = Environment({**values, **os.environ})
    environment.names.append("GRACE_ENV_FILE")
    return environment


def stored_key(var_dir: Path) -> str:
    """The secret key kept in this VAR_DIR; made there, for the owner only, on first use.

    Returns "" when there is no VAR_DIR.

    Raises:
        ImproperlyConfigured: others may read the key.
    """
    path = var_dir / "keys" / "secret_key"
    if not path.exists():
        if not var_dir.is_dir():
            return ""
        _make_key(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ImproperlyConfigured(f"{path} can be read by others; run: chmod 600 {path}")
    return path.read_text().strip()


def _make_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(64))
    # Whoever comes first wins; a link appears whole or not at all.
    with suppress(FileExistsError):
        os.link(draft, path)
    os.unlink(draft)


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _checked_url(value: str, schemes: Sequence[str]) -> str:
    parts = urlsplit(value)
    if parts.scheme not in schemes or not (parts.netloc or parts.path):
        raise Complaint(f"must be a URL beginning with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return value


_MAIL_PORTS = {"smtp": 25, "smtp+tls": 587, "smtp+ssl": 465}


def _mail_server(url: str) -> dict[str, object]:
    parts = urlsplit(url)
    port = parts.netloc.rpartition("@")[2].rpartition("]")[2].partition(":")[2]
    if parts.scheme not in _MAIL_PORTS or not parts.hostname or not (port.isdecimal() or not port):
        raise Complaint("must be smtp://host:port, smtp+tls://host:port or smtp+ssl://host:port")
    return {
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": int(port) if port else _MAIL_PORTS[parts.scheme],
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
        "EMAIL_USE_SSL": parts.scheme == "smtp+ssl",
    }


def _database(url: str) -> dict[str, object]:
    scheme = urlsplit(url).scheme
    if scheme not in ("sqlite", "postgres", "postgresql"):
        raise Complaint("must begin with sqlite:/// or postgres://")
    described: dict[str, object] = dict(environ.Env.db_url_config(url))
    # libpq's own form of a socket directory: postgres://user@%2Fvar%2Frun%2Fpostgresql/name
    described["HOST"] = unquote(str(described.get("HOST", "")))
    if not described["NAME"]:
        raise Complaint("must name a database, as in postgres://user@host/name or sqlite:////path/to/file")
    return described
