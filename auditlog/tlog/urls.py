"""Addresses below `/tlog/`. Names of tiles have as many parts as their number needs."""

from django.urls import path, re_path

from . import views

_NUMBER = r"(?P<number>(?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"

urlpatterns = [
    path("checkpoint", views.checkpoint),
    re_path(rf"^tile/entries/{_NUMBER}/?$", views.EntryBundle.as_view()),
    re_path(rf"^tile/(?P<level>0|[1-9][0-9]?)/{_NUMBER}/?$", views.tile),
]
