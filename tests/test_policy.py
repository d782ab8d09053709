"""What a policy says: a table for every letter that is decided without a database."""

import dataclasses
import json
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance import policy
from governance.policy import Effect, InvalidPolicy, Requirements, Situation
from governance.seeds import POLICY
from verification.executors.base import Reversibility

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def situation(action_type="config.update", target="file:app.json", **more):
    more.setdefault("parameters", {})
    more.setdefault("reversibility", Reversibility.REVERSIBLE)
    more.setdefault("risk", {})
    return Situation(action_type=action_type, target=target, now=NOON, **more)


def rules(*items, **more):
    return policy.parse({"rules": [{"name": f"rule {i}", **item} for i, item in enumerate(items)], **more})


DENY = {"effect": "deny", "reason": "no"}
T1, T2, T3 = {"effect": "tier_1"}, {"effect": "tier_2"}, {"effect": "tier_3"}


@pytest.mark.parametrize(
    ("items", "effect"),
    [
        ([T1], "tier_1"),
        ([T1, T2], "tier_2"),
        ([T2, T1], "tier_2"),
        ([T3, T1, T2], "tier_3"),
        ([T1, DENY, T2], "deny"),
        ([DENY, T3], "deny"),
    ],
)
def test_a_the_strictest_matching_rule_wins_in_any_order(items, effect):
    for order in (items, items[::-1]):
        assert rules(*order).decide(situation()).effect == effect


def test_a_requirements_of_all_matching_rules_are_combined():
    both = rules(
        {
            **T2,
            "requirements": {"approvals": [{"group": "sre", "count": 2}], "expires_seconds": 600, "denials": 2},
        },
        {
            **T2,
            "requirements": {
                "approvals": [{"group": "sre", "count": 1}, {"group": "security", "count": 1}],
                "expires_seconds": 900,
                "cooldown_seconds": 30,
                "max_attempts": 1,
            },
        },
        tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 1}], "valid_seconds": 300}},
    )
    asked = both.decide(situation()).requirements
    assert asked.approvals == (("reviewers", 1), ("security", 1), ("sre", 2))
    assert (asked.expires_seconds, asked.valid_seconds) == (600, 300)
    assert (asked.max_attempts, asked.cooldown_seconds, asked.denials) == (1, 30, 2)


def test_a_a_stricter_rule_does_not_drop_what_a_milder_one_asks():
    both = rules(
        {**T2, "requirements": {"approvals": [{"group": "security", "count": 1}]}},
        {**T3, "requirements": {"approvals": [{"group": "reviewers", "count": 2}]}},
    )
    assert both.decide(situation()).requirements.approvals == (("reviewers", 2), ("security", 1))


@pytest.mark.parametrize(("unmatched", "effect"), [("tier_3", "tier_3"), ("deny", "deny")])
def test_b_what_no_rule_speaks_about_is_never_allowed(unmatched, effect):
    ruling = rules({**T1, "action_types": ["other"]}, unmatched=unmatched).decide(situation())
    assert ruling.effect == effect
    assert [match.why for match in ruling.matched] == ["no rule matched"]


def test_b_conditions_that_take_too_long_count_as_strictest_and_share_one_deadline():
    hosts = [f"a{number:05}.example.org" for number in range(20_000)]
    when = r"parameters.hosts.all(h, h.matches('^[a-z0-9-]{1,63}(\\.[a-z0-9-]{1,63}){1,4}$'))"
    many = rules(T1, *[{**T1, "when": when}] * 30)
    started = time.perf_counter()
    assert many.decide(situation(parameters={"hosts": hosts})).effect == "tier_3"
    assert time.perf_counter() - started < 15


@pytest.mark.parametrize("condition", ["parameters.absent == 1", "parameters.n + 1", "target == 1 / 0"])
@pytest.mark.parametrize(("unmatched", "effect"), [("tier_3", "tier_3"), ("deny", "deny")])
def test_b_a_rule_that_cannot_be_decided_counts_as_strictest(condition, unmatched, effect):
    ruling = rules(T1, {**T1, "when": condition}, unmatched=unmatched).decide(situation(parameters={"n": 1}))
    assert ruling.effect == effect
    assert any("could not be decided" in match.why for match in ruling.matched)


@pytest.mark.parametrize("reversibility", [Reversibility.IRREVERSIBLE, None])
def test_c_what_cannot_be_taken_back_is_never_tier_1(reversibility):
    assert rules(T1).decide(situation(reversibility=reversibility)).effect == "tier_3"
    assert rules(T2).decide(situation(reversibility=reversibility)).effect == "tier_2"


@pytest.mark.parametrize(
    ("rule", "more", "matches"),
    [
        ({"action_types": ["config.*"]}, {}, True),
        ({"action_types": ["command.*", "config.update"]}, {}, True),
        ({"action_types": ["config"]}, {}, False),
        ({"targets": ["file:*.json"]}, {}, True),
        ({"targets": ["file:conf/*"]}, {"target": "file:conf/a/b.json"}, True),
        ({"targets": ["FILE:*"]}, {}, False),
        ({"agents": ["deploy*"]}, {"agent": "deployer"}, True),
        ({"agents": ["*"]}, {}, False),
        ({"groups": ["operators"]}, {"groups": frozenset({"operators", "x"})}, True),
        ({"groups": ["operators"]}, {}, False),
        ({"when": "parameters.n > 3"}, {"parameters": {"n": 4}}, True),
        ({"when": "parameters.n > 3"}, {"parameters": {"n": 3}}, False),
        ({"when": 'agent.owner == "ada" && mission.id == ""'}, {"owner": "ada"}, True),
        ({"when": 'risk.reversibility == "reversible" && action.type == "config.update"'}, {}, True),
        ({"when": "now.getHours() == 12"}, {}, True),
    ],
)
def test_a_rule_matches_by_globs_requester_and_condition(rule, more, matches):
    ruling = rules({**T2, **rule}, unmatched="deny").decide(situation(**more))
    assert ruling.effect == ("tier_2" if matches else "deny")


def test_a_denial_says_why_and_what_to_propose_instead():
    ruling = rules({**DENY, "instead": "config.update"}, T1).decide(situation())
    assert (ruling.reason, ruling.instead, ruling.denied) == ("no", "config.update", True)
    assert ruling.as_dict()["rules"] == [
        {"rule": "rule 0", "effect": "deny", "why": "matched"},
        {"rule": "rule 1", "effect": "tier_1", "why": "matched"},
    ]


@pytest.mark.parametrize(
    ("action_type", "reversibility", "parameters", "tier", "people"),
    [
        ("http.request", "read_only", {"method": "GET"}, "tier_1", ()),
        ("http.request", "externally_reversible", {"method": "POST"}, "tier_2", (("reviewers", 1),)),
        ("http.request", "irreversible", {"method": "POST"}, "tier_3", (("reviewers", 2),)),
        ("http.request", "read_only", {}, "tier_3", (("reviewers", 2),)),
        ("command.run", "read_only", {}, "tier_1", ()),
        ("command.run", "reversible", {}, "tier_1", ()),
        ("command.run", "externally_reversible", {}, "tier_2", (("reviewers", 1),)),
        ("command.run", "irreversible", {}, "tier_3", (("reviewers", 2),)),
        ("service.restart", "reversible", {}, "tier_1", ()),
        ("cache.clear", "reversible", {}, "tier_1", ()),
        ("config.update", "reversible", {}, "tier_2", (("reviewers", 1),)),
        ("remote", "externally_reversible", {}, "tier_2", (("reviewers", 1),)),
        ("database.migrate", "reversible", {}, "tier_3", (("reviewers", 2),)),
        ("hold.release", "externally_reversible", {}, "tier_3", (("reviewers", 2),)),
        ("policy.change", "externally_reversible", {}, "tier_3", (("reviewers", 2),)),
        ("never.heard.of", None, {}, "tier_3", (("reviewers", 2),)),
    ],
)
def test_the_seeded_policy_says_what_is_promised(action_type, reversibility, parameters, tier, people):
    reversibility = Reversibility(reversibility) if reversibility else None
    known = {"reversibility": reversibility.value if reversibility else "unknown"}
    ruling = policy.parse(POLICY).decide(
        situation(action_type, parameters=parameters, reversibility=reversibility, risk=known)
    )
    assert (ruling.effect, ruling.requirements.approvals) == (tier, people)


@pytest.mark.parametrize(
    ("document", "pointer", "code"),
    [
        ([], "", "wrong_type"),
        ({}, "/rules", "missing"),
        ({"rules": {}}, "/rules", "wrong_type"),
        ({"rules": [], "extra": 1}, "/extra", "unknown_member"),
        ({"rules": [], "unmatched": "tier_1"}, "/unmatched", "not_allowed"),
        ({"rules": [{"effect": "tier_1"}]}, "/rules/0/name", "missing"),
        ({"rules": [{"name": "a"}]}, "/rules/0/effect", "missing"),
        ({"rules": [{"name": "a", "effect": "allow"}]}, "/rules/0/effect", "not_allowed"),
        ({"rules": [{"name": "a", "effect": "deny"}]}, "/rules/0/reason", "missing"),
        ({"rules": [{"name": "a", "effect": "tier_1"}] * 2}, "/rules/1/name", "not_unique"),
        ({"rules": [{"name": "a", "effect": "tier_1", "when": "a b"}]}, "/rules/0/when", "invalid_expression"),
        ({"rules": [{"name": "a", "effect": "tier_1", "when": "secret"}]}, "/rules/0/when", "invalid_expression"),
        ({"rules": [{"name": "a", "effect": "tier_1", "targets": [1]}]}, "/rules/0/targets/0", "wrong_type"),
        ({"rules": [], "tiers": {"tier_9": {}}}, "/tiers/tier_9", "unknown_member"),
        (
            {"rules": [], "tiers": {"tier_2": {"approvals": [{"group": "a", "count": 0}]}}},
            "/tiers/tier_2/approvals/0/count",
            "out_of_range",
        ),
        ({"rules": [], "tiers": {"tier_2": {"expires_seconds": 1}}}, "/tiers/tier_2/expires_seconds", "out_of_range"),
        ({"rules": [], "tiers": {"tier_2": {"second_factor": 1}}}, "/tiers/tier_2/second_factor", "wrong_type"),
    ],
)
def test_a_policy_that_does_not_parse_names_the_field(document, pointer, code):
    with pytest.raises(InvalidPolicy) as refused:
        policy.parse(document)
    assert (pointer, code) in [(error.pointer, error.code) for error in refused.value.errors]


def test_a_policy_survives_being_written_and_read():
    parsed = policy.parse(POLICY)
    again = policy.parse(json.loads(json.dumps(parsed.as_dict())))
    assert again.as_dict() == parsed.as_dict()
    asked = Requirements(approvals=(("sre", 2),), second_factor=True, cooldown_seconds=5)
    assert Requirements.from_dict(json.loads(json.dumps(asked.as_dict()))) == asked


RULE = st.fixed_dictionaries(
    {"effect": st.sampled_from(["tier_1", "tier_2", "tier_3", "deny"]), "reason": st.just("no")},
    optional={
        "targets": st.sampled_from([["file:*"], ["other"]]),
        "when": st.sampled_from(["parameters.n == 1", "parameters.absent", "target != ''"]),
        "requirements": st.fixed_dictionaries(
            {},
            optional={
                "approvals": st.sampled_from([[], [{"group": "a", "count": 2}], [{"group": "b", "count": 1}]]),
                "expires_seconds": st.integers(60, 600),
                "valid_seconds": st.integers(60, 600),
                "max_attempts": st.integers(1, 5),
                "cooldown_seconds": st.integers(0, 60),
                "second_factor": st.booleans(),
            },
        ),
    },
)


# What nobody states is as usual; with every tier stating all of it, a further rule can only add to what is stated.
ALL = {"denials": 3, "expires_seconds": 600, "valid_seconds": 600, "max_attempts": 5}
STATED = {"tier_1": ALL, "tier_2": ALL, "tier_3": ALL}


@given(st.lists(RULE, min_size=1, max_size=6), RULE, st.randoms())
def test_a_no_order_and_no_further_rule_ever_loosens(items, another, random):
    before = rules(*items, tiers=STATED).decide(situation(parameters={"n": 1}))
    shuffled = items.copy()
    random.shuffle(shuffled)
    same = rules(*shuffled, tiers=STATED).decide(situation(parameters={"n": 1}))
    assert (same.effect, same.requirements) == (before.effect, before.requirements)
    more = rules(*items, another, tiers=STATED).decide(situation(parameters={"n": 1}))
    if any(match.rule for match in before.matched):
        assert policy.STRICTNESS[more.effect] >= policy.STRICTNESS[before.effect]
        assert policy.stricter(before, more.requirements, more.tier) == "" or more.denied


def test_never_looser_keeps_the_stricter_of_two():
    was = Requirements(approvals=(("sre", 2),), expires_seconds=60, second_factor=True)
    ruling = rules({**T2, "requirements": {"approvals": [{"group": "a", "count": 1}]}}).decide(situation())
    kept = policy.never_looser(ruling, was, "tier_3")
    assert kept.effect is Effect.TIER_3
    assert kept.requirements.approvals == (("a", 1), ("sre", 2))
    assert (kept.requirements.expires_seconds, kept.requirements.second_factor) == (60, True)


@pytest.mark.parametrize(
    ("name", "then", "now"),
    [
        ("denials", 2, 1),
        ("expires_seconds", 3600, 60),
        ("valid_seconds", 3600, 60),
        ("max_attempts", 3, 1),
        ("cooldown_seconds", 0, 86400),
        ("escalate_after_seconds", 60, 3600),
    ],
)
def test_m_every_requirement_is_compared(name, then, now):
    def asking(value):
        stated = {"approvals": [{"group": "reviewers", "count": 1}], "escalate_to": "on-call", name: value}
        return rules(T2, tiers={"tier_2": stated}).decide(situation())

    was, tighter = asking(then).requirements, asking(now)
    why = policy.stricter(tighter, was, "tier_2")
    assert str(now) in why
    assert str(then) in why
    assert policy.stricter(asking(then), tighter.requirements, "tier_2") == ""
    asked_again = policy.never_looser(tighter, was, "tier_2")
    assert policy.stricter(tighter, asked_again.requirements, "tier_2") == ""


def test_m_no_requirement_is_forgotten():
    compared = {"approvals", "second_factor", "windows", "escalate_to", *policy._WHAT_SHRINKS, *policy._WHAT_GROWS}
    assert {each.name for each in dataclasses.fields(Requirements)} == compared


@pytest.mark.parametrize(
    ("was", "tier", "stricter"),
    [
        (Requirements(approvals=(("reviewers", 1),)), "tier_2", False),
        (Requirements(approvals=(("reviewers", 3),)), "tier_3", False),
        (Requirements(approvals=(("reviewers", 1),)), "tier_1", True),
        (Requirements(), "tier_2", True),
        (Requirements(approvals=(("others", 1),)), "tier_2", True),
    ],
)
def test_m_stricter_means_a_higher_tier_or_more_people(was, tier, stricter):
    ruling = rules(T2, tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": 1}]}}).decide(situation())
    assert bool(policy.stricter(ruling, was, tier)) is stricter


@pytest.mark.parametrize(
    "action_type", ["policy.change", "grant.create", "hold.release", "freeze.end", "security.x", "delegation.create"]
)
def test_d_what_changes_permission_is_tier_3_whatever_the_rules_say(action_type):
    ruling = rules(T1).decide(situation(action_type))
    assert (ruling.effect, ruling.tier) == ("tier_3", "tier_3")
    assert rules(DENY).decide(situation(action_type)).denied
