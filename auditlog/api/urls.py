"""Addresses below `/api/auditlog/`."""

from django.urls import path, register_converter

from auditlog.api import entries, exports, proofs


class IndexConverter:
    """A leaf index that fits into a bigint."""

    regex = "[0-9]{1,18}"

    def to_python(self, value: str) -> int:
        """The number."""
        return int(value)

    def to_url(self, value: int) -> str:
        """The number as text."""
        return str(value)


register_converter(IndexConverter, "index")

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
