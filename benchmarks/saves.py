"""A model save with one entry, alone or one of ten in a transaction, against no audit and other packages."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.stage import Found, psql

CONTENDERS = ("none", "grace", "django-auditlog", "django-simple-history", "django-pghistory")
# What is saved, how many saves share a transaction, and how many such transactions make a turn.
TURNS = {
    "an order, alone in its transaction": ("order", 1, 150),
    "an order, one of ten in a transaction": ("order", 10, 40),
    "a slim item, alone in its transaction": ("item", 1, 150),
    "a slim item, one of ten in a transaction": ("item", 10, 40),
}


class Contender:
    """A process of `contenders.py`."""

    def __init__(self, name: str, url: str, packages: Path) -> None:
        argv = [sys.executable, str(Path(__file__).with_name("contenders.py")), name, url, str(packages)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.ready = self._line() == "ready"

    def measure(self, model: str, share: int, times: int) -> tuple[float, float]:
        """Microseconds of one save, and what the processor spent on it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{model} {share} {times}\n")
        self._process.stdin.flush()
        passed, spent = self._line().split()
        return float(passed), float(spent)

    def end(self) -> str:
        """Let it go; returns what it complained of."""
        return self._process.communicate()[1]

    def _line(self) -> str:
        assert self._process.stdout is not None
        while (line := self._process.stdout.readline()) and not line.startswith(("ready", *"0123456789")):
            pass
        return line.strip()


def measure(url_of: Callable[[str], str], home: Path, packages: Path, rounds: int) -> Found:
    """On both databases; all take turns, so that whatever else the machine does falls on all of them."""
    found: Found = {}
    missing: Found = {}
    for database in ("PostgreSQL", "SQLite"):
        contenders = {}
        for number, name in enumerate(CONTENDERS):
            if database == "SQLite" and name == "django-pghistory":
                continue
            contender = Contender(name, _url(database, f"bench_saves_{number}", url_of, home), packages)
            if contender.ready:
                contenders[name] = contender
            else:
                missing[name] = contender.end().strip().rpartition("\n")[2]
        found[database] = _compared(contenders, rounds)
        for contender in contenders.values():
            contender.end()
    return found | ({"could not take part": missing} if missing else {})


def _url(database: str, name: str, url_of: Callable[[str], str], home: Path) -> str:
    if database == "SQLite":
        return f"sqlite://{home / name}.sqlite3"
    psql(url_of("postgres"), f"CREATE DATABASE {name}")
    host, _, database = url_of(name).removeprefix("postgres://postgres@").rpartition("/")
    return f"postgresql://postgres@/{database}?host={host}"


def _compared(contenders: dict[str, Contender], rounds: int) -> Found:
    taken: dict[str, dict[str, list[tuple[float, float]]]] = {
        words: {name: [] for name in contenders} for words in TURNS
    }
    for _ in range(rounds):
        for words, turn in TURNS.items():
            for name, contender in contenders.items():
                taken[words][name].append(contender.measure(*turn))
    return {words: _ratios(of) for words, of in taken.items()}


def _ratios(taken: dict[str, list[tuple[float, float]]]) -> Found:
    """Medians; a ratio is the median of the ratios of each round, whose contenders met the same machine."""
    passed = {name: [each[0] for each in times] for name, times in taken.items()}
    spent = {name: [each[1] for each in times] for name, times in taken.items()}
    found: Found = {
        name: {
            "microseconds": round(statistics.median(passed[name])),
            "times_no_audit": round(_median_ratio(passed[name], passed["none"]), 2),
            "processor_microseconds": round(statistics.median(spent[name])),
            "processor_times_no_audit": round(_median_ratio(spent[name], spent["none"]), 2),
        }
        for name in taken
    }
    if "django-auditlog" in taken:
        ours, theirs = (_extra(passed[name], passed["none"]) for name in ("grace", "django-auditlog"))
        found["auditing with django-auditlog costs, times ours"] = round(theirs / ours, 2)
    return found


def _median_ratio(times: list[float], base: list[float]) -> float:
    return statistics.median(each / none for each, none in zip(times, base, strict=True))


def _extra(times: list[float], base: list[float]) -> float:
    return max(1.0, statistics.median(each - none for each, none in zip(times, base, strict=True)))
