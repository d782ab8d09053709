"""What of this app runs by the clock: name -> (task, interval in seconds or the name of a setting, queue)."""

BEATS: dict[str, tuple[str, float | str, str]] = {
    "verification-owe": ("verification.tasks.owe_what_is_owed_by_none", 60.0, "default"),
}
