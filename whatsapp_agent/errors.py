"""Errors that a caller caused or can act on. The API, the admin and the commands all answer with them."""


class AppError(Exception):
    """Answered as `{"detail": str, "code": str}` with HTTP `status`. `field` names the invalid part of the input."""

    status, code, detail = 400, "error", "Bad request."

    def __init__(self, detail: str = "", *, field: str | None = None) -> None:
        super().__init__(detail)
        self.field = field
        self.headers: dict[str, str] = {}

    def __str__(self) -> str:
        return super().__str__() or self.detail

    @property
    def fields(self) -> dict[str, list[str]]:
        """Return `{field: [error]}`; empty without a field."""
        return {self.field: [str(self)]} if self.field else {}


class NotFound(AppError):
    status, code, detail = 404, "not_found", "Not found."


class Forbidden(AppError):
    status, code, detail = 403, "permission_denied", "You do not have permission to do this."


class Conflict(AppError):
    status, code, detail = 409, "conflict", "Not possible in the current state."


class SessionNotConnected(AppError):
    status, code, detail = 409, "session_not_connected", "The session is not connected. Link its number first."


class SessionExists(AppError):
    status, code, detail = 409, "session_exists", "A session with this name already exists."


class WindowClosed(AppError):
    status, code = 409, "window_closed"
    detail = "The reply window is closed: the contact's last message is too old. Only templates can be sent now."


class NotSupportedByBridge(AppError):
    status, code, detail = 409, "not_supported", "The bridge of this session does not support this."


class NotOnWhatsApp(AppError):
    status, code, detail = 409, "not_on_whatsapp", "This number is not on WhatsApp. Check it, with its country code."


class BridgeFailed(AppError):
    status, code, detail = 502, "bridge_failed", "The bridge failed to do this."


class InvalidInput(AppError):
    status, code, detail = 400, "invalid", "Invalid input."


class UnreadableWebhookRequest(AppError):
    status, code, detail = 400, "unreadable_body", "Invalid body."


class WebhookUnauthorized(AppError):
    status, code, detail = 401, "webhook_unauthorized", "The webhook secret or signature is wrong or missing."
