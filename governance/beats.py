"""What of this app runs by the clock: name -> (task, interval in seconds or the name of a setting, queue)."""

BEATS: dict[str, tuple[str, float | str, str]] = {
    "governance-press": ("governance.tasks.press", 30.0, "default"),
    "governance-end-delegations": ("governance.tasks.end_delegations", 60.0, "default"),
    "governance-expire": ("governance.tasks.expire_due", 30.0, "default"),
}
