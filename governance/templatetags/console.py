"""Tags of the console: states as chips, times as distances, JSON and diffs whole, the navigation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import template
from django.conf import settings
from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from governance import principals
from governance import receipts as receipting
from governance.models import ApprovalRequest, Hold
from governance.pages import diffs, pretty, wordings, words

register = template.Library()

NAVIGATION: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Decide",
        (
            ("inbox", "Approvals", "approvals.read"),
            ("delegations", "Delegations", "delegations.read"),
            ("break-glass", "Break-glass", "breakglass.read"),
            ("holds", "Holds", "holds.read"),
            ("freezes", "Freezes", "freezes.read"),
        ),
    ),
    (
        "Work",
        (
            ("overview", "Overview", "overview.read"),
            ("contracts", "Contracts", "contracts.read"),
            ("missions", "Missions", "missions.read"),
            ("incidents", "Incidents", "incidents.read"),
            ("playbooks", "Playbooks", "playbooks.read"),
            ("learning", "Learning", "learning.read"),
            ("snapshots", "Snapshots", "snapshots.read"),
            ("benchmarks", "Benchmarks", "benchmarks.read"),
            ("jobs", "Jobs", "jobs.read"),
        ),
    ),
    (
        "Rules",
        (
            ("policies", "Policies", "policies.read"),
            ("grants", "Grants", "grants.read"),
            ("agents", "Agents", "agents.read"),
            ("webhooks", "Webhooks", "webhooks.read"),
        ),
    ),
    ("Proof", (("audit", "Audit log", "auditlog.read"),)),
)
"""Groups of (URL name, label, permission); an entry shows where its page exists and may be read."""


@register.inclusion_tag("console/nav.html", takes_context=True)
def nav(context: template.Context) -> dict[str, Any]:
    """The navigation of somebody who is logged in, with the number of open requests and what is held."""
    request = context["request"]
    can: frozenset[str] = getattr(request, "permissions", frozenset())
    groups = [
        (title, [link for item in items if (link := _link(item, can, request.path))]) for title, items in NAVIGATION
    ]
    return {
        "request": request,
        "user": request.user,
        "groups": [group for group in groups if group[1]],
        "member_of": sorted(principals.groups_of(request.user.pk)) if can else [],
        "pending": ApprovalRequest.objects.filter(state=ApprovalRequest.State.PENDING).count() if can else 0,
    }


def _link(item: tuple[str, str, str], can: frozenset[str], path: str) -> dict[str, Any] | None:
    name, label, permission = item
    try:
        address = reverse(name)
    except NoReverseMatch:
        return None
    if permission not in can:
        return None
    here = path == address if address == "/" else path.startswith(address)
    here = here or (name == "inbox" and path.startswith("/approvals"))
    return {"name": name, "label": label, "address": address, "here": here}


@register.simple_tag(takes_context=True)
def held(context: template.Context) -> list[Hold]:
    """The holds in force, for whoever may read them."""
    if "holds.read" not in getattr(context["request"], "permissions", ()):
        return []
    return list(Hold.objects.filter(released_at=None).order_by("-engaged_at")[:5])


@register.simple_tag
def live_stream() -> str:
    """The address of the live stream, or nothing where streams are switched off."""
    return "/api/governance/stream" if settings.SSE_ENABLED else ""


@register.simple_tag
def state(value: Any, label: str = "") -> SafeString:
    """A state as a chip."""
    return format_html(
        '<span class="chip chip--dot chip--{}">{}</span>', words.tone(value), label or words.spoken(value)
    )


@register.simple_tag
def tier(value: str) -> SafeString | str:
    """A tier as a chip, in its own spelling."""
    tone = {"tier_1": "quiet", "tier_2": "info", "tier_3": "deep", "deny": "bad"}.get(value)
    return format_html('<span class="chip chip--tier chip--{}">{}</span>', tone, value) if tone else ""


@register.inclusion_tag("console/risk.html")
def risk(score: int) -> dict[str, Any]:
    """A risk score as bars, a word and the number."""
    level = words.risk_level(score)
    return {"score": score, "level": level, "bars": {"low": 1, "medium": 2, "high": 3}[level]}


@register.simple_tag
def when(at: datetime | None, never: str = "never") -> SafeString | str:
    """A time as its distance from now; the exact time is in the element."""
    if at is None:
        return never
    exact = at.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        exact.isoformat(timespec="seconds"),
        exact.strftime("%Y-%m-%d %H:%M:%S"),
        words.distance(at, datetime.now(UTC)),
    )


@register.filter
def exact(at: datetime | None) -> str:
    """A time in full, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at else ""


@register.filter
def spoken(value: Any) -> str:
    """A code as words."""
    return words.spoken(value)


@register.filter
def spoken_fact(fact: str) -> str:
    """A fact's name as a short sentence."""
    return words.sentence(fact)


@register.filter
def verdict(value: Any) -> str:
    """What somebody did by deciding so."""
    return words.verdict(value)


@register.filter
def tone(value: Any) -> str:
    """Whether a state is good news."""
    return words.tone(value)


@register.filter
def pretty_json(value: Any) -> SafeString:
    """A JSON value whole, indented and coloured, nothing invisible."""
    return pretty.json_html(value)


@register.simple_tag
def wording(value: Any) -> SafeString | str:
    """A member of one of several wordings, or that this one has none."""
    return format_html('<span class="muted">absent</span>') if value is wordings.ABSENT else pretty.json_html(value)


@register.filter
def visible(value: Any) -> str:
    """Text with nothing invisible in it."""
    return pretty.visible(str(value))


@register.filter
def percent(value: Any) -> str:
    """A number from 0 to 1 in the hundred."""
    return "" if value is None else f"{float(value):.0%}"


@register.filter
def seconds(value: Any) -> str:
    """A number of seconds as a length of time."""
    from datetime import timedelta

    return words.duration(timedelta(seconds=float(value or 0)))


@register.filter
def of_dict(mapping: Any, name: str) -> Any:
    """A member by a name only known when rendering."""
    return mapping.get(name) if hasattr(mapping, "get") else None


@register.inclusion_tag("console/preview.html")
def preview(shown: dict[str, Any]) -> dict[str, Any]:
    """What an action would do: a diff line by line, or the text or JSON as it is."""
    body = str(shown.get("body", ""))
    if shown.get("kind") != "diff":
        return {"preview": shown, "lines": [], "body": pretty.visible(body)}
    lines = diffs.read(body)
    added, removed = diffs.counts(lines)
    return {
        "preview": shown,
        "lines": lines,
        "added": added,
        "removed": removed,
        "body": pretty.visible(body),
    }


@register.inclusion_tag("console/timeline.html", takes_context=True)
def timeline(context: template.Context, moments: list[Any]) -> dict[str, Any]:
    """A story, oldest first; whoever reads the log goes from here to its entries, and to receipts of decisions."""
    reads = "auditlog.read" in getattr(context["request"], "permissions", ())
    return {"moments": moments, "reads": reads, "signed": receipting.signed_size() if reads and moments else 0}


@register.inclusion_tag("console/receipts.html", takes_context=True)
def receipts(context: template.Context, item: ApprovalRequest) -> dict[str, Any]:
    """The receipts of the decisions on a request, for whoever reads the log."""
    request = context["request"]
    reads = "auditlog.read" in getattr(request, "permissions", ())
    found = receipting.of([item.pk]) if reads else []
    waiting = not all(each.ready for each in found)
    return {"receipts": found, "waiting": waiting, "request_id": item.pk, "again": request.get_full_path()}


@register.simple_tag(takes_context=True)
def typed(context: template.Context, name: str, otherwise: Any = "") -> Any:
    """What was typed into a field of a form that was refused."""
    return context["request"].POST.get(name, otherwise)


@register.simple_tag(takes_context=True)
def asked(context: template.Context, name: str) -> str:
    """A parameter of the query."""
    return str(context["request"].GET.get(name, ""))


@register.filter
def admin_page(row: Model) -> str:
    """Where the admin shows a row."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


@register.filter
def admin_list(options: Any) -> str:
    """The name of a model's list in the admin."""
    return f"admin:{options.app_label}_{options.model_name}_changelist"
