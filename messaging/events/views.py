"""`GET /api/v1/events/`: the event feed, page by page, with long polling."""

import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.permissions import READ, denial_reason
from messaging.events import feed, types
from messaging.events.feed import Page, Position, Reader
from messaging.models import Message
from messaging.serializers import MessageSerializer
from whatsapp_agent import postgres
from whatsapp_agent.api.fields import StrictSerializer
from whatsapp_agent.api.lists import rows_by_key

MAX_WAIT_S = 30
POLL_INTERVAL_S = 0.5
INCLUDABLE = ("message",)

# A waiting request holds a thread of the web server; half of the threads stay free for other requests.
long_poll_slots = threading.BoundedSemaphore(max(settings.WEB_THREADS // 2, 1))


class CommaSeparatedField(serializers.CharField):
    """A comma-separated list of known values."""

    def __init__(self, known: Collection[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._known = known

    def to_internal_value(self, data: Any) -> Any:
        values = [value.strip() for value in super().to_internal_value(data).split(",")]
        if any(value not in self._known for value in values):
            raise serializers.ValidationError(f"Must be one or more of: {', '.join(self._known)}.")
        return values


def _list_parameter(field: str, known: Sequence[str]) -> OpenApiParameter:
    """Describe a CommaSeparatedField of FeedQuery for OpenAPI."""
    description = str(FeedQuery().fields[field].help_text)
    schema = {"type": "array", "items": {"type": "string", "enum": list(known)}, "minItems": 1}
    return OpenApiParameter(field, schema, style="form", explode=False, description=description)


class FeedQuery(StrictSerializer):
    after = serializers.CharField(
        required=False,
        max_length=100,
        help_text="The `cursor` of the previous page. Without it the feed starts with the oldest stored event (30 "
        "days); `latest` starts with new events.",
    )
    limit = serializers.IntegerField(default=100, min_value=1, max_value=500)
    types = CommaSeparatedField(
        types.EVENT_TYPE_NAMES,
        required=False,
        help_text="Only these types, comma-separated, e.g. `message.received,turn.finished`.",
    )
    session = serializers.UUIDField(required=False)
    conversation = serializers.UUIDField(required=False)
    wait = serializers.IntegerField(
        default=0,
        min_value=0,
        max_value=MAX_WAIT_S,
        help_text="When there are no events, wait up to this many seconds for one. When too many requests wait "
        "already, the answer comes at once.",
    )
    include = CommaSeparatedField(
        INCLUDABLE,
        required=False,
        help_text="`message`: add each event's message as it is now; null if it was deleted.",
    )
    expand = CommaSeparatedField(INCLUDABLE, required=False, help_text="The former name of `include`.")


class EventSerializer(serializers.Serializer):
    id = serializers.CharField(help_text="Unique; the `webhook-id` of the same event sent to an endpoint.")
    type = serializers.ChoiceField(choices=types.EVENT_TYPE_NAMES, help_text=types.summary())
    timestamp = serializers.DateTimeField()
    data = serializers.DictField(  # type: ignore[assignment]
        help_text="`session` and `conversation`, where the event belongs to one, and the fields of its type."
    )
    message = MessageSerializer(required=False, allow_null=True, help_text="Only with `include=message`.")


class FeedPageSerializer(serializers.Serializer):
    results = EventSerializer(many=True)
    cursor = serializers.CharField(help_text="Pass it as `after` to get the next page.")
    has_more = serializers.BooleanField(
        help_text="Whether there is a next page now. An empty page may have more: it skipped what you may not see."
    )


PARAMETERS: list[Any] = [
    FeedQuery,
    _list_parameter("types", types.EVENT_TYPE_NAMES),
    _list_parameter("include", INCLUDABLE),
    _list_parameter("expand", INCLUDABLE),
]


class EventFeed(APIView):
    @extend_schema(operation_id="events_list", parameters=PARAMETERS, responses=FeedPageSerializer, tags=["events"])
    def get(self, request: Request) -> Response:
        """Return events of your sessions, oldest first, in a fixed order and without gaps.

        Store the `cursor` of the last page you processed and pass it as `after`: you receive every event once.
        """
        form = FeedQuery(data=request.query_params)
        form.is_valid(raise_exception=True)
        query = form.validated_data
        has_messages = "message" in (*query.get("include", ()), *query.get("expand", ()))
        if has_messages and (refusal := denial_reason(request.user, request.auth, READ)):
            raise PermissionDenied(refusal)
        reader = Reader.of(request.user)
        page = _read(query, reader=reader, after=_position(query.get("after")))
        results = [event.as_dict() for event in page.events]
        if has_messages:
            _add_messages(results, request=request)
        return Response({"results": results, "cursor": str(page.end), "has_more": page.has_more})


def _position(cursor: str | None) -> Position:
    match cursor:
        case None:
            return feed.START
        case "latest":
            return feed.last_position()
        case _:
            return feed.resolve_position(Position.parse(cursor))


def _read(query: dict[str, Any], *, reader: Reader, after: Position) -> Page:
    """Return a page; if it is empty, wait for events as long as the caller asked."""
    filters: dict[str, Any] = {name: query.get(name) for name in ("limit", "types", "session", "conversation")}
    give_up_at = time.monotonic() + query["wait"]
    page = feed.read(reader=reader, after=after, **filters)
    if page.events or page.has_more or not query["wait"] or not long_poll_slots.acquire(blocking=False):
        return page
    try:
        while not page.events and not page.has_more and (left_s := give_up_at - time.monotonic()) > 0:
            postgres.release()
            time.sleep(min(POLL_INTERVAL_S, left_s))
            page = feed.read(reader=reader, after=page.end, **filters)
    finally:
        long_poll_slots.release()
    return page


def _add_messages(results: list[dict[str, Any]], *, request: Request) -> None:
    ids = {event["data"]["message"] for event in results if "message" in event["data"]}
    visible = Message.objects.visible_to(request.user).filter(pk__in=ids).values_list("pk", flat=True)
    by_id = rows_by_key(MessageSerializer, visible)
    for event in results:
        if "message" in event["data"]:
            event["message"] = by_id.get(event["data"]["message"])
