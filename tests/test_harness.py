"""The ground the other tests stand on."""

from datetime import datetime
from pathlib import Path

import pytest
from celery import current_app
from django.conf import settings
from django.db import connection
from django.utils import timezone

from tests.harness.people import People
from tests.harness.processes import wait_until


@pytest.mark.sqlite
def test_it_runs_sqlite_tests_on_sqlite_only() -> None:
    assert connection.vendor == "sqlite"


@pytest.mark.postgres
def test_it_runs_postgres_tests_on_postgres_only() -> None:
    assert connection.vendor == "postgresql"


def test_it_gives_every_test_an_empty_place_of_its_own(var_dir: Path) -> None:
    assert var_dir == settings.VAR_DIR
    assert [path.name for path in var_dir.iterdir()] == ["sandbox"]


def test_it_sets_the_clock_to_a_fixed_noon(now: datetime) -> None:
    assert 0 <= (timezone.now() - now).total_seconds() < 60


@pytest.mark.django_db
def test_it_knows_the_people(users: People) -> None:
    assert users.bea.check_password(users.password)
    assert set(users.bea.groups.values_list("name", flat=True)) == {"operators", "reviewers"}


def test_a_real_worker_answers_on_the_real_broker(worker: None) -> None:
    wait_until(lambda: current_app.control.ping(timeout=1), seconds=15, what="the worker answers a ping")


@pytest.mark.xdist_group("together")
def test_tests_of_one_group_share_a_worker(request: pytest.FixtureRequest) -> None:
    """Groups travel in the names of tests; a pytest that xdist does not know drops them without a word."""
    if hasattr(request.config, "workerinput"):
        assert request.node.nodeid.endswith("@together")
