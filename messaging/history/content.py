"""What `Message.details` holds besides the text: a location, contact cards. Bridges send it, so any shape may come."""

from typing import Any


def location_of(details: dict[str, Any] | None) -> dict[str, Any]:
    """Return `{"name", "address", "latitude", "longitude"}`, as far as given."""
    location = (details or {}).get("location")
    return location if isinstance(location, dict) else {}


def contact_cards(details: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return `[{"name", "phone"}]`, as far as given."""
    cards = (details or {}).get("contacts")
    return [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []


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
