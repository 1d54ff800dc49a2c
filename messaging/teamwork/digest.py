"""E-mail what waits for a person to staff who ask for it, when nobody has looked for DIGEST_AFTER_MINUTES.

A conversation is mailed once for each time that its contact writes, also if it begins to wait long after that: when the
agent fails, a takeover or an assignment ends, or it was put aside until then.
"""

from collections.abc import Sequence
from datetime import timedelta
from smtplib import SMTPException

import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import User, names_of_groups
from messaging.models import Conversation, MailedConversation
from messaging.models.conversations import NEEDS_PERSON
from whatsapp_agent.periodic import periodic
from whatsapp_agent.text.sanitize import without_bidi_controls

log = structlog.get_logger(__name__)

MAX_LISTED = 20


@periodic(every_s=60, may_block=True)
def mail_digests() -> int:
    """Send the e-mails that are due; return how many were sent. Two processes at once send each e-mail once."""
    if not (settings.DIGEST_AFTER_MINUTES and settings.EMAIL_URL):
        return 0
    users = User.objects.filter(mails_digest=True, is_active=True, is_staff=True).exclude(email="")
    return sum(_mail(user) for user in users.annotate(group_names=names_of_groups()))


def waiting_unseen(user: User) -> list[Conversation]:
    """Return what waits for a person, was not looked at, and was not mailed to this user yet; longest waiting first."""
    until = timezone.now() - timedelta(minutes=settings.DIGEST_AFTER_MINUTES)
    rows = Conversation.objects.visible_to(user).without_test_chats().filter(NEEDS_PERSON)
    rows = rows.filter(unread_count__gt=0, last_message_at__lte=until)
    mailed = MailedConversation.objects.filter(
        user=user, conversation=OuterRef("pk"), last_message_at__gte=OuterRef("last_message_at")
    )
    rows = rows.exclude(Exists(mailed))
    rows = rows.filter(Q(assigned_to=None) | Q(assigned_to=user))
    return list(rows.select_related("contact", "session").order_by("last_message_at")[: MAX_LISTED + 1])


def _mail(user: User) -> int:
    waiting = waiting_unseen(user)
    if not waiting:
        return 0
    with transaction.atomic():
        mine = User.objects.filter(pk=user.pk, digest_until=user.digest_until)
        if not mine.update(digest_until=timezone.now()):
            return 0  # another process mails it
        claimed = MailedConversation.objects.bulk_create(
            [
                MailedConversation(user=user, conversation=each, last_message_at=each.last_message_at)
                for each in waiting[:MAX_LISTED]
                if each.last_message_at  # which all have that were found
            ],
            update_conflicts=True,
            unique_fields=["user", "conversation"],
            update_fields=["last_message_at"],
        )
    try:
        with translation.override(user.language or settings.LANGUAGE_CODE):
            EmailMessage(_subject(waiting), _text(waiting), settings.DEFAULT_FROM_EMAIL, [user.email]).send()
    except (SMTPException, OSError) as exc:
        log.warning("digest_not_mailed", user=str(user.pk), error=type(exc).__name__)
        MailedConversation.objects.filter(
            user=user, conversation__in=[each.conversation_id for each in claimed]
        ).delete()
        return 0
    return 1


def _subject(waiting: Sequence[Conversation]) -> str:
    count = len(waiting)
    text = ngettext("%(count)s conversation waits for a person", "%(count)s conversations wait for a person", count)
    return "[WhatsApp Agent] " + text % {"count": f"{MAX_LISTED}+" if count > MAX_LISTED else count}


def _text(waiting: Sequence[Conversation]) -> str:
    """Return names and times; never what was said."""
    base = settings.PUBLIC_URL.rstrip("/")
    lines = [
        f"- {' '.join(without_bidi_controls(str(each.contact)).split())} ({each.session.name}): {base}"
        f"{reverse('inbox-conversation', args=[each.pk])}"
        for each in waiting[:MAX_LISTED]
    ]
    closing = _("You asked for this e-mail in My settings: %(link)s") % {"link": f"{base}{reverse('preferences')}"}
    return "\n".join([_("Nobody has looked at these conversations yet:"), "", *lines, "", closing])
