"""What the API shows and accepts of teamwork: notes, saved replies, and the bodies of the actions."""

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from accounts.models import User
from messaging.models import Note, SavedReply
from messaging.teamwork.actions import MAX_LABEL_LENGTH, MAX_LABELS, MAX_NOTE_LENGTH, MAX_REASON_LENGTH
from messaging.teamwork.saved_replies import MAX_TEXT_LENGTH
from whatsapp_agent.api.fields import SingleLineField, StrictSerializer, TimeField
from whatsapp_agent.api.filters import UUID_PATTERN


class ColleagueSerializer(serializers.ModelSerializer):
    """A user to whom a conversation may be assigned, or the author of a note."""

    class Meta:
        model = User
        fields = ["id", "username"]


class AssignSerializer(StrictSerializer):
    user = serializers.RegexField(
        f"^(me|{UUID_PATTERN})$",
        allow_null=True,
        max_length=36,
        help_text="A colleague's id or `me`; null: back to everyone.",
    )


class LabelsSerializer(StrictSerializer):
    labels = serializers.ListField(
        child=SingleLineField(max_length=MAX_LABEL_LENGTH),
        max_length=MAX_LABELS,
        help_text="All labels of the conversation; others are removed.",
    )


class SnoozeSerializer(StrictSerializer):
    """When the conversation opens again: a time, or a number of minutes from now."""

    until = TimeField(required=False)
    minutes = serializers.IntegerField(required=False, min_value=1, max_value=60 * 24 * 365)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs) != 1:
            raise serializers.ValidationError({"until": ["Give either `until` or `minutes`."]})
        until: datetime = attrs.get("until") or timezone.now() + timedelta(minutes=attrs["minutes"])
        if until <= timezone.now():
            raise serializers.ValidationError({"until": ["Must be in the future."]})
        return {"until": until}


class DoneSerializer(StrictSerializer):
    reason = SingleLineField(required=False, allow_blank=True, max_length=MAX_REASON_LENGTH)


class NoteSerializer(StrictSerializer, serializers.ModelSerializer):
    """A note for colleagues: never sent, shown to the model only if `is_shown_to_model`."""

    text = serializers.CharField(max_length=MAX_NOTE_LENGTH)
    author = ColleagueSerializer(read_only=True, allow_null=True, help_text="Null: the system, or a deleted user.")
    is_shown_to_model = serializers.BooleanField(
        required=False, default=False, help_text="Whether the model is given the note when it answers here."
    )

    class Meta:
        model = Note
        fields = ["id", "conversation", "author", "text", "is_shown_to_model", "created_at"]
        read_only_fields = ["conversation"]


class NoteChangeSerializer(StrictSerializer):
    is_shown_to_model = serializers.BooleanField(required=False)


class SavedReplySerializer(StrictSerializer, serializers.ModelSerializer):
    """A text that staff send often; `{name}` in it stands for the contact's name."""

    session = serializers.UUIDField(
        source="session_id", allow_null=True, required=False, help_text="Only for this session. null: for all."
    )
    shortcut = serializers.RegexField(
        r"^[A-Za-z0-9_-]{1,40}$", max_length=40, help_text="Unique within its session; case does not matter."
    )
    text = serializers.CharField(max_length=MAX_TEXT_LENGTH)

    class Meta:
        model = SavedReply
        fields = ["id", "session", "shortcut", "text", "created_at", "updated_at"]


class SavedReplyChangeSerializer(SavedReplySerializer):
    session = serializers.UUIDField(source="session_id", read_only=True, allow_null=True)


class FilledReplySerializer(serializers.Serializer):
    """A saved reply for one conversation, with the contact's name filled in."""

    id = serializers.UUIDField()
    shortcut = serializers.CharField()
    text = serializers.CharField()


class FilledRepliesSerializer(serializers.Serializer):
    results = FilledReplySerializer(many=True)


class ColleaguesSerializer(serializers.Serializer):
    results = ColleagueSerializer(many=True)


class SuggestionQuery(StrictSerializer):
    q = serializers.CharField(
        required=False, allow_blank=True, max_length=40, default="", help_text="The beginning of the shortcut."
    )
