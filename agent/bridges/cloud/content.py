"""The content of a message of the Cloud API: one object, named by its type."""

from dataclasses import dataclass, field
from typing import Any

from agent.bridges.addresses import phone_as_written, phone_of_digits
from agent.bridges.cloud.errors import error_text
from agent.bridges.common import read_place
from agent.bridges.events import Kind, MediaRef
from agent.bridges.parsing import MAX_MIME_TYPE_LENGTH, MAX_NAME_LENGTH, Fields, WrongShape

KINDS = {
    "text": Kind.TEXT,
    "image": Kind.IMAGE,
    "video": Kind.VIDEO,
    "audio": Kind.AUDIO,
    "document": Kind.DOCUMENT,
    "sticker": Kind.STICKER,
    "location": Kind.LOCATION,
    "contacts": Kind.CONTACT,
    "reaction": Kind.REACTION,
    "interactive": Kind.INTERACTIVE,
    "button": Kind.INTERACTIVE,
    "order": Kind.ORDER,
    "unsupported": Kind.UNSUPPORTED,
}
MEDIA = frozenset({Kind.IMAGE, Kind.VIDEO, Kind.AUDIO, Kind.DOCUMENT, Kind.STICKER})
MAX_PAYLOAD_CHARS = 4000
REFERRAL = ("source_id", "source_url", "source_type", "headline", "body", "ctwa_clid")


@dataclass(frozen=True, slots=True)
class Content:
    kind: Kind = Kind.UNKNOWN
    text: str = ""
    media: MediaRef | None = None
    details: dict[str, Any] = field(default_factory=dict)


def read_content(raw: Fields) -> Content:
    """Parse what a message says; a type that we do not know is unknown. Raises WrongShape if the content is missing."""
    name = raw.short("type") or ""
    content = _content(name, KINDS.get(name, Kind.UNKNOWN), raw)
    if referral := raw.maybe_object("referral"):
        content.details["referral"] = {each: referral.short(each, longest=1000) for each in REFERRAL}
    context = raw.maybe_object("context")
    if product := context.maybe_object("referred_product") if context else None:
        content.details["product"] = {each: product.short(each) for each in ("catalog_id", "product_retailer_id")}
    return content


def _content(name: str, kind: Kind, raw: Fields) -> Content:
    match kind:
        case Kind.TEXT:
            return Content(kind, raw.object("text").text("body"))
        case Kind.LOCATION:
            return Content(kind, details={"location": read_place(raw.object("location"))})
        case Kind.CONTACT:
            return Content(kind, details={"contacts": [_card(card) for card in raw.objects("contacts")]})
        case Kind.REACTION:
            reaction = raw.object("reaction")
            details = {"emoji": reaction.short("emoji"), "target_id": reaction.needed("message_id")}
            return Content(kind, details=details)
        case Kind.INTERACTIVE if name == "button":
            button = raw.object("button")
            return Content(kind, button.text("text"), details=_payload(button, "payload"))
        case Kind.INTERACTIVE:
            return _interactive(raw.maybe_object("interactive"))
        case Kind.ORDER:
            return _order(raw.object("order"))
        case Kind.UNSUPPORTED:
            return _unsupported(raw)
        case _ if kind in MEDIA:
            return _media(kind, raw.object(name)) if name in raw else _lost_media(kind, raw)
    return Content(details={"type": name[:50]} if name else {})


def _media(kind: Kind, part: Fields) -> Content:
    ref = part.short("id")
    media = MediaRef(
        mime_type=part.short("mime_type", longest=MAX_MIME_TYPE_LENGTH),
        filename=part.short("filename"),
        ref=ref,
        downloadable=ref is not None,
    )
    kind = Kind.VOICE if kind == Kind.AUDIO and part.flag("voice") else kind
    return Content(kind, part.text("caption"), media)


def _lost_media(kind: Kind, raw: Fields) -> Content:
    """A file that Meta could not get (131052): it has to be sent again."""
    error = next(iter(raw.objects("errors")), None)
    if error is None:
        raise WrongShape(f"{kind} is missing")
    return Content(kind, media=MediaRef(error=error_text(error) or "Media download error"))


def _card(raw: Fields) -> dict[str, Any]:
    """The number that WhatsApp knows comes before the one that was typed."""
    name = raw.maybe_object("name")
    phones = raw.objects("phones")
    found = [phone_of_digits(each.short("wa_id") or "") for each in phones]
    found += [phone_as_written(each.short("phone") or "") for each in phones]
    return {
        "name": name.short("formatted_name", longest=MAX_NAME_LENGTH) if name else None,
        "phone": next((phone for phone in found if phone), None),
    }


def _interactive(raw: Fields | None) -> Content:
    """An answer to buttons, a list or a form; the object is missing where Meta could not render it.

    What our number asks, in an echo, has its text in `body`.
    """
    if raw is None:
        return Content(Kind.UNSUPPORTED)
    reply = raw.maybe_object(raw.short("type") or "")
    body = raw.maybe_object("body")
    text = (reply.text("title") or reply.text("body") if reply else "") or (body.text("text") if body else "")
    payload = (_payload(reply, "id") or _payload(reply, "response_json")) if reply else {}
    if reply and (description := reply.short("description", longest=MAX_PAYLOAD_CHARS)):
        payload["description"] = description
    return Content(Kind.INTERACTIVE if text or payload else Kind.UNSUPPORTED, text, details=payload)


def _payload(raw: Fields, name: str) -> dict[str, Any]:
    payload = raw.short(name, longest=MAX_PAYLOAD_CHARS)
    return {"payload": payload} if payload else {}


def _order(raw: Fields) -> Content:
    items = [
        {
            "product": item.short("product_retailer_id"),
            "quantity": item.decimal("quantity"),
            "price": item.decimal("item_price"),
            "currency": item.short("currency", longest=3),
        }
        for item in raw.objects("product_items")
    ]
    details = {"order": {"catalog_id": raw.short("catalog_id"), "items": items}}
    return Content(Kind.ORDER, raw.text("text"), details=details)


def _unsupported(raw: Fields) -> Content:
    error = next(iter(raw.objects("errors")), None)
    what = raw.maybe_object("unsupported")
    code = error.integer("code") if error else None
    details: dict[str, Any] = {"error_code": code} if code is not None else {}
    if what and (name := what.short("type", longest=50)):
        details["type"] = name
    return Content(Kind.UNSUPPORTED, details=details)
