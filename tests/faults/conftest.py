"""A whole installation on a PostgreSQL of its own, with a world to act on and people to work with it."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.house import House, Postgres
from tests.faults.people import Agent, Contractor, Reviewer
from tests.faults.systems import Cached, Rows, Starts, running_cache, running_programs
from tests.faults.world import Act, Counts, Handed, Keys, Lines, counting_server
from tests.harness import targets
from tests.harness.installation import Installation


@dataclass
class Estate:
    """The house, its world, and what bootstrap told once."""

    house: House
    lines: Lines
    keys: Keys
    counts: Counts
    rows: Rows
    cached: Cached
    starts: Starts
    told: dict[str, Any]

    @property
    def installation(self) -> Installation:
        """What runs."""
        return self.house.installation

    @property
    def acts(self) -> list[Act]:
        """An act of every executor."""
        handed = Handed(self.counts.url, self.counts.counted)
        return [self.lines, self.keys, self.counts, self.rows, self.cached, self.starts, handed]

    def contractor(self) -> Contractor:
        """Who does what is handed out."""
        return Contractor(self.installation.url, self.told["agent"]["key"])

    def agent(self, *acts: Any) -> Agent:
        """The agent of this installation, who proposes these acts in turn."""
        return Agent(self.installation.url, self.told["agent"]["key"], acts)

    def person(self, name: str) -> Reviewer:
        """Somebody who can log in."""
        found = next(user for user in self.told["users"] if user["username"] == name)
        return Reviewer(self.installation.url, found["username"], found["password"])


@pytest.fixture
def estate(tmp_path: Path) -> Iterator[Estate]:
    """Bootstrapped and up."""
    postgres = Postgres()
    lines = Lines(tmp_path)
    # Its sockets need a short path.
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="grace-faults-"))
        counts = stack.enter_context(counting_server())
        cached = stack.enter_context(running_cache())
        starts = stack.enter_context(running_programs())
        rows = Rows(tmp_path)
        listed = targets.write(
            tmp_path / "targets.toml", **rows.targets, **cached.targets, **starts.targets, **Handed.targets
        )
        installation = Installation(
            Path(home),
            DATABASE_URL=postgres.url,
            COMMANDS_FILE=str(lines.commands_file),
            TARGETS_FILE=str(listed),
            HTTP_ALLOWED_URLS=f"{counts.url}/",
            JOB_LEASE_SECONDS="3",
            PROPOSAL_RATE_PER_MIN="10000",
            APPROVAL_DECISION_RATE_PER_MIN="10000",
            READ_RATE_PER_MIN="100000",
        )
        done = installation.manage("bootstrap", "--json", seconds=240)
        assert done.returncode == 0, done.stdout + done.stderr
        keys = Keys(installation.var_dir / "sandbox")
        stack.enter_context(installation.up())
        house = House(installation, postgres)
        yield Estate(house, lines, keys, counts, rows, cached, starts, json.loads(done.stdout))


@pytest.fixture
def chance() -> int:
    """The seed of this run; a campaign that failed is run again with FAULTS_SEED."""
    seed = int(os.environ.get("FAULTS_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)
    random.seed(seed)
    return seed
