"""A worker keeps its connections to PostgreSQL from one task to the next, and gets over losing them."""

from pathlib import Path

import pytest
from django.db import connection

from tests.harness.clients import config_change
from tests.harness.people import People
from tests.harness.story import Story

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("worker")]

OTHERS = (
    "FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


@pytest.fixture
def story(worker: None, var_dir: Path, users: People) -> Story:
    made = Story(var_dir, users)
    (made.sandbox / "service.json").write_text('{"workers": 2}\n')
    return made


def sessions() -> set[tuple[int, str]]:
    """The other sessions of this database: process and when it began."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pid, backend_start::text {OTHERS}")
        return set(cursor.fetchall())


def change(story: Story, workers: int) -> str:
    """What becomes of a change that Bea approves and the worker carries out."""
    asked = story.propose(config_change({"workers": workers}))
    assert story.decide(asked, story.people.bea).status_code == 200
    return str(story.wait(asked)["state"])


def test_it_keeps_them_and_gets_over_losing_them(story):
    assert change(story, 3) == "verified"
    kept = sessions()
    assert kept, "the worker closed its connections"
    assert change(story, 4) == "verified"
    assert kept & sessions(), "every connection is another one"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_terminate_backend(pid) {OTHERS}")
    assert change(story, 5) == "verified"
    assert not kept & sessions()
