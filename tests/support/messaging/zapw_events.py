"""Events as zapw posts them."""

from typing import Any

from django.utils import timezone


def text_event(text: Any = "Oi", **changes: Any) -> dict[str, Any]:
    data = {
        "from": "5511988887777@s.whatsapp.net",
        "to": "5511999990000:12@s.whatsapp.net",
        "messageId": "3EB0C767D71D1F0A1B22",
        "timestamp": int(timezone.now().timestamp() * 1000),
        "isGroup": False,
        "type": "text",
        "text": text,
    }
    return {"sessionId": "sales", "origin": "5511999990000", "eventType": "message.received", "data": data | changes}
