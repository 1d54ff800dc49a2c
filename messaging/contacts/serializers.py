"""What the API shows and accepts of merges of contacts."""

from rest_framework import serializers

from messaging.models import ContactMerge
from messaging.serializers import ContactBriefSerializer, UserBriefSerializer
from whatsapp_agent.api.fields import StrictSerializer


class ContactMergeSerializer(serializers.ModelSerializer):
    contact = ContactBriefSerializer(help_text="The contact that is kept.")
    merged_contact = serializers.UUIDField(
        source="merged_id", help_text="The id of the other contact; while they are merged there is no such contact."
    )
    decided_by = UserBriefSerializer(
        allow_null=True, help_text="Who merged them, or accepted or refused it; null: it was done by itself."
    )
    undone_by = UserBriefSerializer(allow_null=True)

    class Meta:
        model = ContactMerge
        fields = [
            "id",
            "session",
            "contact",
            "merged_contact",
            "merged_name",
            "merged_phone",
            "status",
            "reason",
            "decided_by",
            "undone_by",
            "created_at",
            "decided_at",
            "undone_at",
        ]
        read_only_fields = fields


class MergeSerializer(StrictSerializer):
    contact = serializers.UUIDField(help_text="The contact that is merged into this one.")


class UnmergeSerializer(StrictSerializer):
    merge = serializers.UUIDField(required=False, allow_null=True, help_text="The merge to take back.")
