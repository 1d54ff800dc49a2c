"""Serializers of sessions and agent profiles."""

import base64
from typing import Any
from uuid import UUID

from django.core.validators import URLValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from sessions_app import drafts, profiles
from sessions_app.bridges import MonthPrices, adapter_for, prices_of
from sessions_app.links.account_limits import account_limits
from sessions_app.links.problems import LinkProblemCode, link_problem
from sessions_app.models import AgentProfile, AgentProfileVersion, Bridge, WhatsAppSession
from sessions_app.services import current_qr
from whatsapp_agent.api.fields import PartialUpdateSerializer, SingleLineField, StrictSerializer


class AgentProfileSerializer(StrictSerializer, serializers.ModelSerializer):
    """Who answers, and how."""

    tools = serializers.ListField(
        child=serializers.CharField(max_length=64),
        max_length=64,
        required=False,
        help_text="Names or aliases of the commands that the model may call as tools; `commands/` lists them.",
    )

    class Meta:
        model = AgentProfile
        fields = ["id", "name", *profiles.VERSIONED, "is_default", "version", "created_at", "updated_at"]
        read_only_fields = ["version"]
        extra_kwargs = {
            "name": {"validators": []},  # profiles.py answers a name that is taken with 409
            "is_default": {"validators": []},  # profiles.py unsets the previous default
            "instructions": {"max_length": 100_000, "required": False},
            "fallback_text": {"max_length": 4096},
            "voice_fallback_text": {"max_length": 4096},
            "missed_call_text": {"max_length": 4096},
            "history_tokens": {"max_value": 1_000_000},
            "max_output_tokens": {"min_value": 1, "max_value": 1_000_000},
            "max_answer_age_s": {"max_value": 7 * 24 * 3600},
            "takeover_s": {"max_value": 365 * 24 * 3600},
        }

    def validate_tools(self, tools: list[str]) -> list[str]:
        if unknown := [name for name in tools if profiles.find_tool(name) is None]:
            known = ", ".join(sorted(tool.name for tool in profiles.list_tools()))
            raise serializers.ValidationError([f"There is no tool {name}. There are: {known}." for name in unknown])
        return list(dict.fromkeys(tools))

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        def new_value(name: str) -> Any:
            return attrs.get(name, getattr(self.instance or AgentProfile(), name))

        if new_value("debounce_max_s") < new_value("debounce_s"):
            raise serializers.ValidationError({"debounce_max_s": ["Must not be less than `debounce_s`."]})
        return attrs


class FieldChangeSerializer(serializers.Serializer):
    """A field, and its value before and after."""

    field = serializers.CharField(source="name")
    before = serializers.JSONField(read_only=True)
    after = serializers.JSONField(read_only=True)


class AgentProfileVersionSerializer(serializers.ModelSerializer):
    changed_by = serializers.CharField(source="changed_by.username", allow_null=True, default=None)
    message = serializers.CharField(help_text="Why it was changed; may be empty.")
    values = serializers.JSONField(help_text="The values of the profile's fields in this version, by field name.")
    changes = serializers.SerializerMethodField(help_text="How it differs from the version before.")

    class Meta:
        model = AgentProfileVersion
        fields = ["version", "message", "values", "changes", "changed_by", "created_at"]
        read_only_fields = fields

    @extend_schema_field(FieldChangeSerializer(many=True))
    def get_changes(self, version: AgentProfileVersion) -> list[dict[str, Any]]:
        before = getattr(version, "values_before", None)
        changes = profiles.compare(before, version.values) if before is not None else []
        return FieldChangeSerializer(changes, many=True).data  # type: ignore[return-value]


MAX_VERSION = 2**31 - 1


class DraftSerializer(AgentProfileSerializer):
    """The draft of a profile: what is tried before it is published."""

    changes = serializers.SerializerMethodField(help_text="How it differs from what is live. Empty: it does not.")

    class Meta(AgentProfileSerializer.Meta):
        fields = [*profiles.VERSIONED, "version", "changes", "updated_at"]

    @extend_schema_field(FieldChangeSerializer(many=True))
    def get_changes(self, draft: AgentProfile) -> list[dict[str, Any]]:
        return FieldChangeSerializer(drafts.changes_of(self.context["profile"], draft), many=True).data  # type: ignore[return-value]


class PublishSerializer(StrictSerializer):
    """Makes the draft live."""

    message = SingleLineField(required=False, allow_blank=True, max_length=200, help_text="Why, for colleagues.")
    draft_version = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_VERSION,
        help_text="The version of the draft that you have seen; 409 if it is another one now.",
    )


class RollbackSerializer(StrictSerializer):
    version = serializers.IntegerField(min_value=1, max_value=MAX_VERSION)
    message = SingleLineField(required=False, allow_blank=True, max_length=200, help_text="Why, for colleagues.")


class PricesSerializer(serializers.Serializer):
    """What the platform charges for the messages that it has delivered this month."""

    month = serializers.CharField(help_text="`2026-11`, by TIME_ZONE.")
    state = serializers.ChoiceField(
        ["free", "charged", "payment_missing"],
        help_text="`free`: within the free replies. `charged`: they are used up. `payment_missing`: the last message "
        "was not delivered, because the account has no payment method.",
    )
    free_replies = serializers.IntegerField(help_text="Replies in free form that are free each month.")
    free_replies_left = serializers.IntegerField()
    replies = serializers.IntegerField(help_text="Replies in free form that were delivered this month.")
    billable = serializers.IntegerField(help_text="Delivered messages of any kind that the platform charges.")


class LinkProblemSerializer(serializers.Serializer):
    """Why linking a number does not succeed, and what can be done."""

    code = serializers.ChoiceField([code.value for code in LinkProblemCode])
    detail = serializers.CharField()
    remedy = serializers.CharField()
    since = serializers.DateTimeField(help_text="When the code was used, or was first shown.")


class WithLinkProblem(serializers.Serializer):
    link_problem = serializers.SerializerMethodField(
        help_text="Why linking it does not succeed and what can be done; null while nothing is wrong."
    )

    @extend_schema_field(LinkProblemSerializer(allow_null=True))
    def get_link_problem(self, session: WhatsAppSession) -> dict[str, Any] | None:
        problem = link_problem(session)
        return LinkProblemSerializer(problem).data if problem else None


class AccountLimitSerializer(serializers.Serializer):
    """A limit that WhatsApp sets on the number's account."""

    kind = serializers.CharField(help_text="`timelock`, `capping`, `quality`, or one that is new.")
    is_active = serializers.BooleanField()
    until = serializers.DateTimeField(allow_null=True, help_text="Null where its end is not known.")
    status = serializers.CharField(allow_blank=True, help_text="In the platform's word.")
    used = serializers.IntegerField(allow_null=True, help_text="Of `total`, where it is a quota.")
    total = serializers.IntegerField(allow_null=True, help_text="-1: no quota.")
    reported_at = serializers.DateTimeField(help_text="Since when it is known to stand so.")


class SessionSerializer(WithLinkProblem, StrictSerializer, PartialUpdateSerializer):
    """A session. Its QR code is at `sessions/{id}/qr/`."""

    bridge = serializers.CharField(source="bridge.slug", read_only=True)
    agent_profile = serializers.PrimaryKeyRelatedField(queryset=AgentProfile.objects.live())
    agent_profile_name = serializers.CharField(source="agent_profile.name", read_only=True)
    prices = serializers.SerializerMethodField(help_text="This month's messages; null where none is charged (`cloud`).")
    account_limits = serializers.SerializerMethodField(
        help_text="Limits that WhatsApp sets on its account, as the bridge last reported them."
    )

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
            "owner_phone",
            "time_zone",
            "send_rate_per_minute",
            "agent_profile",
            "agent_profile_name",
            "access_policy",
            "group_policy",
            "link_problem",
            "account_limits",
            "prices",
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

    @extend_schema_field(AccountLimitSerializer(many=True))
    def get_account_limits(self, session: WhatsAppSession) -> list[dict[str, Any]]:
        return AccountLimitSerializer(account_limits(session), many=True).data  # type: ignore[return-value]

    @extend_schema_field(PricesSerializer(allow_null=True))
    def get_prices(self, session: WhatsAppSession) -> dict[str, Any] | None:
        prices = self._prices_of_all().get(session.pk)
        return PricesSerializer(prices).data if prices else None

    def _prices_of_all(self) -> dict[UUID, MonthPrices]:
        """Return the prices of every session that is being shown, with one query."""
        context: Any = self.context
        if "prices" not in context:
            shown: Any = (
                self.parent.instance if isinstance(self.parent, serializers.ListSerializer) else [self.instance]
            )
            context["prices"] = prices_of(shown)
        return context["prices"]


class BridgeSerializer(StrictSerializer, serializers.ModelSerializer):
    """A bridge. Its keys can be written, and are never shown."""

    base_url = serializers.CharField(
        max_length=200,
        required=False,
        allow_blank=True,
        validators=[URLValidator(schemes=["http", "https"])],
        help_text="Where it is. Empty for `cloud`: Graph's address.",
    )
    api_key = serializers.CharField(write_only=True, required=False, allow_blank=True, max_length=1000)
    signing_key = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        max_length=1000,
        help_text="The key of its webhook signatures: WAHA's HMAC key, Meta's app secret, the value of "
        "Evolution's `X-Webhook-Secret`.",
    )
    verify_token = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        max_length=1000,
        help_text="Answers Meta's verification of the webhook. Empty: the last part of the webhook's address.",
    )
    capabilities = serializers.SerializerMethodField(help_text="What it can do; anything else is refused with 409.")

    class Meta:
        model = Bridge
        fields = [
            "slug",
            "kind",
            "base_url",
            "api_key",
            "signing_key",
            "verify_token",
            "capabilities",
            "synced_at",
            "created_at",
        ]
        extra_kwargs: dict[str, Any] = {"slug": {"validators": []}}  # bridges.py answers a slug that is taken with 409

    def get_capabilities(self, bridge: Bridge) -> list[str]:
        return sorted(adapter_for(bridge).capabilities)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        def new_value(name: str) -> Any:
            return attrs.get(name, getattr(self.instance or Bridge(), name))

        kind = new_value("kind")
        if kind not in {"cloud", "simulator"} and not new_value("base_url"):
            raise serializers.ValidationError({"base_url": [f"A bridge of kind {kind} needs its address."]})
        return attrs


class BridgeSetupBodySerializer(StrictSerializer):
    account = serializers.RegexField(
        r"^[0-9]+$",
        required=False,
        max_length=50,
        help_text="Cloud API: the id of the business account (WABA) whose events are to come. Without it, those of the "
        "accounts that are known from their templates.",
    )


class BridgeSetupSerializer(serializers.Serializer):
    """What was configured at the bridge, or what to configure there by hand."""

    lines = serializers.ListField(child=serializers.CharField(), help_text="For people.")
    webhook_path = serializers.CharField(help_text="Where it posts its events. Keep it secret.")


class SessionCreateSerializer(StrictSerializer):
    name = serializers.RegexField(
        r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        max_length=100,
        help_text="The session's id at the bridge: letters, digits and _ . -",
    )
    bridge = serializers.SlugRelatedField(
        slug_field="slug",
        queryset=Bridge.objects.all(),
        required=False,
        help_text="The bridge's slug. Default: `default`.",
    )
    agent_profile = serializers.PrimaryKeyRelatedField(
        queryset=AgentProfile.objects.live(), required=False, help_text="Default: the default profile."
    )


class QRSerializer(WithLinkProblem, serializers.ModelSerializer):
    """The QR code to scan with the phone, while the session waits for it."""

    qr = serializers.SerializerMethodField(help_text="A PNG as a data URL; null if there is no code to scan.")

    class Meta:
        model = WhatsAppSession
        fields = ["status", "qr", "qr_expires_at", "link_problem"]
        read_only_fields = fields

    def get_qr(self, session: WhatsAppSession) -> str | None:
        png = current_qr(session)
        return f"data:image/png;base64,{base64.b64encode(png).decode()}" if png else None


class PairingSerializer(StrictSerializer):
    phone = serializers.CharField(max_length=40, help_text="The number to link, with its country code.")


class RegisterSerializer(StrictSerializer):
    pin = serializers.RegexField(r"^[0-9]{6}\Z", help_text="The six digits of the number's two-step verification.")


class PairingCodeSerializer(serializers.Serializer):
    code = serializers.CharField(help_text="Type it on the phone: Linked devices, Link with phone number instead.")
    expires_at = serializers.DateTimeField(help_text="When it is invalid at the latest; ask for a new one then.")


class LinkingSessionSerializer(SessionSerializer, QRSerializer):
    """A session with its QR code."""

    class Meta(SessionSerializer.Meta):
        fields = [*SessionSerializer.Meta.fields, "qr", "qr_expires_at"]
