"""What the API accepts as buttons, a list or a poll, within WhatsApp's limits."""

from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers

from messaging.menus.limits import MAX_BUTTON_LENGTH, MAX_BUTTONS, MAX_OPTIONS, MAX_ROWS, MAX_TEXT_LENGTH
from whatsapp_agent.api.fields import SingleLineField, StrictSerializer


class MenuRowSerializer(StrictSerializer):
    title = SingleLineField(max_length=24)
    description = SingleLineField(required=False, allow_blank=True, max_length=72)


class MenuSerializer(StrictSerializer):
    """A text with up to three buttons, or with a list of up to ten rows that opens at `button`."""

    text = serializers.CharField(max_length=MAX_TEXT_LENGTH)
    buttons = serializers.ListField(
        child=SingleLineField(max_length=MAX_BUTTON_LENGTH), required=False, min_length=1, max_length=MAX_BUTTONS
    )
    rows = serializers.ListField(child=MenuRowSerializer(), required=False, min_length=1, max_length=MAX_ROWS)
    button = SingleLineField(required=False, max_length=MAX_BUTTON_LENGTH, help_text="What opens the list.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("buttons" in attrs) == ("rows" in attrs):
            raise serializers.ValidationError({"buttons": ["Give `buttons` or `rows`."]})
        if ("rows" in attrs) != ("button" in attrs):
            raise serializers.ValidationError({"button": ["Needed with `rows`, and only there."]})
        name = "buttons" if "buttons" in attrs else "rows"
        titles = attrs["buttons"] if name == "buttons" else [row["title"] for row in attrs["rows"]]
        if len(set(titles)) < len(titles):
            raise serializers.ValidationError({name: [_("Each title has to be another one.")]})
        return attrs


class PollSerializer(StrictSerializer):
    """A question with 2 to 12 options, of which one, or with `multiple` any number, can be chosen."""

    question = serializers.CharField(max_length=255, source="name")
    options = serializers.ListField(child=SingleLineField(max_length=100), min_length=2, max_length=MAX_OPTIONS)
    multiple = serializers.BooleanField(default=False)

    def validate_options(self, options: list[str]) -> list[str]:
        if len(set(options)) < len(options):
            raise serializers.ValidationError(_("Each option has to be another one."))
        return options
