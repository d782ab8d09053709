"""Talking to supervisord over its XML-RPC interface, each call within its own few seconds and one megabyte.

The server is the operator's own. An answer with a document type is not read, so none can grow while it is.
"""

from __future__ import annotations

import base64
import time
import xml.parsers.expat
import xmlrpc.client  # nosec B411
from dataclasses import dataclass
from typing import Any

from verification import outgoing
from verification.executors import targets
from verification.executors.base import ExecutorError
from verification.executors.service_restart.listed import Service

CALL_SECONDS = 3.0
ALIVE = frozenset({"STARTING", "RUNNING", "BACKOFF"})
"""States in which supervisord takes a program for started."""
BAD_NAME, NOT_RUNNING, ALREADY_STARTED = 10, 70, 60


class NotAnswered(ExecutorError):
    """The server could not be asked, or did not answer sensibly."""


class Fault(ExecutorError):
    """The server said no; `code` is one of supervisord's."""

    def __init__(self, detail: str, code: int) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True)
class Process:
    """A program as supervisord sees it: its state, process id (0: none), Unix time of its last start, and its error."""

    state: str
    pid: int
    started: int
    error: str


def look(service: Service) -> Process:
    """The program now; raises NotAnswered and Fault."""
    about = _call(service, "getProcessInfo")
    try:
        return Process(str(about["statename"]), int(about["pid"]), int(about["start"]), str(about.get("spawnerr", "")))
    except (KeyError, TypeError, ValueError):
        raise NotAnswered("supervisord answered something else than asked.") from None


def stop(service: Service) -> None:
    """Ask for it to be stopped, without waiting; that it is stopped is fine."""
    _unless(NOT_RUNNING, service, "stopProcess")


def start(service: Service) -> None:
    """Ask for it to be started, without waiting; that it is started is fine."""
    _unless(ALREADY_STARTED, service, "startProcess")


def _unless(fine: int, service: Service, method: str) -> None:
    try:
        _call(service, method, False)
    except Fault as fault:
        if fault.code != fine:
            raise


def _call(service: Service, method: str, *more: Any) -> Any:
    body = xmlrpc.client.dumps((service.program, *more), f"supervisor.{method}").encode()
    headers = {"Content-Type": "text/xml", **_authorization(service)}
    try:
        if service.socket:
            answer = outgoing.request_socket(
                service.socket,
                "POST",
                "http://localhost/RPC2",
                headers=headers,
                body=body,
                deadline_seconds=CALL_SECONDS,
            )
        else:
            url = service.supervisor.rstrip("/").removesuffix("/RPC2") + "/RPC2"
            answer = outgoing.request(
                "POST", url, headers=headers, body=body, deadline_seconds=CALL_SECONDS, trusted=True, prefixes=[url]
            )
    except outgoing.NoAnswer as problem:
        raise NotAnswered(f"supervisord: {problem}") from None
    except outgoing.UrlNotAllowed as problem:
        raise NotAnswered(f"supervisord: {problem}") from None
    return _value(answer, service)


def _value(answer: outgoing.Answer, service: Service) -> Any:
    if answer.status != 200 or answer.truncated or b"<!DOCTYPE" in answer.body:
        what = "more than allowed" if answer.truncated else str(answer.status)
        raise NotAnswered(f"supervisord answered {what}.")
    try:
        values, _ = xmlrpc.client.loads(answer.body.decode())
        return values[0]
    except xmlrpc.client.Fault as fault:
        unknown = f"supervisord knows no program {service.program!r}."
        detail = unknown if fault.faultCode == BAD_NAME else f"supervisord refused: {str(fault.faultString)[:200]}"
        raise Fault(detail, int(fault.faultCode)) from None
    except (xmlrpc.client.Error, xml.parsers.expat.ExpatError, ValueError, TypeError, LookupError):
        raise NotAnswered("supervisord's answer cannot be read.") from None


def _authorization(service: Service) -> dict[str, str]:
    if not service.username:
        return {}
    password = targets.secret(service.password, service.password_file)
    pair = base64.b64encode(f"{service.username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def seconds_left(ends: float) -> float:
    """How long until this moment of the monotonic clock."""
    return ends - time.monotonic()
