"""What `Message.details` holds besides the text: a location, contact cards. Bridges send it, so any shape may come."""

from typing import Any

from django.utils.translation import gettext_noop

RINGING = gettext_noop("ringing")
CALLS = {  # by status, whether it was video, and whether the contact called
    ("ended", False, True): gettext_noop("voice call"),
    ("ended", True, True): gettext_noop("video call"),
    ("ended", False, False): gettext_noop("voice call that we made"),
    ("ended", True, False): gettext_noop("video call that we made"),
    ("missed", False, True): gettext_noop("missed voice call"),
    ("missed", True, True): gettext_noop("missed video call"),
    ("missed", False, False): gettext_noop("missed voice call that we made"),
    ("missed", True, False): gettext_noop("missed video call that we made"),
    ("rejected", False, True): gettext_noop("declined voice call"),
    ("rejected", True, True): gettext_noop("declined video call"),
    ("rejected", False, False): gettext_noop("declined voice call that we made"),
    ("rejected", True, False): gettext_noop("declined video call that we made"),
}


def location_of(details: dict[str, Any] | None) -> dict[str, Any]:
    """Return `{"name", "address", "latitude", "longitude"}`, as far as given."""
    location = (details or {}).get("location")
    return location if isinstance(location, dict) else {}


def contact_cards(details: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return `[{"name", "phone"}]`, as far as given."""
    cards = (details or {}).get("contacts")
    return [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []


def call_text(details: dict[str, Any] | None, *, is_inbound: bool = True) -> str:
    """Return what became of a call in words: "missed voice call", "video call, 3 min"."""
    call = (details or {}).get("call")
    call = call if isinstance(call, dict) else {}
    status = call.get("status")
    kind = bool(call.get("is_video")), is_inbound
    if status in ("missed", "rejected"):
        return CALLS[status, *kind]
    medium = CALLS["ended", *kind]
    if status == "ringing":
        return f"{medium}, {RINGING}"
    minutes = round((call.get("duration_s") or 0) / 60)
    return f"{medium}, {minutes} min" if minutes else medium


def poll_text(details: dict[str, Any] | None) -> str:
    """Return the question of a poll and its options; empty for what is no poll."""
    poll = (details or {}).get("poll")
    if not isinstance(poll, dict):
        return ""
    options = poll.get("options")
    return f"{poll.get('name') or ''} ({' / '.join(map(str, options if isinstance(options, list) else ()))})".strip()


def location_text(details: dict[str, Any] | None) -> str:
    """Return name, address and coordinates, separated by commas."""
    location = location_of(details)
    names = [str(location[key]) for key in ("name", "address") if location.get(key)]
    coordinates = [str(location[key]) for key in ("latitude", "longitude") if location.get(key) is not None]
    return ", ".join(names + coordinates)


def contact_cards_text(details: dict[str, Any] | None) -> str:
    """Return name and phone of each card, separated by semicolons."""
    return "; ".join(f"{card.get('name') or ''} {card.get('phone') or ''}".strip() for card in contact_cards(details))
