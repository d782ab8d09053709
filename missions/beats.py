"""What of this app runs by the clock: name -> (task, interval in seconds or the name of a setting, queue)."""

BEATS: dict[str, tuple[str, float | str, str]] = {
    "missions-aggregate": ("missions.tasks.aggregate", "AGGREGATION_INTERVAL_HOURS", "default"),
}
