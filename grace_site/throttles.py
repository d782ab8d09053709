"""Limits on how often one caller may ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import ScopedRateThrottle, UserRateThrottle

if TYPE_CHECKING:
    # Its class attributes are read from settings which name this module.
    from rest_framework.views import APIView


class ReadRateThrottle(UserRateThrottle):
    """Reads by one key or person (or one address, when anonymous). Writes have limits of their own."""

    scope = "reads"

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Whether this request may proceed now."""
        return request.method not in SAFE_METHODS or super().allow_request(request, view)


class WriteRateThrottle(ScopedRateThrottle):
    """Writes by one key or person, where a view names the scope they count in as `write_scope`. Dry runs count too."""

    scope_attr = "write_scope"

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Whether this request may proceed now."""
        return request.method in SAFE_METHODS or super().allow_request(request, view)
