"""Webhooks: who is told of which facts, whether it arrived, and their secrets (never shown but once)."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog.refusals import Refused
from governance import principals, typed
from governance import webhooks as verbs
from governance.models import Delivery, Webhook

from . import base, secrets
from .base import PageRequest


@base.page("webhooks.read")
def webhooks(request: PageRequest) -> HttpResponse:
    """Who is told, and whether it arrived."""
    return show(request)


def show(request: PageRequest, *, refused: Refused | None = None) -> HttpResponse:
    """The list; `refused` stands in the form that makes another one."""
    rows = Webhook.objects.defer("secret_sealed", "previous_secret_sealed").annotate(
        **{
            state: Count("deliveries", filter=Q(deliveries__state=state))
            for state in (Delivery.State.DELIVERED, Delivery.State.PENDING, Delivery.State.DEAD)
        }
    )
    return render(
        request,
        "console/webhooks.html",
        {"shown": base.cut(request, rows), "refused": refused, "refused_form": "create" if refused else ""},
    )


@base.page("webhooks.read")
def webhook(request: PageRequest, webhook_id: UUID) -> HttpResponse:
    """One receiver and what was sent to it."""
    return show_one(request, webhook_id)


def show_one(
    request: PageRequest, webhook_id: UUID, delivery_id: UUID | None = None, *, refused: Refused | None = None
) -> HttpResponse:
    """The page of one receiver."""
    hook = base.find(request, Webhook.objects.defer("secret_sealed", "previous_secret_sealed"), pk=webhook_id)
    deliveries = base.filtered(request, hook.deliveries.defer("payload"), state="state", fact="fact")
    return render(
        request,
        "console/webhook.html",
        {
            "hook": hook,
            "both": hook.previous_until is not None and hook.previous_until > base.now(),
            "shown": base.cut(request, deliveries),
            "states": Delivery.State.choices,
            "overlap": int(verbs.OVERLAP.total_seconds() // 3600),
            "refused": refused,
            "refused_form": "" if delivery_id or not refused else "rotate",
        },
    )


@base.act("webhooks.manage", shown_by=show)
def create(request: PageRequest) -> HttpResponse:
    """Tell an address of facts, and show its secret this once."""
    form = typed.Form(request.POST)
    made = verbs.create(
        url=form.text("url"), facts=form.words("facts"), by=principals.actor_of(request.user), now=base.now()
    )
    return secrets.shown_once(request, "The secret of the webhook", made.secret, back="webhooks", kind="secret")


@base.act("webhooks.manage", shown_by=show_one)
def rotate(request: PageRequest, webhook_id: UUID) -> HttpResponse:
    """Give a receiver another secret, and show it this once."""
    form = typed.Form(request.POST)
    overlap = form.span("overlap", otherwise=verbs.OVERLAP)
    form.finish()
    made = verbs.rotate(
        webhook_id=webhook_id,
        overlap=overlap,
        by=principals.actor_of(request.user),
        now=base.now(),
    )
    return secrets.shown_once(request, "The new secret of the webhook", made.secret, back="webhooks", kind="secret")


@base.act("webhooks.manage", shown_by=show_one)
def switch_off(request: PageRequest, webhook_id: UUID) -> HttpResponse:
    """Tell an address no more."""
    hook = verbs.switch_off(webhook_id=webhook_id, by=principals.actor_of(request.user), now=base.now())
    messages.success(request, f"{hook} is told nothing more.")
    return redirect("webhook", webhook_id=webhook_id)


@base.act("webhooks.manage", shown_by=show_one)
def redeliver(request: PageRequest, webhook_id: UUID, delivery_id: UUID) -> HttpResponse:
    """Send a delivery again, under the same id."""
    base.find(request, Delivery.objects.filter(webhook_id=webhook_id), pk=delivery_id)
    verbs.redeliver(delivery_id=delivery_id, by=principals.actor_of(request.user), now=base.now())
    messages.success(request, "It is sent again.")
    return redirect("webhook", webhook_id=webhook_id)
