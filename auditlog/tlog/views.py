"""Checkpoint, tiles of hashes, bundles of entries.

The checkpoint and the hashes are open: they say how much there is and nothing of what it is (every entry holds an id
made of random bits, so that its hash cannot be guessed at). The entries themselves ask for permission.
"""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from auditlog import merkle, signer, tree
from auditlog.api.endpoint import Endpoint, operation
from auditlog.api.proofs import AsText
from auditlog.models import Leaf

FOR_EVER = "max-age=31536000, immutable"


@require_safe
def checkpoint(request: HttpRequest) -> HttpResponse:
    """The last signed checkpoint."""
    last = signer.latest()
    if last is None:
        raise Http404
    response = HttpResponse(last.note, content_type="text/plain; charset=utf-8")
    response["Cache-Control"] = "no-cache"
    return response


@require_safe
def tile(request: HttpRequest, level: str, number: str, width: str | None = None) -> HttpResponse:
    """The hashes of a tile, or the first ones of a partial tile."""
    wanted = _width(width)
    try:
        hashes = tree.Nodes().tile(int(level), _number(number), wanted)
    except LookupError:
        raise Http404 from None
    response = HttpResponse(hashes, content_type="application/octet-stream")
    response["Cache-Control"] = f"public, {FOR_EVER}"
    return response


class EntryBundle(Endpoint):
    """`/tile/entries/{N}[.p/{W}]`"""

    content_negotiation_class = AsText

    @extend_schema(exclude=True)
    @operation("get_entry_bundle", "A bundle of entries", tag="auditlog", asks="auditlog.read")
    def get(self, request: Request, number: str, width: str | None = None) -> HttpResponse:
        """Entries one after the other, each after its length as two bytes."""
        wanted = _width(width)
        first = _number(number) * merkle.TILE_WIDTH
        within = Leaf.objects.filter(index__gte=first, index__lt=first + wanted).order_by("index")
        entries = [bytes(raw) for raw in within.values_list("entry__bytes", flat=True)]
        if len(entries) < wanted:
            raise Http404
        response = HttpResponse(bundle(entries), content_type="application/octet-stream")
        response["Cache-Control"] = f"private, {FOR_EVER}"
        return response


def bundle(entries: list[bytes]) -> bytes:
    """Entries as an entry bundle."""
    return b"".join(len(each).to_bytes(2, "big") + each for each in entries)


def _number(path: str) -> int:
    """`x001/x234/067` as 1234067. There is one way to write a number."""
    found = int(path.replace("x", "").replace("/", ""))
    if path.startswith("x000/"):
        raise Http404
    return found


def _width(width: str | None) -> int:
    if width is None:
        return merkle.TILE_WIDTH
    if int(width) >= merkle.TILE_WIDTH:
        raise Http404
    return int(width)
