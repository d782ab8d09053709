"""The facts governance appends to the log, and the shape of the data each of them carries."""

from typing import NotRequired, TypedDict

from auditlog.facts import Facts, fact


class Slots(TypedDict):
    """How many people of a group are asked."""

    group: str
    count: int


class ApprovalAsked(TypedDict):
    """People are asked; `expires_at` as text, `risk_score` from 0 to 100."""

    action_type: str
    target: str
    tier: str
    revision: int
    digest: str
    approvals: list[Slots]
    expires_at: str
    risk_score: int
    policy_version: int


class ApprovalDecided(TypedDict):
    """What one person said, bound to the digest they were shown. Edited: `shown_digest` is the one before.

    Said in somebody else's name: `on_behalf_of` is the id of that person, `delegation` of what allowed it.
    """

    action_type: str
    target: str
    tier: str
    revision: int
    digest: str
    verdict: str
    reason: str
    edited: bool
    shown_digest: NotRequired[str]
    on_behalf_of: NotRequired[str]
    delegation: NotRequired[str]


class ApprovalRefused(TypedDict):
    """A decision that was not taken, and why."""

    action_type: str
    target: str
    tier: str
    digest: str
    verdict: str
    code: str


class ApprovalCommented(TypedDict):
    """What somebody had to say about a request, and where they point to; no part of its digest."""

    action_type: str
    target: str
    tier: str
    digest: str
    text: str
    links: list[str]


class ApprovalClosed(TypedDict):
    """A request came to an end, or back; `latency_seconds` since it was opened.

    Taken back: `decision` is the entry of what was.
    """

    action_type: str
    target: str
    tier: str
    revision: int
    digest: str
    reason: str
    latency_seconds: int
    valid_until: NotRequired[str]
    code: NotRequired[str]
    decision: NotRequired[str]


class ApprovalPressed(TypedDict):
    """Nobody has answered yet: people are reminded (`percent` of the time is gone), or others asked as well."""

    action_type: str
    target: str
    tier: str
    digest: str
    percent: int
    expires_at: str
    to_group: NotRequired[str]


class DelegationChanged(TypedDict):
    """Somebody lets another decide in their name, or does so no more. No groups are all that the delegator is in."""

    delegator_id: str
    delegate_id: str
    groups: list[str]
    starts_at: str
    ends_at: str
    reason: str


class ProposalRefused(TypedDict):
    """A proposal reached for what it may not have."""

    action_type: str
    target: str
    code: str
    detail: str


class HoldChanged(TypedDict):
    """A hold was engaged or released; `is_exact` says that the pattern is no glob."""

    scope: str
    pattern: str
    reason: str
    source: str
    is_exact: NotRequired[bool]


class AgentChanged(TypedDict):
    """An agent was made, changed, suspended, resumed, revoked, or got another key; `key` is no secret part of it."""

    agent: str
    owner_id: str
    allowed_action_types: NotRequired[list[str]]
    open_request_limit: NotRequired[int]
    key: NotRequired[str]
    expires_at: NotRequired[str]
    reason: NotRequired[str]


class PolicyChanged(TypedDict):
    """Another version of the policy is in force."""

    version: int
    digest: str
    previous_digest: str
    rules: int
    note: str


class GrantNoted(TypedDict):
    """A standing grant was used or taken away; `when` is its condition, empty for none."""

    agent: str
    action_type: str
    target: str
    when: str
    uses: int
    max_uses: int
    expires_at: str
    reason: str


class GrantMade(GrantNoted):
    """A standing grant was made; `commitment` is to its bounds as they are, with what is a secret in them."""

    commitment: str


class GlassBroken(TypedDict):
    """Somebody acted on their own word, or somebody else has looked at it; `text` is the reason or the finding."""

    action_type: str
    target: str
    person_id: str
    text: str


class FreezeChanged(TypedDict):
    """A calendar of freezes was made or ended, or an exception to it.

    An exception is for one `revision` whose wording has this `digest`, on the word of the contract `approved_by`.
    """

    name: str
    change: str
    rule: str
    duration_seconds: int
    minimum_tier: str
    reason: str
    excepted: NotRequired[str]
    revision: NotRequired[int]
    digest: NotRequired[str]
    approved_by: NotRequired[str]


class LoginTried(TypedDict):
    """Somebody logged in, or failed to. What was typed is not written down: it may be a password."""

    known: bool


class StandingChanged(TypedDict):
    """Somebody's (or a group's) say changed: `created`, `changed` or `deleted`, and what became different.

    `flags` are the new values of is_active, is_staff and is_superuser; `login_changed`: the password is another one.
    """

    change: str
    groups_added: NotRequired[list[str]]
    groups_removed: NotRequired[list[str]]
    permissions_added: NotRequired[list[str]]
    permissions_removed: NotRequired[list[str]]
    flags: NotRequired[dict[str, bool]]
    renamed: NotRequired[bool]
    login_changed: NotRequired[bool]


class SecondFactorTold(TypedDict):
    """Somebody's second factor was added, proved or removed; a reason when somebody else took it off."""

    reason: NotRequired[str]


class Unnoted(TypedDict):
    """More of a fact happened within a minute than are noted: from here to the minute's end they are only counted."""

    of: str
    noted_per_minute: int


class WebhookChanged(TypedDict):
    """A receiver of facts was added, switched off, or asked for one again."""

    url: str
    facts: list[str]


class ApprovalFact(Facts):
    """What happens to approval requests."""

    REQUESTED = fact("approval.requested", ApprovalAsked)
    DECIDED = fact("approval.decided", ApprovalDecided)
    COMMENTED = fact("approval.commented", ApprovalCommented)
    REFUSED = fact("approval.refused", ApprovalRefused)
    GRANTED = fact("approval.granted", ApprovalClosed)
    REJECTED = fact("approval.rejected", ApprovalClosed)
    CHANGES_REQUESTED = fact("approval.changes_requested", ApprovalClosed)
    WITHDRAWN = fact("approval.withdrawn", ApprovalClosed)
    EXPIRED = fact("approval.expired", ApprovalClosed)
    CANCELLED = fact("approval.cancelled", ApprovalClosed)
    STALE = fact("approval.stale", ApprovalClosed)
    REMINDED = fact("approval.reminded", ApprovalPressed)
    ESCALATED = fact("approval.escalated", ApprovalPressed)
    DELEGATED = fact("approval.delegated", DelegationChanged)
    DELEGATION_ENDED = fact("approval.delegation_ended", DelegationChanged)


class ProposalFact(Facts):
    """Proposals that never became contracts."""

    REFUSED = fact("proposal.refused", ProposalRefused)


class NotingFact(Facts):
    """What the log says of its own gaps."""

    UNNOTED = fact("refusals.unnoted", Unnoted)


class HoldFact(Facts):
    """The switch."""

    ENGAGED = fact("hold.engaged", HoldChanged)
    RELEASED = fact("hold.released", HoldChanged)


class AgentFact(Facts):
    """What happens to agents and their keys."""

    CREATED = fact("agent.created", AgentChanged)
    KEY_ROTATED = fact("agent.key_rotated", AgentChanged)
    SUSPENDED = fact("agent.suspended", AgentChanged)
    RESUMED = fact("agent.resumed", AgentChanged)
    CHANGED = fact("agent.changed", AgentChanged)
    REVOKED = fact("agent.revoked", AgentChanged)


class PolicyFact(Facts):
    """Who may do what has changed."""

    CHANGED = fact("policy.changed", PolicyChanged)


class GrantFact(Facts):
    """Standing grants."""

    CREATED = fact("grant.created", GrantMade)
    USED = fact("grant.used", GrantNoted)
    REVOKED = fact("grant.revoked", GrantNoted)


class BreakGlassFact(Facts):
    """One person's own word."""

    USED = fact("breakglass.used", GlassBroken)
    REVIEWED = fact("breakglass.reviewed", GlassBroken)


class FreezeFact(Facts):
    """Calendars."""

    CHANGED = fact("freeze.changed", FreezeChanged)


class AuthFact(Facts):
    """People at the door."""

    LOGIN = fact("auth.login", LoginTried)
    LOGIN_FAILED = fact("auth.login_failed", LoginTried)
    SECOND_FACTOR_ADDED = fact("auth.second_factor_added", SecondFactorTold)
    SECOND_FACTOR_PROVED = fact("auth.second_factor_proved", SecondFactorTold)
    SECOND_FACTOR_FAILED = fact("auth.second_factor_failed", SecondFactorTold)
    SECOND_FACTOR_REMOVED = fact("auth.second_factor_removed", SecondFactorTold)


class PersonFact(Facts):
    """Who there is, and what gives them their say."""

    CHANGED = fact("person.changed", StandingChanged)
    GROUP_CHANGED = fact("person.group_changed", StandingChanged)


class WebhookFact(Facts):
    """Who is told."""

    CREATED = fact("webhook.created", WebhookChanged)
    SECRET_ROTATED = fact("webhook.secret_rotated", WebhookChanged)
    SWITCHED_OFF = fact("webhook.switched_off", WebhookChanged)
    REDELIVERED = fact("webhook.redelivered", WebhookChanged)
