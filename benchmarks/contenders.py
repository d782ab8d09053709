"""One process for each way of auditing a model save; it measures what it is told to on its standard input.

    python benchmarks/contenders.py NAME DATABASE_URL [FOLDER WITH THE OTHER PACKAGES]

A process each, because django-auditlog's package has the same name as ours, and so that nobody's signals slow down
anybody else. Commands: `single N` and `ten N` print the microseconds of one save: alone in its transaction, and as one
of ten that share one.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs, urlsplit

NAME, URL, *PACKAGES = sys.argv[1:]
ROOT = Path(__file__).resolve().parent.parent
# The script's own folder would come first otherwise, and ours must not be found by the others.
sys.path[0:1] = [*([str(ROOT)] if NAME == "grace" else PACKAGES), str(ROOT / "benchmarks")]

import django  # noqa: E402
from django.conf import settings  # noqa: E402

APPS = {
    "none": [],
    "grace": ["auditlog"],
    "django-auditlog": ["auditlog"],
    "django-simple-history": ["simple_history"],
    "django-pghistory": ["pgtrigger", "pghistory"],
}


def configure() -> None:
    """Settings with nothing in them that is not needed."""
    parts = urlsplit(URL)
    host = parse_qs(parts.query).get("host", [parts.hostname or ""])[0]
    settings.configure(
        SECRET_KEY="x",  # noqa: S106
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "shop", *APPS[NAME]],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": parts.path.strip("/"),
                "USER": parts.username,
                "HOST": host,
                "CONN_MAX_AGE": None,
            }
        },
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        VAR_DIR=ROOT / "var",
    )
    django.setup()


configure()

from django.core.management import call_command  # noqa: E402
from django.db import connection, models, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402
from shop.models import Item  # noqa: E402


def audited() -> tuple[list[type[models.Model]], Callable[[Item], None], Callable[[], AbstractContextManager[Any]]]:
    """The contender's tables, what it does after a save, and the block around the saves that share a transaction."""
    if NAME == "grace":
        from typing_extensions import TypedDict

        from auditlog import facts, log
        from auditlog.actors import Actor
        from auditlog.subjects import Subject

        class ItemData(TypedDict):
            name: str
            owner: str
            amount: int

        class ItemFact(facts.Facts):
            CHANGED = facts.fact("bench.item_changed", ItemData)

        actor = Actor("agent", "agent:1", "bench")

        def append(item: Item) -> None:
            log.append(
                ItemFact.CHANGED,
                actor=actor,
                subject=Subject("item", str(item.pk), item.name),
                data={"name": item.name, "owner": item.owner, "amount": item.amount},
                now=timezone.now(),
            )

        return [], append, log.recording
    if NAME == "django-auditlog":
        from auditlog.registry import auditlog  # type: ignore[import-not-found, attr-defined, unused-ignore]

        auditlog.register(Item)
    if NAME == "django-simple-history":
        from simple_history import register  # type: ignore[import-not-found, unused-ignore]

        register(Item, app="shop")
        return [Item.history.model], lambda item: None, transaction.atomic  # type: ignore[attr-defined]
    if NAME == "django-pghistory":
        import pghistory  # type: ignore[import-not-found, unused-ignore]

        pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent())(Item)
        return [Item.events.rel.related_model], lambda item: None, transaction.atomic  # type: ignore[attr-defined]
    return [], lambda item: None, transaction.atomic


def make_tables(tables: list[type[models.Model]]) -> None:
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        for model in (Item, *tables):
            editor.create_model(model)
    if NAME == "django-pghistory":
        call_command("pgtrigger", "install", verbosity=0)


def measure(
    kind: str, count: int, after: Callable[[Item], None], around: Callable[[], AbstractContextManager[Any]]
) -> float:
    """The median time of one save, in microseconds."""
    items = list(Item.objects.order_by("pk")[:10])
    share = 10 if kind == "ten" else 1
    times = []
    for number in range(count // share):
        began = perf_counter()
        with around():
            for item in items[:share]:
                item.amount += 1
                item.name = f"item {number}"
                item.changed_at = timezone.now()
                item.save()
                after(item)
        times.append((perf_counter() - began) / share * 1e6)
    return statistics.median(times)


def main() -> None:
    tables, after, around = audited()
    # Without auditing, one save is its own transaction.
    alone = around if NAME == "grace" else nullcontext
    make_tables(tables)
    for number in range(10):
        Item.objects.create(name=f"item {number}", owner="somebody")
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        kind, count = line.split()
        found = measure(kind, int(count), after, alone if kind == "single" else around)
        print(f"{found:.1f}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
