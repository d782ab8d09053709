"""An external agent: claims permits of the work `reindex`, does it, and reports. Needs Python and nothing else.

GRACE_URL is where Grace answers, GRACE_KEY an agent's key, INDEX_URL the system this agent works on. It takes one piece
of work and ends; a real one would ask again every few seconds.
"""

import json
import os
import threading
import urllib.request

PERMITS = os.environ["GRACE_URL"] + "/api/verification/permits"


def ask(path, body):
    """What Grace answers, without its envelope; raises urllib.error.HTTPError when it refuses."""
    headers = {"Authorization": "Bearer " + os.environ["GRACE_KEY"], "Content-Type": "application/json"}
    request = urllib.request.Request(PERMITS + path, json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["data"]


def keep_alive(permit, done, stop):
    """Be heard of three times in the time Grace waits for it, until the work is done."""
    while not done.wait(permit["heartbeat_seconds"] / 3):
        if ask(f"/{permit['id']}/heartbeat", {"permit": permit["permit"]})["stop"]:
            stop.set()


def work(permit, stop):
    """The work itself: what was approved, and nothing else. Between two steps it looks at `stop`."""
    if stop.is_set():
        return {"status": "failed", "error": "Stopped before anything was done.", "retryable": True}
    # The fencing token lets the index refuse whoever comes late.
    headers = {"Content-Type": "application/json", "X-Grace-Token": str(permit["token"])}
    body = json.dumps(permit["arguments"]).encode()
    request = urllib.request.Request(os.environ["INDEX_URL"], body, headers, method="PUT")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return {"status": "success", "result": {"answered": answer.status}}


def main():
    """Claim, work, report."""
    permit = ask("/claim", {"remotes": ["reindex"]})["permit"]
    if permit is None:
        print("nothing to do")
        return
    done, stop = threading.Event(), threading.Event()
    alive = threading.Thread(target=keep_alive, args=(permit, done, stop), daemon=True)
    alive.start()
    try:
        result = work(permit, stop)
    except OSError as problem:
        # It may have arrived all the same: Grace looks.
        result = {"status": "timeout", "error": str(problem)}
    done.set()
    alive.join()
    print(ask(f"/{permit['id']}/report", {"permit": permit["permit"], **result})["state"])


if __name__ == "__main__":
    main()
