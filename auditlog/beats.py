"""What of this app runs by the clock: name -> (task, interval in seconds or the name of a setting, queue).

A setting whose name ends in _MINUTES or _HOURS is in that unit.
"""

BEATS: dict[str, tuple[str, float | str, str]] = {
    "auditlog-sequence": ("auditlog.tasks.sequence", 2.0, "log"),
    "auditlog-sign": ("auditlog.tasks.sign_checkpoint", 10.0, "log"),
    "auditlog-verify": ("auditlog.tasks.verify_log_beat", "INTEGRITY_INTERVAL_MINUTES", "log"),
    "auditlog-verify-all": ("auditlog.tasks.verify_whole_log", 3600.0, "log"),
    "auditlog-deliver": ("auditlog.tasks.deliver_all", 5.0, "default"),
    "auditlog-heartbeat-default": ("auditlog.tasks.heartbeat", 3600.0, "default"),
    "auditlog-heartbeat-executions": ("auditlog.tasks.heartbeat", 3600.0, "executions"),
    "auditlog-heartbeat-log": ("auditlog.tasks.heartbeat", 3600.0, "log"),
    "auditlog-sweep-jobs": ("auditlog.tasks.sweep_jobs", 10.0, "default"),
}
