"""One's own second factor: adding a device, proving it for this session, and taking it off."""

from __future__ import annotations

from functools import partial

import segno
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme

from auditlog.refusals import FieldError, Refused
from governance import principals, proving
from governance import second_factor as verbs

from . import base
from .base import PageRequest


class WrongPassword(Refused):
    """Not this person's password."""

    code = "wrong_password"
    kind = Refused.Kind.INVALID


@base.page("approvals.read")
def second_factor(request: PageRequest) -> HttpResponse:
    """Whether there is one, and what can be done about it."""
    return show(request)


def show(request: PageRequest, *, refused: Refused | None = None, form: str = "") -> HttpResponse:
    """The page; `refused` stands in the form it belongs to."""
    enrolled = verbs.is_enrolled(request.user)
    device = None if enrolled else verbs.begun(request.user, now=base.now())
    return render(
        request,
        "console/second_factor.html",
        {
            "enrolled": enrolled,
            "proved": proving.is_proved(request),
            "secret": _grouped(device.config_url) if device else "",
            "picture": _picture(device.config_url) if device else None,
            "next": _next(request),
            "refused": refused,
            "refused_form": form,
        },
    )


@base.act("approvals.read", shown_by=partial(show, form="begin"))
def begin(request: PageRequest) -> HttpResponse:
    """Make a secret for a device, once the password was typed again."""
    if not proving.knows_password(request, request.POST.get("password", "")):
        detail = "This is not your password."
        raise WrongPassword(detail, errors=[FieldError("/password", "wrong_password", detail)])
    verbs.begin(by=principals.actor_of(request.user), user=request.user, now=base.now())
    return redirect("second-factor")


@base.act("approvals.read", shown_by=partial(show, form="confirm"))
def confirm(request: PageRequest) -> HttpResponse:
    """The first code of the device; it is proved for this session at once."""
    now = base.now()
    verbs.confirm(code=_code(request), by=principals.actor_of(request.user), user=request.user, now=now)
    proving.note(request, now=now)
    messages.success(request, "Your second factor is added.")
    return redirect("second-factor")


@base.act("approvals.read", shown_by=partial(show, form="prove"))
def prove(request: PageRequest) -> HttpResponse:
    """A code, for the decisions of the next while; then back to where it was asked for."""
    now = base.now()
    verbs.prove(code=_code(request), by=principals.actor_of(request.user), user=request.user, now=now)
    proving.note(request, now=now)
    messages.success(request, "You have proved your second factor.")
    return redirect(_next(request) or "second-factor")


@base.act("approvals.read", shown_by=partial(show, form="remove"))
def remove(request: PageRequest) -> HttpResponse:
    """Take it off, with a code of it."""
    verbs.remove(code=_code(request), by=principals.actor_of(request.user), user=request.user, now=base.now())
    proving.forget(request)
    messages.success(request, "Your second factor is removed.")
    return redirect("second-factor")


def _code(request: PageRequest) -> str:
    """What was typed; apps show a code in two groups."""
    return request.POST.get("code", "").replace(" ", "")[:20]


def _next(request: PageRequest) -> str:
    """Where to go back to, if that is a page of this site."""
    wanted = (request.POST if request.method == "POST" else request.GET).get("next", "")
    fine = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if fine else ""


def _grouped(config_url: str) -> str:
    """The secret in groups of four, for those who type it."""
    secret = config_url.partition("secret=")[2].partition("&")[0].rstrip("=").replace("%3D", "")
    return " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))


def _picture(config_url: str) -> dict[str, object]:
    """A QR code (ISO/IEC 18004) as the path of an SVG and its box, with the quiet zone of four modules around it."""
    modules = segno.make(config_url, error="m").matrix
    dark = (f"M{x} {y}h1v1h-1z" for y, row in enumerate(modules) for x, bit in enumerate(row) if bit)
    side = len(modules) + 8
    return {"path": "".join(dark), "box": f"-4 -4 {side} {side}", "pixels": side * 4}
