"""Rows that leave the database as JSON look as their serializer would show them."""

import json
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone
from orjson import Fragment
from rest_framework.renderers import JSONRenderer
from rest_framework.serializers import CharField, ListField, ModelSerializer, SerializerMethodField
from rest_framework.utils.serializer_helpers import ReturnDict

from commands.models import CommandRun
from commands.serializers import CommandRunSerializer
from messaging import serializers
from messaging.models import ContactAlias, Conversation, Media, Message, ToolCall, Turn
from whatsapp_agent.api.json import OrjsonRenderer
from whatsapp_agent.api.lists import read_rows

ODD = "Hello\n\u2028 'world' \"🙂\" \\ \x7f" + "x" * 300


@pytest.fixture
def rows(says, member):
    """Instances by their serializer, some with a value everywhere, some with none."""
    kept = says(ODD)
    message = Message.objects.get()
    contact = message.conversation.contact
    ContactAlias.objects.create(session=message.session, contact=contact, kind="lid", value="1@lid")
    Media.objects.create(message=message, mime_type="image/png", size_bytes=7)
    turn = Turn.objects.create(conversation_id=kept.conversation_id, outcome="answered", started_at=timezone.now())
    call = ToolCall.objects.create(turn=turn, name="search", status="done", arguments={"words": ["a", None, 1.5]})
    run = CommandRun.objects.create(
        conversation=message.conversation, turn=turn, user=member, name="help", surface="api", data={"a": [1.25, "é"]}
    )
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
        details={"a": {"b": [1, None]}, "big": 10**30},
    )
    conversation = Conversation.objects.get()
    Conversation.objects.update(controlled_by=member, control_until=timezone.now())
    conversation.refresh_from_db()
    conversation.last_message = reply
    silent = Conversation.objects.create(
        session=message.session, contact=type(contact).objects.create(session=message.session), address="x"
    )
    silent.last_message = None
    without = type(contact).objects.create(session=message.session)
    message.refresh_from_db()
    return {
        serializers.MessageSerializer: [message, reply],
        serializers.MessageBriefSerializer: [message, reply],
        serializers.ConversationSerializer: [conversation, silent],
        serializers.ContactSerializer: [contact, without],
        serializers.TurnSerializer: [turn],
        serializers.ToolCallSerializer: [call],
        serializers.UserBriefSerializer: [member],
        CommandRunSerializer: [run],
    }


def test_a_row_of_a_list_equals_the_row_of_its_serializer(rows):
    for form, instances in rows.items():
        if form is serializers.ToolCallSerializer:  # its key is a number, and it is in no list
            continue
        shown = [json.loads(JSONRenderer().render(form(instance).data)) for instance in instances]
        assert json.loads(OrjsonRenderer().render(read_rows(form, [row.pk for row in instances]))) == shown, (
            form.__name__
        )


def test_the_fields_come_in_the_order_they_are_declared(rows):
    (message, _) = rows[serializers.MessageSerializer]
    (shown,) = json.loads(OrjsonRenderer().render(read_rows(serializers.MessageSerializer, [message.pk])))
    assert list(shown) == serializers.MessageSerializer.Meta.fields
    assert list(shown["media"]) == serializers.MediaSerializer.Meta.fields


def test_rows_keep_the_requested_order_and_deleted_ones_are_left_out(rows):
    keys = [row.pk for row in rows[serializers.MessageSerializer]]
    found = read_rows(serializers.MessageSerializer, [keys[1], uuid4(), keys[0]])
    assert [row["id"] for row in json.loads(OrjsonRenderer().render(found))] == [str(keys[1]), str(keys[0])]


def test_an_empty_list_of_keys_runs_no_query(db, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert read_rows(serializers.MessageSerializer, []) == []


def test_a_field_that_needs_a_python_object_is_refused_by_name(db):
    class Form(ModelSerializer):
        age = SerializerMethodField()

        class Meta:
            model = Message
            fields = ["id", "age"]

    with pytest.raises(TypeError, match=r"Form\.age cannot be read as a column"):
        read_rows(Form, [uuid4()])


def test_a_write_only_field_is_not_shown(member):
    class Form(ModelSerializer):
        class Meta:
            model = type(member)
            fields = ["password", "username"]
            extra_kwargs = {"password": {"write_only": True}}

    assert OrjsonRenderer().render(read_rows(Form, [member.pk])) == b'[{"username":"member"}]'


@pytest.mark.parametrize(
    "data",
    [
        {"big": 10**30, "half": "\ud800", 1: "a number as a name"},
        ReturnDict({"at": timezone.now(), "key": uuid4()}, serializer=None),
        {"lines": "\u2028\u2029", "many": ({"a": 1}, [None, True, 1.5])},
    ],
)
def test_json_is_written_as_rest_framework_writes_it(data):
    if "half" in data:
        with pytest.raises(UnicodeEncodeError):
            OrjsonRenderer().render(data)
        data = data | {"half": "whole"}
    assert json.loads(OrjsonRenderer().render(data)) == json.loads(JSONRenderer().render(data))
    assert b"\xe2\x80\xa8" not in OrjsonRenderer().render(data)


def test_json_is_indented_on_request():
    assert OrjsonRenderer().render({"a": [1]}, "application/json; indent=2") == b'{\n  "a": [\n    1\n  ]\n}'
    assert OrjsonRenderer().render(None) == b""


def test_a_number_of_any_length_is_indented_too():
    number = "7" * 400
    assert number.encode() in OrjsonRenderer().render([Fragment(number)], "application/json; indent=2")


class _Loud(CharField):
    def to_representation(self, value: str) -> str:
        return value.upper()


class _Elsewhere(CharField):
    def get_attribute(self, instance: Message) -> str:
        return f"{instance.text}!"


class _LoudSerializer(ModelSerializer):
    class Meta:
        model = Message
        fields = ["id"]

    def to_representation(self, instance: Message) -> dict[str, str]:
        return {"id": str(instance.pk).upper()}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (_Loud(), "OwnSerializer.text has its own to_representation"),
        (_Elsewhere(), "OwnSerializer.text has its own get_attribute"),
        (ListField(child=_Loud()), "OwnSerializer.text has its own to_representation"),
        (_LoudSerializer(source="quoted"), "OwnSerializer.text has its own to_representation"),
    ],
)
def test_a_field_with_a_representation_of_its_own_is_refused_by_name(text, name):
    meta = type("Meta", (), {"model": Message, "fields": ["id", "text"]})
    form = type("OwnSerializer", (ModelSerializer,), {"Meta": meta, "text": text})
    with pytest.raises(TypeError, match=name):
        read_rows(form, [uuid4()])


def test_a_serializer_with_a_representation_of_its_own_is_refused_by_name():
    with pytest.raises(TypeError, match="_LoudSerializer has its own to_representation"):
        read_rows(_LoudSerializer, [uuid4()])
