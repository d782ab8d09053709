"""What is learned, playbooks and benchmarks in the console: the numbers of the verbs, and their buttons."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from auditlog import jobs, log, mesh
from auditlog.actors import SYSTEM
from auditlog.ids import new_id
from auditlog.models import Entry
from auditlog.subjects import Subject
from governance.pages import benchmarks, charts
from missions import playbooks, seeds
from missions.models import Mission
from missions.pages import variables
from missions.templates import InvalidVariables
from tests import scenery
from tests.harness.people import People
from tests.scenery import Scene
from verification.facts import LearningFact
from verification.learning import wilson_lower_bound
from verification.models import BenchmarkRun, Contract

RESTORE = "restore-sound-configuration"


@pytest.fixture
def scene(users: People, var_dir: Path) -> Scene:
    return scenery.minimal(var_dir / "sandbox", users)


@pytest.fixture
def seeded(scene: Scene) -> Scene:
    seeds.seed(now=timezone.now())
    return scene


@pytest.fixture
def as_(client: Client) -> Callable[[User], Client]:
    def log_in(user: User) -> Client:
        client.force_login(user)
        return client

    return log_in


def text(response: Any) -> str:
    return str(response.content.decode())


def settled(state: str, **columns: Any) -> Contract:
    at = timezone.now() - timedelta(hours=1)
    given = {
        "id": new_id(),
        "action_type": "command.run",
        "executor_version": "1",
        "target": "command:x",
        "state": state,
        "playbook": RESTORE,
        "requested_by_kind": "agent",
        "requested_by_label": "scout",
        "request_sha256": "0" * 64,
        "stated_confidence": Decimal("0.9"),
        "created_at": at,
        "state_changed_at": at,
        "settled_at": at,
    }
    return Contract.objects.create(**{**given, **columns})


# --- learning --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("query", ["", "?by=playbook", "?by=agent&days=7", "?by=error_pattern", "?by=x&days=x"])
def test_the_record_is_that_of_the_api(as_: Any, users: People, scene: Scene, query: str) -> None:
    assert "Nothing has settled" in text(as_(users.eve).get(f"/learning{query}"))
    for state in ["verified"] * 8 + ["failed", "rolled_back"]:
        settled(state)
    response = as_(users.eve).get(f"/learning{query}")
    dimension = response.context["dimension"]
    told = as_(users.eve).get(f"/api/verification/learning/stats?group_by={dimension}").json()["data"]
    assert [stat.as_dict() for _, stat, _ in response.context["stats"]] == told
    overall = response.context["overall"]
    assert (overall.runs, overall.lower_bound) == (10, pytest.approx(wilson_lower_bound(8, 10)))
    assert f"{wilson_lower_bound(8, 10):.0%}" in text(response)
    assert overall.brier_score == pytest.approx((8 * 0.01 + 2 * 0.81) / 10)
    assert len(response.context["dots"]) == 1
    assert "90% to 100%" in text(response)


@pytest.mark.django_db
def test_what_settled_earlier_is_left_out(as_: Any, users: People, scene: Scene) -> None:
    settled("failed", settled_at=timezone.now() - timedelta(days=40))
    settled("verified")
    assert as_(users.eve).get("/learning?days=30").context["overall"].runs == 1
    assert as_(users.eve).get("/learning").context["overall"].runs == 2


@pytest.mark.django_db
def test_insights_are_read_from_the_log(as_: Any, users: People, scene: Scene) -> None:
    contract = settled("failed")
    with log.recording():
        log.append(
            LearningFact.INSIGHT,
            actor=SYSTEM,
            subject=Subject("record", "command.run"),
            data={
                "action_type": "command.run",
                "playbook": RESTORE,
                "error_pattern": "",
                "agent": "scout",
                "runs": 3,
                "successes": 1,
                "lower_bound": "0.0615",
                "suggestion": "tighten",
            },
            contract_id=contract.pk,
            now=timezone.now(),
        )
    shown = text(as_(users.eve).get("/learning"))
    assert "look closer" in shown
    assert "1 of 3 verified" in shown
    assert f"/contracts/{contract.pk}" in shown


# --- playbooks -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_playbooks_stand_there_with_their_record(as_: Any, users: People, seeded: Scene) -> None:
    settled("verified")
    shown = as_(users.eve).get("/playbooks")
    assert [row.name for row in shown.context["shown"].rows] == ["release-stale-lock", RESTORE]
    assert [row.stat and row.stat.runs for row in shown.context["shown"].rows] == [None, 1]


@pytest.mark.django_db
def test_a_playbook_shows_its_steps_and_what_each_version_changed(as_: Any, users: People, seeded: Scene) -> None:
    changed = {**seeds.PLAYBOOKS[1], "steps": seeds.PLAYBOOKS[1]["steps"][1:]}
    playbooks.publish(**changed, by=SYSTEM, now=timezone.now())
    shown = as_(users.eve).get(f"/playbooks/{RESTORE}")
    assert [each.playbook.version for each in shown.context["versions"]] == [2, 1]
    assert shown.context["versions"][1].change is None
    assert "Ask how the service stands" in shown.context["versions"][0].change["body"]
    assert '<tr class="diff__line diff__line--removed">' in text(shown)
    assert "Set max_connections to {{max_connections}}" in text(shown)
    assert "Run the playbook" not in text(shown), "Eve only reads"
    assert as_(users.eve).get("/playbooks/never-heard-of").status_code == 404


@pytest.mark.django_db
def test_ada_runs_one_with_a_value_of_hers(as_: Any, users: People, seeded: Scene) -> None:
    assert "Run the playbook" in text(as_(users.ada).get(f"/playbooks/{RESTORE}"))
    response = as_(users.ada).post(f"/playbooks/{RESTORE}/run", {"v-max_connections": "150"})
    mission = Mission.objects.get(playbook=RESTORE)
    assert response["Location"] == f"/missions/{mission.pk}"
    assert mission.started_by == users.ada
    step = mission.steps.get(position=2)
    assert step.plan["proposal"]["parameters"]["merge"] == {"max_connections": 150}
    assert f"/missions/{mission.pk}" in text(as_(users.ada).get(f"/playbooks/{RESTORE}"))


@pytest.mark.django_db
def test_it_runs_in_an_open_mission_too(as_: Any, users: People, seeded: Scene) -> None:
    as_(users.ada).post(f"/playbooks/{RESTORE}/run")
    mission = Mission.objects.get()
    assert f'value="{mission.pk}"' in text(as_(users.ada).get("/playbooks/release-stale-lock"))
    as_(users.ada).post("/playbooks/release-stale-lock/run", {"mission": str(mission.pk)})
    assert Mission.objects.get().steps.count() == 3


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"v-max_connections": "0"}, (422, "/variables/max_connections")),
        ({"v-max_connections": "many"}, (422, "is not a JSON value")),
        ({"mission": "x"}, (404, "There is no mission")),
        ({"mission": "00000000-0000-0000-0000-000000000000"}, (404, "mission")),
    ],
)
def test_what_cannot_be_run_is_said_beside_the_form(
    as_: Any, users: People, seeded: Scene, sent: dict[str, str], expected: tuple[int, str]
) -> None:
    response = as_(users.ada).post(f"/playbooks/{RESTORE}/run", sent)
    assert response.status_code == expected[0]
    assert expected[1] in text(response)
    if "v-max_connections" in sent:
        assert f'value="{sent["v-max_connections"]}"' in text(response)
    assert not Mission.objects.exists()


@pytest.mark.django_db
def test_who_may_only_read_runs_nothing(as_: Any, users: People, seeded: Scene) -> None:
    assert as_(users.eve).post(f"/playbooks/{RESTORE}/run").status_code == 403
    assert as_(users.ada).get(f"/playbooks/{RESTORE}/run").status_code == 302


DECLARED = {
    "count": {"schema": {"type": "integer"}, "default": 3, "description": "How many."},
    "name": {"schema": {"type": "string"}},
    "deep": {"schema": {"type": "boolean"}},
    "level": {"schema": {"type": "string", "enum": ["info", "debug"]}, "default": "info"},
    "any": {"schema": {}},
}


def test_variables_are_fields_of_their_kind() -> None:
    found = {field.name: field for field in variables.fields(DECLARED)}
    assert (found["count"].default, found["count"].required, found["count"].is_text) == ("3", False, False)
    assert (found["name"].required, found["name"].is_text) == (True, True)
    assert found["deep"].choices == ("true", "false")
    assert (found["level"].choices, found["level"].default) == (("info", "debug"), "info")
    assert found["any"].sent_as == "v-any"


def test_what_is_typed_has_its_type_and_what_is_empty_says_nothing() -> None:
    sent = {"v-count": "7", "v-name": "7", "v-deep": "true", "v-level": "", "v-any": '{"a": [1]}', "other": "x"}
    assert variables.values(DECLARED, sent) == {"count": 7, "name": "7", "deep": True, "any": {"a": [1]}}


@pytest.mark.parametrize("typed", ["many", "{", "[" * 100_000])
def test_what_should_be_json_and_is_not_is_named(typed: str) -> None:
    with pytest.raises(InvalidVariables) as refused:
        variables.values(DECLARED, {"v-count": typed})
    assert [error.pointer for error in refused.value.errors] == ["/variables/count"]


# --- benchmarks ------------------------------------------------------------------------------------------------


def check(name: str, *samples: float, passed: bool = True) -> dict[str, Any]:
    median = sorted(samples)[len(samples) // 2] if samples else None
    return {"name": name, "passed": passed, "median_ms": median, "samples_ms": list(samples), "tolerance": 0.2}


def completed(*checks: dict[str, Any], hours: int = 0, **columns: Any) -> BenchmarkRun:
    return BenchmarkRun(
        suite="smoke",
        state="completed",
        passed=all(each["passed"] for each in checks),
        checks=list(checks),
        requested_by_label="Ada",
        created_at=timezone.now() - timedelta(hours=hours),
        **columns,
    )


def test_each_check_is_held_against_its_golden_measurement() -> None:
    golden = completed(check("a", 10, 10, 10), check("b", 1, 1, 1), is_golden=True)
    runs = [golden, completed(check("a", 10.5, 10.5, 10.5)), completed(check("a", 30, 30, 30), check("c", 5, 5, 5))]
    a, b, c = benchmarks.of_suite(runs, golden.checks)
    assert [(row.outcome, row.change) for row in a.rows] == [
        ("passed", 0.0),
        ("passed", pytest.approx(0.05)),
        ("drifted", pytest.approx(2.0)),
    ]
    assert (b.name, len(b.rows)) == ("b", 1)
    assert (c.golden, c.rows[0].change, c.rows[0].outcome) == (None, None, "passed")
    assert a.trend.golden_y == a.trend.dots[0].y


def test_a_check_that_failed_stands_in_the_table_and_is_no_point_without_a_measurement() -> None:
    (history,) = benchmarks.of_suite([completed(check("a", passed=False)), completed(check("a", 4, 4, 4))], [])
    assert [row.outcome for row in history.rows] == ["failed", "passed"]
    assert len(history.trend.dots) == 1


@pytest.mark.parametrize("values", [[], [0.0], [5.0], [1.0, 2.0, 100.0]])
@pytest.mark.parametrize("golden", [None, 0.0, 3.0])
def test_a_trend_stays_inside_its_frame(values: list[float], golden: float | None) -> None:
    trend = charts.trend([(value, "", "passed") for value in values], golden)
    heights = [dot.y for dot in trend.dots] + ([trend.golden_y] if trend.golden_y is not None else [])
    assert all(0 <= dot.x <= charts.WIDTH for dot in trend.dots)
    assert all(0 <= y <= charts.HEIGHT for y in heights)
    assert heights == sorted(heights, reverse=True) or golden is not None


def test_what_was_foretold_lies_on_the_line() -> None:
    low, high = charts.calibration([(0.25, 0.25, 4), (1.0, 0.5, 16)])
    assert (low.x, low.y) == (0.25 * charts.SIDE, 0.75 * charts.SIDE)
    assert high.y == 0.5 * charts.SIDE
    assert low.r < high.r <= 12


@pytest.mark.django_db
def test_charts_stand_beside_their_numbers(as_: Any, users: People, scene: Scene) -> None:
    for hours in (3, 2, 1):
        completed(check("disk.write", 10 * hours, 10 * hours, 10 * hours), hours=hours, is_golden=hours == 3).save()
    shown = as_(users.eve).get("/benchmarks")
    ((suite, (history,)),) = shown.context["histories"]
    assert (suite, history.golden, [row.median for row in history.rows]) == ("smoke", 30, [30, 20, 10])
    assert text(shown).count("<polyline") == 1
    assert "30.00 ms" in text(shown)
    assert "-67%" in text(shown)
    assert "Make golden" not in text(shown)
    assert as_(users.eve).get("/benchmarks?suite=other").context["histories"] == []


@pytest.mark.django_db
def test_a_run_is_asked_for_and_made_golden_by_who_may(as_: Any, users: People, scene: Scene) -> None:
    assert as_(users.eve).post("/benchmarks/run", {"suite": "smoke"}).status_code == 403
    assert as_(users.ada).post("/benchmarks/run", {"suite": "nothing"}).status_code == 422
    as_(users.ada).post("/benchmarks/run", {"suite": "smoke"})
    run = BenchmarkRun.objects.get()
    assert as_(users.bea).post(f"/benchmarks/{run.pk}/golden").status_code == 409
    jobs.run_until_idle()
    mesh.deliver_all()
    run.refresh_from_db()
    assert run.state == "completed", run.checks
    assert as_(users.ada).post(f"/benchmarks/{run.pk}/golden").status_code == 403
    assert "Make golden" in text(as_(users.bea).get("/benchmarks"))
    as_(users.bea).post(f"/benchmarks/{run.pk}/golden")
    run.refresh_from_db()
    assert run.is_golden
    assert Entry.objects.get(fact="benchmark.golden").actor_id == str(users.bea.pk)
