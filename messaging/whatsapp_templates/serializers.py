"""What the API shows and accepts of templates."""

from rest_framework import serializers

from messaging.models import MessageTemplate
from whatsapp_agent.api.fields import StrictSerializer


class MessageTemplateSerializer(serializers.ModelSerializer):
    header = serializers.CharField(help_text="`text`, `image`, `video`, `document`, or empty.")
    buttons = serializers.JSONField(
        help_text="Those that take a parameter, in order: `[{index, type, text}]`; `type` is `url` or `copy_code`."
    )

    class Meta:
        model = MessageTemplate
        fields = [
            "id",
            "session",
            "account",
            "name",
            "language",
            "status",
            "category",
            "body",
            "placeholders",
            "header",
            "header_text",
            "header_placeholders",
            "buttons",
            "unsupported",
            "synced_at",
        ]
        read_only_fields = fields


class TemplateSyncSerializer(StrictSerializer):
    session = serializers.UUIDField()
    account = serializers.CharField(
        required=False, max_length=50, help_text="The id of the business account (WABA); needed the first time."
    )


class TemplateSyncResultSerializer(serializers.Serializer):
    templates = serializers.IntegerField(help_text="How many the account has.")
