"""Governance's reasons not to start, asked inside the claim (M): holds, digest, policy, expiry, approvers, drift.

Holds come first: while one is engaged nothing else about a contract is touched.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db.models import Exists

from auditlog import reading
from auditlog.actors import SYSTEM
from auditlog.refusals import Refused
from verification import executors
from verification.executors.base import Reversibility
from verification.gates import Closed, Dispatch, Gate, Then
from verification.models import Contract, Execution, State

from . import (
    approvals,
    binding,
    calendars,
    delegating,
    digest,
    freezing,
    holding,
    policies,
    policy,
    principals,
    quorum,
    recorded,
)
from .models import ApprovalRequest, Assessment, BreakGlass, Delegation, Freeze, GrantUse, Hold

HELD_RETRY_SECONDS = 15.0
UNDECIDABLE_RETRY_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 300.0
USABLE = (ApprovalRequest.State.APPROVED, ApprovalRequest.State.SPENT)


@reading.remembered
def request_of(contract: Contract) -> ApprovalRequest | None:
    """The request whose approval this contract runs on, locked; retries run on one that is spent already (E).

    It is asked with it whether there is any hold, freeze or delegation: mostly there is none, and no need to ask again.
    """
    found = ApprovalRequest.objects.select_for_update(of=("self",)).select_related("revision", "policy")
    found = found.filter(contract=contract, state__in=USABLE, revision__number=contract.current_revision)
    found = found.annotate(
        any_hold=Exists(Hold.objects.filter(released_at=None)),
        any_freeze=Exists(Freeze.objects.filter(ended_at=None)),
        any_delegation=Exists(Delegation.objects.filter(ended_at=None)),
    )
    request = found.order_by("-created_at", "-id").first()
    if request is None:
        return None
    request.contract = contract
    if request.policy.is_active:
        reading.tell(policies.active, answer=request.policy)
    for there_are, read in (
        (request.any_hold, holding.engaged),
        (request.any_freeze, freezing.calendars),
        (request.any_delegation, delegating.rows),
    ):
        if not there_are:
            reading.tell(read, answer=[])
    return request


@reading.remembered
def frozen_of(contract: Contract) -> ApprovalRequest | Assessment | None:
    """What a contract was authorized on: its approved request, or for tier_1 its assessment."""
    if (request := request_of(contract)) is not None:
        return request
    assessment = Assessment.objects.filter(contract=contract, digest=contract.authorized_digest).first()
    if assessment is None or not (_by_itself(assessment, contract) or _on_another_word(assessment, contract)):
        return None
    return assessment


def _by_itself(assessment: Assessment, contract: Contract) -> bool:
    return assessment.effect == policy.Effect.TIER_1 and contract.tier == policy.Tier.OPERATIONAL


def _on_another_word(assessment: Assessment, contract: Contract) -> bool:
    """Whether the grant or the broken glass that the assessment names really stands behind this contract."""
    stand_in = assessment.requirements.get("stand_in") or {}
    if stand_in.get("kind") == "grant":
        return GrantUse.objects.filter(contract=contract, grant_id=UUID(stand_in["id"])).exists()
    return (
        stand_in.get("kind") == "break_glass"
        and BreakGlass.objects.filter(
            contract=contract, pk=UUID(stand_in["id"]), person_id=contract.requested_by_id
        ).exists()
    )


class _Gate(Gate):
    """What the gates have in common: by default they write nothing."""

    def closed(self, dispatch: Dispatch, why: Closed) -> None:
        """End the request this contract ran on, when the contract itself goes back or ends."""
        if why.then is Then.WAIT or dispatch.contract.state != State.AUTHORIZED:
            return
        request = request_of(dispatch.contract)
        if request is not None and request.state == ApprovalRequest.State.APPROVED:
            approvals.close(
                dispatch.contract,
                request,
                _ENDS[why.then],
                by=SYSTEM,
                reason=why.detail,
                code=why.code,
                now=dispatch.now,
            )

    def begun(self, dispatch: Dispatch) -> None:
        """Nothing to write."""


_ENDS = {
    Then.REAPPROVE: ApprovalRequest.State.STALE,
    Then.EXPIRE: ApprovalRequest.State.EXPIRED,
    Then.CANCEL: ApprovalRequest.State.CANCELLED,
}


class HoldGate(_Gate):
    """A hold covers the contract, in the database or by the file VAR_DIR/HOLD."""

    name = "holds"

    def check(self, dispatch: Dispatch) -> Closed | None:
        """Wait while held; `hold.release` passes."""
        if dispatch.contract.action_type == holding.RELEASE:
            return None
        if why := holding.file_reason():
            holding.notice_file(now=dispatch.now)
            return Closed(self.name, "held", f"Everything on this host is held: {why}", Then.WAIT, HELD_RETRY_SECONDS)
        request_of(dispatch.contract)
        hold = holding.covering(dispatch.contract)
        if hold is None:
            return None
        return Closed(self.name, "held", f"Held ({hold}): {hold.reason}", Then.WAIT, HELD_RETRY_SECONDS)

    def holds_everything(self) -> bool:
        """By the file, or by a hold on everything."""
        return holding.holds_everything()


class FreezeGate(_Gate):
    """A freeze lasts, and this contract is no exception to it."""

    name = "freezes"

    def check(self, dispatch: Dispatch) -> Closed | None:
        """Wait for its end. A calendar that cannot be read freezes."""
        try:
            found = freezing.covering(dispatch.contract, now=dispatch.now)
        except calendars.BadRule as error:
            return Closed(self.name, "frozen", f"A freeze cannot be read: {error}", Then.WAIT, LONGEST_WAIT_SECONDS)
        if found is None:
            return None
        freeze, ends_at = found
        left = min((ends_at - dispatch.now).total_seconds(), LONGEST_WAIT_SECONDS)
        detail = f"Frozen ({freeze}) until {ends_at:%Y-%m-%d %H:%M %Z}: {freeze.reason}"
        return Closed(self.name, "frozen", detail, Then.WAIT, max(left, 1.0))


class RequesterGate(_Gate):
    """Who is behind the contract is still here, and may still ask for such a thing."""

    name = "requester"

    def check(self, dispatch: Dispatch) -> Closed | None:
        """Cancel when they are gone, or the agent lost the action type."""
        if (request := request_of(dispatch.contract)) is not None:
            approvals.meet(request)
        why = principals.unfit(dispatch.contract)
        return Closed(self.name, "requester_unfit", why, Then.CANCEL) if why else None


class DigestGate(_Gate):
    """What will run is what was authorized, word for word, recomputed from the rows as they are now."""

    name = "digest"

    def check(self, dispatch: Dispatch) -> Closed | None:
        """Cancel when anything differs: what is in the rows now was approved by nobody."""
        contract = dispatch.contract
        frozen = frozen_of(contract)
        if frozen is None:
            return Closed(self.name, "not_authorized", "Nothing says that this revision may run.", Then.CANCEL)
        if not self._same(dispatch, frozen):
            return Closed(
                self.name,
                "digest_mismatch",
                "What is about to run is not what was authorized; it was changed behind everybody's back.",
                Then.CANCEL,
            )
        call = executors.Call(contract.action_type, contract.target, dispatch.revision.parameters)
        if executors.get(contract.action_type).edition(call) != contract.executor_version:
            return Closed(
                self.name,
                "executor_changed",
                "The executor is another version now, or the command another one; propose again.",
                Then.CANCEL,
            )
        return None

    def _same(self, dispatch: Dispatch, frozen: ApprovalRequest | Assessment) -> bool:
        contract, revision = dispatch.contract, dispatch.revision
        if revision.number != contract.current_revision or contract.tier != frozen.tier:
            return False
        try:
            recomputed = digest.sha256(binding.document(contract, revision, frozen))
        except ValueError:
            return False
        return digest.same(recomputed, contract.authorized_digest) and digest.same(recomputed, frozen.digest)


class RecordGate(_Gate):
    """The log says of every row behind the authorization what the row says."""

    name = "record"

    def check(self, dispatch: Dispatch) -> Closed | None:
        """Cancel when it does not: somebody wrote a row and nobody decided anything."""
        request = request_of(dispatch.contract)
        decisions = approvals.yeses(request) if request is not None else []
        why = recorded.misstated(dispatch.contract, request, decisions)
        return Closed(self.name, "not_as_recorded", why, Then.CANCEL) if why else None


class ExpiryGate(_Gate):
    """An authorization that was not used in time is none; the clock stops while held or frozen (I)."""

    name = "expiry"

    def check(self, dispatch: Dispatch) -> Closed | None:
        """Expire. A retry is part of the execution that used it: it is asked only when its target cannot be seen."""
        contract = dispatch.contract
        if contract.valid_until is None or contract.authorized_at is None:
            return None
        if contract.state != State.AUTHORIZED and dispatch.observation is not None:
            return None
        if contract.valid_until > dispatch.now:
            return None
        between = {"since": contract.authorized_at, "until": dispatch.now}
        paused = holding.length_of_union([*holding.spans(contract, **between), *freezing.spans(contract, **between)])
        if contract.valid_until + paused > dispatch.now:
            return None
        return Closed(self.name, "authorization_expired", "The authorization was not used in time.", Then.EXPIRE)


class PolicyGate(_Gate):
    """The policy in force now asks for no more than the one that was asked then."""

    name = "policy"

    def check(self, dispatch: Dispatch) -> Closed | None:
        """Back to people when it is stricter now; cancel when it denies; wait when it cannot be read."""
        contract = dispatch.contract
        frozen = frozen_of(contract)
        if frozen is None:
            return None
        try:
            ruling = policies.rule(
                action_type=contract.action_type,
                target=contract.target,
                parameters=dispatch.revision.parameters,
                user=principals.behind(contract),
                now=dispatch.now,
                mission_id=contract.mission_id,
                playbook=contract.playbook,
            )
        except Refused as refusal:
            return Closed(self.name, refusal.code, refusal.detail, Then.WAIT, UNDECIDABLE_RETRY_SECONDS)
        if ruling.denied:
            return Closed(self.name, "denied_by_policy", ruling.reason, Then.CANCEL)
        why = policy.stricter(ruling, policy.Requirements.from_dict(frozen.requirements), frozen.tier)
        return Closed(self.name, "policy_stricter", why, Then.REAPPROVE) if why else None


class ApproversGate(_Gate):
    """Who approved is still active, still in the group, and still on nobody's side (H, F)."""

    name = "approvers"

    def check(self, dispatch: Dispatch) -> Closed | None:
        """Back to people when a slot is no longer filled."""
        request = request_of(dispatch.contract)
        if request is None or quorum.complete(approvals.filled(request, now=dispatch.now)):
            return None
        return Closed(
            self.name,
            "approvers_changed",
            "Not everybody who approved may still do so; others have to be asked.",
            Then.REAPPROVE,
        )


class GrantGate(_Gate):
    """The standing grant a contract runs on has not been taken away."""

    name = "grants"

    def check(self, dispatch: Dispatch) -> Closed | None:
        """Back to people when it has, or has come to its end."""
        if request_of(dispatch.contract) is not None:
            return None
        use = GrantUse.objects.select_related("grant__agent").filter(contract=dispatch.contract).first()
        if use is None:
            return None
        if why := recorded.grant_misstated(use.grant):
            return Closed(self.name, "not_as_recorded", why, Then.CANCEL)
        if use.grant.revoked_at is None and use.grant.expires_at > dispatch.now:
            return None
        return Closed(self.name, "grant_ended", "The standing grant it ran on is no longer good.", Then.REAPPROVE)


class AttemptsGate(_Gate):
    """There are no more attempts under one authorization than were authorized (E)."""

    name = "attempts"

    def check(self, dispatch: Dispatch) -> Closed | None:
        """Back to people when they are used up."""
        contract, frozen = dispatch.contract, frozen_of(dispatch.contract)
        allowed = policy.Requirements.from_dict(frozen.requirements).max_attempts if frozen is not None else 0
        if frozen is None or dispatch.execution.attempt <= allowed:
            return None
        made = Execution.objects.filter(contract=contract, created_at__gte=contract.authorized_at)
        if made.exclude(pk=dispatch.execution.pk).count() < allowed:
            return None
        return Closed(self.name, "attempts_used_up", f"All {allowed} attempts were made.", Then.REAPPROVE)


class DriftGate(_Gate):
    """The target is as the approvers saw it. Where nobody looked at it, then or now, there is nothing to compare."""

    name = "drift"

    def check(self, dispatch: Dispatch) -> Closed | None:
        """Back to people when the world moved."""
        request = request_of(dispatch.contract)
        if request is None or dispatch.observation is None or digest.same(request.fingerprint, dispatch.fingerprint):
            return None
        return Closed(self.name, "target_drifted", "The target is not as the approvers saw it.", Then.REAPPROVE)


class CooldownGate(_Gate):
    """Between two runs of the same action on the same target lies the time the policy asks for."""

    name = "cooldown"

    def check(self, dispatch: Dispatch) -> Closed | None:
        """Wait out the rest of it. Attempts of this contract itself do not count."""
        contract = dispatch.contract
        frozen = frozen_of(contract)
        wanted = timedelta(seconds=policy.Requirements.from_dict(frozen.requirements).cooldown_seconds if frozen else 0)
        if not wanted:
            return None
        others = Execution.objects.filter(target=contract.target, contract__action_type=contract.action_type)
        last = others.exclude(contract=contract).exclude(started_at=None).order_by("-started_at").first()
        if last is None or last.started_at is None or last.started_at + wanted <= dispatch.now:
            return None
        left = (last.started_at + wanted - dispatch.now).total_seconds()
        return Closed(self.name, "cooling_down", f"{left:.0f} s of cooldown are left.", Then.WAIT, left)


class WindowGate(_Gate):
    """It begins only while a window is open that the policy keeps for it: approve now, run in the next window."""

    name = "windows"

    def check(self, dispatch: Dispatch) -> Closed | None:
        """Wait until one opens, a retry too. Broken glass does not wait."""
        frozen = frozen_of(dispatch.contract)
        if frozen is None or (frozen.requirements.get("stand_in") or {}).get("kind") == "break_glass":
            return None
        wanted = policy.Requirements.from_dict(frozen.requirements)
        opens = wanted.opens_at(dispatch.now)
        if opens is None:
            detail = "None of the windows it may begin in opens any more."
            return Closed(self.name, "outside_windows", detail, Then.WAIT, LONGEST_WAIT_SECONDS)
        if opens <= dispatch.now:
            return None
        left = (opens - dispatch.now).total_seconds()
        detail = f"The next window opens on {opens:%Y-%m-%d at %H:%M} UTC."
        return Closed(self.name, "outside_windows", detail, Then.WAIT, left)


class SpendingGate(_Gate):
    """Says no to nothing; an approval is spent by the execution that begins (E)."""

    name = "spending"

    def check(self, dispatch: Dispatch) -> Closed | None:
        """Always open, except that an irreversible action never runs on the policy's word alone (C)."""
        contract = dispatch.contract
        if contract.tier != policy.Tier.OPERATIONAL or request_of(contract) is not None:
            return None
        call = executors.Call(contract.action_type, contract.target, dispatch.revision.parameters)
        if executors.get(contract.action_type).reversibility(call) is not Reversibility.IRREVERSIBLE:
            return None
        return Closed(self.name, "irreversible", "What cannot be taken back never runs by itself.", Then.CANCEL)

    def begun(self, dispatch: Dispatch) -> None:
        """Spend the approval."""
        request = request_of(dispatch.contract)
        if request is not None and request.state == ApprovalRequest.State.APPROVED:
            approvals.spend(request, now=dispatch.now)


GATES: tuple[Gate, ...] = (
    HoldGate(),
    FreezeGate(),
    RequesterGate(),
    DigestGate(),
    RecordGate(),
    ExpiryGate(),
    PolicyGate(),
    ApproversGate(),
    GrantGate(),
    AttemptsGate(),
    DriftGate(),
    CooldownGate(),
    WindowGate(),
    SpendingGate(),
)
"""In the order in which they are asked."""
