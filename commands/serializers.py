"""Serializers of commands and command runs."""

from typing import Any

from rest_framework import serializers

from commands.models import CommandRun
from commands.parsing import usage
from commands.registry import ChatCommand
from messaging.serializers import UserBriefSerializer
from whatsapp_agent.api.fields import StrictSerializer


class CommandSerializer(serializers.Serializer):
    name = serializers.CharField()
    description = serializers.CharField()
    aliases = serializers.ListField(child=serializers.CharField(), help_text="Other words for it in a chat.")
    tool = serializers.SerializerMethodField(help_text="What the model calls it; null where no model may use it.")
    allowed = serializers.SerializerMethodField(help_text="Who may run it.")
    usage = serializers.SerializerMethodField(help_text="How it is typed in a chat.")
    examples = serializers.ListField(child=serializers.CharField())
    schema = serializers.SerializerMethodField(help_text="The JSON schema of its arguments.")

    def get_tool(self, command: ChatCommand) -> str | None:
        return command.tool_name if CommandRun.Caller.MODEL in command.allowed else None

    def get_allowed(self, command: ChatCommand) -> list[str]:
        return [by.value for by in CommandRun.Caller if command.may_be_run_by(by)]

    def get_usage(self, command: ChatCommand) -> str:
        return usage(command)

    def get_schema(self, command: ChatCommand) -> dict[str, Any]:
        return command.schema()


class CommandListSerializer(serializers.Serializer):
    """All commands, in the form of a page."""

    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    results = CommandSerializer(many=True)


class RunCommandSerializer(StrictSerializer):
    conversation = serializers.UUIDField(help_text="Where it is run.")
    arguments = serializers.DictField(required=False, default=dict, help_text="By name, as the command's schema says.")
    send = serializers.BooleanField(required=False, default=False, help_text="Also send the result to the contact.")


class CommandRunSerializer(serializers.ModelSerializer):
    user = UserBriefSerializer(allow_null=True, help_text="Who ran it, where somebody was logged in.")

    class Meta:
        model = CommandRun
        fields = [
            "id",
            "conversation",
            "turn",
            "name",
            "surface",
            "caller",
            "user",
            "contact",
            "arguments",
            "status",
            "text",
            "data",
            "error_code",
            "error",
            "started_at",
            "created_at",
        ]
        read_only_fields = fields
