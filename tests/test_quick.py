"""Rows shown the quick way look as their fields would show them."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.renderers import JSONRenderer
from rest_framework.serializers import ModelSerializer

from messaging import serializers
from messaging.models import Media, Message, ToolCall, Turn
from whatsapp_agent.api import Quick


def as_json(value):
    return json.loads(JSONRenderer().render(value))


@pytest.fixture
def rows(says, member):
    """A row for each serializer, with values and with nulls."""
    kept = says("Hello\n\u2028 'world' 🙂")
    message = Message.objects.get()
    Media.objects.create(message=message, mime_type="image/png", size_bytes=7)
    turn = Turn.objects.create(conversation_id=kept.conversation_id, outcome="answered", started_at=timezone.now())
    call = ToolCall.objects.create(turn=turn, name="search", status="done", arguments={"words": ["a", None, 1.5]})
    reply = Message.objects.create(
        session=message.session,
        conversation=message.conversation,
        direction="outbound",
        author="staff",
        status=Message.Status.QUEUED,
        sent_by=member,
        turn=turn,
        quoted=message,
        said_at=timezone.now().replace(microsecond=0) + timedelta(seconds=1),
        details={"a": {"b": [1, None]}},
    )
    message.refresh_from_db()
    conversation = message.conversation
    conversation.last_message, conversation.contact.conversation_id = reply, conversation.pk
    empty = type(conversation).objects.get()
    empty.last_message = None
    return {
        serializers.MessageSerializer: [message, reply],
        serializers.MessageBriefSerializer: [message, reply],
        serializers.ConversationSerializer: [conversation, empty],
        serializers.ContactSerializer: [conversation.contact],
        serializers.TurnSerializer: [turn],
        serializers.ToolCallSerializer: [call],
        serializers.UserBriefSerializer: [member],
    }


def test_quick_is_the_same(rows):
    for serializer, instances in rows.items():
        for instance in instances:
            quick = as_json(serializer(instance).data)
            assert quick == as_json(slowly(serializer)(instance).data), serializer.__name__


def slowly(serializer):
    """The same serializer, with REST framework's own way to show a row."""

    class Slow(serializer):
        class Meta(serializer.Meta):
            pass

        def to_representation(self, instance):
            return ModelSerializer.to_representation(_without_quick(self), instance)

    return Slow


def _without_quick(serializer):
    for field in serializer.fields.values():
        if isinstance(field, Quick):
            field.to_representation = ModelSerializer.to_representation.__get__(_without_quick(field))
    return serializer
