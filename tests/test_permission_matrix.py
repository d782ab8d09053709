"""Every address of the project and every kind of caller: who gets in, who is sent to log in, who is refused.

A new address without a row here fails; so does a row without an address.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.cache import cache
from django.urls import URLPattern, URLResolver, get_resolver

from governance import seeds
from tests.harness.clients import Api, agent_of
from tests.harness.people import People

READERS = "ada bea eve administrator"
OPERATORS = "ada bea administrator"
REVIEWERS = "bea administrator"
AUDITORS = "eve administrator"
ADMINISTRATOR = "administrator"
ANYBODY = "anonymous agent ada bea eve cleo administrator"
LOGGED_IN = "agent ada bea eve cleo administrator"
ROLES = ANYBODY.split()

V, G, A = "api/verification/", "api/governance/", "api/auditlog/"

API = {
    f"GET {V}action-types": LOGGED_IN,
    f"GET {V}benchmarks": READERS,
    f"POST {V}benchmarks": OPERATORS,
    f"GET {V}benchmarks/<uuid:id>": READERS,
    f"POST {V}benchmarks/<uuid:id>/golden": REVIEWERS,
    f"GET {V}contracts": f"agent {READERS}",
    f"POST {V}contracts": f"agent {OPERATORS}",
    f"GET {V}contracts/<uuid:id>": f"agent {READERS}",
    f"POST {V}contracts/<uuid:id>/cancel": f"agent {OPERATORS}",
    f"GET {V}contracts/<uuid:id>/events": f"agent {READERS}",
    f"POST {V}contracts/<uuid:id>/resolve": REVIEWERS,
    f"POST {V}contracts/<uuid:id>/retry": OPERATORS,
    f"POST {V}contracts/<uuid:id>/revisions": f"agent {OPERATORS}",
    f"POST {V}contracts/<uuid:id>/rollback": OPERATORS,
    f"GET {V}events": f"agent {READERS}",
    f"GET {V}health": ANYBODY,
    f"GET {V}incidents": READERS,
    f"POST {V}incidents": f"agent {OPERATORS}",
    f"POST {V}incidents/alertmanager": f"agent {OPERATORS}",
    f"GET {V}jobs": READERS,
    f"GET {V}jobs/<uuid:id>": READERS,
    f"POST {V}jobs/<uuid:id>/cancel": OPERATORS,
    f"POST {V}jobs/<uuid:id>/retry": OPERATORS,
    f"GET {V}learning/stats": READERS,
    f"GET {V}missions": READERS,
    f"POST {V}missions": OPERATORS,
    f"GET {V}missions/<uuid:id>": READERS,
    f"POST {V}missions/<uuid:id>/abandon": OPERATORS,
    f"POST {V}missions/<uuid:id>/complete": OPERATORS,
    f"GET {V}missions/<uuid:id>/timeline": READERS,
    f"POST {V}permits/claim": "agent",
    f"POST {V}permits/<uuid:id>/heartbeat": "agent",
    f"POST {V}permits/<uuid:id>/report": "agent",
    f"GET {V}playbooks": READERS,
    f"POST {V}playbooks/<slug:name>/run": OPERATORS,
    f"GET {V}snapshots": READERS,
    f"POST {V}snapshots": OPERATORS,
    f"GET {V}snapshots/<uuid:id>": READERS,
    f"POST {V}snapshots/<uuid:id>/golden": REVIEWERS,
    f"POST {V}snapshots/<uuid:id>/restore": OPERATORS,
    f"GET {V}summaries": READERS,
    f"POST {G}session": ANYBODY,
    f"POST {G}session/second-factor": LOGGED_IN,
    f"GET {G}me": LOGGED_IN,
    f"GET {G}approvals": f"agent {READERS}",
    f"GET {G}approvals/<uuid:id>": f"agent {READERS}",
    f"POST {G}approvals/<uuid:id>/decision": f"agent {READERS}",
    f"POST {G}approvals/<uuid:id>/comments": f"agent {OPERATORS}",
    f"POST {G}approvals/<uuid:id>/withdraw": REVIEWERS,
    f"POST {G}approvals/decisions": REVIEWERS,
    f"GET {G}agents": READERS,
    f"POST {G}agents": ADMINISTRATOR,
    f"GET {G}agents/<uuid:id>": READERS,
    f"POST {G}agents/<uuid:id>/change": OPERATORS,
    f"POST {G}agents/<uuid:id>/resume": OPERATORS,
    f"POST {G}agents/<uuid:id>/revoke": ADMINISTRATOR,
    f"POST {G}agents/<uuid:id>/rotate": ADMINISTRATOR,
    f"POST {G}agents/<uuid:id>/suspend": OPERATORS,
    f"GET {G}callback-secret": "agent",
    f"GET {G}deliveries": READERS,
    f"POST {G}deliveries/<uuid:id>/redeliver": ADMINISTRATOR,
    f"GET {G}holds": READERS,
    f"POST {G}holds": OPERATORS,
    f"POST {G}holds/<uuid:id>/release": OPERATORS,
    f"GET {G}policies": READERS,
    f"GET {G}policies/active": READERS,
    f"POST {G}policies/evaluate": f"agent {READERS}",
    f"POST {G}policies": OPERATORS,
    f"GET {G}policies/<int:version>": READERS,
    f"GET {G}policies/<int:version>/diff": READERS,
    f"GET {G}grants": READERS,
    f"POST {G}grants": OPERATORS,
    f"GET {G}grants/<uuid:id>": READERS,
    f"GET {G}grants/<uuid:id>/uses": READERS,
    f"POST {G}grants/<uuid:id>/revoke": OPERATORS,
    f"GET {G}freezes": READERS,
    f"POST {G}freezes": OPERATORS,
    f"GET {G}freezes/<uuid:id>": READERS,
    f"POST {G}freezes/<uuid:id>/end": OPERATORS,
    f"GET {G}freezes/<uuid:id>/exceptions": READERS,
    f"POST {G}freezes/<uuid:id>/exceptions": OPERATORS,
    f"GET {G}delegations": READERS,
    f"POST {G}delegations": REVIEWERS,
    f"GET {G}delegations/<uuid:id>": READERS,
    f"POST {G}delegations/<uuid:id>/revoke": OPERATORS,
    f"GET {G}break-glass": READERS,
    f"POST {G}break-glass": REVIEWERS,
    f"GET {G}break-glass/<uuid:id>": READERS,
    f"POST {G}break-glass/<uuid:id>/review": REVIEWERS,
    f"GET {G}stream": f"agent {READERS}",
    f"GET {G}webhooks": READERS,
    f"POST {G}webhooks": ADMINISTRATOR,
    f"GET {G}webhooks/<uuid:id>": READERS,
    f"DELETE {G}webhooks/<uuid:id>": ADMINISTRATOR,
    f"POST {G}webhooks/<uuid:id>/rotate": ADMINISTRATOR,
    f"GET {G}webhooks/<uuid:id>/deliveries": READERS,
    f"GET {A}checkpoint": READERS,
    f"GET {A}entries": READERS,
    f"GET {A}entries/<index:leaf_index>": READERS,
    f"GET {A}entries/<index:leaf_index>/receipt": READERS,
    f"POST {A}exports": AUDITORS,
    f"GET {A}exports/<uuid:id>": AUDITORS,
    f"GET {A}exports/<uuid:id>/bundle": AUDITORS,
    f"GET {A}findings": READERS,
    f"POST {A}findings/<index:id>/acknowledge": ADMINISTRATOR,
    f"GET {A}proofs/consistency": READERS,
    f"GET {A}proofs/inclusion": READERS,
    f"GET {A}summary": READERS,
    "GET tlog/tile/entries/<regex>": READERS,
    # Last: it ends the session of whoever asks.
    f"DELETE {G}session": LOGGED_IN,
}
"""Who is let in. Everybody else gets 401 when nobody is logged in, and 403 otherwise."""

PAGES = {
    "GET ": READERS,
    "GET account/second-factor": READERS,
    "POST account/second-factor/begin": READERS,
    "POST account/second-factor/confirm": READERS,
    "POST account/second-factor/prove": READERS,
    "POST account/second-factor/remove": READERS,
    "GET approvals/batch": REVIEWERS,
    "POST approvals/batch/decide": REVIEWERS,
    "GET approvals/<uuid:request_id>": READERS,
    "GET approvals/<uuid:request_id>/brief": READERS,
    "GET approvals/<uuid:request_id>/edit": REVIEWERS,
    "POST approvals/<uuid:request_id>/edit/preview": REVIEWERS,
    "POST approvals/<uuid:request_id>/edit/approve": REVIEWERS,
    "POST approvals/<uuid:request_id>/comment": OPERATORS,
    "POST approvals/<uuid:request_id>/decide": READERS,
    "POST approvals/<uuid:request_id>/withdraw": REVIEWERS,
    "GET approvals/<uuid:request_id>/receipts": READERS,
    "GET contracts": READERS,
    "GET contracts/<uuid:contract_id>": READERS,
    "GET contracts/<uuid:contract_id>/revise": OPERATORS,
    "POST contracts/<uuid:contract_id>/revise/send": OPERATORS,
    "POST contracts/<uuid:contract_id>/cancel": OPERATORS,
    "POST contracts/<uuid:contract_id>/resolve": REVIEWERS,
    "POST contracts/<uuid:contract_id>/retry": OPERATORS,
    "GET holds": READERS,
    "POST holds/engage": OPERATORS,
    "POST holds/<uuid:hold_id>/release": OPERATORS,
    "GET policies": READERS,
    "GET policies/<int:number>": READERS,
    "GET policies/change": OPERATORS,
    "POST policies/change/propose": OPERATORS,
    "GET grants": READERS,
    "POST grants/ask": OPERATORS,
    "POST grants/<uuid:grant_id>/revoke": OPERATORS,
    "GET freezes": READERS,
    "POST freezes/create": OPERATORS,
    "POST freezes/<uuid:freeze_id>/end": OPERATORS,
    "POST freezes/<uuid:freeze_id>/except": OPERATORS,
    "GET delegations": READERS,
    "POST delegations/create": REVIEWERS,
    "POST delegations/<uuid:delegation_id>/end": OPERATORS,
    "GET break-glass": READERS,
    "POST break-glass/use": REVIEWERS,
    "POST break-glass/<uuid:break_glass_id>/review": REVIEWERS,
    "GET agents": READERS,
    "POST agents/create": ADMINISTRATOR,
    "POST agents/<uuid:agent_id>/rotate": ADMINISTRATOR,
    "POST agents/<uuid:agent_id>/revoke": ADMINISTRATOR,
    "POST agents/<uuid:agent_id>/change": OPERATORS,
    "POST agents/<uuid:agent_id>/suspend": OPERATORS,
    "POST agents/<uuid:agent_id>/resume": OPERATORS,
    "GET snapshots": READERS,
    "GET benchmarks": READERS,
    "POST benchmarks/run": OPERATORS,
    "POST benchmarks/<uuid:run_id>/golden": REVIEWERS,
    "GET learning": READERS,
    "GET jobs": READERS,
    "GET webhooks": READERS,
    "POST webhooks/create": ADMINISTRATOR,
    "GET webhooks/<uuid:webhook_id>": READERS,
    "POST webhooks/<uuid:webhook_id>/rotate": ADMINISTRATOR,
    "POST webhooks/<uuid:webhook_id>/off": ADMINISTRATOR,
    "POST webhooks/<uuid:webhook_id>/deliveries/<uuid:delivery_id>/redeliver": ADMINISTRATOR,
    "GET audit": READERS,
    "GET audit/entries/<index:leaf_index>": READERS,
    "POST audit/findings/<index:finding_id>/acknowledge": ADMINISTRATOR,
    "POST audit/export": AUDITORS,
    "GET audit/exports/<uuid:job_id>": AUDITORS,
    "GET overview": READERS,
    "GET missions": READERS,
    "GET missions/<uuid:mission_id>": READERS,
    "POST missions/<uuid:mission_id>/complete": OPERATORS,
    "POST missions/<uuid:mission_id>/abandon": OPERATORS,
    "GET playbooks": READERS,
    "GET playbooks/<slug:name>": READERS,
    "POST playbooks/<slug:name>/run": OPERATORS,
    "GET incidents": READERS,
    "GET incidents/<uuid:incident_id>": READERS,
}
"""Pages know sessions only: without one (an agent's key is none) they send people to log in."""

OPEN = {
    "GET healthz": ANYBODY,
    "GET readyz": ANYBODY,
    "GET metrics": ANYBODY,
    "GET api/schema": ANYBODY,
    "GET api/docs": ANYBODY,
    "GET docs": ANYBODY,
    "GET tlog/checkpoint": ANYBODY,
    "GET tlog/tile/<regex>": ANYBODY,
}
"""Nobody is asked who they are (health and metrics are limited by address instead; hashes tell nothing)."""

SAMPLES = {
    "uuid": "01a20900-0000-7000-8000-000000000000",
    "slug": "nothing",
    "str": "nothing",
    "path": "nothing",
    "int": "1",
    "index": "1",
}
REGEX_SAMPLES = {
    "tlog/tile/entries/<regex>": "/tlog/tile/entries/000.p/1",
    "tlog/tile/<regex>": "/tlog/tile/0/000.p/1",
    "admin/<regex>": "/admin/nothing",
}


def addresses(patterns: Any = None, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Every pattern of the project with its whole route."""
    for each in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + readable(str(each.pattern))
        if isinstance(each, URLResolver):
            yield from addresses(each.url_patterns, route)
        else:
            yield route, each


def readable(pattern: str) -> str:
    """A pattern that is a regular expression is named by what it begins with."""
    return re.sub(r"\^?([^(]*)\(\?P.*", r"\1<regex>", pattern)


def rows_there_are() -> set[str]:
    """Every method and route outside the admin; of a view that does not say its methods, what the tables say."""
    said = {*API, *PAGES, *OPEN}
    found = set()
    for route, pattern in addresses():
        if route.startswith("admin/"):
            continue
        view = getattr(pattern.callback, "cls", None)
        if view is not None and route.startswith(("api/", "tlog/")):
            found |= {
                f"{name.upper()} {route}" for name in ("get", "post", "put", "patch", "delete") if hasattr(view, name)
            }
        else:
            found |= {row for row in said if row.partition(" ")[2] == route} or {f"??? {route}"}
    return found


def path_of(route: str) -> str:
    """An address with something in its places, which does not exist."""
    if route in REGEX_SAMPLES:
        return REGEX_SAMPLES[route]
    return "/" + re.sub(r"<(?:(\w+):)?\w+>", lambda match: SAMPLES[match[1] or "str"], route)


@pytest.fixture
def callers(users: People) -> dict[str, Api]:
    cache.clear()
    seeds.seed(now=datetime.now(UTC))
    people = {name: Api(user=getattr(users, name)) for name in ROLES if name not in ("anonymous", "agent")}
    return {"anonymous": Api(), "agent": Api(key=agent_of(users.ada, datetime.now(UTC))[1]), **people}


def test_every_address_has_a_row_and_every_row_an_address() -> None:
    said = {*API, *PAGES, *OPEN}
    there = rows_there_are()
    assert there - said == set(), "addresses without a row"
    assert said - there == set(), "rows without an address"


@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
def test_the_api_lets_in_exactly_whom_it_should(role: str, callers: dict[str, Api]) -> None:
    wrong = []
    for row, allowed in {**API, **OPEN}.items():
        method, _, route = row.partition(" ")
        response = callers[role].send(method, path_of(route), {} if method == "POST" else None)
        expected = "in" if role in allowed.split() else "401" if role == "anonymous" else "403"
        if outcome(response) != expected:
            wrong.append(f"{row}: {response.status_code} instead of {expected}: {response.content[:200]!r}")
    assert wrong == []


@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
def test_the_pages_let_in_exactly_whom_they_should(role: str, callers: dict[str, Api]) -> None:
    wrong = []
    for row, allowed in PAGES.items():
        method, _, route = row.partition(" ")
        response = callers[role].send(method, path_of(route))
        expected = "in" if role in allowed.split() else "login" if role in ("anonymous", "agent") else "403"
        if outcome(response) != expected:
            wrong.append(f"{row}: {response.status_code} instead of {expected}: {response.content[:200]!r}")
    assert wrong == []


@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
def test_the_admin_is_for_staff_and_adds_and_deletes_nothing(role: str, callers: dict[str, Api]) -> None:
    wrong = []
    for route, _ in addresses():
        if not route.startswith("admin/") or route in ("admin/login/", "admin/logout/", "admin/jsi18n/"):
            continue
        response = callers[role].get(path_of(route))
        refused = response.status_code in (302, 403, 404)
        changes = route.endswith(("/add/", "/delete/"))
        if role in ("anonymous", "agent", "cleo"):
            fine = outcome(response) == "login" or response.status_code in (403, 404)
        elif changes and not (role == "administrator" and route.startswith("admin/auth/")):
            fine = refused
        else:
            fine = response.status_code < 500
        if not fine:
            wrong.append(f"{route}: {response.status_code}")
    assert wrong == []


def outcome(response: Any) -> str:
    """How a caller fared: let in, sent to log in, refused, or lost in a fault of ours."""
    status = response.status_code
    if status in (401, 403):
        return str(status)
    if status == 302 and "/login" in response["Location"]:
        return "login"
    # The stream says so when it is asked under WSGI, and readiness when something is not ready.
    honest = status == 503 and b"internal" not in response.content
    return "in" if (status < 500 and status != 405) or honest else f"fault {status}"
