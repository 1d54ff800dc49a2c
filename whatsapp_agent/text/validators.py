"""Validators of texts with a format of their own."""

from zoneinfo import available_timezones

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _


def validate_time_zone(name: str) -> None:
    if name not in available_timezones():
        raise ValidationError(_("Unknown time zone. Use a name like America/Sao_Paulo."))


def validate_emoji(text: str) -> None:
    if text.isascii() or any(character.isspace() or character.isalpha() for character in text):
        raise ValidationError(_("Must be an emoji."))
