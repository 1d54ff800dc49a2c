"""Reports of errors to Sentry, where SENTRY_DSN is set: the type of an error and the lines of code, nothing else.

An error's text, local variables, requests and log lines may hold what people wrote; they are left out, whatever a newer
version of the library collects: the report is made anew from what is named here.
"""

import logging
from typing import Any

from whatsapp_agent.version import VERSION

FRAME_FIELDS = ("filename", "abs_path", "function", "module", "lineno", "in_app")
FIELDS = ("event_id", "timestamp", "platform", "level", "logger", "release", "environment", "sdk")
TAGS = ("conversation", "turn", "message", "request_id", "job")  # ids that a log line is about


def start_error_reports(dsn: str) -> None:
    import sentry_sdk
    from sentry_sdk.integrations.logging import LoggingIntegration

    sentry_sdk.init(
        dsn=dsn,
        release=f"whatsapp-agent@{VERSION}",
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[LoggingIntegration(level=None, event_level=logging.ERROR)],
        include_local_variables=False,
        include_source_context=False,
        send_default_pii=False,
        max_breadcrumbs=0,
        server_name="",
        before_send=scrub,
    )


def scrub(event: Any, hint: Any) -> Any:
    """Return a report with what may leave alone."""
    clean: dict[str, Any] = {name: event[name] for name in FIELDS if name in event}
    clean["exception"] = {"values": [_error(value) for value in event.get("exception", {}).get("values", [])]}
    if not clean["exception"]["values"]:
        clean["logentry"] = {"message": _name_of_line(hint)}
    clean["tags"] = _tags(hint)
    return clean


def _error(value: Any) -> dict[str, Any]:
    frames = (value.get("stacktrace") or {}).get("frames", [])
    return {
        "type": value.get("type"),
        "module": value.get("module"),
        "value": "",
        "stacktrace": {"frames": [{name: frame.get(name) for name in FRAME_FIELDS} for frame in frames]},
    }


def _line(hint: Any) -> dict[str, Any]:
    """Return the log line as structlog made it."""
    line = getattr((hint or {}).get("log_record"), "msg", None)
    return line if isinstance(line, dict) else {}


def _name_of_line(hint: Any) -> str:
    return str(_line(hint).get("event", "error"))


def _tags(hint: Any) -> dict[str, str]:
    line = _line(hint)
    return {name: str(line[name]) for name in TAGS if line.get(name)} | {"event": _name_of_line(hint)}
