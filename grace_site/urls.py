"""Where everything is reached."""

from importlib.util import find_spec

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from governance.api import urls as governance_addresses
from grace_site import health, metrics

handler400 = "grace_site.problems.bad_request"
handler403 = "grace_site.problems.permission_denied"
handler404 = "grace_site.problems.page_not_found"
handler500 = "grace_site.problems.server_error"


def _offered(prefix: str, module: str) -> list[URLResolver]:
    """The addresses of a module, below a prefix, once it is there."""
    parent, _, _ = module.rpartition(".")
    return [path(prefix, include(module))] if find_spec(parent) and find_spec(module) else []


urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("metrics", metrics.view),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("docs", RedirectView.as_view(pattern_name="docs")),
    path("api/verification/", include("verification.api.urls")),
    # Contracts are proposed through governance; incidents and missions stand above it.
    path("api/verification/", include(governance_addresses.verification_urlpatterns)),
    path("api/governance/", include(governance_addresses)),
    *_offered("api/verification/", "missions.api.urls"),
    *_offered("api/auditlog/", "auditlog.api.urls"),
    *_offered("tlog/", "auditlog.tlog.urls"),
    *_offered("", "governance.pages.urls"),
    *_offered("", "missions.pages.urls"),
]
