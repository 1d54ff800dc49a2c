"""The content of a WhatsApp message as Baileys and whatsmeow name its parts. WAHA and Evolution API pass it on.

Source: https://github.com/WhiskeySockets/Baileys/blob/master/WAProto/WAProto.proto (November 2026).
"""

from dataclasses import dataclass, field
from typing import Any

from agent.bridges.common import read_place
from agent.bridges.events import Kind
from agent.bridges.parsing import MAX_MIME_TYPE_LENGTH, MAX_NAME_LENGTH, Fields
from agent.bridges.vcards import read_card

MAX_DEPTH = 6
MAX_PAYLOAD_CHARS = 4000
MAX_POLL_OPTIONS, MAX_ROWS = 12, 10  # as many as WhatsApp takes
POLLS = ("pollCreationMessage", *(f"pollCreationMessageV{version}" for version in range(2, 7)))
WRAPPERS = (
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
    "deviceSentMessage",
    "groupMentionedMessage",
    "lottieStickerMessage",
    "editedMessage",
    "botInvokeMessage",
    "associatedChildMessage",
    *POLLS[3:],  # V4 and later hold a poll of another version
)
CHANGES = "protocolMessage"  # edits, deletions and settings, which bridges report by events of their own
KINDS = {
    "conversation": Kind.TEXT,
    "extendedTextMessage": Kind.TEXT,
    "imageMessage": Kind.IMAGE,
    "videoMessage": Kind.VIDEO,
    "ptvMessage": Kind.VIDEO,
    "audioMessage": Kind.AUDIO,
    "documentMessage": Kind.DOCUMENT,
    "stickerMessage": Kind.STICKER,
    "locationMessage": Kind.LOCATION,
    "liveLocationMessage": Kind.LOCATION,
    "contactMessage": Kind.CONTACT,
    "contactsArrayMessage": Kind.CONTACT,
    "reactionMessage": Kind.REACTION,
    "buttonsResponseMessage": Kind.INTERACTIVE,
    "listResponseMessage": Kind.INTERACTIVE,
    "templateButtonReplyMessage": Kind.INTERACTIVE,
    "interactiveResponseMessage": Kind.INTERACTIVE,
    "orderMessage": Kind.ORDER,
}
MEDIA = frozenset({Kind.IMAGE, Kind.VIDEO, Kind.AUDIO, Kind.VOICE, Kind.DOCUMENT, Kind.STICKER})
TEXTS = ("text", "caption", "selectedDisplayText", "title")


@dataclass(frozen=True, slots=True)
class Content:
    """What a message says. `key` is WhatsApp's name of its type, empty for a type that we do not know.

    Of a type that is known and is none of ours (a poll, an album, a change of another message) the kind is unknown.
    """

    key: str = ""
    kind: Kind = Kind.UNKNOWN
    text: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    mime_type: str | None = None
    filename: str | None = None
    size_bytes: int | None = None
    quoted_id: str | None = None
    forwarded: bool = False
    called: tuple[str, ...] = ()  # addresses of whom it mentions and whom it answers

    @property
    def has_media(self) -> bool:
        return self.kind in MEDIA


def read_content(message: Fields) -> Content:
    """Parse the object that has one member, named by its type, and unwrap it where it is wrapped."""
    message = _unwrapped(message)
    keys = [name for name in KINDS if name in message]
    if len(keys) > 1 and keys[0] == "conversation" and not message.text("conversation"):
        keys = keys[1:]  # an empty text beside what was sent
    key = next(iter(keys), "")
    if key == "conversation":
        return Content(key, Kind.TEXT, message.text("conversation"))
    part = message.maybe_object(key) if key else None
    if part is None:
        return _without_kind(message)
    kind = KINDS[key]
    if kind == Kind.AUDIO and (part.flag("ptt") or part.flag("PTT")):
        kind = Kind.VOICE
    context = part.maybe_object("contextInfo")
    return Content(
        key=key,
        kind=kind,
        text=_text(kind, part),
        details=_details(kind, part),
        mime_type=part.short("mimetype", longest=MAX_MIME_TYPE_LENGTH),
        filename=part.short("fileName"),
        size_bytes=part.integer("fileLength"),
        quoted_id=context.short("stanzaId") if context else None,
        forwarded=bool(context and context.flag("isForwarded")),
        called=read_called(context),
    )


def read_change(message: Fields) -> Fields | None:
    """Return the edit, deletion or setting that a message carries, `{key, type, editedMessage}`; None if none."""
    return _unwrapped(message).maybe_object(CHANGES)


def _unwrapped(message: Fields) -> Fields:
    for _ in range(MAX_DEPTH):
        inner = (each.maybe_object("message") for name in WRAPPERS if (each := message.maybe_object(name)))
        if (found := next(filter(None, inner), None)) is None:
            break
        message = found
    return message


def _without_kind(message: Fields) -> Content:
    key = next((name for name in (*POLLS, "listMessage", "albumMessage", CHANGES) if message.maybe_object(name)), "")
    return Content(key, details=_poll(message) or _list(message) or _album(message))


def read_called(context: Fields | None) -> tuple[str, ...]:
    """Return the addresses of whom a message mentions, and of whose message it answers."""
    if context is None:
        return ()
    named = [*context.listed("mentionedJid"), *context.listed("mentionedJID"), context.short("participant")]
    return tuple(jid for jid in named if isinstance(jid, str))


def _poll(message: Fields) -> dict[str, Any]:
    """Return the question and the options of a poll, which is no kind of its own; {} for what is none."""
    poll = next((poll for name in POLLS if (poll := message.maybe_object(name))), None)
    if poll is None:
        return {}
    given = poll.objects("options")
    options = [option.short("optionName") or "" for option in given[:MAX_POLL_OPTIONS]]
    return {"poll": {"name": poll.short("name") or "", "options": options}}


def _list(message: Fields) -> dict[str, Any]:
    """Return the rows of a list, as what was sent as `Menu` has them; {} for what is none."""
    found = message.maybe_object("listMessage")
    if found is None:
        return {}
    rows = [row for section in found.objects("sections") for row in section.objects("rows")][:MAX_ROWS]
    texts = [{name: row.short(name) for name in ("title", "description")} for row in rows]
    return {"menu": {"rows": [{name: text for name, text in each.items() if text} for each in texts]}}


def _album(message: Fields) -> dict[str, Any]:
    """Return how many files an album announces, which come as messages of their own; {} for what announces none."""
    album = message.maybe_object("albumMessage")
    if album is None:
        return {}
    return {"album": sum(album.integer(name) or 0 for name in ("expectedImageCount", "expectedVideoCount"))}


def _text(kind: Kind, part: Fields) -> str:
    if kind in {Kind.LOCATION, Kind.CONTACT, Kind.REACTION}:
        return ""
    names = ("caption",) if kind in MEDIA else ("message",) if kind == Kind.ORDER else TEXTS
    part = part.maybe_object("body") or part  # of an answer to a flow
    return next((text for name in names if (text := part.text(name))), "")


def _details(kind: Kind, part: Fields) -> dict[str, Any]:
    match kind:
        case Kind.LOCATION:
            return {"location": read_place(part, latitude="degreesLatitude", longitude="degreesLongitude")}
        case Kind.CONTACT:
            cards = part.objects("contacts") if "contacts" in part else [part]
            return {
                "contacts": [
                    read_card(card.text("vcard"), name=card.short("displayName", longest=MAX_NAME_LENGTH))
                    for card in cards
                ]
            }
        case Kind.REACTION:
            return {"emoji": part.short("text"), "target_id": part.object("key").needed("id")}
        case Kind.INTERACTIVE:
            payload = part.short("selectedButtonId") or part.short("selectedId")
            row, flow = part.maybe_object("singleSelectReply"), part.maybe_object("nativeFlowResponseMessage")
            payload = payload or (row.short("selectedRowId") if row else None)
            payload = payload or (flow.short("paramsJson", longest=MAX_PAYLOAD_CHARS) if flow else None)
            description = part.short("description", longest=MAX_PAYLOAD_CHARS) if row else None
            return {name: value for name, value in (("payload", payload), ("description", description)) if value}
    return {}
