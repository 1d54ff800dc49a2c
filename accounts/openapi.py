"""The OpenAPI schema: access, errors, parameters and examples of every operation."""

from collections.abc import Iterator
from functools import cache
from threading import Lock
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.permissions import MATRIX, UNLISTED, Access

PREFIX = "/api/v1/"

# Every error but 414 has the schema `Error`.
FAILURES = {
    "400": "Invalid input; `fields` names the invalid fields.",
    "401": "No credentials, or invalid or expired ones.",
    "403": "The role, or the scope of the API key, is not sufficient; `detail` names the one that is.",
    "404": "Not found, or not visible to the caller.",
    "406": "Only JSON is available.",
    "409": "Not possible in the current state, or the bridge of this session cannot do it (`not_supported`).",
    "410": "Events after this cursor have been deleted: start again without a cursor.",
    "412": "Somebody else has changed it since the answer whose `ETag` is in `If-Match` (`changed_meanwhile`).",
    "413": "The body is too large.",
    "414": "The request line is longer than 8190 bytes.",
    "415": "The body is not JSON (or a form, for a file), or the type of the file is not supported.",
    "422": "The `Idempotency-Key` belongs to another request.",
    "429": "Too many requests; `Retry-After` says how many seconds to wait.",
    "500": "Internal error; `id` finds it in the log.",
    "502": "The bridge or the model failed.",
    "503": "The database cannot be reached.",
}
ERROR = {
    "type": "object",
    "required": ["detail", "code"],
    "properties": {
        "detail": {"type": "string", "description": "For people; the text may change."},
        "code": {"type": "string", "description": "For programs; stable."},
        "fields": {
            "type": "object",
            "additionalProperties": {},
            "description": "The errors of each invalid field or parameter.",
        },
        "id": {"type": "string", "description": "Of an internal error, in the log."},
        "run": {"type": "string", "format": "uuid", "description": "The record of a command that failed."},
    },
    "example": {
        "detail": "Invalid input.",
        "code": "invalid",
        "fields": {"txt": ["Unknown field."]},
    },
}


# Descriptions of parameters that have none of their own.
PARAMETERS = {
    "id": "The id.",
    "slug": "The bridge's slug.",
    "conversation_id": "The id of the conversation.",
    "session": "Only of this session.",
    "conversation": "Only of this conversation.",
    "contact": "Only with this contact.",
    "turn": "Only of this turn.",
    "user": "Run by this user.",
    "agent_profile": "Only of this agent profile.",
    "controlled_by": "Taken over by this user.",
    "name": "Only with this name.",
    "limit": "Maximum number of results.",
    "is_default": "Whether it is the default one.",
    "is_group": "Whether it is a group.",
    "is_blocked": "Whether the contact is blocked.",
    "is_allowed": "Whether the contact is on the allow-list.",
    "needs_attention": "Whether the conversation needs the attention of staff.",
    "is_enabled": "Whether it is in use.",
}
# Examples of request bodies.
_SOME_ID = "01979f0e-7c1a-7a43-b7a5-0f6f5d2c9e11"
REQUEST_EXAMPLES: dict[str, dict[str, Any]] = {
    "LoginRequest": {"username": "ana", "password": "correct horse battery staple"},
    "RefreshTokenRequest": {"refresh": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl"},
    "VerifyRequest": {"token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl"},
    "PatchedPasswordChangeRequest": {
        "current_password": "correct horse battery staple",
        "new_password": "staple battery horse correct",
    },
    "ApiKeyRequest": {"name": "CRM", "scopes": ["messages:read", "messages:send", "events:read"]},
    "EditRequest": {"text": "We close at five today."},
    "SessionCreateRequest": {"name": "sales", "bridge": "simulator"},
    "BridgeRequest": {
        "slug": "second",
        "kind": "waha",
        "base_url": "http://127.0.0.1:3000",
        "api_key": "the bridge's key",
        "signing_key": "what it signs with",
    },
    "PatchedBridgeRequest": {"base_url": "http://127.0.0.1:3001"},
    "BridgeSetupBodyRequest": {"account": "220011223344556"},
    "PairingRequest": {"phone": "+55 11 98888-7777"},
    "RegisterRequest": {"pin": "123456"},
    "PatchedSessionRequest": {"access_policy": "listed", "owner_phone": "+5511988887777"},
    "AgentProfileRequest": {
        "name": "Night shift",
        "instructions": "You answer for a bakery at night. Say that we open at seven.",
        "debounce_s": 2,
        "debounce_max_s": 10,
    },
    "PatchedAgentProfileRequest": {"instructions": "You answer for a bakery. Say that we open at eight."},
    "RollbackRequest": {"version": 1},
    "PatchedContactRequest": {"name": "Ana", "is_blocked": False},
    "MessageCreateRequest": {"session": _SOME_ID, "to": "+55 11 98888-7777", "text": "Your parcel has arrived."},
    "ReplyRequest": {"text": "Your parcel has arrived."},
    "TakeOverRequest": {"minutes": 30, "reason": "a complaint"},
    "ReleaseRequest": {"reason": "it is settled"},
    "EndpointCreateRequest": {
        "url": "https://crm.example.com/whatsapp",
        "types": ["message.received", "turn.finished"],
    },
    "PatchedEndpointChangeRequest": {"is_enabled": True},
    "PatchedDraftRequest": {"instructions": "You answer for a bakery. Say that we open at nine."},
    "PublishRequest": {"message": "New opening hours", "draft_version": 3},
    "KnowledgeRequest": {
        "agent_profile": _SOME_ID,
        "kind": "answer",
        "title": "Do you bake without gluten?",
        "text": "On Thursdays; order a day before.",
    },
    "PatchedKnowledgeChangeRequest": {"text": "On Thursdays and Fridays; order a day before."},
    "PatchedLibraryFileChangeRequest": {"description": "Prices of cakes, from January on."},
    "MergeRequest": {"contact": _SOME_ID},
    "UnmergeRequest": {"merge": _SOME_ID},
    "AssignRequest": {"user": _SOME_ID},
    "DoneRequest": {"reason": "solved"},
    "LabelsRequest": {"labels": ["complaint", "urgent"]},
    "SnoozeRequest": {"minutes": 60},
    "NoteRequest": {"text": "She has the receipt."},
    "PatchedNoteChangeRequest": {"is_shown_to_model": True},
    "SavedReplyRequest": {"session": None, "shortcut": "hours", "text": "Hello {name}, we open at seven."},
    "PatchedSavedReplyChangeRequest": {"text": "Hello {name}, we open at eight."},
    "TemplateSyncRequest": {"session": _SOME_ID},
}


_ANA = {"id": _SOME_ID, "name": "Ana", "phone": "+5511988887777", "is_group": False}
_MESSAGE = {"direction": "inbound", "author": "contact", "kind": "text", "status": "handled", "text": "Are you open?"}
_AT = "2026-11-25T20:52:54.123456Z"
# Examples of responses.
RESPONSE_EXAMPLES: dict[str, dict[str, Any]] = {
    "Tokens": {
        "access": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl",
        "refresh": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl",
    },
    "Message": {
        "id": _SOME_ID,
        "session": _SOME_ID,
        "conversation": _SOME_ID,
        "sender": _ANA,
        "sent_by": None,
        **_MESSAGE,
        "unanswered": "",
        "details": {},
        "media": None,
        "reply_to": None,
        "turn": _SOME_ID,
        "provider_message_id": "3EB0C767D71D1F0A1B22",
        "error_code": "",
        "error": "",
        "said_at": _AT,
        "written_at": _AT,
        "created_at": _AT,
        "sent_at": None,
        "delivered_at": None,
        "read_at": None,
        "edited_at": None,
        "earlier_texts": [],
        "revoked_at": None,
    },
    "Conversation": {
        "id": _SOME_ID,
        "session": {"id": _SOME_ID, "name": "sales", "phone": "+5511999990000", "status": "connected"},
        "contact": _ANA,
        "control": "agent",
        "control_until": None,
        "control_reason": "",
        "controlled_by": None,
        "external_controller": "",
        "unread_count": 1,
        "needs_attention": False,
        "attention_reason": "",
        "attention_note": "",
        "assigned_to": None,
        "labels": [],
        "snoozed_until": None,
        "done_at": None,
        "done_reason": "",
        "summary": "",
        "last_message": {"id": _SOME_ID, **_MESSAGE, "said_at": _AT},
        "last_message_at": _AT,
        "created_at": _AT,
    },
    "Contact": {
        "session": _SOME_ID,
        "conversation": _SOME_ID,
        **_ANA,
        "bridge_name": "Ana",
        "is_blocked": False,
        "is_allowed": False,
        "aliases": [{"kind": "phone", "value": "+5511988887777"}],
        "created_at": _AT,
    },
    "Event": {
        "id": "evt_01979f0e7c1a7a43b7a50f6f5d2c9e11",
        "type": "message.received",
        "timestamp": _AT,
        "data": {"session": _SOME_ID, "conversation": _SOME_ID, "message": _SOME_ID, "kind": "text"},
    },
}


def route_names() -> dict[str, str]:
    """Return route names by pattern, as drf-spectacular writes the pattern."""
    return dict(_walk(get_resolver(), ""))


def _walk(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, str]]:
    for pattern in resolver.url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern, path)
        elif isinstance(pattern, URLPattern):
            yield path, pattern.name or ""


class Schema(AutoSchema):
    """Adds the access from the permission matrix and the possible errors to each operation."""

    def get_operation(self, *args: Any) -> Any:
        operation = super().get_operation(*args)
        if operation is not None:
            description = operation.get("description", "")
            operation["summary"] = " ".join(description.split("\n\n")[0].split(". ")[0].split()).rstrip(".")
            operation["description"] = f"{description}\n\n{_needs(self._access())}".strip()
        return operation

    def get_tags(self) -> list[str]:
        return [self.path.removeprefix(PREFIX).split("/")[0]]

    def _map_serializer(self, serializer: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep the required fields of a serializer with `always_whole`, also for PATCH."""
        schema = super()._map_serializer(serializer, *args, **kwargs)
        if getattr(serializer, "always_whole", False):
            schema["required"] = sorted(name for name, field in serializer.fields.items() if field.required)
        return schema

    def _get_request_body(self, direction: Any = "request") -> Any:
        """Mark a body with required fields as required; drf-spectacular does so only for serializers."""
        body = super()._get_request_body(direction)
        if body and any(content["schema"].get("required") for content in body["content"].values()):
            body["required"] = True
        return body

    def _access(self) -> Access:
        name = route_names().get(self.path_regex, "")
        return MATRIX.get(name, {}).get(self.method, UNLISTED)

    def _get_response_bodies(self, direction: Any = "response") -> Any:
        bodies = super()._get_response_bodies(direction)
        for code in self._failures():
            bodies.setdefault(code, {"$ref": f"#/components/responses/{code}"})
        return dict(sorted(bodies.items()))

    def _failures(self) -> list[str]:
        codes = ["400", "401", "406", "414", "429", "500", "503"]
        is_open = self._access().role is None
        if not is_open:
            codes.append("403")
        if self.method != "GET":
            codes += ["413", "415"] if is_open else ["404", "409", "413", "415", "422"]
        elif "{" in self.path or self.path == f"{PREFIX}knowledge/search/":
            codes.append("404")
        if self.path == f"{PREFIX}events/":
            codes.append("410")
        handler = getattr(self.view, getattr(self.view, "action", None) or self.method.lower())
        if hasattr(handler, "takes_if_match"):
            codes.append("412")
        if self.path.startswith((f"{PREFIX}sessions/", f"{PREFIX}bridges/")):
            codes += ["409", "502"]
        if self.path.startswith(f"{PREFIX}commands/") and self.method == "POST":
            codes.append("502")
        return codes


def _needs(access: Access) -> str:
    if access.role is None:
        return "Open to everyone."
    role = f"Needs the role `{access.role.name.lower()}`"
    if access.any_key:
        return f"{role}, or any API key."
    if access.scope is None:
        return f"{role}; not for API keys."
    return f"{role}; of an API key the scope `{access.scope}`{', for all sessions' if access.is_for_all else ''}."


def complete(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:  # noqa: ARG001
    """Postprocessing hook: error responses, examples, and `additionalProperties: false` of request bodies."""
    schemas = result["components"]["schemas"]
    schemas["Error"] = ERROR
    for name, schema in schemas.items():
        if name.endswith("Request") and schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
        if (example := REQUEST_EXAMPLES.get(name) or RESPONSE_EXAMPLES.get(name)) is not None:
            schema["example"] = example
    _type_nullable(schemas)
    for operation in (operation for methods in result["paths"].values() for operation in methods.values()):
        operation.setdefault("security", [])  # open to everyone, and says so
        for parameter in operation.get("parameters", ()):
            if parameter["name"] in PARAMETERS:
                parameter.setdefault("description", PARAMETERS[parameter["name"]])
    used = repr(result["paths"]) + repr(schemas)
    result["components"]["schemas"] = {
        name: schemas[name] for name in sorted(schemas) if f"'#/components/schemas/{name}'" in used or name == "Error"
    }
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    result["components"]["responses"] = {
        code: {"description": description, "content": error} for code, description in FAILURES.items()
    }
    del result["components"]["responses"]["414"]["content"]  # the web server answers it, in HTML
    return result


def _type_nullable(node: Any) -> None:
    """Rewrite each reference with `nullable`: OpenAPI 3.0 gives it no meaning without `type`, nor within `allOf`."""
    if isinstance(node, dict):
        if node.get("nullable") and "allOf" in node and "type" not in node:
            node["type"] = "object"
            node["oneOf"] = [*node.pop("allOf"), {"type": "object", "nullable": True, "enum": [None]}]
        for name, member in node.items():
            if name != "example":
                _type_nullable(member)
    elif isinstance(node, list):
        for item in node:
            _type_nullable(item)


def only_api(endpoints: list[tuple[str, ...]], **_: Any) -> list[tuple[str, ...]]:
    return [endpoint for endpoint in endpoints if endpoint[0].startswith(PREFIX)]


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "accounts.credentials.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:  # noqa: ARG002
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "`Authorization: Bearer <access>`, from `POST /api/v1/auth/token/`.",
        }


_SCHEMA_LOCK = Lock()


class KeyScheme(OpenApiAuthenticationExtension):
    target_class = "accounts.credentials.authentication.KeyAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:  # noqa: ARG002
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Api-Key <prefix>.<secret>`, from `POST /api/v1/auth/keys/` or `manage.py create_api_key`.",
        }


@cache
def _schema() -> dict[str, Any]:
    return SchemaGenerator().get_schema(request=None, public=True)


def schema() -> dict[str, Any]:
    """Build the schema once per process; it takes a second and is the same for everyone.

    The generator loads classes in a way that fails when two threads do it at once.
    """
    with _SCHEMA_LOCK:
        return _schema()


class SchemaView(APIView):
    """The schema as YAML, or as JSON for `Accept: application/json`."""

    renderer_classes = [OpenApiYamlRenderer, OpenApiYamlRenderer2, OpenApiJsonRenderer, OpenApiJsonRenderer2]

    def get(self, request: Request) -> Response:  # noqa: ARG002
        return Response(schema())
