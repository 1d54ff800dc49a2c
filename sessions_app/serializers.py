"""Sessions and agent profiles as the API shows and takes them."""

import base64

from django.utils import timezone
from rest_framework import serializers

from sessions_app.models import AgentProfile, Bridge, WhatsAppSession
from whatsapp_agent.api import StrictFields


class SessionSerializer(StrictFields, serializers.ModelSerializer):
    """A session. Its QR code is at `sessions/{id}/qr/`."""

    bridge = serializers.CharField(source="bridge.slug", read_only=True)
    agent_profile = serializers.PrimaryKeyRelatedField(queryset=AgentProfile.objects.all())
    agent_profile_name = serializers.CharField(source="agent_profile.name", read_only=True)

    class Meta:
        model = WhatsAppSession
        fields = [
            "id",
            "name",
            "bridge",
            "status",
            "status_reason",
            "status_changed_at",
            "phone",
            "display_name",
            "agent_profile",
            "agent_profile_name",
            "access_policy",
            "linked_at",
            "ended_at",
            "created_at",
        ]
        read_only_fields = [
            "name",
            "status",
            "status_reason",
            "status_changed_at",
            "phone",
            "display_name",
            "linked_at",
            "ended_at",
        ]


class SessionCreateSerializer(StrictFields):
    name = serializers.RegexField(
        r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100, help_text="The bridge's id for it: letters, digits and _ . -"
    )
    bridge = serializers.SlugRelatedField(
        slug_field="slug", queryset=Bridge.objects.all(), required=False, help_text="Without it: `default`."
    )
    agent_profile = serializers.PrimaryKeyRelatedField(
        queryset=AgentProfile.objects.all(), required=False, help_text="Without it: the default profile."
    )


class QRSerializer(serializers.ModelSerializer):
    """The code to scan with the phone, as long as the session waits for it."""

    qr = serializers.SerializerMethodField(help_text="A PNG as a data URL; null when there is nothing to scan.")

    class Meta:
        model = WhatsAppSession
        fields = ["status", "qr", "qr_expires_at"]
        read_only_fields = fields

    def get_qr(self, session: WhatsAppSession) -> str | None:
        png = current_qr(session)
        return f"data:image/png;base64,{base64.b64encode(png).decode()}" if png else None


class LinkingSessionSerializer(SessionSerializer, QRSerializer):
    """A session with the code to scan."""

    class Meta(SessionSerializer.Meta):
        fields = [*SessionSerializer.Meta.fields, "qr", "qr_expires_at"]


def current_qr(session: WhatsAppSession) -> bytes | None:
    """The PNG of the code to scan; None when there is none, or it has expired."""
    if session.qr_png is None or session.status != WhatsAppSession.Status.QR_WAITING:
        return None
    has_expired = session.qr_expires_at is not None and session.qr_expires_at <= timezone.now()
    return None if has_expired else bytes(session.qr_png)
