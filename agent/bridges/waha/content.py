"""What a message of WAHA contains: its kind, its details and its file, in the forms of all four engines."""

from typing import Any

from agent.bridges.baileys import Content, read_content
from agent.bridges.common import is_place, read_place
from agent.bridges.events import Kind, MediaRef
from agent.bridges.parsing import MAX_MIME_TYPE_LENGTH, MAX_NAME_LENGTH, Fields, WrongShape
from agent.bridges.vcards import read_card

# The types of WhatsApp Web, which the engines WEBJS and WPP pass on.
WEB_KINDS = {
    "chat": Kind.TEXT,
    "image": Kind.IMAGE,
    "video": Kind.VIDEO,
    "ptv": Kind.VIDEO,
    "ptt": Kind.VOICE,
    "audio": Kind.AUDIO,
    "document": Kind.DOCUMENT,
    "sticker": Kind.STICKER,
    "location": Kind.LOCATION,
    "vcard": Kind.CONTACT,
    "multi_vcard": Kind.CONTACT,
    "list_response": Kind.INTERACTIVE,
    "buttons_response": Kind.INTERACTIVE,
    "template_button_reply": Kind.INTERACTIVE,
    "order": Kind.ORDER,
}
MEDIA = frozenset({Kind.IMAGE, Kind.VIDEO, Kind.AUDIO, Kind.VOICE, Kind.DOCUMENT, Kind.STICKER})
CARD = "BEGIN:VCARD"
KINDS_OF_TYPES = {"image": Kind.IMAGE, "video": Kind.VIDEO, "audio": Kind.AUDIO}


def own_content(payload: Fields) -> Content:
    """Return what the engine's own object says of the content; an empty one where that says nothing we know."""
    data = payload.maybe_object("_data")
    message = (data.maybe_object("message") or data.maybe_object("Message")) if data else None
    try:
        return read_content(message) if message else Content()
    except WrongShape:
        return Content()


def is_forwarded(payload: Fields) -> bool:
    data = payload.maybe_object("_data")
    return bool(data and data.flag("isForwarded"))


def kind_and_details(payload: Fields, content: Content, text: str) -> tuple[Kind, dict[str, Any]]:
    """WAHA names no type: the kind follows from what is there, and from the engine's own object where it says more."""
    if (place := payload.maybe_object("location")) and is_place(details := _place(place)):
        return Kind.LOCATION, {"location": details}
    cards = [card for card in payload.listed("vCards") if isinstance(card, str) and CARD in card.upper()]
    if not cards and text.startswith(CARD):
        cards = [text]
    if cards:
        return Kind.CONTACT, {"contacts": [read_card(card) for card in cards]}
    data = payload.maybe_object("_data")
    web_type = data.short("type") if data else None
    exact = content.kind if content.key else WEB_KINDS.get(web_type or "", Kind.UNKNOWN)
    if payload.flag("hasMedia") or ((media := payload.maybe_object("media")) and "url" in media):
        kind = exact if exact in MEDIA else _kind_of_media(payload)
        return (Kind.TEXT if kind == Kind.UNKNOWN and text else kind), {}
    if exact not in MEDIA and exact not in {Kind.UNKNOWN, Kind.TEXT}:
        return exact, content.details
    if web_type is not None and web_type not in WEB_KINDS:
        return Kind.UNKNOWN, {}  # a poll, a deleted message, a notice
    if content.key and exact == Kind.UNKNOWN:
        return Kind.UNKNOWN, content.details  # the same of the other engines
    return (Kind.TEXT, {}) if text else (exact, content.details)


def _place(raw: Fields) -> dict[str, Any]:
    place = read_place(raw)
    return place | {"name": place["name"] or raw.short("description", longest=MAX_NAME_LENGTH)}


def _kind_of_media(payload: Fields) -> Kind:
    media = payload.maybe_object("media")
    mime_type = ((media.short("mimetype") if media else None) or "").strip().lower()
    if mime_type.startswith("image/webp"):
        return Kind.STICKER
    if not mime_type:
        return Kind.UNKNOWN
    return KINDS_OF_TYPES.get(mime_type.partition("/")[0], Kind.DOCUMENT)


def read_media(payload: Fields, kind: Kind) -> MediaRef | None:
    """What is attached. Without `url` the file was not downloaded; it may be asked for by the message's id.

    Old releases have the address as `mediaUrl`, and no `media`.
    """
    media = payload.maybe_object("media")
    if media is None:
        url = payload.short("mediaUrl", longest=2000)
        return MediaRef(ref=url, downloadable=url is not None) if payload.flag("hasMedia") or kind in MEDIA else None
    url = media.short("url", longest=2000)
    if url is None and not payload.flag("hasMedia") and kind not in MEDIA:
        return None
    return MediaRef(
        mime_type=media.short("mimetype", longest=MAX_MIME_TYPE_LENGTH),
        filename=media.short("filename"),
        ref=url,
        downloadable=url is not None and "error" not in media,
    )
