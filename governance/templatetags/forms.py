"""Tags of forms: a field with its label, its hint, what was typed into it, and what is wrong with that."""

from __future__ import annotations

from typing import Any

from django import template

from auditlog.refusals import Refused

register = template.Library()


@register.inclusion_tag("console/field.html", takes_context=True)
def field(context: template.Context, name: str, label: str, **more: Any) -> dict[str, Any]:
    """One field. `kind` is text, textarea, select, number, time, url or checkboxes.

    More: value (before anything is typed), hint, options (for select and checkboxes: values, or pairs of value and
    label), required, max, min, mono, rows, list, at (the pointer of refusals, "/name" unless told), and form: a page
    with several forms says in `refused_form` whose entries were refused.
    """
    form = str(more.get("form", ""))
    refused: Refused | None = context.get("refused")
    ours = refused is not None and str(context.get("refused_form") or "") == form
    sent = context["request"].POST
    several = more.get("kind") == "checkboxes"
    kept = more.get("value", "")
    # What was typed into a password is never sent back.
    if ours and (sent or several) and more.get("kind") != "password":
        kept = sent.getlist(name) if several else sent.get(name, "")
    at = more.get("at", f"/{name}")
    return {
        "kind": "text",
        **more,
        "name": name,
        "label": label,
        "id": f"{form}-{name}" if form else name,
        "value": kept,
        "options": [_pair(option) for option in more.get("options", ())],
        "errors": [error.detail for error in refused.errors if _about(error.pointer, at)] if ours and refused else [],
    }


@register.inclusion_tag("console/form_refused.html", takes_context=True)
def form_refused(context: template.Context, form: str = "") -> dict[str, Any]:
    """Why the form was refused, above its fields, and where to look: each error leads to its field."""
    refused: Refused | None = context.get("refused")
    ours = refused is not None and str(context.get("refused_form") or "") == form
    if not ours or refused is None:
        return {}
    found = [
        (_field_of(error.pointer, form), error.detail, error.pointer.removeprefix("/")) for error in refused.errors
    ]
    return {"refused": refused, "found": found}


def _pair(option: Any) -> tuple[Any, Any]:
    return option if isinstance(option, tuple) else (option, option)


def _about(pointer: str, at: str) -> bool:
    return pointer == at or pointer.startswith(f"{at}/")


def _field_of(pointer: str, form: str) -> str:
    name = pointer.removeprefix("/").partition("/")[0]
    return f"{form}-{name}" if form else name
