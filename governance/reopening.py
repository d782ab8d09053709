"""The job that asks people again: it looks at the target, so it runs outside any transaction."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone

from auditlog import jobs
from auditlog.jobs import Lease, RunAgain
from auditlog.models import Job
from auditlog.refusals import Refused
from verification.models import Contract

from . import approvals, looking


@jobs.runner(approvals.REOPEN_JOB, queue="default", max_attempts=10)
def run(job: Job, lease: Lease) -> dict[str, Any]:
    """Open a fresh request. A target that cannot be read is tried for a day; what cannot be asked any more ends."""
    contract_id, now = UUID(job.subject_id), timezone.now()
    try:
        request = approvals.reopen(contract_id, now=now)
    except looking.NotObservable as refusal:
        waiting_since = Contract.objects.values_list("state_changed_at", flat=True).get(pk=contract_id)
        if now - waiting_since < approvals.GIVE_UP_AFTER:
            raise RunAgain(after=approvals.LOOK_AGAIN_SECONDS) from refusal
        approvals.give_up(contract_id, reason=refusal.detail, now=now)
        return {"given_up": refusal.code}
    except Refused as refusal:
        if refusal.kind is Refused.Kind.HELD:
            raise RunAgain(after=approvals.LOOK_AGAIN_SECONDS) from refusal
        approvals.give_up(contract_id, reason=refusal.detail, now=now)
        return {"given_up": refusal.code}
    return {"request": str(request.pk) if request else None}
