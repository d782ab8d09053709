"""Where everything is reached."""

from django.contrib import admin
from django.urls import path

handler400 = "grace_site.problems.bad_request"
handler403 = "grace_site.problems.permission_denied"
handler404 = "grace_site.problems.page_not_found"
handler500 = "grace_site.problems.server_error"

urlpatterns = [path("admin/", admin.site.urls)]
