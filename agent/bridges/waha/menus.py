"""Lists of WAHA: https://waha.devlike.pro/docs/how-to/send-messages/#send-list (its engines NOWEB and GOWS)."""

from typing import Any

from agent.bridges.base import Menu


def list_message(menu: Menu) -> dict[str, Any]:
    """Return the object `message` of a send. It needs a title: the first line of the text."""
    title, _, description = menu.text.strip().partition("\n")
    rows = [{"rowId": str(number), **row} for number, row in enumerate(menu.rows, start=1)]
    message: dict[str, Any] = {"title": title, "button": menu.button, "sections": [{"title": title, "rows": rows}]}
    return message | ({"description": description.strip()} if description.strip() else {})
