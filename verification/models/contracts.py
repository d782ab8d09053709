"""The contract: what an action intends, before it runs, and how far it has come."""

from django.conf import settings
from django.db import models

from auditlog.ids import new_id


class State(models.TextChoices):
    """Where a contract stands (the table of allowed moves is `verification.contracts.MOVES`)."""

    PROPOSED = "proposed"
    DENIED = "denied"
    AWAITING_APPROVAL = "awaiting_approval"
    AUTHORIZED = "authorized"
    REJECTED = "rejected"
    CHANGES_REQUESTED = "changes_requested"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    EXECUTING = "executing"
    VERIFYING = "verifying"
    VERIFIED = "verified"
    PARTIAL = "partial"
    VIOLATED = "violated"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    HELD = "held"


SETTLED = frozenset(
    {
        State.DENIED,
        State.REJECTED,
        State.EXPIRED,
        State.CANCELLED,
        State.VERIFIED,
        State.FAILED,
        State.ROLLED_BACK,
    }
)
"""States in which nothing more happens by itself and nothing is owed by a person."""


class Contract(models.Model):
    """One proposed action: its identity, its current revision and its state.

    What it does stands in its revisions, which never change. `on_behalf_of` is who brought Grace to ask for it by
    itself, such as the reporter of an incident: they answer for it like a requester. Mission, incident, playbook and
    error pattern are plain columns, like a trace id: they name rows of packages above without pointing at them.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    action_type = models.CharField(max_length=100)
    executor_version = models.CharField(max_length=100)
    target = models.CharField(max_length=500)
    state = models.CharField(max_length=20, choices=State.choices, default=State.PROPOSED)
    tier = models.CharField(max_length=10, blank=True)
    current_revision = models.PositiveIntegerField(default=1)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    on_behalf_of = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    requested_by_kind = models.CharField(max_length=10)
    requested_by_label = models.CharField(max_length=150)
    idempotency_key = models.CharField(max_length=200, null=True, blank=True)
    request_sha256 = models.CharField(max_length=64)
    mission_id = models.UUIDField(null=True, blank=True)
    incident_id = models.UUIDField(null=True, blank=True)
    playbook = models.CharField(max_length=100, blank=True)
    error_pattern = models.CharField(max_length=100, blank=True)
    correlation_id = models.CharField(max_length=100, blank=True)
    stated_confidence = models.DecimalField(max_digits=5, decimal_places=4, null=True, blank=True)
    justification = models.TextField(blank=True)
    callback_url = models.CharField(max_length=500, blank=True)
    authorized_digest = models.CharField(max_length=64, blank=True)
    authorized_at = models.DateTimeField(null=True, blank=True)
    valid_until = models.DateTimeField(null=True, blank=True)
    max_attempts = models.PositiveIntegerField(default=3)
    confidence = models.DecimalField(max_digits=5, decimal_places=4, null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_reason = models.TextField(blank=True)
    dead_lettered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    state_changed_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["requested_by", "idempotency_key"],
                condition=models.Q(idempotency_key__isnull=False),
                name="contract_idempotency_key",
            ),
            # Columns that are null are never equal: what Grace proposes by itself needs a constraint of its own.
            models.UniqueConstraint(
                fields=["idempotency_key"],
                condition=models.Q(idempotency_key__isnull=False, requested_by__isnull=True),
                name="contract_idempotency_key_of_grace",
            ),
            models.CheckConstraint(condition=models.Q(state__in=State.values), name="contract_state_is_known"),
            models.CheckConstraint(
                condition=models.Q(tier__in=["", "tier_1", "tier_2", "tier_3"]), name="contract_tier_is_known"
            ),
        ]
        indexes = [
            models.Index(fields=["state", "-created_at", "-id"], name="contract_by_state"),
            models.Index(fields=["action_type", "target", "-created_at"], name="contract_by_action"),
            models.Index(fields=["mission_id"], name="contract_by_mission"),
            models.Index(fields=["incident_id"], name="contract_by_incident"),
            models.Index(fields=["requested_by", "-created_at"], name="contract_by_requester"),
            models.Index(fields=["-created_at", "-id"], name="contract_newest"),
            models.Index(fields=["settled_at"], name="contract_by_settled"),
            # The newest settled ones of a kind: what risk is made of, however many there are.
            models.Index(
                fields=["action_type", "target", "-settled_at"],
                condition=models.Q(settled_at__isnull=False),
                name="contract_record_of_target",
            ),
            models.Index(
                fields=["action_type", "-settled_at"],
                condition=models.Q(settled_at__isnull=False),
                name="contract_record_of_action",
            ),
            models.Index(
                fields=["requested_by", "-settled_at"],
                condition=models.Q(settled_at__isnull=False),
                name="contract_record_of_asker",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action_type} on {self.target}"

    @property
    def revision(self) -> "Revision":
        """The revision in force; a revision never changes, so it is read once."""
        known: Revision | None = self.__dict__.get("_revision")
        if known is None or known.number != self.current_revision:
            known = self._revision = self.revisions.get(number=self.current_revision)
        return known

    @revision.setter
    def revision(self, revision: "Revision") -> None:
        """Say what the revision in force is, found out with others."""
        self._revision = revision


class Revision(models.Model):
    """What a contract does, word for word: written once, never changed."""

    class Origin(models.TextChoices):
        PROPOSED = "proposed"
        REVISED = "revised"
        EDITED = "edited"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="revisions")
    number = models.PositiveIntegerField()
    origin = models.CharField(max_length=10, choices=Origin.choices, default=Origin.PROPOSED)
    parameters = models.JSONField()
    expected_effect = models.JSONField()
    preconditions = models.JSONField(default=list)
    not_before = models.DateTimeField(null=True, blank=True)
    made_by_label = models.CharField(max_length=150)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["contract", "number"], name="revision_number_once"),
        ]

    def __str__(self) -> str:
        return f"{self.contract_id} revision {self.number}"
