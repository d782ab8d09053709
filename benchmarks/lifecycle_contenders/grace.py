"""Grace itself, on SQLite as a new installation has it: a lifecycle with policy, gates, log and verification."""

import os
import sys
from pathlib import Path

from line import serve


def prepare(home: Path):
    """A migrated and seeded installation, and one contract from beginning to end."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    os.environ |= {"GRACE_ENV_FILE": "", "VAR_DIR": str(home), "DJANGO_SETTINGS_MODULE": "grace_site.settings"}
    os.environ |= {"CELERY_BROKER_URL": "memory://", "LOG_LEVEL": "ERROR", "SECRET_KEY": "x" * 50}
    os.environ |= {"APPROVAL_DECISION_RATE_PER_MIN": "100000"}
    os.environ.pop("DATABASE_URL", None)
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from benchmarks import living

    call_command("migrate", verbosity=0)
    living.register()
    living.furnish()
    cast = living.Cast()
    assert living.settled(cast.live("0"))
    return lambda number: cast.live(str(number)), [connection.connection]


serve(prepare)
