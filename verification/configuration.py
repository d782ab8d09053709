"""The settings this package reads, one function each, read when asked so that a test may override them."""

from collections.abc import Sequence
from pathlib import Path

from django.conf import settings


def var_dir() -> Path:
    """The only place Grace writes to."""
    return Path(settings.VAR_DIR)


def config_roots() -> list[Path]:
    """Directories below which `config.update` may change files."""
    roots: Sequence[str | Path] = getattr(settings, "CONFIG_ROOTS", None) or [var_dir() / "sandbox"]
    return [Path(root) for root in roots]


def commands_file() -> Path | None:
    """The TOML file of commands `command.run` may run; None: none may be run.

    Unset, it is the one an installation writes for its own sandbox, once that is there. It lies outside
    `CONFIG_ROOTS`: whoever may change a file below those must not be able to change what a command does.
    """
    if path := getattr(settings, "COMMANDS_FILE", None):
        return Path(path)
    own = var_dir() / "commands" / "commands.toml"
    return own if own.is_file() else None


def targets_file() -> Path | None:
    """The TOML file of services, caches and databases executors may act on; None: none of them."""
    path = getattr(settings, "TARGETS_FILE", None)
    return Path(path) if path else None


def http_allowed_urls() -> list[str]:
    """URL prefixes that contracts may name."""
    return list(getattr(settings, "HTTP_ALLOWED_URLS", None) or [])


def prometheus_url() -> str | None:
    """Where metric thresholds are measured; None: nowhere."""
    return getattr(settings, "PROMETHEUS_URL", None) or None
