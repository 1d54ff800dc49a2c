"""The admin's sidebar: a group for each task, and for administrators the rest under "More"."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

WORK, SET_UP = gettext_lazy("Work"), gettext_lazy("Set up")
GROUPS: dict[Any, dict[str, str]] = {
    WORK: {
        "messaging.Contact": "contacts",
        "messaging.SavedReply": "quickreply",
        "messaging.ContactMerge": "merge",
        "messaging.Conversation": "forum",
        "messaging.Message": "chat",
    },
    SET_UP: {
        "sessions_app.WhatsAppSession": "smartphone",
        "messaging.MessageTemplate": "article",
        "sessions_app.AgentProfile": "smart_toy",
        "messaging.Knowledge": "menu_book",
        "messaging.LibraryFile": "folder",
        "accounts.User": "person",
    },
}
ICONS = {
    "messaging.Fact": "lightbulb",
    "messaging.Turn": "neurology",
    "commands.CommandRun": "terminal",
    "messaging.Media": "attach_file",
    "sessions_app.Bridge": "lan",
    "auth.Group": "group",
    "accounts.ApiKey": "key",
    "agent.EngineProcess": "memory",
}
OTHER_ICON = "database"


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return groups of links in the format of unfold's SIDEBAR. Internals are for those who see every session."""
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
    menu[0]["items"][:0] = [
        {"title": gettext("Inbox"), "icon": "inbox", "link": reverse("inbox")},
        {"title": gettext("Dashboard"), "icon": "monitoring", "link": reverse("dashboard")},
    ]
    menu[1]["items"].append({"title": gettext("Phone simulator"), "icon": "phone_iphone", "link": reverse("simulator")})
    if getattr(request.user, "sees_everything", False):
        chats = {"title": gettext("Import a chat"), "icon": "upload_file", "link": reverse("admin:conversation-import")}
        menu[0]["items"].append(chats)
        rest = [_item(model, ICONS.get(name, OTHER_ICON)) for name, model in allowed.items()]
        menu.append({"title": gettext("More"), "collapsible": True, "items": rest})
    return [group for group in menu if group["items"]]


def account_links(request: HttpRequest) -> list[dict[str, Any]]:  # noqa: ARG001
    """Return the links of the menu beside the user's name."""
    return [
        {"title": gettext("My settings"), "link": reverse("preferences")},
        {"title": gettext("Change password"), "link": reverse("admin:password_change")},
    ]


def time_zone_line(request: HttpRequest) -> str:  # noqa: ARG001
    """Return in which time zone the pages show times."""
    return gettext("Times are %(zone)s") % {"zone": timezone.get_current_timezone_name()}


def icon(request: HttpRequest) -> str:  # noqa: ARG001
    return static("agent/icon.svg")


def script(request: HttpRequest) -> str:  # noqa: ARG001
    return static("accounts/staff.js")


def style(request: HttpRequest) -> str:  # noqa: ARG001
    return static("accounts/staff.css")


def _item(model: dict[str, Any], icon: str) -> dict[str, Any]:
    return {"title": model["name"], "icon": icon, "link": model["admin_url"]}
