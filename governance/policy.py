"""What a policy says: rules read from a document, and their verdict on one action.

Pure: no database, no clock, no settings. `parse` turns a document into a policy or names each wrong field;
`Policy.decide` turns a situation into a ruling. All matching rules are combined and the strictest wins, so neither
the order of rules nor a rule more ever loosens anything.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from auditlog.refusals import FieldError, Refused
from verification import expressions
from verification.executors.base import Reversibility

from . import calendars
from .calendars import MAX_RULE_CHARS, BadRule, Window, first_opening

JsonDict = dict[str, Any]

CONDITION_NAMES = ("action", "target", "parameters", "agent", "mission", "risk", "now")
MAX_RULES = 500
MAX_PATTERNS = 100
MAX_PATTERN_CHARS = 500
MAX_TEXT_CHARS = 2_000
MAX_COUNT = 20
MAX_SECONDS = 90 * 24 * 3600
MAX_WINDOWS = 10
LONGEST_WINDOW_SECONDS = 7 * 24 * 3600
DEFAULT_ESCALATION_SECONDS = 4 * 3600
DECISION_SECONDS = 3.0
"""What costly conditions may take together in one decision; what is not evaluated by then counts as undecided (B)."""


class Tier(StrEnum):
    """How much human say an action needs."""

    OPERATIONAL = "tier_1"
    CODE = "tier_2"
    GOVERNANCE = "tier_3"


class Effect(StrEnum):
    """What a ruling comes to."""

    DENY = "deny"
    TIER_1 = "tier_1"
    TIER_2 = "tier_2"
    TIER_3 = "tier_3"


GOVERNING = ("policy.*", "grant.*", "hold.*", "freeze.*", "security.*", "delegation.*")
"""Action types by which permission itself changes. They are tier_3 whatever the rules say, and nothing but people's
word lets them run: no standing grant, no broken glass (D)."""

STRICTNESS: dict[str, int] = {"": 0, "tier_1": 1, "tier_2": 2, "tier_3": 3, "deny": 4}
"""How strict an effect is; the greater number wins."""


class InvalidPolicy(Refused):
    """The document is not a policy; `errors` names each field."""

    code = "invalid_policy"
    kind = Refused.Kind.INVALID


@dataclass(frozen=True)
class Requirements:
    """What has to be true before an action of a tier runs. Times in seconds.

    `approvals` are (group, how many distinct people of it); `denials` is how many rejections end a request. After
    `escalate_after_seconds` without an answer, members of the group `escalate_to` (if any) may fill any slot. It may
    begin only while of each of the `windows` (what one rule says) at least one is open.
    """

    approvals: tuple[tuple[str, int], ...] = ()
    denials: int = 1
    expires_seconds: int = 24 * 3600
    valid_seconds: int = 24 * 3600
    max_attempts: int = 3
    cooldown_seconds: int = 0
    second_factor: bool = False
    escalate_to: str = ""
    escalate_after_seconds: int = 0
    windows: tuple[tuple[Window, ...], ...] = ()

    def opens_at(self, after: datetime) -> datetime | None:
        """The first moment from `after` on (aware) at which it may begin; None when its windows never open again."""
        try:
            return first_opening(self.windows, after)
        except BadRule:
            return None

    def as_dict(self) -> JsonDict:
        """The requirements as JSON, as they are frozen into a request and its digest."""
        return {
            "approvals": [{"group": group, "count": count} for group, count in self.approvals],
            "denials": self.denials,
            "expires_seconds": self.expires_seconds,
            "valid_seconds": self.valid_seconds,
            "max_attempts": self.max_attempts,
            "cooldown_seconds": self.cooldown_seconds,
            "second_factor": self.second_factor,
            "escalate_to": self.escalate_to,
            "escalate_after_seconds": self.escalate_after_seconds,
            "windows": [[window.as_dict() for window in choice] for choice in self.windows],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Requirements:
        """Requirements as `as_dict` wrote them."""
        known = {name: value for name, value in document.items() if name in _PLAIN}
        return cls(
            approvals=tuple((each["group"], each["count"]) for each in document.get("approvals", [])),
            windows=tuple(tuple(Window(**window) for window in choice) for choice in document.get("windows", [])),
            **known,
        )

    @property
    def groups(self) -> frozenset[str]:
        """The groups whose members can fill a slot."""
        return frozenset(group for group, _ in self.approvals)


_PLAIN = frozenset(
    {
        "denials",
        "expires_seconds",
        "valid_seconds",
        "max_attempts",
        "cooldown_seconds",
        "second_factor",
        "escalate_to",
        "escalate_after_seconds",
    }
)


@dataclass(frozen=True)
class Partial:
    """Requirements one rule or tier states; None is "says nothing"."""

    approvals: tuple[tuple[str, int], ...] = ()
    denials: int | None = None
    expires_seconds: int | None = None
    valid_seconds: int | None = None
    max_attempts: int | None = None
    cooldown_seconds: int | None = None
    second_factor: bool = False
    escalate_to: str = ""
    escalate_after_seconds: int | None = None
    windows: tuple[Window, ...] = ()

    def as_dict(self) -> JsonDict:
        """Only what is stated."""
        stated: JsonDict = {}
        if self.approvals:
            stated["approvals"] = [{"group": group, "count": count} for group, count in self.approvals]
        for name in _BOUNDS:
            if (value := getattr(self, name)) is not None:
                stated[name] = value
        if self.second_factor:
            stated["second_factor"] = True
        if self.escalate_to:
            stated["escalate_to"] = self.escalate_to
        if self.windows:
            stated["windows"] = [window.as_dict() for window in self.windows]
        return stated


@dataclass(frozen=True)
class Rule:
    """One line of a policy: what it matches, and what it says about it. Empty patterns match everything."""

    name: str
    effect: Effect
    action_types: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    when: str = ""
    reason: str = ""
    instead: str = ""
    requirements: Partial = field(default_factory=Partial)

    def concerns(self, situation: Situation) -> bool:
        """Whether action, target and requester match; the condition is another question."""
        return (
            any_glob(self.action_types, situation.action_type)
            and any_glob(self.targets, situation.target)
            and (not self.agents or (bool(situation.agent) and any_glob(self.agents, situation.agent)))
            and (not self.groups or bool(situation.groups & set(self.groups)))
        )

    def as_dict(self) -> JsonDict:
        """The rule as it stands in a policy document."""
        document: JsonDict = {"name": self.name, "effect": self.effect.value}
        for name in ("action_types", "targets", "agents", "groups"):
            if patterns := getattr(self, name):
                document[name] = list(patterns)
        for name in ("when", "reason", "instead"):
            if text := getattr(self, name):
                document[name] = text
        if stated := self.requirements.as_dict():
            document["requirements"] = stated
        return document


@dataclass(frozen=True)
class Situation:
    """Everything a rule may look at. `groups` are the requester's; `risk` is what is known about the danger.

    `minimum_tier` is the least its proposer asks for; it can only make the verdict stricter.
    """

    action_type: str
    target: str
    parameters: Mapping[str, Any]
    now: datetime
    reversibility: Reversibility | None = None
    agent: str = ""
    owner: str = ""
    groups: frozenset[str] = frozenset()
    mission_id: str = ""
    playbook: str = ""
    minimum_tier: str = ""
    risk: Mapping[str, Any] = field(default_factory=dict)

    def variables(self) -> JsonDict:
        """The names a condition may use."""
        reversibility = self.reversibility.value if self.reversibility else "unknown"
        return {
            "action": {"type": self.action_type, "reversibility": reversibility},
            "target": self.target,
            "parameters": dict(self.parameters),
            "agent": {"name": self.agent, "owner": self.owner, "groups": sorted(self.groups)},
            "mission": {"id": self.mission_id, "playbook": self.playbook},
            "risk": {"reversibility": reversibility, **self.risk},
            "now": self.now,
        }


@dataclass(frozen=True)
class Matched:
    """A rule that had a say, and why: it matched, or its condition could not be decided."""

    rule: str
    effect: Effect
    why: str

    def as_dict(self) -> JsonDict:
        """The match as JSON."""
        return {"rule": self.rule, "effect": self.effect.value, "why": self.why}


@dataclass(frozen=True)
class Ruling:
    """What the policy says about one situation."""

    effect: Effect
    requirements: Requirements
    matched: tuple[Matched, ...]
    reason: str = ""
    instead: str = ""

    @property
    def tier(self) -> str:
        """The tier; a denial is filed under tier_3."""
        return Tier.GOVERNANCE.value if self.effect is Effect.DENY else self.effect.value

    @property
    def denied(self) -> bool:
        """Whether it may not be done at all."""
        return self.effect is Effect.DENY

    def as_dict(self) -> JsonDict:
        """The ruling as JSON."""
        return {
            "effect": self.effect.value,
            "tier": self.tier,
            "requirements": self.requirements.as_dict(),
            "rules": [each.as_dict() for each in self.matched],
            "reason": self.reason,
            "instead": self.instead,
        }


@dataclass(frozen=True)
class Policy:
    """Rules, what each tier demands at least, and what happens to what no rule speaks about."""

    rules: tuple[Rule, ...]
    tiers: Mapping[Tier, Partial] = field(default_factory=dict)
    unmatched: Effect = Effect.TIER_3

    def decide(self, situation: Situation) -> Ruling:
        """Combine every rule that matches; the strictest effect wins and requirements add up."""
        patience = expressions.Patience(DECISION_SECONDS)
        matched = [match for rule in self.rules if (match := self._ask(rule, situation, patience)) is not None]
        verdicts = [match for _, match in matched] or [Matched("", self.unmatched, "no rule matched")]
        final = situation.reversibility in (None, Reversibility.IRREVERSIBLE)
        if final and _strictest(verdicts) is Effect.TIER_1:
            verdicts.append(Matched("", Effect.TIER_3, "cannot be taken back, so it never runs by itself"))
        if governs(situation.action_type):
            verdicts.append(Matched("", Effect.TIER_3, "changes who may do what"))
        if situation.minimum_tier:
            verdicts.append(Matched("", Effect(situation.minimum_tier), "its plan asks for no less"))
        effect = _strictest(verdicts)
        requirements = self._requirements([rule for rule, _ in matched], verdicts)
        if governs(situation.action_type):
            # A policy whose windows never open could otherwise never be replaced, nor a hold released.
            requirements = replace(requirements, windows=())
        decisive = next((rule for rule, match in matched if match.effect is effect), None)
        return Ruling(
            effect,
            requirements,
            tuple(verdicts),
            reason=_because(effect, decisive, verdicts),
            instead=decisive.instead if decisive else "",
        )

    def _ask(self, rule: Rule, situation: Situation, patience: expressions.Patience) -> tuple[Rule, Matched] | None:
        if not rule.concerns(situation):
            return None
        if not rule.when:
            return rule, Matched(rule.name, rule.effect, "matched")
        try:
            condition = expressions.compile_expression(rule.when, names=CONDITION_NAMES)
            if not condition.holds(situation.variables(), patience=patience):
                return None
        except (expressions.ExpressionFailed, expressions.InvalidExpression) as error:
            return rule, Matched(rule.name, self.unmatched, f"its condition could not be decided: {error}")
        return rule, Matched(rule.name, rule.effect, f"matched: {rule.when}")

    def _requirements(self, rules: Sequence[Rule], verdicts: Sequence[Matched]) -> Requirements:
        tiers = {_tier_of(match.effect) for match in verdicts}
        return combine([*(self.tiers.get(tier, Partial()) for tier in tiers), *(rule.requirements for rule in rules)])

    def as_dict(self) -> JsonDict:
        """The policy as a document that `parse` reads back."""
        return {
            "unmatched": self.unmatched.value,
            "tiers": {tier.value: stated.as_dict() for tier, stated in sorted(self.tiers.items())},
            "rules": [rule.as_dict() for rule in self.rules],
        }

    @property
    def looks_at_records(self) -> bool:
        """Whether a condition may ask of risk what only records tell: anything but the reversibility, which is told."""
        return any("risk" in rule.when.replace("risk.reversibility", "") for rule in self.rules)

    def groups(self) -> frozenset[str]:
        """Every group whose word this policy asks for."""
        stated = [each for _, each in self.stated()]
        asked = {group for each in stated for group, _ in each.approvals}
        return frozenset(asked | {each.escalate_to for each in stated if each.escalate_to})

    def stated(self) -> list[tuple[str, Partial]]:
        """Everything tiers and rules ask for, and where in the document that stands (a JSON pointer)."""
        tiers = [(f"/tiers/{tier}", stated) for tier, stated in self.tiers.items()]
        rules = [(f"/rules/{index}/requirements", rule.requirements) for index, rule in enumerate(self.rules)]
        return [*tiers, *rules]


def combine(stated: Iterable[Partial]) -> Requirements:
    """The strictest of everything stated: the most approvals for each group, the shortest times."""
    stated = list(stated)
    usual = Requirements()
    counts: dict[str, int] = {}
    for each in stated:
        for group, count in each.approvals:
            counts[group] = max(count, counts.get(group, 0))
    return Requirements(
        approvals=tuple(sorted(counts.items())),
        denials=min((each.denials for each in stated if each.denials is not None), default=usual.denials),
        expires_seconds=_least(stated, "expires_seconds", usual.expires_seconds),
        valid_seconds=_least(stated, "valid_seconds", usual.valid_seconds),
        max_attempts=_least(stated, "max_attempts", usual.max_attempts),
        cooldown_seconds=max((each.cooldown_seconds or 0 for each in stated), default=0),
        second_factor=any(each.second_factor for each in stated),
        windows=tuple(sorted({each.windows for each in stated if each.windows})),
        **_escalation(stated),
    )


def _escalation(stated: list[Partial]) -> JsonDict:
    """Where to turn when nobody answers: only when everybody who speaks of it names the same group, and latest."""
    named = {each.escalate_to for each in stated if each.escalate_to}
    asking = [each for each in stated if each.approvals or each.escalate_to]
    if len(named) != 1 or not all(each.escalate_to for each in asking):
        return {}
    after = max((each.escalate_after_seconds or 0 for each in stated), default=0)
    return {"escalate_to": named.pop(), "escalate_after_seconds": after or DEFAULT_ESCALATION_SECONDS}


def never_looser(ruling: Ruling, than: Requirements, tier: str) -> Ruling:
    """The ruling, made at least as strict as an earlier one (an edit or a stale request never wins leniency)."""
    ours, theirs = ruling.requirements, than
    counts = dict(theirs.approvals)
    for group, count in ours.approvals:
        counts[group] = max(count, counts.get(group, 0))
    requirements = replace(
        ours,
        approvals=tuple(sorted(counts.items())),
        denials=min(ours.denials, theirs.denials),
        expires_seconds=min(ours.expires_seconds, theirs.expires_seconds),
        valid_seconds=min(ours.valid_seconds, theirs.valid_seconds),
        max_attempts=min(ours.max_attempts, theirs.max_attempts),
        cooldown_seconds=max(ours.cooldown_seconds, theirs.cooldown_seconds),
        second_factor=ours.second_factor or theirs.second_factor,
        windows=tuple(sorted({*ours.windows, *theirs.windows})),
        **_same_escalation(ours, theirs),
    )
    return replace(ruling, effect=max(ruling.effect, Effect(tier), key=_strictness), requirements=requirements)


def _same_escalation(ours: Requirements, theirs: Requirements) -> JsonDict:
    if not ours.escalate_to or ours.escalate_to != theirs.escalate_to:
        return {"escalate_to": "", "escalate_after_seconds": 0}
    return {"escalate_after_seconds": max(ours.escalate_after_seconds, theirs.escalate_after_seconds)}


def stricter(ruling: Ruling, than: Requirements, tier: str) -> str:
    """Why the ruling asks for more than was asked then, as a sentence for people; empty when it does not."""
    if _strictness(ruling.effect) > STRICTNESS[tier]:
        return f"The policy now says {ruling.effect.value}; it said {tier}."
    counts = dict(than.approvals)
    for group, count in ruling.requirements.approvals:
        if count > counts.get(group, 0):
            return f"The policy now asks for {count} of {group}; it asked for {counts.get(group, 0)}."
    if ruling.requirements.second_factor and not than.second_factor:
        return "The policy now asks for a second factor."
    if not set(ruling.requirements.windows) <= set(than.windows):
        return "The policy now lets it begin in other windows only."
    if than.escalate_to and ruling.requirements.escalate_to != than.escalate_to:
        return f"The policy no longer lets {than.escalate_to} stand in."
    return next(_tighter(ruling.requirements, than), "")


_WHAT_SHRINKS = {
    "denials": "as many rejections as end a request",
    "expires_seconds": "so many seconds to decide",
    "valid_seconds": "so many seconds to begin",
    "max_attempts": "so many attempts",
}
_WHAT_GROWS = {
    "cooldown_seconds": "so many seconds of cooldown",
    "escalate_after_seconds": "so many seconds before others are asked",
}
"""What is stricter when it is less, and when it is more."""


def _tighter(ours: Requirements, theirs: Requirements) -> Iterator[str]:
    for name, what in (_WHAT_SHRINKS | _WHAT_GROWS).items():
        now, then = getattr(ours, name), getattr(theirs, name)
        # Who never turned to others is not asked to do so later.
        if name == "escalate_after_seconds" and not theirs.escalate_to:
            continue
        if now > then if name in _WHAT_GROWS else now < then:
            yield f"The policy now says {now}, and said {then}: {what}."


# --- reading a document ---


def parse(document: Any, *, at: str = "") -> Policy:
    """A policy from its document `{unmatched?, tiers?, rules}`; raises InvalidPolicy naming every wrong field."""
    problems = _Problems()
    members = problems.members(document, at, known=("unmatched", "tiers", "rules", "note"))
    unmatched = problems.choice(members.get("unmatched", "tier_3"), f"{at}/unmatched", ("tier_3", "deny"))
    policy = Policy(
        rules=_rules(problems, members.get("rules"), f"{at}/rules"),
        tiers=_tiers(problems, members.get("tiers", {}), f"{at}/tiers"),
        unmatched=Effect(unmatched or "tier_3"),
    )
    problems.raise_if_any()
    return policy


def _rules(problems: _Problems, items: Any, at: str) -> tuple[Rule, ...]:
    if not isinstance(items, list):
        problems.add(at, "wrong_type" if items is not None else "missing", "A list of rules is expected.")
        return ()
    if len(items) > MAX_RULES:
        problems.add(at, "too_long", f"At most {MAX_RULES} rules.")
        return ()
    rules = [_rule(problems, item, f"{at}/{index}") for index, item in enumerate(items)]
    seen: set[str] = set()
    for index, rule in enumerate(rules):
        if rule.name and rule.name in seen:
            problems.add(f"{at}/{index}/name", "not_unique", f"Another rule is called {rule.name!r}.")
        seen.add(rule.name)
    return tuple(rules)


_RULE_MEMBERS = (
    *("name", "effect", "action_types", "targets", "agents", "groups"),
    *("when", "reason", "instead", "requirements"),
)


def _rule(problems: _Problems, item: Any, at: str) -> Rule:
    members = problems.members(item, at, known=_RULE_MEMBERS)
    effect = problems.choice(members.get("effect"), f"{at}/effect", tuple(Effect)) or Effect.DENY
    reason = problems.text(members.get("reason", ""), f"{at}/reason")
    if effect == Effect.DENY and not reason:
        problems.add(f"{at}/reason", "missing", "A rule that denies says why.")
    name = problems.text(members.get("name", ""), f"{at}/name", longest=100)
    if not name:
        problems.add(f"{at}/name", "missing", "A rule has a name.")
    return Rule(
        name=name,
        effect=Effect(effect),
        action_types=problems.texts(members.get("action_types", []), f"{at}/action_types"),
        targets=problems.texts(members.get("targets", []), f"{at}/targets"),
        agents=problems.texts(members.get("agents", []), f"{at}/agents"),
        groups=problems.texts(members.get("groups", []), f"{at}/groups"),
        when=problems.condition(members.get("when", ""), f"{at}/when"),
        reason=reason,
        instead=problems.text(members.get("instead", ""), f"{at}/instead"),
        requirements=_partial(problems, members.get("requirements", {}), f"{at}/requirements"),
    )


def _tiers(problems: _Problems, value: Any, at: str) -> dict[Tier, Partial]:
    members = problems.members(value, at, known=tuple(Tier))
    return {
        Tier(name): _partial(problems, stated, f"{at}/{name}") for name, stated in members.items() if name in set(Tier)
    }


_BOUNDS = {
    "denials": (1, MAX_COUNT),
    "expires_seconds": (60, MAX_SECONDS),
    "valid_seconds": (60, MAX_SECONDS),
    "max_attempts": (1, 20),
    "cooldown_seconds": (0, MAX_SECONDS),
    "escalate_after_seconds": (60, MAX_SECONDS),
}


def _partial(problems: _Problems, value: Any, at: str) -> Partial:
    known = ("approvals", *_BOUNDS, "second_factor", "escalate_to", "windows")
    members = problems.members(value, at, known=known)
    second_factor = members.get("second_factor", False)
    if not isinstance(second_factor, bool):
        problems.add(f"{at}/second_factor", "wrong_type", "True or false is expected.")
    numbers = {
        name: problems.integer(members[name], f"{at}/{name}", low=low, high=high)
        for name, (low, high) in _BOUNDS.items()
        if name in members
    }
    return Partial(
        approvals=_approvals(problems, members.get("approvals", []), f"{at}/approvals"),
        second_factor=second_factor is True,
        escalate_to=problems.text(members.get("escalate_to", ""), f"{at}/escalate_to", longest=150),
        windows=_windows(problems, members.get("windows", []), f"{at}/windows"),
        **numbers,
    )


def _windows(problems: _Problems, items: Any, at: str) -> tuple[Window, ...]:
    if not isinstance(items, list) or len(items) > MAX_WINDOWS:
        problems.add(at, "wrong_type", f"A list of at most {MAX_WINDOWS} {{rule, duration_seconds}} is expected.")
        return ()
    return tuple(sorted({_window(problems, item, f"{at}/{index}") for index, item in enumerate(items)}))


def _window(problems: _Problems, item: Any, at: str) -> Window:
    members = problems.members(item, at, known=("rule", "duration_seconds"))
    rule = problems.text(members.get("rule", ""), f"{at}/rule", longest=MAX_RULE_CHARS)
    try:
        calendars.parse(rule)
    except BadRule as error:
        problems.add(f"{at}/rule", "bad_rule", str(error))
    duration = problems.integer(
        members.get("duration_seconds"), f"{at}/duration_seconds", low=60, high=LONGEST_WINDOW_SECONDS
    )
    return Window(rule, duration)


def _approvals(problems: _Problems, items: Any, at: str) -> tuple[tuple[str, int], ...]:
    if not isinstance(items, list):
        problems.add(at, "wrong_type", "A list of {group, count} is expected.")
        return ()
    counts: dict[str, int] = {}
    for index, item in enumerate(items):
        here = f"{at}/{index}"
        members = problems.members(item, here, known=("group", "count"))
        group = problems.text(members.get("group", ""), f"{here}/group", longest=150)
        if not group:
            problems.add(f"{here}/group", "missing", "It is required.")
        if group in counts:
            problems.add(f"{here}/group", "not_unique", "Each group stands once.")
        counts[group] = problems.integer(members.get("count", 1), f"{here}/count", low=1, high=MAX_COUNT)
    return tuple(sorted(counts.items()))


class _Problems:
    """Collects field errors, so that an author is told all of them at once."""

    def __init__(self) -> None:
        self.found: list[FieldError] = []

    def add(self, at: str, code: str, detail: str) -> None:
        self.found.append(FieldError(at, code, detail))

    def raise_if_any(self) -> None:
        if self.found:
            raise InvalidPolicy("The policy does not parse.", errors=self.found)

    def members(self, value: Any, at: str, *, known: Sequence[str]) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            self.add(at, "wrong_type", "An object is expected.")
            return {}
        for name in value.keys() - set(known):
            self.add(f"{at}/{name}", "unknown_member", f"{str(name)[:80]!r} is not known here.")
        return value

    def choice(self, value: Any, at: str, choices: Sequence[str]) -> str:
        if isinstance(value, str) and value in choices:
            return value
        self.add(at, "missing" if value is None else "not_allowed", f"One of {', '.join(choices)} is expected.")
        return ""

    def text(self, value: Any, at: str, *, longest: int = MAX_TEXT_CHARS) -> str:
        if not isinstance(value, str):
            self.add(at, "wrong_type", "A text is expected.")
        elif len(value) > longest:
            self.add(at, "too_long", f"At most {longest} characters.")
        else:
            return value
        return ""

    def texts(self, value: Any, at: str) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > MAX_PATTERNS:
            self.add(at, "wrong_type", f"A list of at most {MAX_PATTERNS} texts is expected.")
            return ()
        read = [self.text(item, f"{at}/{index}", longest=MAX_PATTERN_CHARS) for index, item in enumerate(value)]
        for index, item in enumerate(value):
            if item == "":
                self.add(f"{at}/{index}", "missing", "An empty pattern matches nothing.")
        return tuple(text for text in read if text)

    def integer(self, value: Any, at: str, *, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            self.add(at, "wrong_type", "A whole number is expected.")
        elif not low <= value <= high:
            self.add(at, "out_of_range", f"It is from {low} to {high}.")
        else:
            return value
        return low

    def condition(self, value: Any, at: str) -> str:
        source = self.text(value, at)
        if source:
            try:
                expressions.compile_expression(source, names=CONDITION_NAMES)
            except expressions.InvalidExpression as error:
                self.add(at, "invalid_expression", f"It {error}.")
        return source


def governs(action_type: str) -> bool:
    """Whether permission itself changes by actions of this type."""
    return any_glob(GOVERNING, action_type)


def any_glob(patterns: Sequence[str], value: str) -> bool:
    """Whether one of the globs matches; `*` also matches `/`, case counts, no pattern at all matches."""
    return not patterns or any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns)


def _strictness(effect: str) -> int:
    return STRICTNESS[str(effect)]


def _strictest(matched: Iterable[Matched]) -> Effect:
    return max((match.effect for match in matched), key=_strictness)


def _tier_of(effect: Effect) -> Tier:
    return Tier.GOVERNANCE if effect is Effect.DENY else Tier(effect.value)


def _least(stated: Iterable[Partial], name: str, usual: int) -> int:
    return min((value for each in stated if (value := getattr(each, name)) is not None), default=usual)


def _because(effect: Effect, decisive: Rule | None, verdicts: Sequence[Matched]) -> str:
    if decisive and decisive.reason:
        return decisive.reason
    return next(match.why for match in verdicts if match.effect is effect)
