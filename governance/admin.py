"""Governance in the admin, and contracts, whose verbs ask policy and people."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django_otp.plugins.otp_totp.models import TOTPDevice

from auditlog.admin_verbs import (
    REASON,
    REASON_IF_ANY,
    AskedVerb,
    Evidence,
    Field,
    Pressed,
    VerbAdmin,
    as_json,
)
from auditlog.read_only import ReadOnlyAdmin
from verification import contracts
from verification.models import Contract, Revision, State

from . import (
    approvals,
    comments,
    governing_admin,  # noqa: F401 - registers the rest of governance
    holds,
    people_admin,  # noqa: F401 - registers people and groups
    proposals,
    proving,
    resolving,
    second_factor,
)
from .models import ApprovalRequest, Assessment, Comment, Decision, Hold
from .typed import Form

PENDING = ApprovalRequest.State.PENDING
OPEN = approvals.OPEN


# --- approvals -------------------------------------------------------------------------------------------------


def _decides(verdict: str) -> Any:
    def call(pressed: Pressed) -> object:
        return approvals.decide(
            request_id=pressed.row.pk,
            by=pressed.by,
            user=pressed.user,
            verdict=verdict,
            digest=pressed.form.get("digest", ""),
            reason=pressed.reason,
            now=timezone.now(),
            second_factor=proving.is_proved(pressed.request),
        )

    return call


def _approves_edited(pressed: Pressed) -> object:
    form = Form(pressed.form)
    edits = {name: form.object(name) for name in ("parameters", "expected_effect") if form.text(name)}
    if (start := form.time("not_before", required=False)) is not None:
        edits["not_before"] = start.isoformat()
    form.finish()
    if not edits:
        raise approvals.BadDecision("Nothing is different from what was asked; approve it as it is.")
    return approvals.decide(
        request_id=pressed.row.pk,
        by=pressed.by,
        user=pressed.user,
        verdict="approve",
        digest=pressed.form.get("digest", ""),
        reason=pressed.reason,
        edits=edits,
        now=timezone.now(),
        second_factor=proving.is_proved(pressed.request),
    )


def _comments(pressed: Pressed) -> object:
    return comments.add(
        request_id=pressed.row.pk,
        text=pressed.form.get("text", ""),
        links=pressed.form.get("links", "").split(),
        by=pressed.by,
        user=pressed.user,
        now=timezone.now(),
    )


def _withdraws(pressed: Pressed) -> object:
    return approvals.withdraw(
        request_id=pressed.row.pk, by=pressed.by, user=pressed.user, reason=pressed.reason, now=timezone.now()
    )


def _forbidden(row: ApprovalRequest, user: Any) -> str:
    refusal = approvals.refusal(row, user, now=timezone.now())
    return refusal.detail if refusal is not None else ""


def _is_pending(row: ApprovalRequest) -> bool:
    return row.state == PENDING


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(VerbAdmin):
    """What people are asked, and the buttons with which they answer."""

    reads = "approvals.read"
    list_display = ("contract", "tier", "state", "risk_score", "requester_label", "created_at", "expires_at")
    list_filter = ("state", "tier", "contract__action_type")
    search_fields = ("=id", "=contract__id", "contract__target", "requester_label", "digest")
    list_select_related = ("contract",)
    ordering = ("-created_at", "-id")
    fields = (
        *("contract", "state", "tier", "requester_label", "created_at", "expires_at", "valid_until"),
        *("preview_", "parameters_", "expected_effect_", "preconditions_", "requirements_", "risk_"),
        *("policy", "digest", "closed_at", "closing_reason"),
    )
    readonly_fields = fields
    asked = (
        AskedVerb(
            "approve",
            "Approve",
            "approvals.decide",
            _decides("approve"),
            shows=_is_pending,
            forbids=_forbidden,
            fields=(REASON_IF_ANY,),
            words="What you see here is what runs, once. Your approval counts for this digest and no other.",
        ),
        AskedVerb(
            "approve-edited",
            "Approve with edits",
            "approvals.decide",
            _approves_edited,
            shows=_is_pending,
            forbids=_forbidden,
            fields=(
                Field("parameters", "Parameters", required=False, rows=8, hint="The whole JSON object."),
                Field("expected_effect", "What must be true afterwards", required=False, rows=8, hint="As above."),
                Field("not_before", "Not before, in UTC", required=False, hint="Such as 2026-11-27T18:00."),
                REASON_IF_ANY,
            ),
            words="What is left empty stays as it was asked. This makes another revision with a request of its own, on "
            "which only your approval counts.",
        ),
        AskedVerb(
            "reject",
            "Reject",
            "approvals.decide",
            _decides("reject"),
            shows=_is_pending,
            forbids=_forbidden,
            fields=(REASON,),
            stops=True,
        ),
        AskedVerb(
            "request-changes",
            "Request changes",
            "approvals.decide",
            _decides("request_changes"),
            shows=_is_pending,
            forbids=_forbidden,
            fields=(REASON,),
        ),
        AskedVerb(
            "withdraw",
            "Withdraw my decision",
            "approvals.withdraw",
            _withdraws,
            shows=lambda row: row.state in OPEN,
            fields=(REASON_IF_ANY,),
            words="As long as execution has not begun, the request is pending again.",
        ),
        AskedVerb(
            "comment",
            "Comment",
            "approvals.comment",
            _comments,
            fields=(
                Field("text", "What you have to say", rows=4),
                Field("links", "Evidence", required=False, rows=2, hint="https addresses, one on a line."),
            ),
            words="Everybody who reads the request sees it. It is no part of the digest and decides nothing.",
        ),
    )

    def name_of(self, row: ApprovalRequest) -> str:
        """The action it is about."""
        return str(row.contract)

    def evidence(self, row: ApprovalRequest) -> list[Evidence]:
        """Everything a decision is made on, complete."""
        revision = row.revision
        return [
            Evidence("Action", "text", f"{row.contract}, asked by {row.requester_label}, {row.tier}"),
            Evidence("What it would do", "preview", row.preview),
            Evidence("Parameters, complete", "json", revision.parameters),
            Evidence("What must be true afterwards", "json", revision.expected_effect),
            Evidence("Preconditions", "json", revision.preconditions),
            Evidence("Requirements", "json", row.requirements),
            Evidence("Risk", "json", row.risk),
            *[Evidence(f"{each.person_label} says", "text", _said(each)) for each in row.comments.all()],
        ]

    @admin.display(description="What it would do")
    def preview_(self, row: ApprovalRequest) -> str:
        """The preview, line by line."""
        # The template escapes; this only says that it did.
        return format_html("{}", render_to_string("admin/preview.html", {"shown": row.preview}))

    parameters_ = as_json("parameters", "Parameters, complete", of=lambda row: row.revision)
    expected_effect_ = as_json("expected_effect", of=lambda row: row.revision)
    preconditions_ = as_json("preconditions", of=lambda row: row.revision)
    requirements_ = as_json("requirements")
    risk_ = as_json("risk")


@admin.register(Decision)
class DecisionAdmin(ReadOnlyAdmin):
    """What people said."""

    reads = "approvals.read"
    list_display = ("request", "person_label", "on_behalf_of_label", "verdict", "created_at", "withdrawn_at")
    list_filter = ("verdict",)
    search_fields = ("person_label", "=request__id", "digest")
    list_select_related = ("request",)


def _said(comment: Comment) -> str:
    return " ".join([comment.text, *comment.links])


@admin.register(Comment)
class CommentAdmin(ReadOnlyAdmin):
    """What people had to say."""

    reads = "approvals.read"
    list_display = ("request", "person_label", "text", "created_at")
    search_fields = ("person_label", "=request__id", "text")
    list_select_related = ("request__contract",)


@admin.register(Assessment)
class AssessmentAdmin(ReadOnlyAdmin):
    """What the policy said about each revision."""

    reads = "approvals.read"
    list_display = ("contract", "effect", "tier", "risk_score", "policy", "created_at")
    list_filter = ("effect",)
    list_select_related = ("contract", "policy")
    fields = (
        *("contract", "effect", "tier", "reason", "instead", "rules_", "requirements_", "risk_"),
        *("policy", "digest", "created_at", "expires_at"),
    )
    readonly_fields = fields
    rules_ = as_json("rules")
    requirements_ = as_json("requirements")
    risk_ = as_json("risk")


# --- contracts -------------------------------------------------------------------------------------------------


def _cancels(pressed: Pressed) -> object:
    return proposals.cancel(
        contract_id=pressed.row.pk,
        by=pressed.by,
        user=pressed.user,
        reason=pressed.reason,
        now=timezone.now(),
    )


def _resolves(pressed: Pressed) -> object:
    return resolving.resolve(
        contract_id=pressed.row.pk,
        verdict=pressed.form.get("verdict", ""),
        reason=pressed.reason,
        by=pressed.by,
        user=pressed.user,
        now=timezone.now(),
    )


def _retries(pressed: Pressed) -> object:
    return contracts.retry(contract_id=pressed.row.pk, by=pressed.by, now=timezone.now())


@admin.register(Contract)
class ContractAdmin(VerbAdmin):
    """Contracts. They stand here because cancelling one withdraws its question to people too."""

    reads = "contracts.read"
    list_display = ("action_type", "target", "state", "tier", "requested_by_label", "confidence", "created_at")
    list_filter = ("state", "tier", "action_type")
    search_fields = ("=id", "target", "=mission_id", "correlation_id", "requested_by_label")
    ordering = ("-created_at", "-id")
    fields = (
        *("action_type", "executor_version", "target", "state", "tier", "confidence", "requested_by_label"),
        *("parameters_", "expected_effect_", "preconditions_", "justification", "mission_id", "incident_id"),
        *("playbook", "error_pattern", "correlation_id", "authorized_digest", "authorized_at", "valid_until"),
        *("max_attempts", "dead_lettered_at", "created_at", "settled_at"),
    )
    readonly_fields = fields
    asked = (
        AskedVerb(
            "cancel",
            "Cancel",
            "contracts.cancel",
            _cancels,
            shows=contracts.can_be_cancelled,
            fields=(REASON,),
            stops=True,
        ),
        AskedVerb(
            "resolve",
            "Settle by hand",
            "contracts.resolve",
            _resolves,
            shows=lambda row: row.state in contracts.RESOLVABLE,
            fields=(
                Field(
                    "verdict",
                    "What is true",
                    choices=(
                        ("verified", "It is as promised"),
                        ("rolled_back", "It was taken back by hand"),
                        ("failed", "It failed"),
                    ),
                ),
                REASON,
            ),
            words="The target becomes free. Look at it before you say what is true.",
        ),
        AskedVerb(
            "retry",
            "Try once more",
            "contracts.retry",
            _retries,
            shows=lambda row: row.dead_lettered_at is not None and row.state == State.FAILED,
            words="One more attempt, under the same authorization.",
        ),
    )

    def evidence(self, row: Contract) -> list[Evidence]:
        """What the contract does, complete."""
        revision = row.revision
        return [
            Evidence("Contract", "text", f"{row}: {row.state}, asked by {row.requested_by_label}"),
            Evidence("Parameters, complete", "json", revision.parameters),
            Evidence("What must be true afterwards", "json", revision.expected_effect),
            *[
                Evidence(f"Attempt {attempt.attempt}, observed", "json", attempt.observed)
                for attempt in row.executions.all()
            ],
        ]

    parameters_ = as_json("parameters", "Parameters, complete", of=lambda row: row.revision)
    expected_effect_ = as_json("expected_effect", of=lambda row: row.revision)
    preconditions_ = as_json("preconditions", of=lambda row: row.revision)


@admin.register(Revision)
class RevisionAdmin(ReadOnlyAdmin):
    """The wordings of contracts."""

    reads = "contracts.read"
    list_display = ("contract", "number", "origin", "made_by_label", "created_at")
    list_select_related = ("contract",)
    search_fields = ("=contract__id",)
    ordering = ("-created_at",)
    fields = (
        *("contract", "number", "origin", "parameters_", "expected_effect_", "preconditions_"),
        *("not_before", "made_by_label", "created_at"),
    )
    readonly_fields = fields
    parameters_ = as_json("parameters")
    expected_effect_ = as_json("expected_effect")
    preconditions_ = as_json("preconditions")


# --- holds -----------------------------------------------------------------------------------------------------


def _engages(pressed: Pressed) -> object:
    return holds.engage(
        scope=pressed.form.get("scope", ""),
        pattern=pressed.form.get("pattern", "").strip(),
        reason=pressed.reason,
        by=pressed.by,
        user=pressed.user,
        now=timezone.now(),
    )


def _asks_for_release(pressed: Pressed) -> object:
    return holds.release(
        hold_id=pressed.row.pk, reason=pressed.reason, by=pressed.by, user=pressed.user, now=timezone.now()
    )


@admin.register(Hold)
class HoldAdmin(VerbAdmin):
    """The switch."""

    reads = "holds.read"
    list_display = ("scope", "pattern", "reason", "engaged_by_label", "engaged_at", "released_at")
    list_filter = ("scope", "source", ("released_at", admin.EmptyFieldListFilter))
    asked = (
        AskedVerb(
            "release",
            "Ask for release",
            "holds.release",
            _asks_for_release,
            shows=lambda row: row.released_at is None,
            fields=(REASON,),
            words="This proposes a tier_3 action, on which people decide.",
        ),
    )
    asked_of_list = (
        AskedVerb(
            "engage",
            "Engage a hold",
            "holds.engage",
            _engages,
            fields=(
                Field("scope", "Stop", choices=tuple((str(value), str(label)) for value, label in Hold.Scope.choices)),
                Field("pattern", "Which", required=False, hint="Empty for everything, else a name or a pattern."),
                REASON,
            ),
            words="Nothing in its scope starts from now on. Rollbacks in flight go on.",
            stops=True,
        ),
    )

    def evidence(self, row: Hold) -> list[Evidence]:
        """What is held, and why."""
        return [
            Evidence("Hold", "text", str(row)),
            Evidence("Reason", "text", f"{row.reason} ({row.engaged_by_label}, {row.engaged_at:%Y-%m-%d %H:%M} UTC)"),
        ]


# --- second factors --------------------------------------------------------------------------------------------


def _takes_off(pressed: Pressed) -> object:
    return second_factor.take_off(
        person_id=pressed.row.user_id, reason=pressed.reason, by=pressed.by, user=pressed.user, now=timezone.now()
    )


# django-otp's own page shows the secret, and lets who opens it make a device for anybody.
admin.site.unregister(TOTPDevice)


@admin.register(TOTPDevice)
class SecondFactorAdmin(VerbAdmin):
    """Who has a second factor. Its secret is nowhere to be seen."""

    reads = "second_factors.remove"
    list_display = ("user", "confirmed", "created_at", "last_used_at")
    fields = ("user", "confirmed", "created_at", "last_used_at")
    asked = (
        AskedVerb(
            "take_off",
            "Take it off",
            "second_factors.remove",
            _takes_off,
            shows=lambda row: row.confirmed,
            forbids=lambda row, user: "Yours is removed with a code of it." if row.user_id == user.pk else "",
            fields=(REASON,),
            words="For somebody who lost their device: they add another one with their password.",
            stops=True,
        ),
    )
