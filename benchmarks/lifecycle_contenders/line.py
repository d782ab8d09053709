"""What every contender answers on its standard input: `time N` and `count`, one line each.

Standard library only: it runs in the environment of each contender.
"""

import sys
import tempfile
import time
from pathlib import Path

CONTROL = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")


def serve(prepare) -> None:
    """Prepare in a directory of its own, say `ready`, and answer until the input ends."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as home:
        live, connections = prepare(Path(home))
        number = 1
        live(number)
        answer("ready")
        for line in sys.stdin:
            what, _, many = line.partition(" ")
            if what.strip() == "count":
                number += 1
                answer(*count(live, number, connections))
                continue
            began = time.perf_counter()
            for _ in range(int(many)):
                number += 1
                live(number)
            answer(time.perf_counter() - began)


def answer(*words: object) -> None:
    """Say one line, at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def count(live, number: int, connections) -> tuple[int, int]:
    """SQL statements of one lifecycle as SQLite saw them, without and with those that only begin and end."""
    seen: list[str] = []
    for connection in connections:
        connection.set_trace_callback(seen.append)
    live(number)
    for connection in connections:
        connection.set_trace_callback(None)
    # SQLite says a statement again for each of many rows given to it together, and each time a trigger looks at it;
    # what its triggers do it says in comments. All of that is one statement of whoever sent it.
    said = [each.partition(" VALUES")[0] for each in seen if not each.startswith("--")]
    ours = [each for each, last in zip(said, [None, *said], strict=False) if each != last]
    return sum(not each.lstrip().upper().startswith(CONTROL) for each in ours), len(ours)
