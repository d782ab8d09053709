"""The beat schedule, put together from what each app's `beats.py` says runs by the clock."""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from celery.schedules import schedule
from django.conf import settings

UNITS = {"_SECONDS": 1, "_MINUTES": 60, "_HOURS": 3600}


def intervals() -> dict[str, tuple[str, float, str]]:
    """Every beat by name: its task, its interval in seconds, and the queue it is sent to."""
    found: dict[str, tuple[str, float, str]] = {}
    for app in settings.OUR_APPS:
        if find_spec(f"{app}.beats") is None:
            continue
        beats: Mapping[str, tuple[str, float | str, str]] = import_module(f"{app}.beats").BEATS
        for name, (task, every, queue) in beats.items():
            found[name] = (task, _seconds(every), queue)
    return found


def composed() -> dict[str, Any]:
    """The same in Celery's form. A message nobody took before the next one is due is dropped."""
    return {
        name: {
            "task": task,
            "schedule": schedule(every),
            "options": {"queue": queue, "expires": max(every, 10.0)},
        }
        for name, (task, every, queue) in intervals().items()
    }


def _seconds(every: float | str) -> float:
    if not isinstance(every, str):
        return float(every)
    unit = next(seconds for ending, seconds in UNITS.items() if every.endswith(ending))
    return float(getattr(settings, every) * unit)
