"""Is Grace alive, and is it ready? Names and states only: nothing here tells an outsider anything else."""

import ipaddress
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from secrets import compare_digest
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Min
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from redis.exceptions import RedisError

from auditlog.models import Pending
from grace_site import heartbeats, problems
from verification import gates

logger = structlog.get_logger(__name__)

QUEUES = {"default", "executions", "log"}
LAG_SECONDS = 60.0
FREE_BYTES = 200 * 1024 * 1024


@dataclass(frozen=True)
class Part:
    """One thing Grace stands on: `ok`, `failing`, or `unknown` where it cannot be measured.

    Holds are `held` while one is on everything: somebody wanted that, so nothing fails.
    """

    name: str
    state: str


def parts() -> list[Part]:
    """The state of everything readiness depends on. Each answer takes a second or two at most."""
    return [_part(name, check) for name, check in CHECKS.items()]


def is_ready(found: list[Part]) -> bool:
    """Whether nothing is failing."""
    return all(part.state != "failing" for part in found)


def _part(name: str, check: Callable[[], bool | str | None]) -> Part:
    try:
        fine: bool | str | None = check()
    except (DatabaseError, RedisError, OSError) as error:
        logger.warning("health.failing", part=name, error=type(error).__name__)
        fine = False
    if isinstance(fine, str):
        return Part(name, fine)
    return Part(name, "unknown" if fine is None else "ok" if fine else "failing")


def _database() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return bool(cursor.fetchone() == (1,))


def _broker() -> bool | None:
    client = heartbeats.client()
    if client is None:
        return None
    with client:
        return bool(client.ping())


def _workers() -> bool | None:
    return None if heartbeats.client() is None else heartbeats.listening() >= QUEUES


def _sequencer() -> bool:
    return sequencer_lag_seconds() < LAG_SECONDS


def sequencer_lag_seconds() -> float:
    """How long the oldest entry has waited for its place in the tree; 0 when none waits."""
    oldest = Pending.objects.aggregate(oldest=Min("recorded_at"))["oldest"]
    return max(0.0, (timezone.now() - oldest).total_seconds()) if oldest else 0.0


def _disk() -> bool:
    return shutil.disk_usage(settings.VAR_DIR).free > FREE_BYTES


def _holds() -> str:
    return "held" if gates.hold_everything() else "ok"


CHECKS: dict[str, Callable[[], bool | str | None]] = {
    "database": _database,
    "broker": _broker,
    "workers": _workers,
    "sequencer": _sequencer,
    "disk": _disk,
    "holds": _holds,
}


# --- views --------------------------------------------------------------------------------------


def alive(request: HttpRequest) -> HttpResponse:
    """GET /healthz: this process answers."""
    return _guarded(request) or JsonResponse({"status": "alive"})


def ready(request: HttpRequest) -> HttpResponse:
    """GET /readyz: everything Grace stands on works; 503 when something does not."""
    if refused := _guarded(request):
        return refused
    body, status = report()
    return JsonResponse(body, status=status)


def report() -> tuple[dict[str, Any], HTTPStatus]:
    """What readiness says, and the status it says it with. Remembered for a second: anybody may ask."""
    if time.monotonic() - _last.at > 1:
        found = parts()
        _last.at, _last.parts = time.monotonic(), found
    ok = is_ready(_last.parts)
    body = {
        "status": "ready" if ok else "not_ready",
        "parts": {part.name: part.state for part in _last.parts},
    }
    return body, HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE


class _Last:
    at: float = float("-inf")
    parts: list[Part] = []


_last = _Last()


# --- who may look -------------------------------------------------------------------------------


def _guarded(request: HttpRequest) -> HttpResponse | None:
    return None if may_look(request) else problems.respond(request, problems.forbidden())


def may_look(request: HttpRequest) -> bool:
    """Loopback may, allow-listed addresses may, and whoever brings the token."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if settings.METRICS_TOKEN and scheme.lower() == "bearer":
        return compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode())
    address = client_address(request)
    networks = [*settings.LOOPBACK, *settings.METRICS_ALLOWED_ADDRESSES]
    return address is not None and any(address in network for network in networks)


def client_address(request: HttpRequest) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Where the request came from, believing as many proxies as TRUSTED_PROXIES says; None when unclear."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    address = request.META.get("REMOTE_ADDR", "")
    if settings.TRUSTED_PROXIES:
        hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
        if len(hops) < settings.TRUSTED_PROXIES:
            return None
        address = hops[-settings.TRUSTED_PROXIES]
    elif forwarded:
        # A proxy nobody told us of: what looks like loopback may be anybody.
        return None
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None
