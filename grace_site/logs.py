"""How log lines look: JSON in production, readable in a terminal, secrets removed from both."""

import logging.config
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from auditlog import redaction


def configure(configuration: dict[str, Any]) -> None:
    """Set up the standard library's logging, and structlog on top of it (Django's LOGGING_CONFIG)."""
    logging.config.dictConfig(configuration)
    # What Python and the packages warn of is a line like any other.
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def configuration(*, structured: bool, level: str) -> dict[str, Any]:
    """The standard library's logging configuration."""
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if structured
        else structlog.dev.ConsoleRenderer(
            colors=False, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
    )
    # No traceback shows the values of local variables: they may be secrets, and drawing them takes minutes.
    last = [structlog.processors.format_exc_info, *([] if structured else [_for_terminal])]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _shared_processors(),
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *last,
                    redaction.structlog_processor,
                    renderer,
                ],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Each request is a structured line of its own already, and each fault too.
            "django.request": {"level": "CRITICAL"},
            "django.server": {"level": "WARNING"},
            "uvicorn.access": {"level": "WARNING"},
            "axes": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            "celery.beat": {"level": "WARNING"},
            "httpx": {"level": "WARNING"},
        },
    }


PROBES = ("GET /readyz", "GET /healthz", "GET /metrics")


def _without_probes(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Drop the lines of machines that look every few seconds, and an id that only repeats another."""
    if event.get("event") == "request_finished" and str(event.get("request", "")).startswith(PROBES):
        raise structlog.DropEvent
    if event.get("request_id") == event.get("correlation_id"):
        event.pop("request_id", None)
    return event


def _for_terminal(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """What nobody reads in a terminal."""
    event["timestamp"] = str(event.get("timestamp", ""))[11:19]
    event.pop("logger", None)
    return {key: value for key, value in event.items() if value is not None}


def _shared_processors() -> list[Callable[[WrappedLogger, str, EventDict], Mapping[str, Any]]]:
    return [
        structlog.contextvars.merge_contextvars,
        _without_probes,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
    ]
