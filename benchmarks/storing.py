"""Filling PostgreSQL with settled contracts: one lifecycle that was really lived, copied by the database itself."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection, models

from auditlog.models import Entry, Job
from governance.models import ApprovalRequest, Assessment, Decision
from verification.models import Contract, Execution, Revision

AT_ONCE = 100_000
# The id of copy `n` of a row of a kind: ordered by time like the real ones, and the same wherever it is referred to.
ID = (
    "(lpad(to_hex(1750000000000 + n), 12, '0') || '7' || substr(md5('{kind}' || n), 1, 3)"
    " || '8' || substr(md5('{kind}' || n), 4, 15))::uuid"
)
KINDS: dict[type[models.Model], str] = {
    Contract: "contract",
    Revision: "revision",
    Assessment: "assessment",
    ApprovalRequest: "request",
    Decision: "decision",
    Execution: "execution",
    Job: "job",
    Entry: "entry",
}
REFERS = {
    "contract_id": "contract",
    "revision_id": "revision",
    "assessment_id": "assessment",
    "request_id": "request",
    "job_id": "job",
}


def copy(template_id: UUID, many: int) -> None:
    """So many copies of everything the database holds about a settled contract, a second apart.

    Of its entries in the log the first is copied: what a long log costs is measured by `benchmarks.audit`.
    """
    template = Contract.objects.get(pk=template_id)
    request, execution = template.approval_requests.get(), template.executions.get()
    rows: dict[type[models.Model], Any] = {
        Contract: template.pk,
        Revision: template.revision.pk,
        Assessment: request.assessment_id,
        ApprovalRequest: request.pk,
        Decision: request.decisions.get().pk,
        Execution: execution.pk,
        Job: execution.job_id,
        Entry: Entry.objects.filter(contract_id=template.pk).order_by("id").values_list("pk", flat=True)[0],
    }
    with connection.cursor() as cursor:
        # The copies refer to each other; checking that row by row takes longer than writing them.
        cursor.execute("SET session_replication_role = replica")
        for start in range(0, many, AT_ONCE):
            for model, kind in KINDS.items():
                _copy(cursor, model, kind, rows[model], (start, min(start + AT_ONCE, many) - 1))


def settle_down() -> None:
    """What autovacuum would have done by the time there are so many."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _copy(cursor: Any, model: type[models.Model], kind: str, row: Any, numbers: tuple[int, int]) -> None:
    columns = [field.column for field in model._meta.concrete_fields]
    values = [_value(field, kind) for field in model._meta.concrete_fields]
    table = model._meta.db_table
    names = ", ".join(f'"{column}"' for column in columns)
    cursor.execute(
        f"INSERT INTO {table} ({names}) SELECT {', '.join(values)}"  # noqa: S608 - our own names
        f" FROM {table} AS template, generate_series(%s, %s) AS n WHERE template.id = %s",
        [*numbers, row],
    )


def _value(field: models.Field[Any, Any], kind: str) -> str:
    if field.primary_key:
        return ID.format(kind=kind)
    if field.column in REFERS and not (kind == "entry" and field.column != "contract_id"):
        return ID.format(kind=REFERS[field.column])
    if field.column == "idempotency_key":
        return "'copy-' || n"
    if field.column == "target":
        return "'nothing:' || mod(n, 10000)"
    if field.column == "subject_id" and kind == "job":
        return ID.format(kind="contract") + "::text"
    if isinstance(field, models.DateTimeField):
        return f"template.\"{field.column}\" - interval '30 days' + n * interval '1 second'"
    return f'template."{field.column}"'
