"""Sync the templates of a number from the Cloud API, and send them."""

from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from agent.bridges.base import Capability
from agent.bridges.exchange import BridgeError
from messaging.models import Conversation, Message, MessageTemplate
from messaging.models.templates import APPROVED
from messaging.outbound import check_reachable, queue_message
from sessions_app import bridges
from sessions_app.bridges import adapter_for, call_bridge
from sessions_app.models import Bridge, WhatsAppSession
from whatsapp_agent import postgres
from whatsapp_agent.errors import BridgeFailed, InvalidInput, NotSupportedByBridge, SessionNotConnected

MAX_PARAMETER_LENGTH = 1024


def _check_capability(session: WhatsAppSession) -> None:
    if Capability.SEND_TEMPLATE not in adapter_for(session.bridge).capabilities:
        raise NotSupportedByBridge(_("The bridge of this number has no templates."))


def known_accounts(bridge: Bridge) -> list[str]:
    """Return the ids of the business accounts whose templates are stored."""
    accounts = MessageTemplate.objects.filter(session__bridge=bridge).exclude(account="")
    return list(accounts.order_by("account").values_list("account", flat=True).distinct())


bridges.known_accounts.provide(known_accounts)


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
    author: Message.Author = Message.Author.STAFF,
    by: User | None = None,
) -> Message:
    """Queue a template, which may be sent at any time. Its text is stored as it is shown to the recipient.

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
    _check_template(template, parameters)
    details = {
        "template": {
            "name": name,
            "language": language,
            "parameters": parameters,
            "placeholders": template.placeholders,
        }
    }
    text = fill(template, parameters)
    return queue_message(conversation=conversation, author=author, by=by, quoted=None, text=text, details=details)


def _check_template(template: MessageTemplate, parameters: list[str]) -> None:
    if template.status != APPROVED:
        raise InvalidInput(
            _("Meta does not allow this template at present: %(status)s.") % {"status": template.status},
            field="template",
        )
    if template.unsupported:
        raise InvalidInput(
            _("This template cannot be sent from here: %(unsupported)s") % {"unsupported": template.unsupported},
            field="template",
        )
    if len(parameters) != len(template.placeholders):
        expected = len(template.placeholders)
        raise InvalidInput(
            _("This template takes %(expected)s parameters; %(given)s were given.")
            % {"expected": expected, "given": len(parameters)},
            field="template",
        )
    for parameter in parameters:
        if (
            not parameter.strip()
            or len(parameter) > MAX_PARAMETER_LENGTH
            or any(sign in parameter for sign in "\n\r\t")
        ):
            raise InvalidInput(_("A parameter has to be a text of one line."), field="template")


def fill(template: MessageTemplate, parameters: list[str]) -> str:
    """Return the body with its placeholders replaced. What a parameter contains is never taken for a placeholder."""
    text, rest = "", template.body
    values: dict[str, Any] = dict(zip(template.placeholders, parameters, strict=True))
    while (start := rest.find("{{")) >= 0 and (end := rest.find("}}", start)) >= 0:
        placeholder = rest[start + 2 : end].strip()
        text += rest[:start] + values.get(placeholder, rest[start : end + 2])
        rest = rest[end + 2 :]
    return text + rest
