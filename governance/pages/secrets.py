"""A page that shows a key or a secret once: the answer to the form that made it, and nowhere else."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render

from .base import PageRequest


def shown_once(request: PageRequest, title: str, value: str, *, back: str, kind: str) -> HttpResponse:
    """The page. It has no address of its own and no cache keeps it (see `base.act`), so it cannot be shown again."""
    return render(request, "console/secret.html", {"title": title, "value": value, "back": back, "kind": kind})
