"""One process for each way of auditing a model save; it measures what it is told to on its standard input.

    python benchmarks/contenders.py NAME DATABASE_URL [FOLDER WITH THE OTHER PACKAGES]

A process each, because django-auditlog's package has the same name as ours, and so that nobody's signals slow down
anybody else. A command is a model, how many saves share a transaction, and how many times to do that: `order 10 50`.
The answer is the median of microseconds of one save, and the mean of what the processor spent on it, microseconds of
PostgreSQL included.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from urllib.parse import parse_qs, urlsplit

NAME, URL, *PACKAGES = sys.argv[1:]
ROOT = Path(__file__).resolve().parent.parent
# The script's own folder would come first otherwise, and ours must not be found by the others.
sys.path[0:1] = [*([str(ROOT)] if NAME == "grace" else PACKAGES), str(ROOT / "benchmarks")]

import django  # noqa: E402
from django.conf import Settings, settings  # noqa: E402

APPS = {
    "none": [],
    "grace": ["auditlog"],
    "django-auditlog": ["auditlog"],
    "django-simple-history": ["simple_history"],
    "django-pghistory": ["pgtrigger", "pghistory"],
}


def configure() -> None:
    """Settings with nothing in them that is not needed; Grace takes what its own settings say about the log."""
    parts = urlsplit(URL)
    host = parse_qs(parts.query).get("host", [parts.hostname or ""])[0]
    sqlite = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": parts.path,
        # As Grace has it, and as anybody should.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        },
    }
    postgres = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.strip("/"),
        "USER": parts.username,
        "HOST": host,
    }
    settings.configure(
        SECRET_KEY="x",  # noqa: S106
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "shop", *APPS[NAME]],
        DATABASES={"default": {**(sqlite if parts.scheme == "sqlite" else postgres), "CONN_MAX_AGE": None}},
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        **({"default_settings": Settings("grace_site.settings")} if NAME == "grace" else {}),
    )
    if NAME == "grace":
        import grace_site.celery  # noqa: F401 - who is nudged, and how
    django.setup()


configure()

from django.core.management import call_command  # noqa: E402
from django.db import connection, models, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402
from shop.models import Customer, Item, Order  # noqa: E402

MODELS: dict[str, type[models.Model]] = {"item": Item, "order": Order}


def audited() -> tuple[list[type[models.Model]], Callable[[Any], None], Callable[[], AbstractContextManager[Any]]]:
    """The contender's tables, what it does after a save, and the block around the saves that share a transaction."""
    if NAME == "grace":
        from typing_extensions import TypedDict

        from auditlog import facts, log, observers
        from auditlog.actors import Actor
        from auditlog.subjects import Subject

        class ItemData(TypedDict):
            name: str
            owner: str
            amount: int

        class ItemFact(facts.Facts):
            CHANGED = facts.fact("bench.item_changed", ItemData)

        actor = Actor("agent", "agent:1", "bench")
        # Somebody counts, as in a Grace that is whole.
        observers.watch(lambda entries: [entry.fact for entry in entries].clear())

        def append(item: Any) -> None:
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

        for model in MODELS.values():
            auditlog.register(model)
    if NAME == "django-simple-history":
        from simple_history import register  # type: ignore[import-not-found, unused-ignore]

        for model in MODELS.values():
            register(model, app="shop")
        return [model.history.model for model in MODELS.values()], lambda item: None, transaction.atomic  # type: ignore[attr-defined]
    if NAME == "django-pghistory":
        import pghistory  # type: ignore[import-not-found, unused-ignore]

        for model in MODELS.values():
            pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent())(model)
        events = [model.events.rel.related_model for model in MODELS.values()]  # type: ignore[attr-defined]
        return events, lambda item: None, transaction.atomic
    return [], lambda item: None, transaction.atomic


def make_tables(tables: list[type[models.Model]]) -> None:
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        for model in (Customer, *MODELS.values(), *tables):
            editor.create_model(model)
    if NAME == "django-pghistory":
        call_command("pgtrigger", "install", verbosity=0)
    customer = Customer.objects.create(name="somebody")
    for number in range(10):
        Item.objects.create(name=f"item {number}", owner="somebody")
        text = {"address": "1 Some Street, Somewhere", "note": "to be sent at once", "status": "new"}
        Order.objects.create(name=f"order {number}", owner="somebody", customer=customer, price=12, **text)


def measure(
    model: str, share: int, times: int, after: Callable[[Any], None], around: Callable[[], AbstractContextManager[Any]]
) -> tuple[float, float]:
    """The median time of one save and the mean of what the processor spent on it, in microseconds."""
    rows: list[Any] = list(MODELS[model]._default_manager.order_by("pk")[:share])
    taken = []
    spent = -processor_seconds()
    for number in range(times):
        began = perf_counter()
        with around():
            for row in rows:
                row.amount += 1
                row.owner = f"somebody {number}"
                row.changed_at = timezone.now()
                row.save()
                after(row)
        taken.append(perf_counter() - began)
    spent += processor_seconds()
    return statistics.median(taken) / share * 1e6, spent / times / share * 1e6


def processor_seconds() -> float:
    """What the processor has spent on this process and on the server's process that serves it (on Linux)."""
    if connection.vendor == "sqlite":
        return process_time()
    served_by = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat")
    return process_time() + (int(served_by.read_text().split()[0]) / 1e9 if served_by.exists() else 0)


def main() -> None:
    tables, after, around = audited()
    # Without auditing, one save is its own transaction.
    alone = around if NAME == "grace" else nullcontext
    make_tables(tables)
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        model, share, times = line.split()
        found = measure(model, int(share), int(times), after, alone if share == "1" else around)
        print(*found, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
