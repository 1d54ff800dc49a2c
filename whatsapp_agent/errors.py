"""What a caller may cause and should hear of; the API, the admin and the commands all speak these."""


class AppError(Exception):
    """Something a caller may cause and should hear of: `{"detail": str, "code": str}` with HTTP `status`.

    `field` names the part of the input that was wrong, where one was.
    """

    status, code, detail = 400, "error", "That did not work."

    def __init__(self, detail: str = "", *, field: str | None = None) -> None:
        super().__init__(detail)
        self.field = field
        self.headers: dict[str, str] = {}

    def __str__(self) -> str:
        return super().__str__() or self.detail

    @property
    def fields(self) -> dict[str, list[str]]:
        """`{field: [what was wrong]}`; empty when no single field was."""
        return {self.field: [str(self)]} if self.field else {}


class NotFound(AppError):
    status, code, detail = 404, "not_found", "Not found."


class Forbidden(AppError):
    status, code, detail = 403, "permission_denied", "You may not do this."


class Conflict(AppError):
    status, code, detail = 409, "conflict", "This cannot be done in the present state."


class SessionNotConnected(AppError):
    status, code, detail = 409, "session_not_connected", "The session is not connected. Link its number first."


class SessionExists(AppError):
    status, code, detail = 409, "session_exists", "A session of this name exists already."


class NotSupportedByBridge(AppError):
    status, code, detail = 422, "not_supported_by_bridge", "The bridge of this session cannot do this."


class BridgeFailed(AppError):
    status, code, detail = 502, "bridge_failed", "The bridge did not do what it was asked to."


class InvalidInput(AppError):
    status, code, detail = 400, "invalid", "The input is not valid."


class UnreadableWebhookRequest(AppError):
    status, code, detail = 400, "unreadable_body", "The body is not readable."


class WebhookUnauthorized(AppError):
    status, code, detail = 401, "webhook_unauthorized", "The webhook secret or signature is wrong or missing."
