"""Parts of addresses that only the log has."""

from __future__ import annotations

from django.urls import register_converter


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
