"""The WSGI application: pages and API under gunicorn."""

import os
from importlib import import_module

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "grace_site.settings")

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
import_module("grace_site.metrics").start_at_zero()
import_module("grace_site.steps").watch()
