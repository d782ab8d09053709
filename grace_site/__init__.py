"""How is it all put together and reached?"""

import atexit
import gc

from grace_site.celery import app as celery_app

__all__ = ["celery_app"]

# A process that ends would look through everything Django made for garbage, several times: more than a second of work,
# five where others work too, and the parts of `up` end all at once. The system takes the memory back in any case.
atexit.register(gc.freeze)
