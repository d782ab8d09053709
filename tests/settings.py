"""Settings of the tests: the product's own, in an environment made for the session.

What is changed is listed here and is about speed only: quick hashes, and people who may decide faster than people. A
real worker or a real `up` started by a test reads `grace_site.settings` itself.
"""

from tests.harness import environment

environment.prepare()

import grace_site.settings as product

globals().update({name: getattr(product, name) for name in dir(product) if name.isupper()})

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *product.PASSWORD_HASHERS]

APPROVAL_DECISION_RATE_PER_MIN = 100_000

DATABASES = {"default": dict(product.DATABASES["default"])}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, not memory: threads and real workers must see the same database.
    DATABASES["default"]["TEST"] = {"NAME": str(product.VAR_DIR / "test.sqlite3")}
