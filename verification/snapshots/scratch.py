"""Room for dumps on their way: below VAR_DIR, for their owner only, and gone afterwards."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verification import configuration

LEFT_SECONDS = 24 * 3600


@contextmanager
def directory() -> Iterator[Path]:
    """A directory of one's own for the block. What killed workers left behind is removed after a day."""
    room = configuration.var_dir() / "scratch"
    room.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in room.iterdir():
        if time.time() - left.stat().st_mtime > LEFT_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=room) as own:
        yield Path(own)
