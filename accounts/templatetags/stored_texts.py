"""`{% load stored_texts %}`: the filter `translated` for texts that the program stored in English."""

from django import template

from whatsapp_agent.text.stored import translate_stored

register = template.Library()


@register.filter
def translated(text: object) -> str:
    return translate_stored(str(text or ""))
