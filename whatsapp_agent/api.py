"""What every REST route shares: the shape of errors, of pages and of what comes in."""

import base64
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.urls import Resolver404, resolve
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import (
    APIException,
    AuthenticationFailed,
    NotAuthenticated,
    ParseError,
    PermissionDenied,
    Throttled,
    ValidationError,
)
from rest_framework.pagination import BasePagination
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler
from rest_framework.views import set_rollback

from whatsapp_agent.bodies import BodyTooLarge
from whatsapp_agent.errors import AppError
from whatsapp_agent.postgres.values import values_of

log = structlog.get_logger(__name__)


# --- the way in ---------------------------------------------------------------------------------------------------


def calls_first(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: a call of the API goes straight to its view. It has no use for sessions, cookies and static files."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith("/api/v1/"):
            return get_response(request)
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return get_response(request)
        if not hasattr(match.func, "cls"):  # no view of REST framework's, which makes a response of every exception
            return get_response(request)
        request.resolver_match = match
        response = match.func(request, *match.args, **match.kwargs)
        return response.render() if isinstance(response, Response) else response

    return middleware


# --- errors -------------------------------------------------------------------------------------------------------


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response:
    """`{"detail": str, "code": str}`, with `"fields"` for invalid input and `"id"` for what went wrong on our side."""
    request = context["request"]  # whatever was asked for, an error is JSON
    if isinstance(exc, AuthenticationFailed | NotAuthenticated | PermissionDenied):
        exc = _one_too_many(context["view"], request) or exc
    request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
    if isinstance(exc, AppError):
        set_rollback()
        body = {"detail": str(exc), "code": exc.code}
        return Response(body | ({"fields": exc.fields} if exc.fields else {}), status=exc.status, headers=exc.headers)
    if isinstance(exc, OperationalError | InterfaceError):
        set_rollback()
        return Response({"detail": "The database cannot be reached.", "code": "unavailable"}, status=503)
    if isinstance(exc, RequestDataTooBig):
        exc = BodyTooLarge()
    elif isinstance(exc, SuspiciousOperation):  # more parameters, form fields or files than anybody has a use for
        exc = ParseError("There are more parameters, fields or files than anything here takes.")
    response = drf_exception_handler(exc, context)
    if response is None:
        set_rollback()
        return Response(server_error_body(exc), status=500)
    if isinstance(exc, ValidationError):
        fields = response.data if isinstance(response.data, dict) else {"non_field_errors": response.data}
        response.data = {"detail": "The input is not valid.", "code": "invalid", "fields": _utf8(fields)}
    elif isinstance(exc, APIException):
        response.data = {"detail": str(response.data.get("detail", exc.detail)), "code": _code(exc, response.data)}
    else:  # Http404 and PermissionDenied of Django
        code = "not_found" if response.status_code == 404 else "permission_denied"
        response.data = {"detail": str(response.data["detail"]), "code": code}
    return response


def _one_too_many(view: Any, request: Request) -> Throttled | None:
    """A call that is refused counts as well; REST framework counts only those that it lets in."""
    if hasattr(request._request, "rate_limit"):  # counted before it was refused
        return None
    try:
        for throttle in view.get_throttles():
            if not throttle.allow_request(request, view):
                return Throttled(throttle.wait())
    except (OperationalError, InterfaceError):
        return None
    return None


def _utf8(fields: Any) -> Any:
    """What is told of fields, without the halves of characters that their names and values may have come with."""
    match fields:
        case str():
            return fields.encode(errors="replace").decode()
        case Mapping():
            return {_utf8(str(name)): _utf8(errors) for name, errors in fields.items()}
        case list():
            return [_utf8(error) for error in fields]
    return fields


def _code(exc: APIException, data: Mapping[str, Any]) -> str:
    codes = exc.get_codes()
    return codes if isinstance(codes, str) else str(data.get("code", exc.default_code))


def server_error_body(exc: BaseException) -> dict[str, str]:
    """What a caller is told of a mistake of ours: an id by which it is found in the log, and nothing else."""
    error_id = uuid4().hex
    log.error("unhandled_error", error_id=error_id, exc_info=exc)
    return {"detail": "Something went wrong on our side.", "code": "server_error", "id": error_id}


@csrf_exempt
def no_such_route(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if is_for_people(request):
        return defaults.page_not_found(request, exception or Http404())
    return JsonResponse({"detail": "There is no such route.", "code": "not_found"}, status=404)


def is_for_people(request: HttpRequest) -> bool:
    """Whether a page was asked for; everywhere else an error is JSON, also one that no view of the API met."""
    return request.path_info.startswith(("/admin", "/simulator"))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_for_people(request):
        return defaults.bad_request(request, exception)
    return JsonResponse({"detail": "The request cannot be understood.", "code": "bad_request"}, status=400)


def only(*methods: str) -> HttpResponse:
    """What a view that is none of REST framework's answers to any other method."""
    body = {"detail": f"Only {' and '.join(methods)} can be asked here.", "code": "method_not_allowed"}
    return JsonResponse(body, status=405, headers={"Allow": ", ".join(methods)})


def server_error(request: HttpRequest) -> HttpResponse:
    exc = sys.exception()
    if exc is None or is_for_people(request):
        return defaults.server_error(request)
    return JsonResponse(server_error_body(exc), status=500)


# --- what comes in ------------------------------------------------------------------------------------------------


# A serializer that takes what it names, in the type it names, and nothing else: a misspelled field that is dropped in
# silence looks like success, and so does a filter that says nothing and answers with everything. No docstring: it would
# be in the schema wherever a serializer has none of its own.
class StrictFields(serializers.Serializer):
    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping) and (errors := self._refuse(data)):
            raise ValidationError(errors)
        return super().to_internal_value(data)

    def _refuse(self, data: Mapping[str, Any]) -> dict[str, Any]:
        errors: dict[str, Any] = {}
        is_json = not isinstance(data, QueryDict)  # a form knows only texts
        for name, value in data.items():
            field = self.fields.get(name)
            if field is None:
                errors[str(name)] = ["There is no such field."]
            elif field.read_only:
                errors[name] = ["This field cannot be set."]
            elif is_json and (wrong := _wrong_type(field, value)):
                errors[name] = wrong
            elif isinstance(field, serializers.CharField) and field.max_length and len(value or "") > field.max_length:
                errors[name] = [f"Ensure this field has no more than {field.max_length} characters."]  # spaces count
            elif isinstance(data, QueryDict) and len(data.getlist(name)) > 1:
                errors[name] = ["Give it once."]
            elif not is_json and value == "" and not getattr(field, "allow_blank", False):
                errors[name] = ["This must not be empty. Leave it out instead."]
        return errors


class WritesWhatIsGiven(serializers.ModelSerializer):  # no docstring, as above
    # A change writes what it names and nothing else: meanwhile a bridge may have told of the rest.
    def update(self, instance: Any, validated_data: dict[str, Any]) -> Any:
        for name, value in validated_data.items():
            setattr(instance, name, value)
        instance.save(update_fields=list(validated_data))
        return instance


def valid(form: type[serializers.Serializer], request: Request, **kwargs: Any) -> dict[str, Any]:
    """What a request brings, as the serializer has it. Raises ValidationError."""
    serializer = form(data=request.data, context={"request": request}, **kwargs)
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


def takes_no_fields(request: Request) -> None:
    """For a call that is asked without a body: what somebody sends along is refused by name. Raises ValidationError."""
    valid(StrictFields, request)


TEXTUAL = (
    serializers.CharField,
    serializers.UUIDField,
    serializers.DateTimeField,
    serializers.ChoiceField,
    serializers.RelatedField,
)


def _wrong_type(field: serializers.Field, value: Any) -> Any:
    """What to say of a value whose JSON type is not the field's, in a list by position; None when it is right."""
    if isinstance(field, serializers.ListField) and isinstance(value, list):
        return {str(at): errors for at, item in enumerate(value) if (errors := _wrong_type(field.child, item))} or None
    wanted = None if value is None else _wanted_type(field, value)
    return [f"This must be {wanted}."] if wanted else None


def _wanted_type(field: serializers.Field, value: Any) -> str | None:
    """What the value should have been; None when its JSON type is right."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_whole = is_number and (isinstance(value, int) or value.is_integer())
    if isinstance(field, serializers.MultipleChoiceField):
        return None
    if isinstance(field, TEXTUAL) and not isinstance(value, str):
        return "a text"
    if isinstance(field, serializers.BooleanField) and not isinstance(value, bool):
        return "true or false"
    if isinstance(field, serializers.IntegerField) and not is_whole:
        return "a whole number"
    if isinstance(field, serializers.FloatField) and not is_number:
        return "a number"
    return None


LONGEST_ADDRESS = 2000


@extend_schema_field(
    {
        "type": "string",
        "format": "uri",
        "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[!-~]+$",
        "maxLength": LONGEST_ADDRESS,
    }
)
class Address(serializers.CharField):
    """An http or https address; whether it may be asked is for `safe_fetch.check_url` to say."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=LONGEST_ADDRESS, trim_whitespace=False, **kwargs)


# --- pages --------------------------------------------------------------------------------------------------------


LONGEST_CURSOR = 200


class NewestFirst(BasePagination):
    """Newest first, 50 a page, `?page_size=` up to 200; `?cursor=` as `next` and `previous` have it.

    A page begins after a row, not after a count: it stays where it is while rows come and go, and the thousandth page
    costs what the first one does. A view orders by its `newest_by`: the id, which grows with time, or a time and then
    the id.
    """

    page_size = 50
    max_page_size = 200

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        by = _order_of(view)
        return self._turn_to(queryset, request, by, fetch=list, key_of=lambda row: [getattr(row, name) for name in by])

    def choose(self, queryset: Any, request: Request, view: Any) -> list[str]:
        """The ids of a page's rows as text, for a list that is read by ids."""
        by = _order_of(view)
        found = self._turn_to(queryset.values_list(*by), request, by, fetch=values_of, key_of=tuple)
        return [key[by.index("id")] for key in found]

    def _turn_to(
        self,
        queryset: Any,
        request: Request,
        by: tuple[str, ...],
        *,
        fetch: Callable[[Any], list[Any]],
        key_of: Callable[[Any], Sequence[Any]],
    ) -> list[Any]:
        """The rows of the page, and the links to its neighbours. `key_of` a row is where it stands in the order."""
        size = self._size(request)
        cursor = request.query_params.get("cursor")
        is_backward, position = (False, None) if cursor is None else _read_cursor(cursor, by)
        if position is not None:
            queryset = queryset.filter(_beyond(by, position, "gt" if is_backward else "lt"))
        rows = fetch(queryset.order_by(*(name if is_backward else f"-{name}" for name in by))[: size + 1])
        has_more, rows = len(rows) > size, rows[:size]
        if is_backward:
            rows.reverse()
        has_next = has_more if not is_backward else True
        has_previous = has_more if is_backward else position is not None
        query = request.query_params.copy()
        query.pop("cursor", None)
        self._here = request.build_absolute_uri(f"{request.path}?{query.urlencode()}{'&' if query else ''}")
        self._next = self._link("n", key_of(rows[-1])) if rows and has_next else None
        self._previous = self._link("p", key_of(rows[0])) if rows and has_previous else None
        return rows

    def _size(self, request: Request) -> int:
        given = request.query_params.get("page_size")
        if given is None:
            return self.page_size
        if not (given.isascii() and given.isdigit() and len(given) < 10 and 1 <= int(given) <= self.max_page_size):
            raise ValidationError({"page_size": [f"This must be a whole number from 1 to {self.max_page_size}."]})
        return int(given)

    def _link(self, direction: str, key: Sequence[Any]) -> str:
        words = [direction, *map(_as_word, key)]
        cursor = base64.urlsafe_b64encode("|".join(words).encode()).decode().rstrip("=")
        return f"{self._here}cursor={cursor}"

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self._next, "previous": self._previous, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {
                "next": link | {"description": "The page of older rows; null at the end."},
                "previous": link | {"description": "The page of newer rows; null at the beginning."},
                "results": schema,
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:  # noqa: ARG002
        return [
            {
                "name": "cursor",
                "in": "query",
                "required": False,
                "description": "Where the page begins, as a link `next` or `previous` has it.",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": LONGEST_CURSOR},
            },
            {
                "name": "page_size",
                "in": "query",
                "required": False,
                "description": "How many rows a page has.",
                "schema": {"type": "integer", "minimum": 1, "maximum": self.max_page_size, "default": self.page_size},
            },
        ]


Key = datetime | UUID | int


def _order_of(view: Any) -> tuple[str, ...]:
    return getattr(view, "newest_by", ("id",))


def _as_word(key: Key | str) -> str:
    return key.astimezone(UTC).isoformat() if isinstance(key, datetime) else str(key)


def _read_word(name: str, word: str) -> Key:
    """A key as its name has it: a time ends in `_at`. Raises ValueError or OverflowError."""
    if name.endswith("_at"):
        at = datetime.fromisoformat(word)
        if at.tzinfo is None:
            raise ValueError("no time zone")
        return at.astimezone(UTC)
    if name == "id":
        return UUID(word)
    if not word.isdigit() or len(word) > 9:
        raise ValueError("no number of ours")
    return int(word)


def _beyond(by: tuple[str, ...], position: list[Key], side: str) -> Q:
    """Rows past a position. Of two keys the first one bounds alone as well, so that an index can be entered there."""
    if len(by) == 1:
        return Q(**{f"{by[0]}__{side}": position[0]})
    bound = Q(**{f"{by[0]}__{side}e": position[0]})
    return bound & (Q(**{f"{by[0]}__{side}": position[0]}) | Q(**{f"{by[1]}__{side}": position[1]}))


def _read_cursor(cursor: str, by: tuple[str, ...]) -> tuple[bool, list[Key]]:
    try:
        if len(cursor) > LONGEST_CURSOR:
            raise ValueError("too long")
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        direction, *words = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").split("|")
        if direction not in {"n", "p"}:
            raise ValueError("no direction")
        position = [_read_word(name, word) for name, word in zip(by, words, strict=True)]
    except (ValueError, OverflowError) as exc:
        raise ValidationError({"cursor": ["This is no cursor of ours."]}) from exc
    return direction == "p", position
