"""`GET /api/v1/events/`: what happened, read in order, one page after the other, or waited for."""

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
from messaging.events import feed
from messaging.events.feed import Page, Position, Reader
from messaging.models import Message
from messaging.serializers import MessageSerializer
from whatsapp_agent import postgres
from whatsapp_agent.api.fields import StrictSerializer
from whatsapp_agent.api.lists import rows_by_key

MAX_WAIT_S = 30
POLL_INTERVAL_S = 0.5
EXPANDABLE = ("message",)

# Who waits holds a thread of the web server; the others are for those who do not.
_may_wait = threading.BoundedSemaphore(max(settings.WEB_THREADS // 2, 1))


class Words(serializers.CharField):
    """Some of the words we know, with commas between them."""

    def __init__(self, known: Collection[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._known = known

    def to_internal_value(self, data: Any) -> Any:
        words = [word.strip() for word in super().to_internal_value(data).split(",")]
        if any(word not in self._known for word in words):
            raise serializers.ValidationError(f"Known are: {', '.join(self._known)}.")
        return words


def _shown(field: str, known: Sequence[str]) -> OpenApiParameter:
    """Words with commas between them, as OpenAPI has it."""
    said = str(FeedQuery().fields[field].help_text)
    words = {"type": "array", "items": {"type": "string", "enum": list(known)}, "minItems": 1}
    return OpenApiParameter(field, words, style="form", explode=False, description=said)


class FeedQuery(StrictSerializer):
    after = serializers.CharField(
        required=False,
        max_length=100,
        help_text="The `cursor` of the page before. Without it the feed begins with the oldest event that is kept (30 "
        "days); `latest` begins with what happens from now on.",
    )
    limit = serializers.IntegerField(default=100, min_value=1, max_value=500)
    types = Words(
        feed.TYPES, required=False, help_text="Only these, comma-separated, e.g. `message.received,turn.finished`."
    )
    session = serializers.UUIDField(required=False)
    conversation = serializers.UUIDField(required=False)
    wait = serializers.IntegerField(
        default=0,
        min_value=0,
        max_value=MAX_WAIT_S,
        help_text="When there is nothing, wait so many seconds for something to happen. While too many wait, nobody "
        "else is made to.",
    )
    expand = Words(EXPANDABLE, required=False, help_text="`message`: each message as it is now, if it still is.")


class EventSerializer(serializers.Serializer):
    id = serializers.CharField(help_text="Unique; the `webhook-id` of the same event sent to an endpoint.")
    type = serializers.ChoiceField(choices=feed.TYPES)
    timestamp = serializers.DateTimeField()
    data = serializers.DictField(  # type: ignore[assignment]
        help_text="Ids and facts: `session`, `conversation`, and by type `message`, `direction`, `author`, `kind`, "
        "`status`, `control`, `turn`, `outcome`, …"
    )
    message = MessageSerializer(required=False, allow_null=True, help_text="With `expand=message`.")


class FeedPageSerializer(serializers.Serializer):
    results = EventSerializer(many=True)
    cursor = serializers.CharField(help_text="Pass it as `after` to go on from here.")
    has_more = serializers.BooleanField(
        help_text="More can be read at once. A page may be empty and have more: what it passed over was not yours."
    )


SHOWN: list[Any] = [FeedQuery, _shown("types", feed.TYPES), _shown("expand", EXPANDABLE)]


class EventFeed(APIView):
    @extend_schema(operation_id="events_list", parameters=SHOWN, responses=FeedPageSerializer, tags=["events"])
    def get(self, request: Request) -> Response:
        """What happened in your sessions, oldest first, in an order that never changes and without gaps.

        Keep the `cursor` of the last page you dealt with and pass it as `after`: you will have seen every event once.
        """
        form = FeedQuery(data=request.query_params)
        form.is_valid(raise_exception=True)
        query = form.validated_data
        if "message" in query.get("expand", ()) and (refusal := denial_reason(request.user, request.auth, READ)):
            raise PermissionDenied(refusal)
        reader = Reader.of(request.user)
        page = _read(query, reader=reader, after=_position(query.get("after")))
        results = [event.as_dict() for event in page.events]
        if "message" in query.get("expand", ()):
            _add_messages(results, request=request)
        return Response({"results": results, "cursor": str(page.end), "has_more": page.has_more})


def _position(cursor: str | None) -> Position:
    match cursor:
        case None:
            return feed.START
        case "latest":
            return feed.last_position()
        case _:
            return feed.still_valid(Position.parse(cursor))


def _read(query: dict[str, Any], *, reader: Reader, after: Position) -> Page:
    """A page; when there is nothing, what comes within the time the caller wants to wait."""
    wanted: dict[str, Any] = {name: query.get(name) for name in ("limit", "types", "session", "conversation")}
    give_up_at = time.monotonic() + query["wait"]
    page = feed.read(reader=reader, after=after, **wanted)
    if page.events or page.has_more or not query["wait"] or not _may_wait.acquire(blocking=False):
        return page
    try:
        while not page.events and not page.has_more and (left_s := give_up_at - time.monotonic()) > 0:
            postgres.release()
            time.sleep(min(POLL_INTERVAL_S, left_s))
            page = feed.read(reader=reader, after=page.end, **wanted)
    finally:
        _may_wait.release()
    return page


def _add_messages(results: list[dict[str, Any]], *, request: Request) -> None:
    ids = {event["data"]["message"] for event in results if "message" in event["data"]}
    visible = Message.objects.visible_to(request.user).filter(pk__in=ids).values_list("pk", flat=True)
    by_id = rows_by_key(MessageSerializer, visible)
    for event in results:
        if "message" in event["data"]:
            event["message"] = by_id.get(event["data"]["message"])
