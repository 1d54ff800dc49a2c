"""Logging: one line per event, without private data; and the request log."""

import re
import sys
from typing import Any

import structlog
from django.http import HttpRequest
from django_structlog.middlewares.request import RequestMiddleware
from structlog.contextvars import bind_contextvars
from structlog.tracebacks import ExceptionDictTransformer

PRIVATE = (
    (re.compile(r"(/webhooks/[\w-]+/)[^/\s\"'\\]+"), r"\1..."),  # the secret in a webhook's URL
    # PostgreSQL quotes the row or value that it refuses
    (re.compile(r"(\b(?:DETAIL|CONTEXT|LINE \d+): ).*?(?=\\n|\n|$)", re.DOTALL), r"\1..."),
    (re.compile(r"(\binvalid input syntax for [\w ]+: ).*?(?=\\n|\n|$)", re.DOTALL), r"\1..."),
    (re.compile(r"\d{6,}(?=(?::\d+)?@(?:s\.whatsapp\.net|c\.us|g\.us|lid)\b)"), "..."),
    (re.compile(r"\+\d{8,15}\b"), "+..."),
)


FIRST_WORDS = {"api", "v1", "admin", "media", "simulator", "static", "webhooks"}  # of a path that is no route
UUID_FORM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def redact(_logger: Any, _method: str, line: Any) -> str:
    """Remove webhook secrets, phone numbers and the rows that PostgreSQL refused, which error texts may hold."""
    line = str(line)
    for pattern, instead in PRIVATE:
        line = pattern.sub(instead, line)
    return line


def without_traceback(record: Any) -> bool:
    """Drop the traceback of a DisallowedHost: anybody can cause one, and the line says everything but numbers in it."""
    record.exc_info = None
    record.msg, record.args = re.sub(r"\d{6,}", "...", record.getMessage()), ()
    return True


def loggable_path(request: HttpRequest) -> str:
    """Return the path with the words of its route and with ids; what else a client wrote there may be private."""
    match = request.resolver_match
    words = FIRST_WORDS.union(re.findall(r"[\w-]+", match.route) if match else ())
    parts = request.path.split("/")
    return "/".join(part if part in words or UUID_FORM.fullmatch(part) else part and "..." for part in parts)


def logging(*, level: str, fmt: str) -> dict[str, Any]:
    """Return Django's LOGGING: one line per event on standard error, as coloured text or as JSON."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    # No local variables in tracebacks: they hold message texts and keys.
    renderers: list[structlog.typing.Processor] = (
        [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
        if fmt == "json"
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers, redact],
            }
        },
        "filters": {"without_traceback": {"()": lambda: without_traceback}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # These log URLs at INFO; a URL may hold a webhook secret or a phone number.
            "httpx": {"level": "WARNING"},
            "httpx2": {"level": "WARNING"},
            "httpcore": {"level": "WARNING"},
            "httpcore2": {"level": "WARNING"},
            "openai": {"level": "WARNING"},
            "django_structlog": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},  # two lines for each wake-up
            "celery.app.trace": {"level": "WARNING"},
            "django.request": {"level": "ERROR"},
            "django.security.DisallowedHost": {"filters": ["without_traceback"]},
        },
    }


class RequestLog(RequestMiddleware):
    """Bind the request's id and IP to every log line, and log failed requests.

    Without query parameters, which hold search words and phone numbers. The IP is REMOTE_ADDR: headers can be forged.
    """

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        bind_contextvars(ip=request.META.get("REMOTE_ADDR"))

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        return f"{request.method} {loggable_path(request)}"
