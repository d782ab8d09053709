"""Settings of a Grace installation: everything comes from the environment and is read here, once.

What each variable means, and its default, stands in `.env.example`; a test compares the two.
"""

import ipaddress
import logging
import os
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from csp.constants import NONE, SELF
from django.core.management.utils import get_random_secret_key

from grace_site import env as environment
from grace_site import logs
from grace_site.supervision import state, workers

BASE_DIR = Path(__file__).resolve().parent.parent
env = environment.read(BASE_DIR)

# --- where and what ------------------------------------------------------------------------------

GRACE_ENV = env.choice("GRACE_ENV", ("development", "production"), "development")
PRODUCTION = GRACE_ENV == "production"
DEBUG = False

VAR_DIR = env.path("VAR_DIR", BASE_DIR / "var") or BASE_DIR / "var"
HOST = env.text("HOST", "127.0.0.1")
PORT = env.integer("PORT", 8000, at_least=1, at_most=65535)
PUBLIC_URL = env.url("PUBLIC_URL", f"http://{'localhost' if HOST in ('0.0.0.0', '::') else HOST}:{PORT}")  # noqa: S104
TRUSTED_PROXIES = env.integer("TRUSTED_PROXIES", 0, at_least=0, at_most=5)

# --- secrets -------------------------------------------------------------------------------------

# Unless one is given, it is kept in VAR_DIR. Without a VAR_DIR (a check on a fresh clone) one is made up
# for this process: there is no well-known one to leak.
SECRET_KEY = env.secret("SECRET_KEY") or environment.stored_key(VAR_DIR)
if PRODUCTION and (len(SECRET_KEY) < 50 or SECRET_KEY.startswith(("django-insecure-", "only-for-tests-"))):
    env.complain(
        "SECRET_KEY must be a secret of at least 50 characters in production. Make one with: "
        'python -c "import secrets; print(secrets.token_urlsafe(48))"'
    )
SECRET_KEY = SECRET_KEY or get_random_secret_key()
METRICS_TOKEN = env.secret("METRICS_TOKEN")

# --- database ------------------------------------------------------------------------------------

DATABASE = env.database("DATABASE_URL", f"sqlite:///{VAR_DIR / 'grace.sqlite3'}")
DATABASE_POOL_SIZE = env.integer("DATABASE_POOL_SIZE", 0, at_least=0, at_most=500)
USES_SQLITE = str(DATABASE["ENGINE"]).endswith("sqlite3")
if USES_SQLITE:
    DATABASE["OPTIONS"] = {
        # A transaction that will write says so when it begins, and waits for its turn.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # Django turns foreign keys on by itself. FULL: a committed log entry survives a power cut.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
elif DATABASE_POOL_SIZE:
    DATABASE["OPTIONS"] = {"pool": {"min_size": 1, "max_size": DATABASE_POOL_SIZE, "timeout": 10}}
# Under ASGI every thread would keep a connection of its own for ever.
DATABASE["CONN_MAX_AGE"] = 0
DATABASES = {"default": DATABASE}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- broker, tasks, cache ------------------------------------------------------------------------

# Without REDIS_URL: the private Valkey of a running `up`, which commands find through VAR_DIR; and with none
# running, nothing. What is owed is a row in the database, and is sent again once there is a broker.
REDIS_URL = env.secret("REDIS_URL")
CELERY_BROKER_URL = env.secret("CELERY_BROKER_URL")
PRIVATE_BROKER = not (REDIS_URL or CELERY_BROKER_URL)
REDIS_URL = REDIS_URL or (state.broker_url(VAR_DIR) if PRIVATE_BROKER else "")
if REDIS_URL and urlsplit(REDIS_URL).scheme not in ("redis", "rediss", "unix"):
    env.complain("REDIS_URL must begin with redis://, rediss:// or unix://.")
CELERY_BROKER_URL = CELERY_BROKER_URL or REDIS_URL.replace("unix://", "redis+socket://") or "memory://"
CELERY_RESULT_BACKEND = None
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Long enough that nothing is delivered twice while it waits; the sweep does not depend on it.
    "visibility_timeout": 3600,
    "socket_connect_timeout": 2,
    "socket_timeout": 10,
    "socket_keepalive": True,
}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "run" / "beat-schedule")
WORKER_CONCURRENCY = env.integer("WORKER_CONCURRENCY", 2, at_least=1, at_most=64)
try:
    WORKERS = workers.parse(
        env.words("WORKER_QUEUES", ["executions", "default", "log"]), concurrency=WORKER_CONCURRENCY
    )
except ValueError as error:
    env.complain(f"WORKER_QUEUES {error}.")
BEAT_ENABLED = env.flag("BEAT_ENABLED", True)
WEB_PROCESSES = env.integer("WEB_PROCESSES", 1, at_least=1, at_most=64)
JOB_LEASE_SECONDS = env.integer("JOB_LEASE_SECONDS", 30, at_least=1, at_most=3600)
JOB_MAX_RETRIES = env.integer("JOB_MAX_RETRIES", 3, at_least=0, at_most=100)

if REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "grace_site.caches.ForgivingRedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": "grace-cache",
            "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1},
        }
    }
else:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# --- what Grace may do ---------------------------------------------------------------------------

VERIFICATION_ENABLED = env.flag("VERIFICATION_ENABLED", True)
MISSION_TRACKING_ENABLED = env.flag("MISSION_TRACKING_ENABLED", True)
SELF_HEAL_OBSERVE_ONLY = env.flag("SELF_HEAL_OBSERVE_ONLY", False)
SELF_HEAL_EXECUTE = env.flag("SELF_HEAL_EXECUTE", True)
SSE_ENABLED = env.flag("SSE_ENABLED", True)
APPROVAL_DECISION_RATE_PER_MIN = env.integer("APPROVAL_DECISION_RATE_PER_MIN", 60, at_least=1, at_most=100_000)
PROPOSAL_RATE_PER_MIN = env.integer("PROPOSAL_RATE_PER_MIN", 120, at_least=1, at_most=100_000)
READ_RATE_PER_MIN = env.integer("READ_RATE_PER_MIN", 600, at_least=1, at_most=1_000_000)
AGENT_OPEN_REQUESTS = env.integer("AGENT_OPEN_REQUESTS", 200, at_least=1, at_most=100_000)
CIRCUIT_BREAKER_VIOLATIONS = env.integer("CIRCUIT_BREAKER_VIOLATIONS", 3, at_least=1, at_most=1000)
CIRCUIT_BREAKER_WINDOW_MINUTES = env.integer("CIRCUIT_BREAKER_WINDOW_MINUTES", 60, at_least=1, at_most=10_080)
AGGREGATION_INTERVAL_HOURS = env.integer("AGGREGATION_INTERVAL_HOURS", 1, at_least=1, at_most=168)
INTEGRITY_INTERVAL_MINUTES = env.integer("INTEGRITY_INTERVAL_MINUTES", 15, at_least=1, at_most=1440)
LOG_ORIGIN = env.text("LOG_ORIGIN")
LOG_ANCHORS = env.words("LOG_ANCHORS", ["file", "syslog"])
LOG_ANCHOR_URL = env.secret("LOG_ANCHOR_URL")
if LOG_ANCHOR_URL and urlsplit(LOG_ANCHOR_URL).scheme not in ("http", "https"):
    env.complain("LOG_ANCHOR_URL must be a URL beginning with http:// or https://.")
LOG_STALE_MINUTES = env.integer("LOG_STALE_MINUTES", 60, at_least=1, at_most=10_080)
SUBSYSTEM_SILENT_HOURS = env.integer("SUBSYSTEM_SILENT_HOURS", 6, at_least=1, at_most=720)

CONFIG_ROOTS = env.paths("CONFIG_ROOTS", [VAR_DIR / "sandbox"])
COMMANDS_FILE = env.path("COMMANDS_FILE", None)
TARGETS_FILE = env.path("TARGETS_FILE", None)
# The sandbox service of `manage.py demo`: the one thing a new installation may call, and not in production.
SANDBOX_PORT = env.integer("SANDBOX_PORT", PORT + 1 if PORT < 65535 else 65534, at_least=1, at_most=65535)
HTTP_ALLOWED_URLS = env.urls("HTTP_ALLOWED_URLS", [] if PRODUCTION else [f"http://127.0.0.1:{SANDBOX_PORT}/"])
CALLBACK_ALLOWED_URLS = env.urls("CALLBACK_ALLOWED_URLS", [])
PROMETHEUS_URL = env.url("PROMETHEUS_URL", "")

# How lower packages reach the questions only governance answers.
GRACE_ACTOR_OF = "governance.principals.actor_of"
GRACE_MAY = "governance.access.may"
GRACE_VISIBLE = "governance.access.visible"

# --- applications --------------------------------------------------------------------------------

OUR_APPS = ("auditlog", "verification", "governance", "missions")
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "axes",
    "csp",
    "rest_framework",
    "knox",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_prometheus",
    "django_eventstream",
    "django_structlog",
    *OUR_APPS,
    "grace_site",
]
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "grace_site.middleware.RequestIdMiddleware",
    "grace_site.middleware.BodyLimitMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "grace_site.middleware.EitherSlashMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "grace_site.problems.RefusalMiddleware",
    "axes.middleware.AxesMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
ROOT_URLCONF = "grace_site.urls"
ASGI_APPLICATION = "grace_site.asgi.application"
WSGI_APPLICATION = "grace_site.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
DATETIME_FORMAT = "Y-m-d H:i:s"
DATE_FORMAT = "Y-m-d"
STATIC_URL = "static/"
STATIC_ROOT = None
STATICFILES_DIRS = [folder for folder in [BASE_DIR / "static"] if folder.is_dir()]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# Files are served from where they lie in the packages; no collecting step stands between clone and run.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
MEDIA_ROOT = VAR_DIR / "files"

# --- mail -----------------------------------------------------------------------------------------

_mail_server = env.mail_server("EMAIL_URL")
MAIL_ENABLED = bool(_mail_server)
globals().update(_mail_server)
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if MAIL_ENABLED else 'console'}.EmailBackend"
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM", f"Grace <grace@{urlsplit(PUBLIC_URL).hostname}>")
NOTIFY_EMAILS = env.words("NOTIFY_EMAILS", [])

# --- who: people, agents, logins -----------------------------------------------------------------

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
CSRF_FAILURE_VIEW = "grace_site.problems.csrf_failure"
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/admin/login/"

OTP_TOTP_ISSUER = "Grace"
SECOND_FACTOR_MINUTES = env.integer("SECOND_FACTOR_MINUTES", 60, at_least=1, at_most=24 * 60)
AXES_FAILURE_LIMIT = env.integer("LOGIN_FAILURE_LIMIT", 10, at_least=1, at_most=1000)
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True
AXES_LOCKOUT_CALLABLE = "grace_site.problems.locked_out"
AXES_IPWARE_PROXY_COUNT = TRUSTED_PROXIES
AXES_IPWARE_META_PRECEDENCE_ORDER = ["HTTP_X_FORWARDED_FOR", "REMOTE_ADDR"] if TRUSTED_PROXIES else ["REMOTE_ADDR"]
AXES_VERBOSE = False

REST_KNOX = {
    "AUTH_HEADER_PREFIX": "Bearer",
    "TOKEN_PREFIX": "grace_",
    "TOKEN_TTL": timedelta(days=90),
    "AUTO_REFRESH": False,
}

# --- API -----------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["grace_site.parsers.BoundedJSONParser"],
    # The first one's challenge is what an anonymous request gets: 401 and `WWW-Authenticate: Bearer`.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "governance.api.authentication.AgentAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": [
        "grace_site.throttles.ReadRateThrottle",
        "grace_site.throttles.WriteRateThrottle",
        "rest_framework.throttling.ScopedRateThrottle",
    ],
    "DEFAULT_THROTTLE_RATES": {
        "reads": f"{READ_RATE_PER_MIN}/min",
        "proposals": f"{PROPOSAL_RATE_PER_MIN}/min",
        "reports": f"{PROPOSAL_RATE_PER_MIN}/min",
        "login": "30/min",
    },
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "grace_site.problems.handler",
    "NUM_PROXIES": TRUSTED_PROXIES,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "UNICODE_JSON": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Grace",
    "DESCRIPTION": "A governance layer for automation that acts on real systems: contracts, approvals, "
    "verified execution, and a log that can be proved.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SCHEMA_PATH_PREFIX": r"/api/(verification|governance|auditlog)",
    "SCHEMA_PATH_PREFIX_TRIM": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "POSTPROCESSING_HOOKS": ["auditlog.api.schema.add_problems"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": False},
    "TAGS": [
        {"name": "session", "description": "Logging in and out, and who one is"},
        {
            "name": "contracts",
            "description": "Actions: proposed, followed, cancelled, settled; and what can be proposed",
        },
        {"name": "approvals", "description": "What people are asked, and what they answer"},
        {"name": "permits", "description": "Work for external agents: claimed, heard of, reported"},
        {"name": "missions", "description": "Goals, their steps and their timelines"},
        {"name": "incidents", "description": "Errors that were reported"},
        {"name": "playbooks", "description": "Templates of steps, and running one"},
        {"name": "snapshots", "description": "Ways back"},
        {"name": "benchmarks", "description": "Measured checks, compared with their golden run"},
        {"name": "policies", "description": "Who may, and on whose word"},
        {"name": "holds", "description": "The switch that stops things"},
        {"name": "freezes", "description": "Recurring times in which nothing of a tier starts"},
        {"name": "delegations", "description": "Deciding in somebody's name for a while"},
        {"name": "grants", "description": "Routine work that need not tire reviewers"},
        {"name": "break-glass", "description": "One action now, on one person's word, reviewed afterwards"},
        {"name": "agents", "description": "Programs that propose, and their keys"},
        {"name": "webhooks", "description": "Who is told of which facts"},
        {"name": "events", "description": "Facts, listed and live"},
        {"name": "jobs", "description": "Work that is owed"},
        {"name": "learning", "description": "What the record of settled contracts teaches"},
        {"name": "summaries", "description": "Hours, counted"},
        {"name": "health", "description": "Names and states"},
        {"name": "auditlog", "description": "Entries, proofs, checkpoints, findings"},
    ],
}
EVENTSTREAM_STORAGE_CLASS = "governance.streams.storage.LogStorage"
EVENTSTREAM_CHANNELMANAGER_CLASS = "governance.streams.channels.Channels"
BODY_LIMIT_BYTES = 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = BODY_LIMIT_BYTES

# --- the browser ---------------------------------------------------------------------------------

ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", [urlsplit(PUBLIC_URL).hostname or "localhost"])
ALLOWED_HOSTS += [host for host in ("localhost", "127.0.0.1", "[::1]") if host not in ALLOWED_HOSTS]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
SECURE = PUBLIC_URL.startswith("https://")
if PRODUCTION and not SECURE:
    env.complain("PUBLIC_URL must be the https:// address people use, in production.")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 60 * 60
SECURE_SSL_REDIRECT = PRODUCTION
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
HSTS_SECONDS = env.integer("HSTS_SECONDS", 3600 * 24 * 30, at_least=0, at_most=63_072_000)
SECURE_HSTS_SECONDS = HSTS_SECONDS if PRODUCTION else 0
# Whether every other host of the domain speaks HTTPS is not Grace's to promise.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}

# --- health, metrics, logs -----------------------------------------------------------------------

PROMETHEUS_ENABLED = env.flag("PROMETHEUS_ENABLED", True)
METRICS_ALLOWED_ADDRESSES = env.networks("METRICS_ALLOWED_ADDRESSES")
LOOPBACK = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")]
PROMETHEUS_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, float("inf"))
# Where processes count together. `up` makes the directory; without it each process counts for itself.
METRICS_DIR = VAR_DIR / "run" / "metrics"
if PROMETHEUS_ENABLED and METRICS_DIR.is_dir():
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(METRICS_DIR))
STRUCTURED_LOGGING = env.flag("STRUCTURED_LOGGING", PRODUCTION)
LOG_LEVEL = env.choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), "INFO")
DJANGO_STRUCTLOG_CELERY_ENABLED = True
# The id has been validated by RequestIdMiddleware, which stands before.
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
# One line for each request; a task speaks for itself.
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_STATUS_4XX_LOG_LEVEL = logging.INFO
DJANGO_STRUCTLOG_CELERY_DEFAULT_LOG_LEVEL = logging.DEBUG
LOGGING = logs.configuration(structured=STRUCTURED_LOGGING, level=LOG_LEVEL)
LOGGING_CONFIG = "grace_site.logs.configure"

env.finish()
