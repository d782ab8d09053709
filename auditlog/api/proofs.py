"""What lets somebody else check the log: the signed checkpoint and proofs."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework import serializers as s
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog import proofs, signer
from auditlog.api import shapes
from auditlog.api.endpoint import Endpoint, Missing, Query, operation

TAG = "auditlog"
READ = "auditlog.read"
MAX = 2**53


class InclusionQuery(Query):
    """Which entry, in a log of which size."""

    index = s.IntegerField(min_value=0, max_value=MAX)
    size = s.IntegerField(min_value=1, max_value=MAX, required=False, help_text="By default as it stands.")


class ConsistencyQuery(Query):
    """Which two sizes."""

    old = s.IntegerField(min_value=0, max_value=MAX)
    size = s.IntegerField(min_value=0, max_value=MAX, required=False, help_text="By default as it stands.")


class AsText(BaseContentNegotiation):
    """There is one form, whatever a client says it accepts."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """The only one."""
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """For refusals."""
        return renderers[0], JSONRenderer.media_type


class Receipt(Endpoint):
    """`/entries/{leaf_index}/receipt`"""

    content_negotiation_class = AsText

    @operation(
        "get_receipt",
        "A receipt of one entry, to keep",
        tag=TAG,
        asks=READ,
        responses={(200, "text/plain"): str},
    )
    def get(self, request: Request, leaf_index: int) -> HttpResponse:
        """A C2SP tlog-proof with the entry's bytes: it proves that the entry existed, whatever becomes of the log."""
        response = HttpResponse(proofs.receipt(leaf_index), content_type="text/plain; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="entry-{leaf_index}.tlog-proof"'
        return response


class LatestCheckpoint(Endpoint):
    """`/checkpoint`"""

    @operation("get_checkpoint", "The last signed checkpoint", tag=TAG, asks=READ, answer=shapes.SignedCheckpoint)
    def get(self, request: Request) -> Response:
        """Signed every few seconds while the log grows, and every ten minutes when it does not."""
        last, verifier = signer.latest(), signer.verifier()
        if last is None or verifier is None:
            raise Missing("Nothing has been signed yet.")
        return self.answer(
            {
                "origin": verifier.name,
                "size": last.size,
                "root": shapes.b64(last.root),
                "signed_at": last.signed_at,
                "note": last.note,
                "vkey": verifier.vkey,
            }
        )


class Inclusion(Endpoint):
    """`/proofs/inclusion`"""

    @operation(
        "prove_inclusion",
        "Prove that an entry is in the log",
        tag=TAG,
        asks=READ,
        query=InclusionQuery,
        answer=shapes.InclusionProof,
    )
    def get(self, request: Request) -> Response:
        """Check it against the root of a checkpoint of that size."""
        found = proofs.inclusion(self.query["index"], self.query.get("size"))
        return self.answer(
            {
                "index": found.index,
                "size": found.size,
                "leaf_hash": shapes.b64(found.leaf_hash),
                "root": shapes.b64(found.root),
                "hashes": [shapes.b64(each) for each in found.hashes],
            }
        )


class Consistency(Endpoint):
    """`/proofs/consistency`"""

    @operation(
        "prove_consistency",
        "Prove that the log has only been appended to",
        tag=TAG,
        asks=READ,
        query=ConsistencyQuery,
        answer=shapes.ConsistencyProof,
    )
    def get(self, request: Request) -> Response:
        """Between any two sizes the log has had."""
        found = proofs.consistency(self.query["old"], self.query.get("size"))
        return self.answer(
            {
                "old": found.old,
                "old_root": shapes.b64(found.old_root),
                "size": found.size,
                "root": shapes.b64(found.root),
                "hashes": [shapes.b64(each) for each in found.hashes],
            }
        )
