"""Benchmark checks: real measurements, registered in suites, and their comparison with a golden run.

A check is a function that does something real once and fails by raising; it is timed several times. Packages
above add theirs with `register`. The comparison is pure: a check has drifted when its median is slower than
the golden median by more than the tolerance *and* the difference is beyond the noise of both sets of samples.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from verification import configuration, expressions
from verification.snapshots import store

SAMPLES = 7
TOLERANCE = 0.20
NOISE_FACTOR = 3.0
NOISE_FLOOR_MS = 1.0
_PROBE = b"grace" * 1000


class UnknownSuite(LookupError):
    """No check is registered in this suite."""


@dataclass(frozen=True)
class Check:
    """One registered check; `run` does it once and raises when it does not work."""

    name: str
    suite: str
    title: str
    run: Callable[[], None]
    samples: int = SAMPLES
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class CheckResult:
    """One check, measured: its samples in milliseconds, or the error that stopped it."""

    name: str
    passed: bool
    samples_ms: tuple[float, ...] = ()
    error: str = ""
    tolerance: float = TOLERANCE

    @property
    def median_ms(self) -> float | None:
        """The median of the samples, in milliseconds."""
        return statistics.median(self.samples_ms) if self.samples_ms else None

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "name": self.name,
            "passed": self.passed,
            "median_ms": self.median_ms,
            "samples_ms": list(self.samples_ms),
            "error": self.error,
            "tolerance": self.tolerance,
        }


@dataclass(frozen=True)
class Comparison:
    """How a run compares with its golden run: which checks failed, and which drifted."""

    failed: list[str] = field(default_factory=list)
    drifted: list[str] = field(default_factory=list)
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Nothing failed and nothing drifted."""
        return not self.failed and not self.drifted


_registry: dict[str, Check] = {}


def register(
    name: str, *, suite: str, title: str, samples: int = SAMPLES, tolerance: float = TOLERANCE
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a function as a check of a suite; a name is taken once."""

    def decorate(run: Callable[[], None]) -> Callable[[], None]:
        if name in _registry:
            raise ValueError(f"the check {name} is registered already")
        _registry[name] = Check(name, suite, title, run, samples, tolerance)
        return run

    return decorate


def unregister(name: str) -> None:
    """Take a check out again."""
    _registry.pop(name, None)


def suites() -> list[str]:
    """The names of all suites."""
    return sorted({check.suite for check in _registry.values()})


def of_suite(suite: str) -> list[Check]:
    """The checks of a suite, by name; raises UnknownSuite."""
    found = sorted((c for c in _registry.values() if c.suite == suite), key=lambda check: check.name)
    if not found:
        raise UnknownSuite(f"There is no suite {suite!r}; there are {', '.join(suites())}.")
    return found


def run_suite(suite: str, *, progress: Callable[[int, str], None] = lambda percent, message: None) -> list[CheckResult]:
    """Measure every check of a suite; raises UnknownSuite. One that raises has failed, the others run."""
    chosen = of_suite(suite)
    results = []
    for number, check in enumerate(chosen):
        progress(100 * number // len(chosen), check.title)
        results.append(measure(check))
    progress(100, "done")
    return results


def measure(check: Check) -> CheckResult:
    """Run one check for its samples; the first run warms up and is not counted."""
    samples: list[float] = []
    try:
        check.run()
        for _ in range(check.samples):
            started = time.perf_counter()
            check.run()
            samples.append(round((time.perf_counter() - started) * 1000, 4))
    except Exception as exc:  # noqa: BLE001 - whatever a check raises is its failure
        return CheckResult(check.name, False, tuple(samples), f"{type(exc).__name__}: {exc}"[:300], check.tolerance)
    return CheckResult(check.name, True, tuple(samples), tolerance=check.tolerance)


# --- the comparison (pure) ---


def compare(results: Iterable[CheckResult], golden: Iterable[Mapping[str, Any]]) -> Comparison:
    """A run against the stored checks of its golden run; checks the golden run does not know cannot drift."""
    known = {item["name"]: item for item in golden}
    comparison = Comparison()
    for result in results:
        if not result.passed:
            comparison.failed.append(result.name)
            continue
        reference = known.get(result.name)
        if reference is None or not reference.get("passed") or not reference.get("samples_ms"):
            continue
        now_ms, then_ms = statistics.median(result.samples_ms), statistics.median(reference["samples_ms"])
        comparison.changes[result.name] = {"median_ms": now_ms, "golden_median_ms": then_ms}
        if drifted(result.samples_ms, reference["samples_ms"], tolerance=result.tolerance):
            comparison.drifted.append(result.name)
    return comparison


def drifted(samples: Sequence[float], golden: Sequence[float], *, tolerance: float = TOLERANCE) -> bool:
    """Slower than golden by more than the tolerance and beyond the noise (milliseconds)."""
    moved = statistics.median(samples) - statistics.median(golden)
    if moved <= tolerance * statistics.median(golden):
        return False
    return moved > NOISE_FACTOR * max(noise(samples), noise(golden)) and moved > NOISE_FLOOR_MS


def noise(samples: Sequence[float]) -> float:
    """The median distance from the median: one slow sample does not hide or make a drift."""
    middle = statistics.median(samples)
    return statistics.median(abs(sample - middle) for sample in samples)


# --- the suite "smoke": seconds, and safe anywhere ---


@register("database.read", suite="smoke", title="Read from the database")
def _database_read() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        if cursor.fetchone() != (1,):
            raise RuntimeError("the database does not answer")


@register("disk.write", suite="smoke", title="Write and sync a file under VAR_DIR", tolerance=1.0)
def _disk_write() -> None:
    directory = configuration.var_dir()
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".check-") as file:
        file.write(b"x" * 65536)
        file.flush()
        os.fsync(file.fileno())


@register("snapshot.roundtrip", suite="smoke", title="Write, sign, verify and read a snapshot", tolerance=1.0)
def _snapshot_roundtrip() -> None:
    writer = store.Writer()
    writer.add_bytes("probe", _PROBE)
    sealed = writer.seal()
    if store.open_sealed(sealed.manifest, sealed.sha256, sealed.signature).read("probe") != _PROBE:
        raise RuntimeError("the snapshot reads differently")


@register("expression.evaluate", suite="smoke", title="Evaluate an expression")
def _expression_evaluate() -> None:
    expression = expressions.compile_expression("observed.items.exists(i, i.name == 'b' && i.size > 1)")
    observed = {"items": [{"name": "a", "size": 1}, {"name": "b", "size": 2}]}
    if not expression.holds({"observed": observed}):
        raise RuntimeError("the expression is false")
