"""Errors that a caller caused or can act on. The API, the admin and the commands all answer with them."""

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise


class AppError(Exception):
    """Answered as `{"detail": str, "code": str}` with HTTP `status`. `field` names the invalid part of the input."""

    status, code = 400, "error"
    detail: "str | StrPromise" = gettext_lazy("Bad request.")

    def __init__(self, detail: str = "", *, field: str | None = None) -> None:
        super().__init__(detail)
        self.field = field
        self.headers: dict[str, str] = {}

    def __str__(self) -> str:
        return super().__str__() or str(self.detail)

    @property
    def fields(self) -> dict[str, list[str]]:
        """Return `{field: [error]}`; empty without a field."""
        return {self.field: [str(self)]} if self.field else {}


class NotFound(AppError):
    status, code, detail = 404, "not_found", gettext_lazy("Not found.")


class Forbidden(AppError):
    status, code, detail = 403, "permission_denied", gettext_lazy("You do not have permission to do this.")


class Conflict(AppError):
    status, code, detail = 409, "conflict", gettext_lazy("Not possible in the current state.")


class SessionNotConnected(AppError):
    status, code, detail = (
        409,
        "session_not_connected",
        gettext_lazy("The number is not connected. Link it first."),
    )


class SessionExists(AppError):
    status, code, detail = 409, "session_exists", gettext_lazy("A number with this name already exists.")


class WindowClosed(AppError):
    status, code = 409, "window_closed"
    detail = gettext_lazy(
        "The reply window is closed: the contact's last message is too old. Only templates can be sent now."
    )


class NotSupportedByBridge(AppError):
    status, code, detail = 409, "not_supported", gettext_lazy("The bridge of this number does not support this.")


class NotOnWhatsApp(AppError):
    status, code = 409, "not_on_whatsapp"
    detail = gettext_lazy("This number is not on WhatsApp. Check it, with its country code.")


class BridgeFailed(AppError):
    status, code, detail = 502, "bridge_failed", gettext_lazy("The bridge failed to do this.")


class InvalidInput(AppError):
    status, code, detail = 400, "invalid", gettext_lazy("Invalid input.")


class InvalidPhone(InvalidInput):
    detail = gettext_lazy("This is not a phone number with its country code.")


class UnreadableWebhookRequest(AppError):
    status, code, detail = 400, "unreadable_body", gettext_lazy("Invalid body.")


class WebhookUnauthorized(AppError):
    status, code, detail = (
        401,
        "webhook_unauthorized",
        gettext_lazy("The webhook secret or signature is wrong or missing."),
    )
