"""The pure parts of the console: diffs, JSON, words, effects."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from governance.pages import diffs, effects, pretty, words
from missions.pages import overview

DIFF = """--- a/app.json
+++ b/app.json
@@ -1,3 +1,3 @@
 {
-  "pool": 10
+  "pool": 25
 }
\\ No newline at end of file"""


def test_it_numbers_the_lines_of_a_diff_on_both_sides() -> None:
    lines = diffs.read(DIFF)
    assert [(line.kind, line.sign, line.before, line.after) for line in lines] == [
        ("file", "", None, None),
        ("file", "", None, None),
        ("hunk", "", None, None),
        ("same", "", 1, 1),
        ("removed", "-", 2, None),
        ("added", "+", None, 2),
        ("same", "", 3, 3),
        ("file", "", None, None),
    ]
    assert diffs.counts(lines) == (1, 1)


def test_a_line_that_looks_like_a_file_name_inside_a_hunk_is_a_line() -> None:
    lines = diffs.read("@@ -1 +1 @@\n--- note\n+++ note")
    assert [line.kind for line in lines] == ["hunk", "removed", "added"]


@pytest.mark.parametrize(
    ("before", "after", "pointers"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["/a"]),
        ({"a": {"b": 1, "c": 1}}, {"a": {"b": 2}}, ["/a/b", "/a/c"]),
        ({"a": [1]}, {"a": [1, 2]}, ["/a"]),
        (None, None, []),
        (1, {"a": 1}, ["/"]),
    ],
)
def test_it_finds_where_two_documents_differ(before: Any, after: Any, pointers: list[str]) -> None:
    assert [change.pointer for change in diffs.between(before, after)] == pointers


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü 漢字", "plain äöü 漢字"),
        ("line\nand\ttab", "line\nand\ttab"),
        ("etc/\u202egnp.exe", "etc/\\u202egnp.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("no-break\u00a0space", "no-break\\u00a0space"),
        ("bell\x07", "bell\\u0007"),
        ("tag\U000e0041", "tag\\U000e0041"),
    ],
)
def test_nothing_invisible_stays_invisible(text: str, shown: str) -> None:
    assert pretty.visible(text) == shown


def test_json_is_whole_escaped_and_coloured() -> None:
    html = pretty.json_html({"a<b": "</pre><script>", "n": [1.5, True, None], "s": 'say "hi"'})
    assert "<script>" not in html
    assert '<span class="json__key">&quot;a&lt;b&quot;</span>' in html
    assert '<span class="json__string">&quot;&lt;/pre&gt;&lt;script&gt;&quot;</span>' in html
    assert '<span class="json__number">1.5</span>' in html
    assert '<span class="json__word">true</span>' in html
    assert "say \\&quot;hi\\&quot;" in html


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3600, "1 h"), (8040, "2 h 14 min"), (90000, "1 d 1 h"), (1e6, "11 d")],
)
def test_lengths_of_time_have_two_units_at_most(seconds: float, shown: str) -> None:
    assert words.duration(timedelta(seconds=seconds)) == shown


def test_a_time_is_before_or_ahead() -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert words.distance(now - timedelta(minutes=3), now) == "3 min ago"
    assert words.distance(now + timedelta(hours=2), now) == "in 2 h"
    assert words.distance(now, now) == "just now"


def test_every_fact_reads_as_a_sentence() -> None:
    assert words.sentence("contract.rolled_back") == "Contract rolled back"
    assert words.sentence("approval.requested") == "Approval asked for"


EFFECT = {
    "target_state": {"status": "ok"},
    "success_criteria": [
        {"type": "state_match", "path": "content.pool", "in": [1, 2], "weight": 2},
        {"type": "health_check", "url": "http://localhost/health", "max_latency_ms": 200},
        {"type": "metric_threshold", "query": "up", "operator": "lte", "value": 1.5, "relative_to": "baseline"},
        {"type": "benchmark", "suite": "smoke"},
        {"type": "expression", "expression": "result.exit_code == 0", "required": True},
    ],
    "rollback_threshold": 0.5,
}


def test_it_says_what_each_kind_of_criterion_expects() -> None:
    shown = effects.expected(EFFECT)
    assert shown.threshold == "50%"
    assert [row.expected for row in shown.rows] == [
        '"ok"',
        "in [1, 2]",
        "any 2xx, within 200 ms",
        "lte 1.5 x what it was before",
        "passes, without drift",
        "holds",
    ]
    assert [row.required for row in shown.rows] == [True, False, False, False, False, True]


def test_what_was_seen_stands_beside_what_was_promised() -> None:
    measured = [{"key": "/success_criteria/0", "outcome": "failed", "observed": 3, "reason": "another"}]
    shown = effects.observed(EFFECT, measured)
    assert shown.measured
    assert (shown.rows[1].observed, shown.rows[1].outcome, shown.rows[1].detail) == ("3", "failed", "another")
    assert shown.rows[0].outcome == ""


def test_an_effect_nobody_can_read_any_more_is_shown_as_it_stands() -> None:
    shown = effects.expected({"written": "long ago"})
    assert shown.rows[0].expected == '{"written": "long ago"}'


def test_the_highest_bar_fills_the_chart() -> None:
    bars = overview.scaled([(date(2026, 11, 1), 0, 0), (date(2026, 11, 2), 3, 1)])
    assert bars[0].verified_height == bars[0].other_height == 0
    assert bars[1].verified_height + bars[1].other_height == overview.HEIGHT
    assert bars[1].other_y == 0
