"""A mission: a goal and the ordered contracts that serve it."""

from django.conf import settings
from django.db import models

from auditlog.ids import new_id
from verification.models import Contract, Snapshot


class Mission(models.Model):
    """Why actions are taken. Its id travels on every contract, fact and log line.

    One that a playbook or an incident made settles by itself (`settles_itself`); any other waits for its
    people.
    """

    class State(models.TextChoices):
        PLANNED = "planned"
        ACTIVE = "active"
        PAUSED = "paused"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled"
        ROLLED_BACK = "rolled_back"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    goal = models.CharField(max_length=500)
    state = models.CharField(max_length=20, choices=State.choices, default=State.ACTIVE)
    playbook = models.CharField(max_length=100, blank=True)
    settles_itself = models.BooleanField(default=False)
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    started_by_kind = models.CharField(max_length=10, default="person")
    started_by_label = models.CharField(max_length=150)
    health_score = models.PositiveSmallIntegerField(null=True, blank=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    ending_reason = models.TextField(blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    state__in=[
                        "planned",
                        "active",
                        "paused",
                        "completed",
                        "failed",
                        "cancelled",
                        "rolled_back",
                    ]
                ),
                name="mission_state_is_known",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "-created_at"], name="mission_by_state"),
            models.Index(fields=["-created_at", "-id"], name="mission_newest"),
        ]

    def __str__(self) -> str:
        return self.goal


class Step(models.Model):
    """One contract's place in a mission, or the plan of one that has not been proposed yet.

    `plan` is what a playbook will propose (None: the contract was attached) in the name of `planned_by`
    (None: of the sentinel); `run` ties the steps of one playbook
    run together, since only those wait for each other. `reached` is the last settled state of the contract
    the mission has counted, and `problem` says why a planned step could not be proposed.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    mission = models.ForeignKey(Mission, on_delete=models.PROTECT, related_name="steps")
    position = models.PositiveIntegerField()
    title = models.CharField(max_length=200, blank=True)
    contract = models.ForeignKey(Contract, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    run = models.UUIDField(null=True, blank=True)
    incident = models.ForeignKey(
        "missions.Incident", null=True, blank=True, on_delete=models.PROTECT, related_name="steps"
    )
    plan = models.JSONField(null=True, blank=True)
    planned_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    delay_seconds = models.PositiveIntegerField(default=0)
    minimum_tier = models.CharField(max_length=10, blank=True)
    reached = models.CharField(max_length=20, blank=True)
    problem = models.TextField(blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["mission", "position"], name="step_position_once"),
            models.UniqueConstraint(fields=["contract"], name="contract_in_one_mission"),
            models.CheckConstraint(
                condition=models.Q(contract__isnull=False) | models.Q(plan__isnull=False),
                name="step_is_a_contract_or_a_plan",
            ),
        ]

    def __str__(self) -> str:
        return f"step {self.position} of {self.mission_id}"

    @property
    def key(self) -> str:
        """The idempotency key under which its contract is proposed: a step is never proposed twice."""
        return f"step:{self.pk}"


class SafePoint(models.Model):
    """A snapshot a mission can return to; the row pins the snapshot against retention."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    mission = models.ForeignKey(Mission, on_delete=models.PROTECT, related_name="safe_points")
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="+")
    after_position = models.PositiveIntegerField(default=0)
    label = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return self.label or f"after step {self.after_position}"
