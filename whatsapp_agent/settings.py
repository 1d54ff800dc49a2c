"""Everything the environment may set, read here and nowhere else; a mistake stops the start and says its name."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from whatsapp_agent import logging
from whatsapp_agent.env import STEMMED_LANGUAGES, Environment, database, email, is_installed
from whatsapp_agent.telemetry.error_reports import start_error_reports

# Where .env and .data are: this checkout, or the current directory if the package is installed.
BASE_DIR = Path(__file__).resolve().parent.parent
if not (BASE_DIR / "manage.py").is_file():
    BASE_DIR = Path.cwd()
ENVIRONMENT = env = Environment()
env.read_dotenv(BASE_DIR / ".env")

# --- Data --------------------------------------------------------------------------------------------------------
DATA_DIR = env.directory("DATA_DIR", default=BASE_DIR / ".data")
STATIC_DIR = env.directory("STATIC_ROOT", default=DATA_DIR / "static")
DATABASE_URL = env.database_url("DATABASE_URL")  # empty: the embedded server
DATABASE_POOL_SIZE = env.integer("DATABASE_POOL_SIZE", default=20, minimum=2)  # connections per process
TIME_ZONE = env.time_zone("TIME_ZONE")  # of the admin and the agent; the API and the database use UTC
REDIS_URL = env.url("REDIS_URL", schemes=("redis", "rediss", "unix"))

# --- Secrets: given, or generated once beside the embedded database; never a default -----------------------------
EMBEDDED = not DATABASE_URL
env.prepare_secrets(data_dir=DATA_DIR, generate=EMBEDDED)
SECRET_KEY = env.secret("SECRET_KEY")
SECRET_KEY_FALLBACKS = env.names("SECRET_KEY_FALLBACKS", default=[])  # earlier ones: accepted, see rotate_secrets
ADMIN_TOKEN_SECRET = env.secret("ADMIN_TOKEN_SECRET")
# Empty: generated into the bridge's row.
WHATSAPP_WEBHOOK_SECRET = env.secret("WHATSAPP_WEBHOOK_SECRET", is_required=False)
# Empty: no first user is created, and the start says how.
ADMIN_PASSWORD = env.secret("ADMIN_PASSWORD", is_required=False)

# --- Web ---------------------------------------------------------------------------------------------------------
ACCESS_TOKEN_EXPIRE_MINUTES = env.integer("ACCESS_TOKEN_EXPIRE_MINUTES", default=30, minimum=1)
CORS_ORIGINS = env.origins("CORS_ORIGINS", default=["http://localhost:8080"], any_origin=True)
CSRF_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS", default=[])  # where browsers reach the admin, if not at its Host
ALLOWED_HOSTS = env.names("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
PORT = env.integer("PORT", default=8000, minimum=1, maximum=65535)
HOST = env.text("HOST", default="127.0.0.1")
ALLOWED_HOSTS += [
    name for name in ("127.0.0.1", "[::1]", "localhost", HOST) if name not in ALLOWED_HOSTS
]  # we ourselves
_cores = os.cpu_count() or 1
WEB_PROCESSES = env.integer("WEB_PROCESSES", default=min(2, max(_cores // 2, 1)), minimum=1)
ENGINE_PROCESSES = env.integer("ENGINE_PROCESSES", default=min(4, max(_cores // 2, 1)), minimum=1)  # take turns, send
WEB_THREADS = env.integer("WEB_THREADS", default=16, minimum=1)  # requests at once per process
API_RATE_PER_MINUTE = env.integer("API_RATE_PER_MINUTE", default=600, minimum=0)  # each user or API key
ANONYMOUS_RATE_PER_MINUTE = env.integer("ANONYMOUS_RATE_PER_MINUTE", default=60, minimum=0)  # each address
HTTPS = env.boolean("HTTPS", default=False)  # behind a proxy that ends TLS and sets X-Forwarded-Proto
DEBUG = env.boolean("DEBUG", default=False)
LOG_LEVEL = env.choice("LOG_LEVEL", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"), fold=str.upper)
LOG_FORMAT = env.choice("LOG_FORMAT", default="console", choices=("console", "json"))

# --- Bridge ------------------------------------------------------------------------------------------------------
WHATSAPP_API_URL = env.url("WHATSAPP_API_URL", schemes=("http", "https"))
WHATSAPP_API_KEY = env.text("WHATSAPP_API_KEY")
WHATSAPP_BRIDGE = env.choice(
    "WHATSAPP_BRIDGE",
    default="zapw" if WHATSAPP_API_URL else "simulator",
    choices=("simulator", "zapw", "waha", "evolution", "cloud"),
)
WHATSAPP_SIGNING_KEY = env.text("WHATSAPP_SIGNING_KEY")  # empty: the secret in the webhook's address is the only proof
WHATSAPP_VERIFY_TOKEN = env.text("WHATSAPP_VERIFY_TOKEN")  # empty: the webhook secret; only cloud asks for it
BRIDGE_TIMEOUT_S = env.number("BRIDGE_TIMEOUT_S", default=30.0, minimum=0.1)
SEND_GAP_S = env.number("SEND_GAP_S", default=1.0, minimum=0.0)  # between two messages to one conversation
MAX_UNKNOWN_ECHOES_PER_MINUTE = env.integer("MAX_UNKNOWN_ECHOES_PER_MINUTE", default=20, minimum=0)  # 0: no limit
SEND_RATE_PER_MINUTE = env.integer("SEND_RATE_PER_MINUTE", default=30, minimum=0, maximum=6000)  # of a linked number

# --- Model -------------------------------------------------------------------------------------------------------
OPENAI_API_KEY = env.text("OPENAI_API_KEY")
OPENAI_BASE_URL = env.url("OPENAI_BASE_URL", schemes=("http", "https"))
OPENAI_MODEL = env.text("OPENAI_MODEL", default="gpt-6-luna")
OPENAI_API = env.choice("OPENAI_API", default="chat", choices=("chat", "responses"))
OPENAI_TRANSCRIPTION_MODEL = env.text("OPENAI_TRANSCRIPTION_MODEL")  # empty: voice notes are not transcribed
OPENAI_SPEECH_MODEL = env.text("OPENAI_SPEECH_MODEL")  # empty: voice notes are answered in writing
OPENAI_SPEECH_VOICE = env.text("OPENAI_SPEECH_VOICE", default="alloy")
MODEL_TIMEOUT_S = env.number("MODEL_TIMEOUT_S", default=60.0, minimum=0.1)
MODEL_PRICES = env.prices("MODEL_PRICES")  # of a million tokens, by model: prompt, cached, completion

# --- Memory ------------------------------------------------------------------------------------------------------
SEARCH_LANGUAGES = env.names_among(
    "SEARCH_LANGUAGES", default=["english", "portuguese", "spanish"], choices=STEMMED_LANGUAGES
)
OPENAI_EMBEDDING_MODEL = env.text("OPENAI_EMBEDDING_MODEL")  # empty: search goes by words alone

# --- Media and outgoing webhooks ---------------------------------------------------------------------------------
PUBLIC_URL = env.url("PUBLIC_URL", schemes=("http", "https"))  # where bridges may fetch files from us
MEDIA_MAX_BYTES = env.integer("MEDIA_MAX_MB", default=16, minimum=1, maximum=1024) * 1024 * 1024
MEDIA_TYPES = env.names("MEDIA_TYPES", default=["image/*", "audio/*", "video/*", "text/*", "application/*"])
MEDIA_MAX_TRIES = env.integer("MEDIA_MAX_TRIES", default=6, minimum=1)
MEDIA_WAIT_S = env.number("MEDIA_WAIT_S", default=20.0, minimum=0.0)  # how long an answer waits for received files
MEDIA_CONCURRENCY = env.integer("MEDIA_CONCURRENCY", default=4, minimum=1)  # files fetched and read at once per process
if PUBLIC_URL and (_public := urlsplit(PUBLIC_URL).hostname) not in ALLOWED_HOSTS:
    ALLOWED_HOSTS.append(str(_public))
WEBHOOK_ALLOW_PRIVATE_NETWORKS = env.boolean("WEBHOOK_ALLOW_PRIVATE_NETWORKS", default=False)
WEBHOOK_TIMEOUT_S = env.number("WEBHOOK_TIMEOUT_S", default=10.0, minimum=0.1)

# --- Staff -------------------------------------------------------------------------------------------------------
ASSIGNMENT_TIMEOUT_MINUTES = env.integer(
    "ASSIGNMENT_TIMEOUT_MINUTES", default=60, minimum=0, maximum=525600
)  # 0: never

DIGEST_AFTER_MINUTES = env.integer("DIGEST_AFTER_MINUTES", default=15, minimum=0, maximum=10080)  # 0: no e-mails

# --- Retention: days, 0 keeps for good ---------------------------------------------------------------------------
RETENTION_MESSAGES_DAYS = env.integer("RETENTION_MESSAGES_DAYS", default=0, minimum=0, maximum=36500)
RETENTION_MEDIA_DAYS = env.integer("RETENTION_MEDIA_DAYS", default=0, minimum=0, maximum=36500)
RETENTION_TOOL_CALLS_DAYS = env.integer("RETENTION_TOOL_CALLS_DAYS", default=0, minimum=0, maximum=36500)
RETENTION_TURNS_DAYS = env.integer("RETENTION_TURNS_DAYS", default=0, minimum=0, maximum=36500)
RETENTION_SUMMARIES_DAYS = env.integer("RETENTION_SUMMARIES_DAYS", default=0, minimum=0, maximum=36500)
RETENTION_COMMAND_RUNS_DAYS = env.integer("RETENTION_COMMAND_RUNS_DAYS", default=0, minimum=0, maximum=36500)

# --- Monitoring --------------------------------------------------------------------------------------------------
METRICS_TOKEN = env.secret("METRICS_TOKEN", is_required=False)  # empty: there is no /metrics
EMAIL_URL = env.url("EMAIL_URL", schemes=("smtp", "smtp+tls", "smtps"))  # empty: no e-mail is sent
EMAIL_FROM = env.text("EMAIL_FROM", default="whatsapp-agent@localhost")
ALERT_EMAILS = env.names("ALERT_EMAILS", default=[])  # empty: to the addresses of all administrators
ALERT_UNANSWERED_S = env.integer("ALERT_UNANSWERED_S", default=120, minimum=1)
ALERT_OFFLINE_S = env.integer("ALERT_OFFLINE_S", default=300, minimum=0)
ALERT_FAILURES = env.integer("ALERT_FAILURES", default=5, minimum=1)  # within 15 minutes
ALERT_DISK_FREE_PERCENT = env.integer("ALERT_DISK_FREE_PERCENT", default=10, minimum=0, maximum=99)
ALERT_CERTIFICATE_DAYS = env.integer("ALERT_CERTIFICATE_DAYS", default=14, minimum=0, maximum=365)
OTEL_EXPORTER_OTLP_ENDPOINT = env.url("OTEL_EXPORTER_OTLP_ENDPOINT", schemes=("http", "https"))  # empty: no traces
OTEL_EXPORTER_OTLP_HEADERS = env.names("OTEL_EXPORTER_OTLP_HEADERS", default=[])
OTEL_SERVICE_NAME = env.text("OTEL_SERVICE_NAME", default="whatsapp-agent")
SENTRY_DSN = env.url("SENTRY_DSN", schemes=("http", "https"))  # empty: errors are logged alone

# --- Engine ------------------------------------------------------------------------------------------------------
AGENT_CONCURRENCY = env.integer("AGENT_CONCURRENCY", default=32, minimum=1)  # turns at once per process
AGENT_DEBOUNCE_S = env.number("AGENT_DEBOUNCE_S", default=1.5, minimum=0.0)  # of a new agent profile
AGENT_DEBOUNCE_MAX_S = env.number("AGENT_DEBOUNCE_MAX_S", default=8.0, minimum=0.0)
AGENT_LEASE_S = env.number("AGENT_LEASE_S", default=30.0, minimum=1.0)  # renewed at a third of it
AGENT_SWEEP_S = env.number("AGENT_SWEEP_S", default=2.0, minimum=0.1)
AGENT_RETRY_BASE_S = env.number("AGENT_RETRY_BASE_S", default=1.0, minimum=0.0)  # doubles with each try
AGENT_MAX_TRIES = env.integer("AGENT_MAX_TRIES", default=6, minimum=1)

if WHATSAPP_BRIDGE == "cloud" and not WHATSAPP_API_KEY:
    env.mistake("WHATSAPP_API_KEY", "is empty, but WHATSAPP_BRIDGE=cloud needs the access token")
if WHATSAPP_BRIDGE == "cloud" and not WHATSAPP_SIGNING_KEY:
    env.mistake("WHATSAPP_SIGNING_KEY", "is empty, but WHATSAPP_BRIDGE=cloud needs the app secret that signs webhooks")
if not WHATSAPP_API_URL and WHATSAPP_BRIDGE not in {"simulator", "cloud"}:
    env.mistake("WHATSAPP_API_URL", f"is empty, but WHATSAPP_BRIDGE={WHATSAPP_BRIDGE} needs its address")
if WHATSAPP_API_URL and WHATSAPP_BRIDGE == "simulator":
    env.mistake("WHATSAPP_BRIDGE", "is simulator, which takes no WHATSAPP_API_URL; remove one of the two")
if AGENT_DEBOUNCE_MAX_S < AGENT_DEBOUNCE_S:
    env.mistake("AGENT_DEBOUNCE_MAX_S", f"is {AGENT_DEBOUNCE_MAX_S:g}, less than AGENT_DEBOUNCE_S")
if OPENAI_EMBEDDING_MODEL and not (OPENAI_API_KEY or OPENAI_BASE_URL):
    env.mistake("OPENAI_EMBEDDING_MODEL", "is set, but neither OPENAI_API_KEY nor OPENAI_BASE_URL is")
if OPENAI_TRANSCRIPTION_MODEL and not (OPENAI_API_KEY or OPENAI_BASE_URL):
    env.mistake("OPENAI_TRANSCRIPTION_MODEL", "is set, but neither OPENAI_API_KEY nor OPENAI_BASE_URL is")
if OPENAI_SPEECH_MODEL and not (OPENAI_API_KEY or OPENAI_BASE_URL):
    env.mistake("OPENAI_SPEECH_MODEL", "is set, but neither OPENAI_API_KEY nor OPENAI_BASE_URL is")
for _name, _module in {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "opentelemetry.exporter.otlp.proto.http",
    "SENTRY_DSN": "sentry_sdk",
}.items():
    if env.text(_name) and not is_installed(_module):
        env.mistake(_name, "is set, but its packages are missing: pip install -r requirements-monitoring.txt")
env.stop_on_mistakes()

# --- Django ------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "corsheaders",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_structlog",
    "accounts",
    "sessions_app",
    "messaging",
    "commands",
    "agent",
]
MIDDLEWARE = [
    "whatsapp_agent.http.middleware.Cors",
    "agent.webhooks.webhook_fast_path",
    "whatsapp_agent.http.middleware.health_fast_path",
    "whatsapp_agent.http.middleware.address_from_proxy",
    "whatsapp_agent.http.middleware.optional_trailing_slash",
    "whatsapp_agent.http.middleware.safe_query",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whatsapp_agent.logging.RequestLog",
    "accounts.throttling.rate_limit_headers",
    "whatsapp_agent.http.middleware.api_fast_path",  # what follows serves people's browsers
    "whatsapp_agent.http.middleware.admin_content_security_policy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "accounts.preferences.apply_preferences",
    "accounts.credentials.lockout.locked_out_page",
]
_ROOT = Path(__file__).resolve().parent
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [_ROOT / "templates"],  # what stands here replaces templates of unfold
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
ROOT_URLCONF = "whatsapp_agent.urls"
WSGI_APPLICATION = "whatsapp_agent.wsgi.application"
AUTH_USER_MODEL = "accounts.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTHENTICATION_BACKENDS = ["accounts.credentials.lockout.LockoutBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
USE_TZ = True
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("pt-br", "Português (Brasil)")]
LOCALE_PATHS = [_ROOT / "locale", _ROOT / "unfold_locale"]  # unfold has no Portuguese of its own
FORMAT_MODULE_PATH = ["whatsapp_agent.formats"]
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
_mail = email(EMAIL_URL)
EMAIL_HOST, EMAIL_PORT = _mail["EMAIL_HOST"], _mail["EMAIL_PORT"]
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail["EMAIL_HOST_USER"], _mail["EMAIL_HOST_PASSWORD"]
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail["EMAIL_USE_TLS"], _mail["EMAIL_USE_SSL"]
EMAIL_TIMEOUT = 20
DEFAULT_FROM_EMAIL = EMAIL_FROM
STATIC_URL = "/static/"
STATIC_ROOT = STATIC_DIR
MEDIA_ROOT = DATA_DIR / "media"
STORAGES = {
    "default": {"BACKEND": "whatsapp_agent.storage.private_files.PrivateStorage"},
    "staticfiles": {"BACKEND": "whatsapp_agent.http.static_files.StaticFilesStorage"},
}
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
APPEND_SLASH = False  # a redirect loses the body of a POST; see http.middleware.optional_trailing_slash
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

DATABASES: dict[str, dict[str, Any]] = {
    "default": database(DATABASE_URL, data_dir=DATA_DIR, pool_size=DATABASE_POOL_SIZE)
}

CORS_ALLOW_ALL_ORIGINS = "*" in CORS_ORIGINS
CORS_ALLOWED_ORIGINS = [origin for origin in CORS_ORIGINS if origin != "*"]
CORS_ALLOW_CREDENTIALS = True
CORS_ALLOW_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]  # and any other that is asked for,
CORS_ALLOW_HEADERS = ["accept", "authorization", "content-type", "idempotency-key"]  # see http.middleware.Cors
CORS_EXPOSE_HEADERS = [  # what a web page may read of an answer
    "idempotent-replayed",
    "ratelimit-limit",
    "ratelimit-policy",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
]

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_TRUSTED_ORIGINS = [
    *CSRF_ORIGINS,
    *([PUBLIC_URL.removesuffix(urlsplit(PUBLIC_URL).path)] if PUBLIC_URL else []),
    *(f"https://{host}" for host in ALLOWED_HOSTS if HTTPS and host != "*"),
]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
if HTTPS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^api/v1/webhooks/", r"^media/", r"^health"]
    SECURE_HSTS_SECONDS = 31536000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.credentials.authentication.TokenAuthentication",
        "accounts.credentials.authentication.KeyAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.MatrixPermission"],
    "DEFAULT_THROTTLE_CLASSES": ["accounts.throttling.CallerThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["whatsapp_agent.api.json.OrjsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["whatsapp_agent.api.json.BoundedJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "whatsapp_agent.api.pagination.NewestFirstPagination",
    "DEFAULT_FILTER_BACKENDS": ["whatsapp_agent.api.filters.StrictFilters"],
    "DEFAULT_METADATA_CLASS": None,
    "DATETIME_FORMAT": "%Y-%m-%dT%H:%M:%S.%fZ",  # as in whatsapp_agent.api.lists
    "URL_FORMAT_OVERRIDE": None,  # only the header Accept decides
    "DEFAULT_SCHEMA_CLASS": "accounts.openapi.Schema",
    "EXCEPTION_HANDLER": "whatsapp_agent.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "PAGE_SIZE": 50,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "WhatsApp Agent API",
    "DESCRIPTION": "Backend API for WhatsApp Agent System",
    "VERSION": "1.0.0",
    "LICENSE": {"name": "MIT", "url": "https://opensource.org/license/mit"},
    "SERVERS": [{"url": "/", "description": "The server that this description comes from."}],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["accounts.permissions.MatrixPermission"],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "PREPROCESSING_HOOKS": ["accounts.openapi.only_api", "commands.views.list_commands"],
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "accounts.openapi.complete"],
    "ENUM_NAME_OVERRIDES": {
        "SessionStatus": "sessions_app.models.WhatsAppSession.Status",
        "MessageStatus": "messaging.models.Message.Status",
        "MediaStatus": "messaging.models.Media.Status",
        "MessageKind": "messaging.models.Message.Kind",
        "FileKind": "messaging.serializers.FILE_KINDS",
        "ToolCallStatus": "messaging.models.ToolCall.Status",
        "KnowledgeKind": "messaging.models.Knowledge.Kind",
        "AliasKind": "messaging.models.ContactAlias.Kind",
        "Scope": "accounts.models.Scope",
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": False},
    "REDOC_DIST": "SIDECAR",
}
SIMPLE_JWT: dict[str, Any] = {  # short access tokens; refresh tokens rotate and are blacklisted when used
    "SIGNING_KEY": ADMIN_TOKEN_SECRET,
    "ALGORITHM": "HS256",
    "ISSUER": "whatsapp-agent",
    "AUDIENCE": "whatsapp-agent-api",
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=ACCESS_TOKEN_EXPIRE_MINUTES),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
    "UPDATE_LAST_LOGIN": True,
    "LEEWAY": timedelta(seconds=30),  # for clocks that differ: `iat` may be so far ahead
    "CHECK_REVOKE_TOKEN": True,  # a changed password ends the tokens given before
}

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "WhatsApp Agent",
    "SITE_HEADER": "WhatsApp Agent",
    "SITE_SUBHEADER": "accounts.admin_menu.time_zone_line",
    "SITE_SYMBOL": "forum",
    "SITE_URL": None,
    "THEME": "accounts.preferences.theme_of",
    "SCRIPTS": ["accounts.admin_menu.script"],
    "STYLES": ["accounts.admin_menu.style"],
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "accounts.admin_menu.icon"}],
    "ACCOUNT": {"navigation": "accounts.admin_menu.account_links"},
    "SIDEBAR": {"navigation": "accounts.admin_menu.navigation"},
    "COLORS": {
        "primary": {
            "50": "oklch(97.9% .021 166.1)",
            "100": "oklch(95% .052 163.1)",
            "200": "oklch(90.5% .093 164.2)",
            "300": "oklch(84.5% .143 165)",
            "400": "oklch(76.5% .177 163.2)",
            "500": "oklch(62% .145 162.5)",
            "600": "oklch(52% .118 162.8)",
            "700": "oklch(45% .1 164)",
            "800": "oklch(38% .085 165)",
            "900": "oklch(33% .072 168)",
            "950": "oklch(26% .051 172.6)",
        }
    },
}

LOGGING = logging.logging(level=LOG_LEVEL, fmt=LOG_FORMAT)

if SENTRY_DSN:
    start_error_reports(SENTRY_DSN)
