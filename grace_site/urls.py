"""Where everything is reached."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from governance import people_admin
from governance.api import urls as governance_addresses
from grace_site import health, metrics

handler400 = "grace_site.problems.bad_request"
handler403 = "grace_site.problems.permission_denied"
handler404 = "grace_site.problems.page_not_found"
handler500 = "grace_site.problems.server_error"


urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/password_change/", people_admin.own_password),
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
    path("api/verification/", include("missions.api.urls")),
    path("api/auditlog/", include("auditlog.api.urls")),
    path("tlog/", include("auditlog.tlog.urls")),
    path("", include("governance.pages.urls")),
    path("", include("missions.pages.urls")),
]
