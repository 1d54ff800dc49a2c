"""Buttons and lists of the Cloud API.

https://developers.facebook.com/docs/whatsapp/cloud-api/messages/interactive-reply-buttons-messages
"""

from typing import Any

from agent.bridges.base import Menu


def interactive(menu: Menu) -> dict[str, Any]:
    """Return the object `interactive` of a send."""
    body = {"text": menu.text}
    if menu.buttons:
        buttons = [
            {"type": "reply", "reply": {"id": str(number), "title": title}}
            for number, title in enumerate(menu.buttons, start=1)
        ]
        return {"type": "button", "body": body, "action": {"buttons": buttons}}
    rows = [
        {"id": str(number)} | {name: text for name, text in row.items() if text}
        for number, row in enumerate(menu.rows, start=1)
    ]
    return {"type": "list", "body": body, "action": {"button": menu.button, "sections": [{"rows": rows}]}}
