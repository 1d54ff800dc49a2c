"""What the API shows and accepts of contacts, conversations, messages and turns."""

from datetime import datetime
from typing import Any

from django.db.models import OuterRef
from django.utils import timezone
from rest_framework import serializers

from accounts.models import User
from agent.bridges.events import Kind
from messaging.history.prompt_parts import prompt_parts
from messaging.menus.serializers import MenuSerializer, PollSerializer
from messaging.models import Contact, ContactAlias, Conversation, Media, Message, ToolCall, Turn
from messaging.search.ranking import MAX_RESULTS
from sessions_app.models import WhatsAppSession
from whatsapp_agent.api.fields import (
    HttpUrlField,
    PartialUpdateSerializer,
    SingleLineField,
    StrictSerializer,
    TimeField,
)
from whatsapp_agent.api.filters import MAX_SEARCH_LENGTH
from whatsapp_agent.api.lists import Excerpt
from whatsapp_agent.text.validators import validate_emoji

EXCERPT_LENGTH = 200
WITHOUT_TEXT = (
    "location",
    "contact",
    "template",
    "reaction",
    "interactive",
    "poll",
)  # what has no text or caption beside it
FILE_KINDS = [Kind.VOICE.value, Kind.STICKER.value, Kind.DOCUMENT.value]  # what a file may be declared as
LAST_MESSAGE = Message.objects.filter(conversation=OuterRef("pk")).order_by("-said_at", "-id")


class UserBriefSerializer(serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ["id", "username"]


class SessionBriefSerializer(serializers.ModelSerializer):
    class Meta:
        model = WhatsAppSession
        fields = ["id", "name", "phone", "status"]


class ContactBriefSerializer(serializers.ModelSerializer):
    class Meta:
        model = Contact
        fields = ["id", "name", "phone", "is_group"]


class ContactAliasSerializer(serializers.ModelSerializer):
    class Meta:
        model = ContactAlias
        fields = ["kind", "value"]


class ContactSerializer(StrictSerializer, PartialUpdateSerializer):
    """A contact or group, with every id it was seen under."""

    conversation = serializers.UUIDField(source="conversation.pk", read_only=True, allow_null=True)
    aliases = ContactAliasSerializer(many=True, read_only=True)

    class Meta:
        model = Contact
        fields = [
            "id",
            "session",
            "conversation",
            "name",
            "bridge_name",
            "phone",
            "is_group",
            "is_blocked",
            "is_allowed",
            "aliases",
            "created_at",
        ]
        read_only_fields = ["session", "bridge_name", "phone", "is_group"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if self.instance is not None and attrs.get("name") == "":  # given up: the bridge's is used again
            attrs["name"] = self.instance.bridge_name
        return super().validate(attrs)


class MessageBriefSerializer(serializers.ModelSerializer):
    text = Excerpt(max_chars=EXCERPT_LENGTH)

    class Meta:
        model = Message
        fields = ["id", "direction", "author", "kind", "status", "text", "said_at"]


class MediaSerializer(serializers.ModelSerializer):
    status = serializers.ChoiceField(
        Media.Status.choices, allow_blank=True, help_text="How far a received file is; empty where nothing is fetched."
    )

    class Meta:
        model = Media
        fields = [
            "id",
            "mime_type",
            "filename",
            "size_bytes",
            "downloadable",
            "status",
            "transcript",
            "extract",
            "error_code",
            "error",
            "expires_at",
        ]
        read_only_fields = fields


class MessageMediaSerializer(MediaSerializer):
    class Meta(MediaSerializer.Meta):
        fields = [*MediaSerializer.Meta.fields, "message", "created_at"]
        read_only_fields = fields


class MessageSerializer(serializers.ModelSerializer):
    sender = ContactBriefSerializer(help_text="Who wrote it; null for outbound messages.", allow_null=True)
    sent_by = UserBriefSerializer(help_text="The user who wrote or sent it, or null.", allow_null=True)
    unanswered = serializers.ChoiceField(
        Message.Unanswered.choices,
        allow_blank=True,
        help_text="Why the agent does not answer it; empty if it did or will.",
    )
    media = MediaSerializer(help_text="The attached file, or null.", allow_null=True)
    reply_to = serializers.UUIDField(source="quoted_id", allow_null=True, help_text="The message that this one quotes.")
    earlier_texts = serializers.JSONField(
        help_text="Its texts before it was edited, oldest first: `[{text, until}]`. Never shown to the model."
    )

    class Meta:
        model = Message
        fields = [
            "id",
            "session",
            "conversation",
            "direction",
            "author",
            "sender",
            "sent_by",
            "kind",
            "status",
            "unanswered",
            "text",
            "details",
            "media",
            "reply_to",
            "turn",
            "provider_message_id",
            "error_code",
            "error",
            "said_at",
            "written_at",
            "created_at",
            "sent_at",
            "delivered_at",
            "read_at",
            "edited_at",
            "earlier_texts",
            "revoked_at",
        ]
        read_only_fields = fields


class ConversationSerializer(serializers.ModelSerializer):
    session = SessionBriefSerializer()
    contact = ContactBriefSerializer()
    controlled_by = UserBriefSerializer(allow_null=True)
    attention_reason = serializers.ChoiceField(
        Conversation.Attention.choices,
        allow_blank=True,
        help_text="Why the conversation needs attention; empty if it does not.",
    )
    assigned_to = UserBriefSerializer(allow_null=True, help_text="The user it is assigned to, or null.")
    labels = serializers.ListField(child=serializers.CharField())
    last_message = MessageBriefSerializer(allow_null=True)

    class Meta:
        model = Conversation
        fields = [
            "id",
            "session",
            "contact",
            "control",
            "control_until",
            "control_reason",
            "controlled_by",
            "external_controller",
            "unread_count",
            "needs_attention",
            "attention_reason",
            "attention_note",
            "assigned_to",
            "labels",
            "snoozed_until",
            "done_at",
            "done_reason",
            "summary",
            "last_message",
            "last_message_at",
            "created_at",
        ]
        read_only_fields = fields
        subqueries = {"last_message": LAST_MESSAGE}


class TakeOverSerializer(StrictSerializer):
    """How long the takeover lasts. Without `until` and `minutes`: until it is released."""

    until = TimeField(required=False, allow_null=True)
    minutes = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=60 * 24 * 365)
    reason = SingleLineField(required=False, allow_blank=True, max_length=200)

    def validate_until(self, until: datetime | None) -> datetime | None:
        if until is not None and until <= timezone.now():
            raise serializers.ValidationError("Must be in the future.")
        return until

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("until") and attrs.get("minutes"):
            raise serializers.ValidationError({"minutes": ["Give `until` or `minutes`, not both."]})
        return attrs


class ReleaseSerializer(StrictSerializer):
    reason = SingleLineField(required=False, allow_blank=True, max_length=200)


class PlaceSerializer(StrictSerializer):
    latitude = serializers.FloatField(min_value=-90, max_value=90)
    longitude = serializers.FloatField(min_value=-180, max_value=180)
    name = SingleLineField(required=False, allow_blank=True, max_length=200)
    address = serializers.CharField(required=False, allow_blank=True, max_length=300)


class CardSerializer(StrictSerializer):
    name = SingleLineField(max_length=200)
    phone = serializers.CharField(max_length=40, help_text="With country code.")


class TemplateParametersSerializer(StrictSerializer):
    name = SingleLineField(max_length=512)
    language = SingleLineField(max_length=20, help_text="Like `pt_BR`.")
    parameters = serializers.ListField(
        child=serializers.CharField(max_length=1024), required=False, max_length=50, help_text="Of its body."
    )
    header_parameters = serializers.ListField(
        child=serializers.CharField(max_length=60), required=False, max_length=1, help_text="Of its header's text."
    )
    button_parameters = serializers.ListField(
        child=serializers.CharField(max_length=1024),
        required=False,
        max_length=10,
        help_text="Of its buttons that take one, in their order: the end of an address, or a code.",
    )
    media_url = HttpUrlField(required=False, help_text="The file of its header: a public URL that is fetched now.")
    filename = serializers.CharField(required=False, max_length=200, help_text="Name of the file of `media_url`.")


class ReactionSerializer(StrictSerializer):
    """A reaction to a message of the same conversation. It does not take the conversation over."""

    message = serializers.UUIDField()
    emoji = serializers.CharField(
        max_length=16, allow_blank=True, help_text="One emoji; empty takes our reaction back.", trim_whitespace=False
    )

    def validate_emoji(self, emoji: str) -> str:
        if emoji:
            validate_emoji(emoji)
        return emoji


class ReplySerializer(StrictSerializer):
    """What to send in a conversation: text, a file by URL (`text` is its caption), a location, a contact, a template,
    a reaction, buttons and lists (`interactive`), or a poll.

    To upload a file, send a form (`multipart/form-data`) instead, with the file as `file`.
    """

    text = serializers.CharField(required=False, max_length=65536, trim_whitespace=False)
    media_url = HttpUrlField(required=False, help_text="A public URL that the file is fetched from, now.")
    filename = serializers.CharField(required=False, max_length=200, help_text="Name of the file of `media_url`.")
    kind = serializers.ChoiceField(
        FILE_KINDS,
        required=False,
        help_text="How the file is to be shown, where not by its type: `voice` (audio), `sticker` (WebP), `document`.",
    )
    reaction = ReactionSerializer(required=False)
    location = PlaceSerializer(required=False)
    contact = CardSerializer(required=False)
    template = TemplateParametersSerializer(
        required=False, help_text="Of the Cloud API: also to people who last wrote more than 24 hours ago."
    )
    interactive = MenuSerializer(required=False, help_text="Buttons or a list, where the bridge can send them.")
    poll = PollSerializer(required=False, help_text="A poll, where the bridge can send one.")
    reply_to = serializers.UUIDField(
        required=False, allow_null=True, help_text="A message of the same conversation to reply to."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in ("media_url", "file", *WITHOUT_TEXT) if name in attrs]
        if len(given) > 1:
            raise serializers.ValidationError({name: ["Only one of these fields may be given."] for name in given})
        if "text" in attrs and given and given[0] in WITHOUT_TEXT:
            raise serializers.ValidationError({"text": [f"Not together with `{given[0]}`."]})
        if "text" not in attrs and not given:
            raise serializers.ValidationError({"text": ["This field is required."]})
        if "kind" in attrs and given not in (["media_url"], ["file"]):
            raise serializers.ValidationError({"kind": ["Only together with a file."]})
        if attrs.get("reply_to") and given == ["reaction"]:
            raise serializers.ValidationError({"reply_to": ["Not together with `reaction`."]})
        if "filename" in attrs and given != ["media_url"]:
            raise serializers.ValidationError({"filename": ["Only together with `media_url`."]})
        return attrs


class EditSerializer(StrictSerializer):
    text = serializers.CharField(max_length=65536, trim_whitespace=False)


class UploadSerializer(ReplySerializer):
    """A file to send in a conversation."""

    file = serializers.FileField(max_length=1000)
    text = serializers.CharField(required=False, allow_blank=True, max_length=65536, help_text="The caption.")
    reply_to = serializers.UUIDField(required=False, help_text="A message of the same conversation to reply to.")
    media_url = None  # type: ignore[assignment]
    filename = None  # type: ignore[assignment]
    location = None  # type: ignore[assignment]
    contact = None  # type: ignore[assignment]
    template = None  # type: ignore[assignment]
    reaction = None  # type: ignore[assignment]
    interactive = None  # type: ignore[assignment]
    poll = None  # type: ignore[assignment]


class WhereSerializer(StrictSerializer):
    """The recipient: a conversation, or a session and a phone number."""

    conversation = serializers.UUIDField(required=False)
    session = serializers.UUIDField(required=False)
    to = serializers.CharField(required=False, max_length=40, help_text="A phone number with country code.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "conversation" in attrs:
            both = [name for name in ("session", "to") if name in attrs]
            if both:
                raise serializers.ValidationError({name: ["Not together with `conversation`."] for name in both})
        elif missing := [name for name in ("session", "to") if name not in attrs]:
            raise serializers.ValidationError(
                {name: ["Give `conversation`, or `session` and `to`."] for name in missing}
            )
        return super().validate(attrs)


class MessageCreateSerializer(WhereSerializer, ReplySerializer):
    """What to send, and to whom: a conversation, or a session and a phone number."""


class MessageUploadSerializer(WhereSerializer, UploadSerializer):
    """A file to send, and to whom."""


class ToolCallSerializer(serializers.ModelSerializer):
    class Meta:
        model = ToolCall
        fields = ["id", "position", "name", "arguments", "result", "status", "error", "duration_ms", "created_at"]


class TurnSerializer(serializers.ModelSerializer):
    class Meta:
        model = Turn
        fields = [
            "id",
            "conversation",
            "agent_profile",
            "profile_version",
            "model",
            "outcome",
            "reason",
            "tries",
            "steps",
            "prompt_tokens",
            "completion_tokens",
            "cached_tokens",
            "model_ms",
            "started_at",
            "created_at",
        ]
        read_only_fields = fields


class TurnDetailSerializer(TurnSerializer):
    """A turn with its prompt, tool calls and messages."""

    used = serializers.JSONField(
        help_text="Ids of what the prompt contained: messages, facts, notes, memories, summary."
    )
    prompt = serializers.SerializerMethodField(
        help_text="The prompt's parts: tools, instructions, summary, messages, facts, notes, memories and the time."
    )
    tool_calls = ToolCallSerializer(many=True)
    messages = MessageBriefSerializer(many=True, help_text="The messages it handled and created, oldest first.")

    class Meta(TurnSerializer.Meta):
        fields = [*TurnSerializer.Meta.fields, "used", "prompt", "tool_calls", "messages"]
        read_only_fields = fields

    def get_prompt(self, turn: Turn) -> dict[str, Any]:
        return prompt_parts(turn)


class SearchQuery(StrictSerializer):
    q = serializers.CharField(
        allow_blank=True,
        max_length=MAX_SEARCH_LENGTH,
        help_text="Words in any order. One match is enough; rare words count most.",
    )
    limit = serializers.IntegerField(default=10, min_value=1, max_value=MAX_RESULTS)


class HitSerializer(serializers.Serializer):
    message = MessageSerializer()
    neighbours = MessageSerializer(many=True, help_text="The messages around it, oldest first.")
    why = serializers.ListField(
        child=serializers.CharField(),
        help_text="Why it matches: `says WORD`, `beside WORD` (a neighbour contains it), `by NAME`, `similar meaning`.",
    )


class SearchResultsSerializer(serializers.Serializer):
    results = HitSerializer(many=True)
