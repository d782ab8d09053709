"""An execution: one attempt to carry out a contract, with everything that was observed."""

from django.db import models

from auditlog.ids import new_id
from auditlog.models import Job

from .contracts import Contract, Revision
from .snapshots import Snapshot


class Execution(models.Model):
    """One attempt. Its job holds the lease and the fencing token; the row holds the lock on the target.

    `preparing` has touched nothing; from `executing` on an effect is possible. While it is `handed_over` its permit
    says who does the work. The lock (`holds_target`) is kept
    until the attempt is settled, and kept while it is in doubt or held.
    """

    class State(models.TextChoices):
        PREPARING = "preparing"
        EXECUTING = "executing"
        HANDED_OVER = "handed_over"
        VERIFYING = "verifying"
        ROLLING_BACK = "rolling_back"
        IN_DOUBT = "in_doubt"
        HELD = "held"
        SETTLED = "settled"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="executions")
    revision = models.ForeignKey(Revision, on_delete=models.PROTECT, related_name="+")
    attempt = models.PositiveIntegerField()
    state = models.CharField(max_length=20, choices=State.choices, default=State.PREPARING)
    target = models.CharField(max_length=500)
    holds_target = models.BooleanField(default=True)
    # Without a constraint, since a job is forgotten sooner than what it carried.
    job = models.ForeignKey(Job, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    token = models.BigIntegerField()
    baseline = models.JSONField(null=True, blank=True)
    baseline_metrics = models.JSONField(default=dict)
    baseline_fingerprint = models.CharField(max_length=64, blank=True)
    snapshot = models.ForeignKey(Snapshot, null=True, blank=True, on_delete=models.PROTECT, related_name="executions")
    result = models.JSONField(null=True, blank=True)
    observed = models.JSONField(null=True, blank=True)
    measurements = models.JSONField(default=list)
    confidence = models.DecimalField(max_digits=5, decimal_places=4, null=True, blank=True)
    outcome = models.CharField(max_length=20, blank=True)
    rollback_reason = models.CharField(max_length=40, blank=True)
    rollback_result = models.JSONField(null=True, blank=True)
    rollback_observed = models.JSONField(null=True, blank=True)
    recovered = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    # Since when what it did cannot be seen, while it is looked for again and again.
    unread_since = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["target"], condition=models.Q(holds_target=True), name="one_execution_per_target"
            ),
            models.UniqueConstraint(fields=["contract", "attempt"], name="attempt_number_once"),
            models.UniqueConstraint(
                fields=["contract"],
                condition=~models.Q(state__in=["settled", "held"]),
                name="one_open_attempt_per_contract",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.contract_id} attempt {self.attempt}"
