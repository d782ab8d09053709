"""What follows from what was observed, as tables."""

import pytest

from verification import verdicts
from verification.verdicts import Next


@pytest.mark.parametrize(
    ("outcome", "way_back", "expected"),
    [
        ("verified", True, Next.VERIFIED),
        ("verified", False, Next.VERIFIED),
        ("partial", True, Next.PARTIAL),
        ("partial", False, Next.PARTIAL),
        ("violated", True, Next.ROLL_BACK),
        ("violated", False, Next.HOLD),
    ],
)
def test_a_finished_action_is_judged_by_the_observed_world(outcome, way_back, expected):
    assert verdicts.after_success(outcome, way_back=way_back) == expected


@pytest.mark.parametrize(
    ("outcome", "unchanged", "way_back", "expected"),
    [
        ("violated", True, True, Next.FAILED),
        ("verified", True, True, Next.FAILED),
        ("verified", False, True, Next.VERIFIED),
        ("verified", False, False, Next.VERIFIED),
        ("violated", False, True, Next.ROLL_BACK),
        ("partial", False, True, Next.ROLL_BACK),
        ("partial", False, False, Next.HOLD),
        ("violated", False, False, Next.HOLD),
    ],
)
def test_a_failed_action_is_observed_all_the_same(outcome, unchanged, way_back, expected):
    assert verdicts.after_failure(outcome, unchanged=unchanged, way_back=way_back) == expected


@pytest.mark.parametrize(
    ("outcome", "unchanged", "way_back", "deadline_passed", "expected"),
    [
        ("verified", False, True, False, Next.VERIFIED),
        ("verified", False, False, True, Next.VERIFIED),
        ("verified", True, True, False, Next.LOOK_AGAIN),
        ("verified", True, False, True, Next.FAILED),
        ("violated", True, True, False, Next.LOOK_AGAIN),
        ("violated", False, True, False, Next.LOOK_AGAIN),
        ("partial", False, False, False, Next.LOOK_AGAIN),
        ("violated", True, True, True, Next.FAILED),
        ("partial", True, False, True, Next.FAILED),
        ("violated", False, True, True, Next.ROLL_BACK),
        ("violated", False, False, True, Next.HOLD),
        ("partial", False, False, True, Next.HOLD),
    ],
)
def test_p_a_doubt_is_settled_by_looking_and_never_early(outcome, unchanged, way_back, deadline_passed, expected):
    step = verdicts.after_doubt(outcome, unchanged=unchanged, way_back=way_back, deadline_passed=deadline_passed)
    assert step == expected
