"""What errors are taken for: tables over the pure modules."""

from decimal import Decimal

import pytest

from missions import patterns
from missions.progress import Progress

MESSAGES = [
    ("OperationalError", "database is locked", "database_locked"),
    ("OperationalError", "database table is locked: orders", "database_locked"),
    ("sqlite3.Error", "SQLITE_BUSY while writing", "database_locked"),
    ("DatabaseError", "Lock wait timeout exceeded; try restarting transaction", "database_locked"),
    ("StartError", "lock file app.lock already exists", "database_locked"),
    ("ConfigError", "max_connections is out of range", "validation_error"),
    ("ValidationError", "bad", "validation_error"),
    ("OSError", "[Errno 28] No space left on device", "resource_exhausted"),
    ("Killed", "the worker was killed: out of memory", "resource_exhausted"),
    ("OSError", "Too many open files", "resource_exhausted"),
    ("ReadTimeout", "the request timed out after 30 s", "timeout"),
    ("RpcError", "Deadline Exceeded", "timeout"),
    ("OSError", "[Errno 13] Permission denied: '/etc/app'", "permission_denied"),
    ("HTTPError", "401 Unauthorized", "permission_denied"),
    ("ConnectionError", "Connection refused by 10.0.0.7:5432", "dependency_unavailable"),
    ("HTTPError", "503 Service Unavailable", "dependency_unavailable"),
    ("WeirdError", "something went sideways", "unknown"),
    ("", "", "unknown"),
]


@pytest.mark.parametrize(("error_type", "message", "expected"), MESSAGES)
def test_it_recognises_an_error_by_its_words(error_type: str, message: str, expected: str) -> None:
    assert patterns.classify(error_type, message).error_pattern == expected


@pytest.mark.parametrize("name", ["database_locked", "DatabaseLocked", "database-locked", "Database Locked"])
def test_it_takes_a_pattern_named_outright(name: str) -> None:
    found = patterns.classify(name, "connection refused")
    assert found.error_pattern == "database_locked"
    assert "error type" in found.evidence


@pytest.mark.parametrize(
    ("name", "confidence", "tier", "alone", "minimum_tier"),
    [
        ("database_locked", "0.9", "tier_1", True, "tier_1"),
        ("validation_error", "0.85", "tier_1", True, "tier_1"),
        ("resource_exhausted", "0.8", "tier_1", True, "tier_1"),
        ("timeout", "0.75", "tier_1", False, "tier_2"),
        ("permission_denied", "0.7", "tier_3", False, "tier_3"),
        ("dependency_unavailable", "0.6", "tier_2", False, "tier_2"),
        ("no such thing", "0.5", "tier_3", False, "tier_3"),
    ],
)
def test_it_acts_alone_only_where_it_is_sure_enough(
    name: str, confidence: str, tier: str, alone: bool, minimum_tier: str
) -> None:
    found = patterns.classify(name, "")
    assert (found.confidence, found.tier) == (Decimal(confidence), tier)
    assert (found.alone, found.minimum_tier) == (alone, minimum_tier)


def test_the_surest_pattern_wins_when_several_fit() -> None:
    found = patterns.classify("Error", "timed out: database is locked, connection refused")
    assert found.error_pattern == "database_locked"


def test_what_the_message_says_ranks_the_causes() -> None:
    quiet = patterns.classify("Error", "database is locked")
    backup = patterns.classify("Error", "database is locked during nightly backup and migration")
    assert quiet.root_causes[0].startswith("a lock left behind")
    assert backup.root_causes[0].startswith("a backup or migration")
    assert sorted(quiet.root_causes) == sorted(backup.root_causes)


@pytest.mark.parametrize(
    ("context", "diagnosis"),
    [
        ({}, "elevated_errors"),
        ({"diagnosis": "latency_spike"}, "latency_spike"),
        ({"diagnosis": "made_up"}, "elevated_errors"),
        ({"diagnosis": {"deep": 1}}, "elevated_errors"),
        ({"diagnosis": ["service_down"]}, "elevated_errors"),
    ],
)
def test_only_known_diagnoses_are_believed(context: dict[str, object], diagnosis: str) -> None:
    assert patterns.classify("database_locked", "", context).diagnosis == diagnosis


def test_every_pattern_names_a_seeded_diagnosis() -> None:
    assert {each.diagnosis for each in (*patterns.PATTERNS, patterns.UNKNOWN)} <= set(patterns.DIAGNOSES)


def test_only_the_beginning_of_a_long_message_is_read() -> None:
    assert patterns.classify("E", "x" * 5000 + " database is locked").error_pattern == "unknown"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("locked after 31 ms", "locked after 7 ms", True),
        ("row 0193f4e2-7c1a-7bbb-8000-0123456789ab", "row 0193f4e2-7c1a-7bbb-8000-ffffffffffff", True),
        ("at 0xdeadbeef", "at 0x1", True),
        ("Database  Is Locked", "database is locked\n", True),
        ("database is locked", "disk is full", False),
    ],
)
def test_numbers_and_ids_do_not_make_another_problem(one: str, other: str, same: bool) -> None:
    assert (patterns.fingerprint("app", "E", one) == patterns.fingerprint("app", "E", other)) is same


def test_source_type_and_a_given_name_make_another_problem() -> None:
    found = {
        patterns.fingerprint("app", "E", "m"),
        patterns.fingerprint("web", "E", "m"),
        patterns.fingerprint("app", "F", "m"),
        patterns.fingerprint("app", "E", problem="m"),
        patterns.fingerprint("app", "E", problem="n"),
    }
    assert len(found) == 5


@pytest.mark.parametrize(
    ("tiers", "strictest"),
    [(["tier_1", "tier_3", "tier_2"], "tier_3"), (["", "tier_1"], "tier_1"), (["", ""], ""), ([], "")],
)
def test_the_strictest_tier_wins(tiers: list[str], strictest: str) -> None:
    assert patterns.strictest(tiers) == strictest


@pytest.mark.parametrize(
    ("progress", "percent", "confidence"),
    [
        (Progress(0, 0, 0, 0), 0, None),
        (Progress(4, 0, 0, 0), 0, None),
        (Progress(4, 2, 0, 0), 50, "1.0000"),
        (Progress(4, 3, 1, 0), 100, "0.7500"),
        (Progress(3, 1, 0, 0), 33, "1.0000"),
        (Progress(4, 3, 0, 1), 100, "0.6000"),  # 3/4 x 0.8
        (Progress(4, 2, 0, 2), 100, "0.3200"),  # 2/4 x 0.64
        (Progress(2, 2, 0, 0, health_score=69), 100, "0.9000"),
        (Progress(2, 2, 0, 0, health_score=70), 100, "1.0000"),
        (Progress(4, 3, 0, 1, health_score=0), 100, "0.5400"),  # 3/4 x 0.8 x 0.9
        (Progress(3, 0, 3, 0), 100, "0.0000"),
    ],
)
def test_progress_and_confidence_follow_the_counts(progress: Progress, percent: int, confidence: str | None) -> None:
    assert progress.percent == percent
    assert progress.confidence == (None if confidence is None else Decimal(confidence))
