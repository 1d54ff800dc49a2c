"""Questions with choices that operators send: buttons, a list or a poll."""

from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from rest_framework.serializers import Serializer

from agent.bridges.base import Menu, Poll
from messaging.menus.serializers import MenuSerializer, PollSerializer
from whatsapp_agent.errors import InvalidInput
from whatsapp_agent.text.sanitize import storable


def read_choices(request: HttpRequest) -> Menu | Poll:
    """Return what a form asks with its choices, one a line. Raises InvalidInput, which names the line."""
    text = storable(request.POST.get("text", "")).replace("\r\n", "\n").strip()
    lines = [line for line in map(str.strip, storable(request.POST.get("choices", "")).splitlines()) if line]
    match request.POST.get("as", ""):
        case "buttons":
            return Menu(**_checked(MenuSerializer(data={"text": text, "buttons": lines}), lines))
        case "list":
            rows = [{"title": line} for line in lines]
            button = storable(request.POST.get("button", "")).strip()
            return Menu(**_checked(MenuSerializer(data={"text": text, "rows": rows, "button": button}), lines))
        case "poll":
            values = {"question": text, "options": lines, "multiple": "multiple" in request.POST}
            return Poll(**_checked(PollSerializer(data=values), lines))
    raise InvalidInput(_("Choose how it is shown."))


def _checked(form: Serializer, lines: list[str]) -> dict[str, Any]:
    if form.is_valid():
        return dict(form.validated_data)
    reason: Any = form.errors
    field = next(iter(reason))
    what = {"text": _("Question"), "question": _("Question"), "button": _("What opens the list")}
    name = what.get(field, _("Choices, one a line"))
    while isinstance(reason, dict | list):  # down to the first text, past the number of its line
        key = next(iter(reason)) if isinstance(reason, dict) else 0
        name = lines[key] if isinstance(key, int) and isinstance(reason, dict) else name
        reason = reason[key]
    raise InvalidInput(f"{name}: {reason}")
