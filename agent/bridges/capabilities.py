"""What bridges can do, as their adapters declare it."""

from enum import StrEnum


class Capability(StrEnum):
    """What a bridge can do, as declared by its adapter; anything else is refused before the bridge is asked."""

    LINK_BY_QR = "link_by_qr"
    LINK_BY_PAIRING_CODE = "link_by_pairing_code"
    RESTART = "restart"
    LOGOUT = "logout"
    REGISTER = "register"
    SET_WEBHOOK = "set_webhook"
    SEND_TEXT = "send_text"
    SEND_MEDIA = "send_media"
    SEND_VOICE = "send_voice"
    SEND_STICKER = "send_sticker"
    SEND_LOCATION = "send_location"
    SEND_CONTACT = "send_contact"
    SEND_TEMPLATE = "send_template"
    SEND_BUTTONS = "send_buttons"
    SEND_LIST = "send_list"
    SEND_POLL = "send_poll"
    QUOTE = "quote"
    REACT = "react"
    EDIT = "edit"
    REVOKE = "revoke"
    TYPING = "typing"
    MARK_READ = "mark_read"
    SEND_TO_GROUP = "send_to_group"
    SEND_TO_LID = "send_to_lid"
    CHECK_NUMBER = "check_number"
    RECEIPTS = "receipts"
    RECEIVE_MEDIA = "receive_media"
    OWN_PHONE = "own_phone"
    MISSED_MESSAGES = "missed_messages"
    SIGNED_WEBHOOK = "signed_webhook"


# What WhatsApp offers to a linked device, whose bridge takes all of it on.
LINKED_DEVICE = frozenset(
    {
        Capability.LINK_BY_QR,
        Capability.LINK_BY_PAIRING_CODE,
        Capability.RESTART,
        Capability.LOGOUT,
        Capability.SET_WEBHOOK,
        Capability.SEND_TEXT,
        Capability.SEND_MEDIA,
        Capability.SEND_VOICE,
        Capability.SEND_STICKER,
        Capability.SEND_LOCATION,
        Capability.SEND_CONTACT,
        Capability.SEND_POLL,
        Capability.QUOTE,
        Capability.REACT,
        Capability.EDIT,
        Capability.REVOKE,
        Capability.TYPING,
        Capability.MARK_READ,
        Capability.SEND_TO_GROUP,
        Capability.SEND_TO_LID,
        Capability.CHECK_NUMBER,
        Capability.RECEIPTS,
        Capability.RECEIVE_MEDIA,
        Capability.OWN_PHONE,
        Capability.MISSED_MESSAGES,
    }
)
DESCRIPTIONS: dict[Capability, str] = {
    Capability.LINK_BY_QR: "link by QR code",
    Capability.LINK_BY_PAIRING_CODE: "link by pairing code",
    Capability.RESTART: "restart a session",
    Capability.LOGOUT: "log a session out",
    Capability.REGISTER: "put a number on the platform with its PIN",
    Capability.SET_WEBHOOK: "configure our webhook address by a call",
    Capability.SEND_TEXT: "send texts",
    Capability.SEND_MEDIA: "send images, videos, audio and documents",
    Capability.SEND_VOICE: "send voice notes",
    Capability.SEND_STICKER: "send stickers",
    Capability.SEND_LOCATION: "send locations",
    Capability.SEND_CONTACT: "send contact cards",
    Capability.SEND_TEMPLATE: "send templates",
    Capability.SEND_BUTTONS: "send buttons to choose from",
    Capability.SEND_LIST: "send lists to choose from",
    Capability.SEND_POLL: "send polls",
    Capability.QUOTE: "quote the message that is answered",
    Capability.REACT: "react to messages",
    Capability.EDIT: "edit sent texts",
    Capability.REVOKE: "delete sent messages for everyone",
    Capability.TYPING: "show typing",
    Capability.MARK_READ: "mark messages as read",
    Capability.SEND_TO_GROUP: "write to groups",
    Capability.SEND_TO_LID: "write to people whose number is hidden (LID)",
    Capability.CHECK_NUMBER: "check whether a number is on WhatsApp",
    Capability.RECEIPTS: "report delivered and read",
    Capability.RECEIVE_MEDIA: "hand over received files",
    Capability.OWN_PHONE: "report what is typed on the linked phone",
    Capability.MISSED_MESSAGES: "be asked for messages that we missed",
    Capability.SIGNED_WEBHOOK: "sign webhook requests",
}
