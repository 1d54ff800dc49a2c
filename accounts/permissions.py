"""The permission matrix: which role and which scope each call needs. Docs and tests are made from it too."""

from dataclasses import dataclass
from typing import Any

from rest_framework.exceptions import MethodNotAllowed, NotAuthenticated, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.models import ApiKey, Role, Scope


@dataclass(frozen=True, slots=True)
class Access:
    """What a call needs: the lowest role, and the scope of an API key.

    `role` None: open to everyone. `scope` None: not for API keys, unless `any_key`. `is_for_all`: it concerns all
    sessions, so a key that is restricted to some may not call it.
    """

    role: Role | None
    scope: Scope | None = None
    any_key: bool = False
    is_for_all: bool = False


OPEN = Access(role=None)
OWN = Access(Role.VIEWER)
READ = Access(Role.VIEWER, Scope.MESSAGES_READ)
EXPORT = Access(Role.ADMIN, Scope.MESSAGES_READ)
SEND = Access(Role.OPERATOR, Scope.MESSAGES_SEND)
CONTROL = Access(Role.OPERATOR, Scope.CONVERSATIONS_CONTROL)
SEE_SESSIONS = Access(Role.VIEWER, Scope.SESSIONS_READ)
MANAGE_SESSIONS = Access(Role.ADMIN, Scope.SESSIONS_MANAGE)
MANAGE_ALL = Access(Role.ADMIN, Scope.SESSIONS_MANAGE, is_for_all=True)
MANAGE_WEBHOOKS = Access(Role.OPERATOR, Scope.WEBHOOKS_MANAGE)
UNLISTED = Access(Role.ADMIN)  # a route that is missing here, which a test reports

# Route name -> method -> access. Which sessions a caller sees is decided by `visible_to`.
MATRIX: dict[str, dict[str, Access]] = {
    "token": {"POST": OPEN},
    "token-refresh": {"POST": OPEN},
    "token-verify": {"POST": OPEN},
    "logout": {"POST": OPEN},
    "me": {"GET": Access(Role.VIEWER, any_key=True), "PATCH": OWN},
    "key-list": {"GET": OWN, "POST": OWN},
    "key-detail": {"GET": OWN, "DELETE": OWN},
    "session-list": {"GET": SEE_SESSIONS, "POST": MANAGE_ALL},
    "session-detail": {"GET": SEE_SESSIONS, "PATCH": MANAGE_SESSIONS, "DELETE": MANAGE_SESSIONS},
    "session-qr": {"GET": MANAGE_SESSIONS},
    "session-pairing-code": {"POST": MANAGE_SESSIONS},
    "session-register": {"POST": MANAGE_SESSIONS},
    "session-connect": {"POST": MANAGE_SESSIONS},
    "session-restart": {"POST": MANAGE_SESSIONS},
    "session-logout": {"POST": MANAGE_SESSIONS},
    "bridge-list": {"GET": MANAGE_ALL, "POST": MANAGE_ALL},
    "bridge-detail": {"GET": MANAGE_ALL, "PATCH": MANAGE_ALL, "DELETE": MANAGE_ALL},
    "bridge-setup": {"POST": MANAGE_ALL},
    "agent-list": {"GET": SEE_SESSIONS, "POST": MANAGE_ALL},
    "agent-detail": {"GET": SEE_SESSIONS, "PATCH": MANAGE_ALL, "DELETE": MANAGE_ALL},
    "agent-versions": {"GET": SEE_SESSIONS},
    "agent-rollback": {"POST": MANAGE_ALL},
    "agent-draft": {"GET": SEE_SESSIONS, "PATCH": MANAGE_ALL, "DELETE": MANAGE_ALL},
    "agent-publish": {"POST": MANAGE_ALL},
    "contact-list": {"GET": READ},
    "contact-detail": {"GET": READ, "PATCH": CONTROL},
    "contact-export": {"GET": EXPORT},
    "contact-forget": {"POST": MANAGE_SESSIONS},
    "contact-merge": {"POST": CONTROL},
    "contact-unmerge": {"POST": CONTROL},
    "merge-list": {"GET": READ},
    "merge-detail": {"GET": READ},
    "merge-accept": {"POST": CONTROL},
    "merge-refuse": {"POST": CONTROL},
    "conversation-list": {"GET": READ},
    "conversation-detail": {"GET": READ},
    "conversation-export": {"GET": EXPORT},
    "conversation-import": {"POST": MANAGE_SESSIONS},
    "conversation-search-messages": {"GET": READ},
    "conversation-messages": {"GET": READ, "POST": SEND},
    "conversation-takeover": {"POST": CONTROL},
    "conversation-release": {"POST": CONTROL},
    "conversation-read": {"POST": CONTROL},
    "conversation-assign": {"POST": CONTROL},
    "conversation-colleagues": {"GET": READ},
    "conversation-labels": {"POST": CONTROL},
    "conversation-notes": {"GET": READ, "POST": CONTROL},
    "note-detail": {"PATCH": CONTROL},
    "conversation-snooze": {"POST": CONTROL},
    "conversation-done": {"POST": CONTROL},
    "conversation-reopen": {"POST": CONTROL},
    "conversation-saved-replies": {"GET": READ},
    "saved-reply-list": {"GET": READ, "POST": CONTROL},
    "saved-reply-detail": {"GET": READ, "PATCH": CONTROL, "DELETE": CONTROL},
    "knowledge-list": {"GET": SEE_SESSIONS, "POST": MANAGE_ALL},
    "knowledge-detail": {"GET": SEE_SESSIONS, "PATCH": MANAGE_ALL, "DELETE": MANAGE_ALL},
    "knowledge-search": {"GET": SEE_SESSIONS},
    "library-file-list": {"GET": SEE_SESSIONS, "POST": MANAGE_ALL},
    "library-file-detail": {"GET": SEE_SESSIONS, "PATCH": MANAGE_ALL, "DELETE": MANAGE_ALL},
    "media-detail": {"GET": READ},
    "media-content": {"GET": READ},
    "message-list": {"GET": READ, "POST": SEND},
    "message-detail": {"GET": READ},
    "message-retry": {"POST": SEND},
    "message-edit": {"POST": SEND},
    "message-revoke": {"POST": SEND},
    "template-list": {"GET": READ},
    "template-detail": {"GET": READ},
    "template-sync": {"POST": MANAGE_SESSIONS},
    "turn-list": {"GET": READ},
    "turn-detail": {"GET": READ},
    "turn-retry": {"POST": SEND},
    "command-list": {"GET": Access(Role.VIEWER, any_key=True)},
    "command-detail": {
        "GET": Access(Role.VIEWER, any_key=True),
        "POST": Access(Role.OPERATOR, Scope.COMMANDS_RUN),
    },
    "run-list": {"GET": READ},
    "run-detail": {"GET": READ},
    "events": {"GET": Access(Role.VIEWER, Scope.EVENTS_READ)},
    "webhook-endpoint-list": {"GET": MANAGE_WEBHOOKS, "POST": MANAGE_WEBHOOKS},
    "webhook-endpoint-detail": {"GET": MANAGE_WEBHOOKS, "PATCH": MANAGE_WEBHOOKS, "DELETE": MANAGE_WEBHOOKS},
    "webhook-endpoint-rotate-secret": {"POST": MANAGE_WEBHOOKS},
    "webhook-endpoint-test": {"POST": MANAGE_WEBHOOKS},
    "webhook-endpoint-deliveries": {"GET": MANAGE_WEBHOOKS},
    "webhook-delivery-detail": {"GET": MANAGE_WEBHOOKS},
    "webhook-delivery-redeliver": {"POST": MANAGE_WEBHOOKS},
    "schema": {"GET": OPEN},
    "docs": {"GET": OPEN},
    "redoc": {"GET": OPEN},
}


class MatrixPermission(BasePermission):
    """Checks the matrix. For an object that the caller cannot see, the refusal is a 404 too."""

    def has_permission(self, request: Request, view: Any) -> bool:
        method = request.method or ""
        if method == "OPTIONS" or method.lower() not in view.http_method_names or not hasattr(view, method.lower()):
            raise MethodNotAllowed(method)
        route = request.resolver_match.view_name if request.resolver_match else ""
        access = MATRIX.get(route, {}).get("GET" if method == "HEAD" else method, UNLISTED)
        if access.role is None:
            return True
        if not request.user.is_authenticated:
            raise NotAuthenticated("Invalid authentication credentials")
        refusal = denial_reason(request.user, request.auth, access)
        if refusal is None:
            return True
        if getattr(view, "detail", False):
            view.get_object()  # raises Http404
        elif hasattr(view, "get_parent"):  # a nested list
            view.get_parent()
        raise PermissionDenied(refusal)


def denial_reason(user: Any, auth: Any, access: Access) -> str | None:
    """Return the reason of a refusal, for the caller; None if the call is allowed."""
    if access.role is not None and user.role < access.role:
        return f"You need the role {access.role.name.lower()}; yours is {user.role.name.lower()}."
    if isinstance(auth, ApiKey) and not access.any_key:
        if access.scope is None:
            return "Not available to API keys: log in instead."
        if access.scope not in auth.scopes:
            return f"The API key needs the scope {access.scope}."
        if access.is_for_all and auth.session_ids:
            return "Not available to an API key that is restricted to some sessions."
    return None


def as_markdown() -> str:
    """Return the matrix as the table in docs/permissions.md."""
    lines = [
        "| route | method | viewer | operator | admin | scope of an API key |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for route, methods in MATRIX.items():
        for method, access in methods.items():
            allowed = ["yes" if access.role is None or role >= access.role else "no" for role in Role]
            lines.append(f"| {route} | {method} | {' | '.join(allowed)} | {_scope_text(access)} |")
    return "\n".join(lines) + "\n"


def _scope_text(access: Access) -> str:
    if access.role is None:
        return "open to everyone"
    if access.any_key:
        return "any"
    if access.scope is None:
        return "people only"
    return f"`{access.scope}`, for all sessions" if access.is_for_all else f"`{access.scope}`"
