"""Templates in the inbox: offered once the reply window has closed, sent with what each takes."""

from dataclasses import dataclass
from uuid import UUID, uuid5

from django.http import HttpRequest
from django.utils.translation import gettext as _

from accounts.admin_pages import staff_user
from messaging.media.files import take
from messaging.models import Conversation, Message, MessageTemplate
from messaging.models.templates import APPROVED
from messaging.whatsapp_templates.service import FILE_HEADERS, send_template
from whatsapp_agent.errors import Conflict, NotFound
from whatsapp_agent.text.sanitize import storable

MAX_OFFERED = 50


@dataclass(frozen=True, slots=True)
class OfferedTemplate:
    """A template as its form shows it. `key` stays the same until something is said here: a form sends once."""

    row: MessageTemplate
    key: UUID

    @property
    def takes_file(self) -> bool:
        return self.row.header in FILE_HEADERS


def offered_templates(conversation: Conversation) -> list[OfferedTemplate]:
    """Return the templates of the conversation's number that can be sent from here."""
    rows = MessageTemplate.objects.filter(session=conversation.session_id, status=APPROVED, unsupported="")
    return [
        OfferedTemplate(row, uuid5(row.pk, f"{conversation.pk} {conversation.last_message_at}"))
        for row in rows.order_by("name", "language")[:MAX_OFFERED]
    ]


def send_offered(request: HttpRequest, conversation: Conversation, *, row: UUID, key: UUID | None) -> str:
    """Send the template of a form, once by its key. Raises NotFound, Conflict where something else was sent under the
    key, and what `send_template` does.

    The caller holds the conversation.
    """
    template = MessageTemplate.objects.filter(session=conversation.session_id, pk=row).first()
    if template is None:
        raise NotFound
    upload = request.FILES.get("file")
    texts = {
        name: [storable(text).strip() for text in request.POST.getlist(name)] for name in ("header", "body", "button")
    }
    said = _("The template is on its way.")
    sent = Message.objects.select_related("media").filter(pk=key).first() if key is not None else None
    if sent is not None:
        is_own = sent.conversation_id == conversation.pk and sent.sent_by_id == staff_user(request).pk
        if is_own and _contains(sent, template=template, texts=texts, size_bytes=upload.size if upload else None):
            return said
        raise Conflict(_("This message was sent already."))
    send_template(
        conversation=conversation,
        name=template.name,
        language=template.language,
        parameters=texts["body"],
        header_parameters=texts["header"],
        button_parameters=texts["button"],
        file=take(upload, name=upload.name or "", size_bytes=upload.size or 0) if upload else None,
        by=staff_user(request),
        message_id=key,
    )
    return said


def _contains(
    message: Message, *, template: MessageTemplate, texts: dict[str, list[str]], size_bytes: int | None
) -> bool:
    """Return whether a message is this template, filled in like this."""
    sent = message.details.get("template", {})
    parts = [sent.get(name) for name in ("name", "language", "header_parameters", "parameters")]
    buttons = [button["parameter"] for button in sent.get("buttons", ())]
    media = getattr(message, "media", None)
    return (
        parts == [template.name, template.language, texts["header"], texts["body"]]
        and buttons == texts["button"]
        and size_bytes == (media.size_bytes if media else None)
    )
