"""Who fills which slot."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance import quorum
from governance.quorum import Approval

BEA, CEM, DEE = 1, 2, 3


@pytest.mark.parametrize(
    ("requirements", "approvals", "filled"),
    [
        ([], [], 0),
        ([("reviewers", 1)], [], 0),
        ([("reviewers", 1)], [(BEA, ["reviewers"])], 1),
        ([("reviewers", 1)], [(BEA, ["others"])], 0),
        ([("reviewers", 2)], [(BEA, ["reviewers"]), (BEA, ["reviewers"])], 1),
        ([("reviewers", 2)], [(BEA, ["reviewers"]), (CEM, ["reviewers"])], 2),
        ([("sre", 1), ("security", 1)], [(BEA, ["sre", "security"])], 1),
        ([("sre", 1), ("security", 1)], [(BEA, ["sre", "security"]), (CEM, ["sre"])], 2),
        ([("sre", 1), ("security", 1)], [(CEM, ["sre"]), (BEA, ["sre", "security"])], 2),
        ([("sre", 1), ("security", 1)], [(BEA, ["sre"]), (CEM, ["sre"])], 1),
        ([("a", 1), ("b", 1), ("c", 1)], [(BEA, "ab"), (CEM, "a"), (DEE, "bc")], 3),
    ],
)
def test_g_a_person_fills_one_slot_and_slots_are_filled_by_maximum_matching(requirements, approvals, filled):
    slots = quorum.fill(requirements, [Approval(person, groups) for person, groups in approvals])
    people = [slot.person for slot in slots if slot.person is not None]
    assert len(people) == filled == len(set(people))
    assert quorum.complete(slots) is (filled == sum(count for _, count in requirements))


GROUPS = "abc"
PEOPLE = st.lists(st.sets(st.sampled_from(GROUPS)), max_size=5)
WANTED = st.lists(st.tuples(st.sampled_from(GROUPS), st.integers(1, 2)), max_size=3, unique_by=lambda each: each[0])


@given(WANTED, PEOPLE)
def test_g_no_assignment_of_people_fills_more_slots(requirements, people):
    slots = quorum.fill(requirements, [Approval(index, groups) for index, groups in enumerate(people)])
    for slot in slots:
        assert slot.person is None or slot.group in people[slot.person]
    assert sum(slot.person is not None for slot in slots) == _best(requirements, people)


def _best(requirements, people):
    groups = [group for group, count in requirements for _ in range(count)]
    padded = [*range(len(people)), *([None] * len(groups))]
    return max(
        (
            sum(person is not None and group in people[person] for group, person in zip(groups, order, strict=False))
            for order in set(permutations(padded, len(groups)))
        ),
        default=0,
    )
