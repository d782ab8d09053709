"""The WSGI application: pages and API under gunicorn."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "grace_site.settings")

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from grace_site import metrics

metrics.start_at_zero()
