"""How is it all put together and reached?"""

from grace_site.celery import app as celery_app

__all__ = ["celery_app"]
