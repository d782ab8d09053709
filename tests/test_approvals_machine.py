"""Random people, decisions, edits, withdrawals, holds, clock moves and dispatches, against a small model.

The model is a few lines of arithmetic about one contract for each of two files. Whatever it expects (the answer of each
act, the state of each contract, what stands in the files) has to be what Grace answers and does. A few runs are made
in every test run; `make machine` makes the thousands.
"""

import json
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from auditlog.actors import SYSTEM
from auditlog.refusals import Refused
from governance import approvals, holding, holds, principals, proposals
from governance.models import ApprovalRequest
from tests.conftest import NOON
from tests.harness.governed import Governed, newest
from verification.models import Contract

pytestmark = pytest.mark.django_db

RUNS = int(os.environ.get("MACHINE_RUNS", "12"))
STEPS = int(os.environ.get("MACHINE_STEPS", "30"))

FILES = ("app.json", "web.json")
REVIEWERS = ("bea", "cem", "dee")
EVERYBODY = (*REVIEWERS, "ada", "eve", "cleo", "administrator", "robot")
ASKERS = ("robot", "dee")
NEEDED = 2
DAY = timedelta(hours=24)
EVERYTHING = "everything"
MEANWHILE = (
    "nothing",
    "nothing",
    "the world moves",
    "an approver leaves",
    "a word is taken back",
    "time runs out",
    "it is held",
)

files = st.sampled_from(FILES)
people = st.sampled_from(EVERYBODY)
# Mostly those whose word counts, or nothing would ever run.
deciders = st.one_of(st.sampled_from(REVIEWERS), st.sampled_from(REVIEWERS), people)
ports = st.integers(min_value=9000, max_value=9003)
seldom = st.integers(0, 3).map(lambda drawn: drawn == 3)
hours = st.sampled_from([1, 1, 2, 5, 11, 24])


@dataclass
class Asked:
    """What the model knows of a contract: who asked for which port, who said yes to it, and since when."""

    asker: str
    port: int
    seen: int
    at: datetime
    paused_before: timedelta
    state: str = "awaiting_approval"
    yes: set[str] = field(default_factory=set)
    spoke: set[str] = field(default_factory=set)
    granted_at: datetime = NOON
    paused_before_grant: timedelta = timedelta(0)
    old_digests: list[str] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.state in {"awaiting_approval", "authorized", "changes_requested"}

    def ask_again(self, *, seen: int, at: datetime, paused: timedelta, yes: set[str] | None = None) -> None:
        """A fresh request about the same contract: only the given words count on it."""
        self.state, self.seen, self.at, self.paused_before = "awaiting_approval", seen, at, paused
        self.yes, self.spoke = set(yes or ()), set(yes or ())


@dataclass
class World:
    """What outlives a run: the policy, the people, and the clock of this process."""

    governed: Governed
    clock: Any

    def user(self, name: str) -> User:
        return self.governed.robot if name == "robot" else User.objects.get(username=name)


class Approvals(RuleBasedStateMachine):
    """Grace beside the model. `world` is set by the test."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        cache.clear()
        self.around = transaction.atomic()
        # As the one a test case wraps around itself: no transaction of ours.
        self.around._from_testcase = True
        self.around.__enter__()
        self.world.clock.move_to(NOON)
        self.contract: dict[str, Contract] = {}
        self.asked: dict[str, Asked] = {}
        self.content = dict.fromkeys(FILES, 8000)
        self.reviewers = set(REVIEWERS)
        self.holds: dict[str, Any] = {}
        self.paused = dict.fromkeys(FILES, timedelta(0))
        self.runs = dict.fromkeys(FILES, 0)
        for name in FILES:
            self._write(name, 8000)

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.around.__exit__(None, None, None)

    # --- what people and the world do ---

    @initialize(port=ports, asker=st.sampled_from(ASKERS))
    def begin(self, port: int, asker: str) -> None:
        for name in FILES:
            self._propose(name, port, asker)

    @rule(name=files, port=ports, asker=st.sampled_from(ASKERS))
    def propose(self, name: str, port: int, asker: str) -> None:
        if name not in self.asked or not self.asked[name].is_open:
            self._propose(name, port, asker)

    @rule(name=files, who=deciders, verdict=st.sampled_from(["approve"] * 8 + ["request_changes", "reject"]))
    def decide(self, name: str, who: str, verdict: str) -> None:
        if (asked := self.asked.get(name)) is None:
            return
        expected = self._refused(name, who)
        answer = self._decide(name, who, verdict, self._request(name).digest)
        assert answer == expected, (answer, expected)
        if expected is None:
            self._heard(name, asked, who, verdict)

    @rule(name=files, who=st.permutations(REVIEWERS).map(tuple), meanwhile=st.sampled_from(MEANWHILE), go=st.booleans())
    def approve_one_after_the_other(self, name: str, who: tuple[str, ...], meanwhile: str, go: bool) -> None:
        """What chance alone would seldom get to: a contract that may run, something that happens, and the dispatch."""
        for each in who[:NEEDED]:
            self.decide(name, each, "approve")
        if meanwhile == "the world moves":
            self._write(name, self.content[name] + 1)
        elif meanwhile == "an approver leaves" and who[0] in self.reviewers:
            self.leave_or_join_the_reviewers(who[0], True)
        elif meanwhile == "a word is taken back":
            self.withdraw(name, who[0])
        elif meanwhile == "time runs out":
            self.let_time_pass(24)
        elif meanwhile == "it is held":
            self.hold(name, True)
        if go:
            self.dispatch()

    @rule(name=files, who=st.sampled_from(REVIEWERS))
    def decide_on_an_old_digest(self, name: str, who: str) -> None:
        asked = self.asked.get(name)
        if asked is None or not asked.old_digests:
            return
        expected = self._refused(name, who)
        digest = asked.old_digests[-1]
        if expected in (None, "already_decided") and digest != self._request(name).digest:
            expected = "stale_digest"
        if expected is not None:
            assert self._decide(name, who, "approve", digest) == expected

    @rule(name=files, who=deciders, port=ports)
    def approve_with_edits(self, name: str, who: str, port: int) -> None:
        if (asked := self.asked.get(name)) is None:
            return
        expected, digest = self._refused(name, who), self._request(name).digest
        answer = self._decide(name, who, "approve", digest, edits=_wording(name, port))
        assert answer == expected, (answer, expected)
        if expected is None:
            asked.old_digests.append(digest)
            asked.port = port
            asked.ask_again(seen=self.content[name], at=self._now, paused=self.paused[name], yes={who})

    @rule(name=files, who=deciders)
    def withdraw(self, name: str, who: str) -> None:
        if (asked := self.asked.get(name)) is None:
            return
        expected = self._cannot_withdraw(asked, who)
        assert _code(lambda: self.world.governed.withdraw(self._request(name), self.world.user(who))) == expected
        if expected is None:
            asked.yes.discard(who)
            asked.spoke.discard(who)
            if asked.state == "authorized" and len(asked.yes & self.reviewers) < NEEDED:
                asked.state = "awaiting_approval"

    @rule(name=files, port=ports)
    def revise(self, name: str, port: int) -> None:
        asked = self.asked.get(name)
        if asked is None or asked.state != "changes_requested":
            return
        asked.old_digests.append(self._request(name).digest)
        user = self.world.user(asked.asker)
        proposals.revise(
            contract_id=self.contract[name].pk,
            revision=_wording(name, port),
            by=principals.actor_of(user),
            user=user,
            now=self._now,
        )
        asked.port = port
        asked.ask_again(seen=self.content[name], at=self._now, paused=self.paused[name])

    @rule(name=files, really=seldom)
    def cancel(self, name: str, really: bool) -> None:
        if (asked := self.asked.get(name)) is None or not really:
            return
        user = self.world.user(asked.asker)
        act = proposals.cancel
        answer = _code(
            lambda: act(
                contract_id=self.contract[name].pk,
                by=principals.actor_of(user),
                user=user,
                reason="never mind",
                now=self._now,
            )
        )
        assert (answer is None) == asked.is_open, answer
        if asked.is_open:
            asked.state = "cancelled"

    @rule(scope=st.sampled_from([EVERYTHING, *FILES]), really=seldom)
    def hold(self, scope: str, really: bool) -> None:
        if really and scope not in self.holds:
            where = {"scope": EVERYTHING} if scope == EVERYTHING else {"scope": "target", "pattern": f"file:{scope}"}
            bea = self.world.user("bea")
            self.holds[scope] = holds.engage(
                **where, reason="to look", by=principals.actor_of(bea), user=None, now=self._now
            )

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        scope = data.draw(st.sampled_from(sorted(self.holds)))
        holding.mark_released(hold_id=self.holds.pop(scope).pk, by=SYSTEM, reason="seen", now=self._now)

    @rule(who=st.sampled_from(REVIEWERS), really=seldom)
    def leave_or_join_the_reviewers(self, who: str, really: bool) -> None:
        if not really and who in self.reviewers:
            return
        group, user = Group.objects.get(name="reviewers"), self.world.user(who)
        if who in self.reviewers:
            user.groups.remove(group)
        else:
            user.groups.add(group)
        self.reviewers ^= {who}

    @rule(name=files, port=st.integers(min_value=8000, max_value=8002))
    def change_the_world_behind_everybodys_back(self, name: str, port: int) -> None:
        self._write(name, port)

    @rule(step=hours)
    def let_time_pass(self, step: int) -> None:
        length = timedelta(hours=step)
        self.world.clock.shift(length)
        for name in FILES:
            if self._held(name):
                self.paused[name] += length

    @rule()
    def expire(self) -> None:
        approvals.expire_due(now=self._now)
        for name, asked in self.asked.items():
            if asked.state in {"awaiting_approval", "changes_requested"} and self._out_of_time(name, asked):
                asked.state = "expired"

    @rule()
    def dispatch(self) -> None:
        self.world.governed.settle()
        for name, asked in self.asked.items():
            if asked.state == "authorized" and not self._held(name):
                self._ran(name, asked)

    # --- what has to be true at any time ---

    @invariant()
    def contracts_are_where_the_model_has_them(self) -> None:
        for name, asked in self.asked.items():
            state = Contract.objects.values_list("state", flat=True).get(pk=self.contract[name].pk)
            assert state == asked.state, (name, state, asked)

    @invariant()
    def files_hold_what_was_approved_and_nothing_else(self) -> None:
        for name in FILES:
            assert json.loads(self._path(name).read_text()) == {"port": self.content[name]}
            done = Contract.objects.filter(target=f"file:{name}", state="verified").count()
            assert done == self.runs[name]

    @invariant()
    def a_contract_has_at_most_one_open_request(self) -> None:
        for name, asked in self.asked.items():
            found = ApprovalRequest.objects.filter(contract=self.contract[name], state__in=approvals.OPEN)
            wanted = {"awaiting_approval": ["pending"], "authorized": ["approved"]}.get(asked.state, [])
            assert [request.state for request in found] == wanted

    # --- the model ---

    def _refused(self, name: str, who: str) -> str | None:
        """The code with which a decision on the newest digest is refused; None when it is taken."""
        asked = self.asked[name]
        side = {"ada", "robot"} if asked.asker == "robot" else {asked.asker}
        if who in side:
            return "separation_of_duties"
        if who == "administrator":
            return "not_an_approver"
        if who not in self.reviewers:
            return "not_permitted"
        if asked.state == "expired" and self._request(name).state == "expired":
            return "request_expired"
        if asked.state != "awaiting_approval":
            return "request_not_pending"
        if self._out_of_time(name, asked):
            return "request_expired"
        return "already_decided" if who in asked.spoke else None

    def _cannot_withdraw(self, asked: Asked, who: str) -> str | None:
        if who not in self.reviewers and who != "administrator":
            return "not_permitted"
        if asked.state not in {"awaiting_approval", "authorized"}:
            return "already_started"
        return None if who in asked.spoke else "nothing_to_withdraw"

    def _heard(self, name: str, asked: Asked, who: str, verdict: str) -> None:
        asked.spoke.add(who)
        if verdict != "approve":
            asked.state = {"reject": "rejected", "request_changes": "changes_requested"}[verdict]
            # Who asked has as long to answer as the reviewers had.
            asked.at, asked.paused_before = self._now, self.paused[name]
            return
        asked.yes.add(who)
        if len(asked.yes & self.reviewers) >= NEEDED:
            asked.state, asked.granted_at = "authorized", self._now
            asked.paused_before_grant = self.paused[name]

    def _ran(self, name: str, asked: Asked) -> None:
        """What becomes of an authorized contract that nothing holds."""
        paused = self.paused[name] - asked.paused_before_grant
        if asked.granted_at + DAY + paused <= self._now:
            asked.state = "expired"
        elif len(asked.yes & self.reviewers) < NEEDED or self.content[name] != asked.seen:
            asked.old_digests.append(
                ApprovalRequest.objects.filter(contract=self.contract[name], state="stale").latest("created_at").digest
            )
            asked.ask_again(seen=self.content[name], at=self._now, paused=self.paused[name])
        else:
            asked.state = "verified"
            self.content[name] = asked.port
            self.runs[name] += 1

    def _out_of_time(self, name: str, asked: Asked) -> bool:
        return asked.at + DAY + (self.paused[name] - asked.paused_before) <= self._now

    def _held(self, name: str) -> bool:
        return bool(self.holds.keys() & {EVERYTHING, name})

    # --- Grace ---

    @property
    def _now(self) -> datetime:
        return timezone.now()

    def _path(self, name: str) -> Any:
        return self.world.governed.file.parent / name

    def _write(self, name: str, port: int) -> None:
        self._path(name).write_text(json.dumps({"port": port}))
        self.content[name] = port

    def _request(self, name: str) -> ApprovalRequest:
        return newest(self.contract[name])

    def _propose(self, name: str, port: int, asker: str) -> None:
        body = {"action_type": "config.update", "target": f"file:{name}", **_wording(name, port)}
        submitted = self.world.governed.submit(body, user=self.world.user(asker))
        assert submitted.contract is not None
        self.contract[name] = submitted.contract
        self.asked[name] = Asked(asker, port, self.content[name], self._now, self.paused[name])

    def _decide(self, name: str, who: str, verdict: str, digest: str, **more: Any) -> str | None:
        request, user = self._request(name), self.world.user(who)
        return _code(lambda: self.world.governed.decide(request, user, verdict, digest=digest, **more))


def _wording(name: str, port: int) -> dict[str, Any]:
    effect = {"success_criteria": [{"type": "state_match", "path": "content.port", "equals": port}]}
    return {"parameters": {"path": name, "merge": {"port": port}}, "expected_effect": effect}


def _code(act: Any) -> str | None:
    try:
        act()
    except Refused as refusal:
        return refusal.code
    return None


@pytest.mark.timeout(7200)
def test_no_order_of_events_makes_grace_differ_from_the_model(var_dir: Any, users: Any, clock: Any) -> None:
    governed = Governed(var_dir / "sandbox", users)
    governed.policy(tiers={"tier_2": {"approvals": [{"group": "reviewers", "count": NEEDED}]}})
    for name in EVERYBODY[:-1]:
        getattr(users, name)
    # Whoever leaves the reviewers may still propose.
    for person in users.reviewers:
        person.groups.add(Group.objects.get(name="operators"))

    class Machine(Approvals):
        world = World(governed, clock)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            phases=(Phase.generate, Phase.shrink) if RUNS <= 100 else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
