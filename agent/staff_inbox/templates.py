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
    """Send the template of a form. Raises NotFound, Conflict where it was sent already, and what `send_template` does.

    The caller holds the conversation.
    """
    template = MessageTemplate.objects.filter(session=conversation.session_id, pk=row).first()
    if template is None:
        raise NotFound
    if key is not None and Message.objects.filter(pk=key).exists():
        raise Conflict(_("This message was sent already."))
    upload = request.FILES.get("file")
    texts = {
        name: [storable(text).strip() for text in request.POST.getlist(name)] for name in ("header", "body", "button")
    }
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
    return _("The template is on its way.")
