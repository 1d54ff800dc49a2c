"""The admin's sidebar: pages for daily use, then the other pages that the user may open."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

GROUPS: dict[str, dict[str, str]] = {
    "Talk": {
        "messaging.Conversation": "forum",
        "messaging.Message": "chat",
        "messaging.Contact": "contacts",
        "messaging.ContactMerge": "merge",
        "messaging.SavedReply": "quickreply",
        "messaging.Fact": "lightbulb",
        "messaging.Turn": "neurology",
        "commands.CommandRun": "terminal",
        "messaging.Media": "attach_file",
        "messaging.LibraryFile": "folder_open",
    },
    "Set up": {
        "sessions_app.WhatsAppSession": "smartphone",
        "messaging.MessageTemplate": "article",
        "sessions_app.AgentProfile": "smart_toy",
        "messaging.Knowledge": "menu_book",
        "sessions_app.Bridge": "lan",
        "accounts.User": "person",
        "auth.Group": "group",
        "accounts.ApiKey": "key",
        "agent.EngineProcess": "memory",
        "agent.Alert": "notification_important",
    },
}
OTHER_ICON = "database"


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return groups of links in the format of unfold's SIDEBAR."""
    allowed = {
        f"{app['app_label']}.{model['object_name']}": model
        for app in admin.site.get_app_list(request)
        for model in app["models"]
        if model["admin_url"]
    }
    menu: list[dict[str, Any]] = [
        {"title": title, "items": [_item(allowed.pop(name), icon) for name, icon in names.items() if name in allowed]}
        for title, names in GROUPS.items()
    ]
    menu[0]["items"].insert(0, {"title": "Inbox", "icon": "inbox", "link": reverse("inbox")})
    menu[0]["items"].insert(1, {"title": "Dashboard", "icon": "monitoring", "link": reverse("dashboard")})
    menu[0]["items"].append({"title": "Phone simulator", "icon": "phone_iphone", "link": reverse("simulator")})
    menu.append({"title": "More", "items": [_item(model, OTHER_ICON) for model in allowed.values()]})
    return [group for group in menu if group["items"]]


def icon(request: HttpRequest) -> str:  # noqa: ARG001
    return static("agent/icon.svg")


def _item(model: dict[str, Any], icon: str) -> dict[str, Any]:
    return {"title": model["name"], "icon": icon, "link": model["admin_url"]}
