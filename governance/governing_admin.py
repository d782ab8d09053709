"""Governance in the admin, the part about what may happen at all: agents, grants, delegations, freezes, policies."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.utils import timezone

from auditlog.admin_verbs import (
    REASON,
    REASON_IF_ANY,
    AskedVerb,
    Evidence,
    Field,
    Pressed,
    ShownOnce,
    VerbAdmin,
    as_json,
)
from auditlog.read_only import ReadOnlyAdmin

from . import agents, amendments, breakglass, delegations, freezes, granting, grants, policies, typed, webhooks
from .models import (
    Agent,
    AgentKey,
    BreakGlass,
    Delegation,
    Delivery,
    Freeze,
    FreezeException,
    Grant,
    GrantUse,
    Policy,
    Webhook,
)
from .policy import Tier

ASKS_PEOPLE = "This proposes a tier_3 action, on which people decide."
OVERLAP = Field("overlap", "The old one stays good for, in hours", begins=lambda: "24")
KEY_DAYS = Field("key_days", "The key is good for, in days", begins=lambda: str(agents.KEY_DAYS))


def _who(pressed: Pressed) -> dict[str, Any]:
    return {"by": pressed.by, "user": pressed.user, "now": timezone.now()}


def _in_a_week() -> str:
    return typed.for_input(timezone.now() + timedelta(days=7))


# --- agents ----------------------------------------------------------------------------------------------------


def _makes_agent(pressed: Pressed) -> object:
    form = typed.Form(pressed.form)
    limit = form.whole("open_request_limit", otherwise=0)
    days = form.whole("key_days", otherwise=agents.KEY_DAYS)
    form.finish()
    agent, key = agents.create(
        name=form.text("name"),
        owner=agents.owner_named(form.text("owner")),
        allowed_action_types=form.words("allowed_action_types"),
        open_request_limit=limit or None,
        key_days=days,
        by=pressed.by,
        now=timezone.now(),
    )
    return ShownOnce(f"The key of {agent}", key)


def _rotates_key(pressed: Pressed) -> object:
    form = typed.Form(pressed.form)
    overlap = form.span("overlap", otherwise=agents.OVERLAP)
    days = form.whole("key_days", otherwise=agents.KEY_DAYS)
    form.finish()
    key = agents.rotate(
        agent_id=pressed.row.pk,
        overlap=overlap,
        key_days=days,
        by=pressed.by,
        now=timezone.now(),
    )
    return ShownOnce(f"The new key of {pressed.row}", key)


def _suspends_agent(pressed: Pressed) -> object:
    return agents.suspend(agent_id=pressed.row.pk, reason=pressed.reason, **_who(pressed))


def _resumes_agent(pressed: Pressed) -> object:
    return agents.resume(agent_id=pressed.row.pk, reason=pressed.reason, **_who(pressed))


def _changes_agent(pressed: Pressed) -> object:
    form = typed.Form(pressed.form)
    limit = form.whole("open_request_limit", otherwise=0)
    form.finish()
    return agents.change(
        agent_id=pressed.row.pk,
        allowed_action_types=form.words("allowed_action_types"),
        open_request_limit=limit or pressed.row.open_request_limit,
        reason=pressed.reason,
        **_who(pressed),
    )


def _revokes_agent(pressed: Pressed) -> object:
    return agents.revoke(agent_id=pressed.row.pk, by=pressed.by, reason=pressed.reason, now=timezone.now())


@admin.register(Agent)
class AgentAdmin(VerbAdmin):
    """Programs that propose."""

    reads = "agents.read"
    list_display = ("name", "state", "owner", "open_request_limit", "created_at")
    list_filter = ("state",)
    list_select_related = ("owner",)
    search_fields = ("name",)
    asked = (
        AskedVerb(
            "rotate",
            "Make another key",
            "agents.manage",
            _rotates_key,
            shows=lambda row: row.state == Agent.State.ACTIVE,
            fields=(OVERLAP, KEY_DAYS),
            words="The key is shown once, on the next page.",
        ),
        AskedVerb(
            "change",
            "Change what it may",
            "agents.answer_for",
            _changes_agent,
            shows=lambda row: row.state != Agent.State.REVOKED,
            fields=(
                Field("allowed_action_types", "May propose", required=False, hint="Globs; nothing for all."),
                Field("open_request_limit", "Open requests at most", required=False, hint="As before unless given."),
                REASON_IF_ANY,
            ),
        ),
        AskedVerb(
            "suspend",
            "Suspend",
            "agents.answer_for",
            _suspends_agent,
            shows=lambda row: row.state == Agent.State.ACTIVE,
            fields=(REASON_IF_ANY,),
            words="Its keys open nothing until it is resumed.",
            stops=True,
        ),
        AskedVerb(
            "resume",
            "Resume",
            "agents.answer_for",
            _resumes_agent,
            shows=lambda row: row.state == Agent.State.SUSPENDED,
            fields=(REASON_IF_ANY,),
            words="It goes on with the keys it has.",
        ),
        AskedVerb(
            "revoke",
            "Revoke",
            "agents.manage",
            _revokes_agent,
            shows=lambda row: row.state != Agent.State.REVOKED,
            fields=(REASON_IF_ANY,),
            words="None of its keys opens anything afterwards. This cannot be undone.",
            stops=True,
        ),
    )
    asked_of_list = (
        AskedVerb(
            "create",
            "Make an agent",
            "agents.manage",
            _makes_agent,
            fields=(
                Field("name", "Name", hint="Small letters, digits and hyphens."),
                Field("owner", "Owner", hint="A username: who answers for it and can never approve what it asks."),
                Field(
                    "allowed_action_types",
                    "May propose",
                    required=False,
                    hint="Action types or globs; nothing for all.",
                ),
                Field("open_request_limit", "Open requests at most", required=False),
                KEY_DAYS,
            ),
            words="Its key is shown once, on the next page.",
        ),
    )

    def evidence(self, row: Agent) -> list[Evidence]:
        """Who it is and who answers for it."""
        return [
            Evidence("Agent", "text", f"{row.name}, {row.state}, owned by {row.owner}"),
            Evidence("May propose", "json", row.allowed_action_types or ["everything"]),
        ]


@admin.register(AgentKey)
class AgentKeyAdmin(ReadOnlyAdmin):
    """What is known of keys; the keys themselves were shown once."""

    reads = "agents.read"
    list_display = ("token_key", "agent", "created_at", "expires_at", "last_used_at", "revoked_at")
    list_select_related = ("agent",)
    fields = (*("token_key", "agent", "created_by_label", "created_at", "expires_at", "last_used_at", "revoked_at"),)
    readonly_fields = fields


# --- grants ----------------------------------------------------------------------------------------------------


def _asks_for_grant(pressed: Pressed) -> object:
    form = typed.Form(pressed.form)
    wanted = {
        **{name: form.text(name) for name in ("agent", "action_type", "target", "when", "reason")},
        "max_uses": form.whole("max_uses"),
        "expires_at": form.time("expires_at"),
    }
    form.finish()
    return grants.ask(**wanted, **_who(pressed))


def _revokes_grant(pressed: Pressed) -> object:
    return grants.revoke(grant_id=pressed.row.pk, reason=pressed.reason, **_who(pressed))


@admin.register(Grant)
class GrantAdmin(VerbAdmin):
    """What agents may do without asking."""

    reads = "grants.read"
    list_display = ("agent", "action_type", "target", "use_count", "max_uses", "expires_at", "revoked_at")
    list_filter = ("action_type", ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("agent",)
    search_fields = ("agent__name", "target", "=contract_id")
    asked = (
        AskedVerb(
            "revoke",
            "Take it away",
            "grants.revoke",
            _revokes_grant,
            shows=lambda row: granting.state(row, now=timezone.now()) == granting.State.ACTIVE,
            fields=(REASON,),
            words="At once. What was authorized on it and has not begun goes to people.",
            stops=True,
        ),
    )
    asked_of_list = (
        AskedVerb(
            "ask",
            "Ask for a grant",
            "grants.ask",
            _asks_for_grant,
            fields=(
                Field("agent", "Agent", hint="Its name."),
                Field("action_type", "Action type"),
                Field("target", "Target", hint="A name or a pattern such as file:cache/*.json."),
                Field("when", "Only when", required=False, hint="A CEL condition over parameters."),
                Field("max_uses", "Uses at most"),
                Field("expires_at", "Until, in UTC", hint="At most 90 days ahead.", begins=_in_a_week),
                REASON,
            ),
            words=ASKS_PEOPLE,
        ),
    )

    def evidence(self, row: Grant) -> list[Evidence]:
        """Its bounds, and what is left of it."""
        when = f" when {row.when}" if row.when else ""
        return [
            Evidence("Grant", "text", f"{row.agent.name} may do {row.action_type} on {row.target}{when}"),
            Evidence("Uses", "text", f"{row.use_count} of {row.max_uses}, until {row.expires_at:%Y-%m-%d %H:%M} UTC"),
        ]


@admin.register(GrantUse)
class GrantUseAdmin(ReadOnlyAdmin):
    """What ran on grants."""

    reads = "grants.read"
    list_display = ("contract", "grant", "used_at")
    list_select_related = ("contract", "grant")


# --- freezes ---------------------------------------------------------------------------------------------------


def _makes_freeze(pressed: Pressed) -> object:
    form = typed.Form(pressed.form)
    wanted = {
        **{name: form.text(name) for name in ("name", "minimum_tier", "reason")},
        "rule": form.text("rule").replace("\r\n", "\n"),
        "duration_seconds": form.hours("duration_seconds"),
    }
    form.finish()
    return freezes.create(**wanted, **_who(pressed))


def _asks_to_end_freeze(pressed: Pressed) -> object:
    return freezes.ask_to_end(freeze_id=pressed.row.pk, reason=pressed.reason, **_who(pressed))


def _asks_for_exception(pressed: Pressed) -> object:
    form = typed.Form(pressed.form)
    contract_id: UUID = form.id("contract_id")
    form.finish()
    return freezes.ask_exception(
        freeze_id=pressed.row.pk, contract_id=contract_id, reason=pressed.reason, **_who(pressed)
    )


@admin.register(Freeze)
class FreezeAdmin(VerbAdmin):
    """Recurring times in which nothing of a tier starts."""

    reads = "freezes.read"
    list_display = ("name", "minimum_tier", "duration_seconds", "reason", "created_at", "ended_at")
    list_filter = ("minimum_tier", ("ended_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "reason")
    asked = (
        AskedVerb(
            "except",
            "Ask for an exception",
            "freezes.change",
            _asks_for_exception,
            shows=lambda row: row.ended_at is None,
            fields=(Field("contract_id", "Contract", hint="The id of the contract that may start."), REASON),
            words=ASKS_PEOPLE,
        ),
        AskedVerb(
            "end",
            "Ask to end it",
            "freezes.change",
            _asks_to_end_freeze,
            shows=lambda row: row.ended_at is None,
            fields=(REASON,),
            words=ASKS_PEOPLE,
        ),
    )
    asked_of_list = (
        AskedVerb(
            "create",
            "Freeze a time",
            "freezes.create",
            _makes_freeze,
            fields=(
                Field("name", "Name"),
                Field("rule", "Calendar", rows=3, hint="RFC 5545: a DTSTART with a time zone, and an RRULE."),
                Field("duration_seconds", "Lasts, in hours"),
                Field("minimum_tier", "From this tier on", choices=tuple((tier.value, tier.value) for tier in Tier)),
                REASON,
            ),
            words="Making one takes one person; ending it takes the people of tier_3.",
            stops=True,
        ),
    )

    def evidence(self, row: Freeze) -> list[Evidence]:
        """The calendar, and why there is one."""
        return [Evidence("Calendar", "text", row.rule), Evidence("Reason", "text", row.reason)]


@admin.register(FreezeException)
class FreezeExceptionAdmin(ReadOnlyAdmin):
    """Contracts that may start in spite of a freeze."""

    reads = "freezes.read"
    list_display = ("contract", "revision", "freeze", "created_at", "withdrawn_at")
    list_select_related = ("contract", "freeze")


# --- delegations -----------------------------------------------------------------------------------------------


def _delegates(pressed: Pressed) -> object:
    form = typed.Form(pressed.form)
    wanted = {
        "delegate": form.text("delegate"),
        "groups": form.words("groups"),
        "starts_at": form.time("starts_at", required=False),
        "ends_at": form.time("ends_at"),
        "reason": form.text("reason"),
    }
    form.finish()
    return delegations.create(**wanted, **_who(pressed))


def _ends_delegation(pressed: Pressed) -> object:
    return delegations.end(delegation_id=pressed.row.pk, reason=pressed.reason, **_who(pressed))


def _not_theirs(row: Delegation, user: Any) -> str:
    return "" if delegations.may_end(row, user) else "Only who delegated, the delegate, or an administrator may end it."


@admin.register(Delegation)
class DelegationAdmin(VerbAdmin):
    """Who decides in whose name."""

    reads = "delegations.read"
    list_display = ("delegate_label", "delegator_label", "starts_at", "ends_at", "ended_at", "reason")
    list_filter = (("ended_at", admin.EmptyFieldListFilter),)
    search_fields = ("delegate_label", "delegator_label")
    asked = (
        AskedVerb(
            "end",
            "End it now",
            "delegations.end",
            _ends_delegation,
            shows=lambda row: row.ended_at is None,
            forbids=_not_theirs,
            fields=(REASON_IF_ANY,),
            words="What was approved by it and has not begun goes back to people.",
            stops=True,
        ),
    )
    asked_of_list = (
        AskedVerb(
            "create",
            "Let somebody decide for you",
            "delegations.create",
            _delegates,
            fields=(
                Field("delegate", "Who", hint="A username."),
                Field("groups", "Only for these groups of yours", required=False, hint="Nothing for all of them."),
                Field("starts_at", "From, in UTC", required=False, hint="Now unless said otherwise."),
                Field("ends_at", "Until, in UTC", hint="At most 31 days after it starts.", begins=_in_a_week),
                REASON,
            ),
            words="They decide with their own account; the log says in whose name. They cannot pass it on.",
        ),
    )


# --- break-glass -----------------------------------------------------------------------------------------------


def _breaks_glass(pressed: Pressed) -> object:
    form = typed.Form(pressed.form)
    body = {
        "action_type": form.text("action_type"),
        "target": form.text("target"),
        "parameters": form.object("parameters"),
        "expected_effect": form.object("expected_effect"),
        "justification": pressed.reason,
        "reason": pressed.reason,
    }
    form.finish()
    proposal, reason = breakglass.read(body)
    return breakglass.use(proposal=proposal, reason=reason, **_who(pressed))


def _reviews(pressed: Pressed) -> object:
    finding = pressed.form.get("finding", "").strip()
    return breakglass.review(break_glass_id=pressed.row.pk, finding=finding, **_who(pressed))


def _cannot_review(row: BreakGlass, user: Any) -> str:
    refusal = breakglass.refusal(row, user, now=timezone.now())
    return refusal.detail if refusal is not None else ""


@admin.register(BreakGlass)
class BreakGlassAdmin(VerbAdmin):
    """What was done on one person's word, and what was found."""

    reads = "breakglass.read"
    list_display = ("contract", "person_label", "reason", "used_at", "reviewer_label", "reviewed_at")
    list_filter = (("reviewed_at", admin.EmptyFieldListFilter),)
    list_select_related = ("contract",)
    search_fields = ("person_label", "reason", "=contract__id")
    asked = (
        AskedVerb(
            "review",
            "Close the review",
            "breakglass.review",
            _reviews,
            shows=lambda row: row.reviewed_at is None,
            forbids=_cannot_review,
            fields=(Field("finding", "What you found", rows=4),),
        ),
    )
    asked_of_list = (
        AskedVerb(
            "use",
            "Break the glass",
            "breakglass.use",
            _breaks_glass,
            fields=(
                Field("action_type", "Action type"),
                Field("target", "Target"),
                Field("parameters", "Parameters (JSON)", rows=4),
                Field("expected_effect", "What must be true afterwards (JSON)", rows=4),
                Field("reason", "Why it cannot wait", rows=3),
            ),
            words="One action now, on your word. Everybody is told, and somebody else has to review it.",
            stops=True,
        ),
    )

    def evidence(self, row: BreakGlass) -> list[Evidence]:
        """What was done, by whom, why, and what became of it."""
        contract = row.contract
        return [
            Evidence("Action", "text", f"{contract}: {contract.state}"),
            Evidence("Why", "text", f"{row.reason} ({row.person_label}, {row.used_at:%Y-%m-%d %H:%M} UTC)"),
            Evidence("Parameters, complete", "json", contract.revision.parameters),
        ]


# --- policies --------------------------------------------------------------------------------------------------


def _in_force() -> str:
    row = Policy.objects.filter(is_active=True).first()
    return json.dumps(policies.document_of(row), indent=2, ensure_ascii=False) if row else "{}"


def _proposes_policy(pressed: Pressed) -> object:
    form = typed.Form(pressed.form)
    document = form.object("policy")
    form.finish()
    return amendments.propose(document=document, note=form.text("note"), reason=pressed.reason, **_who(pressed))


@admin.register(Policy)
class PolicyAdmin(VerbAdmin):
    """Versions of the policy; another one comes into force by a `policy.change` contract."""

    reads = "policies.read"
    list_display = ("version", "is_active", "note", "created_by_label", "created_at")
    fields = (
        *("version", "is_active", "note", "rules_", "tiers_", "unmatched", "digest", "created_by_label", "created_at"),
    )
    readonly_fields = fields
    asked_of_list = (
        AskedVerb(
            "change",
            "Propose another policy",
            "policies.change",
            _proposes_policy,
            fields=(
                Field("policy", "The whole policy (JSON)", rows=24, begins=_in_force),
                Field("note", "Note", required=False, hint="Stays with the version."),
                REASON,
            ),
            words=ASKS_PEOPLE,
        ),
    )
    rules_ = as_json("rules")
    tiers_ = as_json("tiers")


# --- webhooks --------------------------------------------------------------------------------------------------


def _makes_webhook(pressed: Pressed) -> object:
    form = typed.Form(pressed.form)
    made = webhooks.create(url=form.text("url"), facts=form.words("facts"), by=pressed.by, now=timezone.now())
    return ShownOnce("The secret of the webhook", made.secret)


def _rotates_secret(pressed: Pressed) -> object:
    form = typed.Form(pressed.form)
    overlap = form.span("overlap", otherwise=webhooks.OVERLAP)
    form.finish()
    made = webhooks.rotate(
        webhook_id=pressed.row.pk,
        overlap=overlap,
        by=pressed.by,
        now=timezone.now(),
    )
    return ShownOnce("The new secret of the webhook", made.secret)


def _switches_off(pressed: Pressed) -> object:
    return webhooks.switch_off(webhook_id=pressed.row.pk, by=pressed.by, now=timezone.now())


def _redelivers(pressed: Pressed) -> object:
    return webhooks.redeliver(delivery_id=pressed.row.pk, by=pressed.by, now=timezone.now())


@admin.register(Webhook)
class WebhookAdmin(VerbAdmin):
    """Receivers of facts; their secrets are not shown."""

    reads = "webhooks.read"
    list_display = ("url", "is_active", "created_by_label", "created_at")
    fields = ("url", "facts_", "is_active", "previous_until", "created_by_label", "created_at")
    readonly_fields = fields
    facts_ = as_json("facts")
    asked = (
        AskedVerb(
            "rotate",
            "Make another secret",
            "webhooks.manage",
            _rotates_secret,
            shows=lambda row: row.is_active,
            fields=(OVERLAP,),
            words="Shown once, on the next page. Until the old one ends, deliveries are signed with both.",
        ),
        AskedVerb(
            "switch-off",
            "Switch it off",
            "webhooks.manage",
            _switches_off,
            shows=lambda row: row.is_active,
            words="It is told nothing more.",
            stops=True,
        ),
    )
    asked_of_list = (
        AskedVerb(
            "create",
            "Tell an address",
            "webhooks.manage",
            _makes_webhook,
            fields=(
                Field("url", "Address"),
                Field("facts", "Facts", hint="Names, or prefixes with a star, separated by blanks."),
            ),
            words="Its secret is shown once, on the next page.",
        ),
    )


@admin.register(Delivery)
class DeliveryAdmin(VerbAdmin):
    """What was delivered, and what could not be."""

    reads = "webhooks.read"
    list_display = ("fact", "webhook", "state", "attempts", "last_status", "created_at", "delivered_at")
    list_filter = ("state", "fact")
    list_select_related = ("webhook",)
    asked = (
        AskedVerb(
            "redeliver",
            "Send it again",
            "webhooks.manage",
            _redelivers,
            shows=lambda row: row.state != Delivery.State.PENDING and row.webhook.is_active,
            words="Under the same id and with the same body, so that the receiver can tell.",
        ),
    )
