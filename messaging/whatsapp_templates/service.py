"""Sync the templates of a number from the Cloud API, and send them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import User
from agent.bridges.base import BridgeAdapter
from agent.bridges.capabilities import Capability
from agent.bridges.events import Kind
from agent.bridges.exchange import BridgeError
from messaging.media.files import NewFile
from messaging.models import Conversation, Message, MessageTemplate
from messaging.models.templates import APPROVED
from messaging.outbound import attach_file, check_reachable, queue_message
from sessions_app import bridges
from sessions_app.bridges import adapter_for, call_bridge
from sessions_app.links.reconciliation import list_numbers
from sessions_app.models import Bridge, WhatsAppSession
from whatsapp_agent import postgres
from whatsapp_agent.errors import AppError, BridgeFailed, InvalidInput, NotSupportedByBridge, SessionNotConnected
from whatsapp_agent.text.stored import translate_stored

MAX_PARAMETER_LENGTH = 1024
FILE_HEADERS = frozenset({Kind.IMAGE.value, Kind.VIDEO.value, Kind.DOCUMENT.value})


def _check_capability(session: WhatsAppSession) -> None:
    if Capability.SEND_TEMPLATE not in adapter_for(session.bridge).capabilities:
        raise NotSupportedByBridge(_("The bridge of this number has no templates."))


def known_accounts(bridge: Bridge) -> list[str]:
    """Return the ids of the business accounts whose templates are stored."""
    accounts = MessageTemplate.objects.filter(session__bridge=bridge).exclude(account="")
    return list(accounts.order_by("account").values_list("account", flat=True).distinct())


bridges.known_accounts.provide(known_accounts)


def sync_account(bridge: Bridge, account: str) -> dict[str, int]:
    """Sync the templates of the numbers of a business account that are linked here; return how many each has.

    Raises what `list_numbers` and `sync_templates` raise.
    """
    sessions = {session.name: session for session in bridge.sessions.live().select_related("bridge")}
    numbers = list_numbers(bridge, account=account)
    linked = [sessions[number.name] for number in numbers if number.name in sessions]
    return {session.name: len(sync_templates(session=session, account=account)) for session in linked}


def sync_accounts(bridge: Bridge, accounts: Sequence[str]) -> list[str]:
    """Sync the templates of business accounts; return what was done, or why not, as text."""
    lines = []
    for account in accounts:
        try:
            counts = sync_account(bridge, account)
        except AppError as exc:
            failure = _("Account %(account)s: its templates were not synced: %(error)s")
            lines.append(failure % {"account": account, "error": exc})
            continue
        lines += [
            ngettext("%(session)s: %(count)s template.", "%(session)s: %(count)s templates.", count)
            % {"session": name, "count": count}
            for name, count in counts.items()
        ]
    return lines


bridges.sync_accounts.provide(sync_accounts)


def sync_templates(*, session: WhatsAppSession, account: str = "") -> list[MessageTemplate]:
    """Store the templates as the platform has them now; those it no longer has are deleted.

    `account`: the id of the business account (WABA); that of the last sync if it is empty. Raises
    NotSupportedByBridge, InvalidInput or BridgeFailed, and then changes nothing.
    """
    _check_capability(session)
    known = MessageTemplate.objects.filter(session=session)
    account = account or known.values_list("account", flat=True).first() or ""
    if not account:
        raise InvalidInput(_("Give the id of the business account (WABA) once."), field="account")
    if not account.isascii() or not account.isdecimal():
        raise InvalidInput(_("The id of a business account consists of digits."), field="account")
    steps = adapter_for(session.bridge).list_templates(account=account)
    postgres.release()
    try:
        listed = call_bridge(session.bridge, steps)
    except BridgeError as exc:
        raise BridgeFailed(str(exc)) from exc
    now = timezone.now()
    with transaction.atomic():
        for each in listed:
            values = {
                "account": account,
                "status": each.status,
                "category": each.category,
                "body": each.body,
                "placeholders": list(each.placeholders),
                "header": each.header,
                "header_text": each.header_text,
                "header_placeholders": list(each.header_placeholders),
                "buttons": list(each.buttons),
                "unsupported": each.unsupported,
                "synced_at": now,
            }
            known.update_or_create(session=session, name=each.name, language=each.language, defaults=values)
        known.filter(synced_at__lt=now).delete()
    return list(known.order_by("name", "language"))


def send_template(
    *,
    conversation: Conversation,
    name: str,
    language: str,
    parameters: list[str],
    header_parameters: Sequence[str] = (),
    button_parameters: Sequence[str] = (),
    file: NewFile | None = None,
    author: Message.Author = Message.Author.STAFF,
    by: User | None = None,
    message_id: UUID | None = None,
) -> Message:
    """Queue a template, which may be sent at any time. Its text is stored as it is shown to the recipient.

    `parameters` are those of the body, `button_parameters` those of its buttons that take one, `file` is its header's.
    Raises NotSupportedByBridge, SessionNotConnected or InvalidInput, and then queues nothing.
    """
    session = conversation.session
    _check_capability(session)
    if session.ended_at is not None or session.status != WhatsAppSession.Status.CONNECTED:
        raise SessionNotConnected()
    check_reachable(conversation=conversation)
    template = MessageTemplate.objects.filter(session=session, name=name, language=language).first()
    if template is None:
        raise InvalidInput(_("There is no such template. Sync the templates of the number first."), field="template")
    _check_template(template)
    if template.category == "AUTHENTICATION" and not conversation.address.isdecimal():
        raise InvalidInput(_("Meta sends templates with codes to phone numbers only."), field="template")
    _check_parameters(_("body"), parameters, expected=len(template.placeholders))
    _check_parameters(_("header"), header_parameters, expected=len(template.header_placeholders))
    _check_parameters(_("buttons"), button_parameters, expected=len(template.buttons))
    _check_file(template, file, adapter=adapter_for(session.bridge))
    buttons = [
        {"index": button["index"], "type": button["type"], "parameter": parameter}
        for button, parameter in zip(template.buttons, button_parameters, strict=True)
    ]
    details = {
        "template": {
            "name": name,
            "language": language,
            "parameters": parameters,
            "placeholders": template.placeholders,
            "header": template.header,
            "header_parameters": list(header_parameters),
            "header_placeholders": template.header_placeholders,
            "buttons": buttons,
        }
    }
    text = fill(template.body, template.placeholders, parameters)
    if template.header == "text":
        header = fill(template.header_text, template.header_placeholders, header_parameters)
        text = "\n".join(filter(None, [header, text]))
    with transaction.atomic():
        message = queue_message(
            conversation=conversation,
            author=author,
            by=by,
            quoted=None,
            message_id=message_id,
            text=text,
            details=details,
        )
        if file is not None:
            attach_file(message, file)
    return message


def _check_file(template: MessageTemplate, file: NewFile | None, *, adapter: BridgeAdapter) -> None:
    if template.header in FILE_HEADERS and file is None:
        raise InvalidInput(
            _("The header of this template takes a file of kind %(kind)s.") % {"kind": template.header},
            field="template",
        )
    if file is None:
        return
    if template.header not in FILE_HEADERS:
        raise InvalidInput(_("The header of this template takes no file."), field="template")
    reason = adapter.file_denial_reason(
        kind=Kind(template.header), mime_type=file.mime_type, size_bytes=file.size_bytes, has_url=False
    )
    if reason:
        raise InvalidInput(translate_stored(reason), field="template")


def _check_template(template: MessageTemplate) -> None:
    if template.status != APPROVED:
        raise InvalidInput(
            _("Meta does not allow this template at present: %(status)s.") % {"status": template.status},
            field="template",
        )
    if template.unsupported:
        raise InvalidInput(
            _("This template cannot be sent from here: %(unsupported)s")
            % {"unsupported": translate_stored(template.unsupported)},
            field="template",
        )


def _check_parameters(part: str, parameters: Sequence[str], *, expected: int) -> None:
    if len(parameters) != expected:
        raise InvalidInput(
            _("This template takes %(expected)s parameters (%(part)s); %(given)s were given.")
            % {"expected": expected, "part": part, "given": len(parameters)},
            field="template",
        )
    for parameter in parameters:
        if (
            not parameter.strip()
            or len(parameter) > MAX_PARAMETER_LENGTH
            or any(sign in parameter for sign in "\n\r\t")
        ):
            raise InvalidInput(_("A parameter has to be a text of one line."), field="template")


def fill(text_of_part: str, placeholders: Sequence[str], parameters: Sequence[str]) -> str:
    """Return a text with its placeholders replaced. What a parameter contains is never taken for a placeholder."""
    text, rest = "", text_of_part
    values: dict[str, Any] = dict(zip(placeholders, parameters, strict=True))
    while (start := rest.find("{{")) >= 0 and (end := rest.find("}}", start)) >= 0:
        placeholder = rest[start + 2 : end].strip()
        text += rest[:start] + values.get(placeholder, rest[start : end + 2])
        rest = rest[end + 2 :]
    return text + rest
