"""Addresses below `/api/auditlog/`."""

from django.urls import path

from auditlog import converters  # noqa: F401 - registers <index:…>
from auditlog.api import entries, exports, proofs

urlpatterns = [
    path("entries", entries.Entries.as_view()),
    path("entries/<index:leaf_index>", entries.OneEntry.as_view()),
    path("entries/<index:leaf_index>/receipt", proofs.Receipt.as_view()),
    path("summary", entries.Summary.as_view()),
    path("findings", entries.Findings.as_view()),
    path("findings/<index:id>/acknowledge", entries.AcknowledgeFinding.as_view()),
    path("exports", exports.Exports.as_view()),
    path("exports/<uuid:id>", exports.OneExport.as_view()),
    path("exports/<uuid:id>/bundle", exports.Bundle.as_view()),
    path("checkpoint", proofs.LatestCheckpoint.as_view()),
    path("proofs/inclusion", proofs.Inclusion.as_view()),
    path("proofs/consistency", proofs.Consistency.as_view()),
]
