"""E-mails about alerts: one when it begins, one when it has gone."""

from collections.abc import Sequence
from datetime import timedelta
from smtplib import SMTPException

import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from accounts.models import User
from agent.models import Alert
from agent.monitoring.alert_rules import RULES, title_of
from agent.monitoring.alerts import administrators
from whatsapp_agent import postgres
from whatsapp_agent.periodic import periodic
from whatsapp_agent.text.stored import translate_stored

log = structlog.get_logger(__name__)

CLAIM_TTL = timedelta(minutes=2)  # longer than EMAIL_TIMEOUT; then another process tries
GIVEN_UP_AFTER = timedelta(days=1)
BATCH = 20


@periodic(every_s=5, may_block=True, in_each_process=True, in_web_processes=True)
def send_mails() -> None:
    """Send the e-mails that are due. Does nothing without EMAIL_URL or a recipient."""
    if not settings.EMAIL_URL or not (recipients := _recipients()):
        return
    for _attempt in range(BATCH):
        alert = _claim()
        if alert is None or not _send(alert, recipients):
            return


def _recipients() -> list[str]:
    return list(settings.ALERT_EMAILS) or list(
        administrators().exclude(email="").values_list("email", flat=True).distinct()
    )


@transaction.atomic
def _claim() -> Alert | None:
    """Claim an alert that nobody has mailed yet. A claim of a process that died expires."""
    is_due = Q(mailed_fired_at=None) | Q(recovered_at__isnull=False, mailed_recovered_at=None)
    is_free = Q(mail_claimed_until=None) | Q(mail_claimed_until__lt=Now())
    waiting = Alert.objects.filter(is_due, is_free, Q(recovered_at=None) | Q(recovered_at__gt=Now() - GIVEN_UP_AFTER))
    alert = waiting.select_for_update(skip_locked=True).order_by("fired_at").first()
    if alert is not None:
        Alert.objects.filter(pk=alert.pk).update(mail_claimed_until=Now() + CLAIM_TTL)
    return alert


def _send(alert: Alert, recipients: Sequence[str]) -> bool:
    """Send one e-mail that says how the alert stands; return whether the server took it."""
    language = _language_of(recipients)
    postgres.release()
    try:
        with translation.override(language):
            EmailMessage(_subject(alert), _text(alert), settings.DEFAULT_FROM_EMAIL, recipients).send()
    except (SMTPException, OSError, ValueError) as exc:
        log.warning("alert_not_mailed", alert=str(alert.pk), error=type(exc).__name__)
        return False
    now = timezone.now()
    changes = {"mailed_recovered_at": now} if alert.recovered_at else {}
    Alert.objects.filter(pk=alert.pk).update(mailed_fired_at=now, mail_claimed_until=None, **changes)
    return True


def _language_of(recipients: Sequence[str]) -> str:
    """Return the language that all recipients have chosen; else the server's, because they read one e-mail."""
    chosen = dict(User.objects.filter(email__in=recipients, is_active=True).values_list("email", "language"))
    languages = {chosen.get(address) or settings.LANGUAGE_CODE for address in recipients}
    return languages.pop() if len(languages) == 1 else settings.LANGUAGE_CODE


def _subject(alert: Alert) -> str:
    state = _("Recovered") if alert.recovered_at else _("Alert")
    about = f": {alert.subject}" if alert.subject else ""
    return " ".join(f"[WhatsApp Agent] {state}: {title_of(alert.rule)}{about}".split())


def _text(alert: Alert) -> str:
    lines = [
        f"{title_of(alert.rule)}{f': {alert.subject}' if alert.subject else ''}.",
        "",
        translate_stored(alert.detail),
    ]
    lines += [_("First seen at %(time)s UTC.") % {"time": f"{alert.fired_at:%Y-%m-%d %H:%M:%S}"}]
    if alert.recovered_at:
        lines += [_("It has recovered at %(time)s UTC.") % {"time": f"{alert.recovered_at:%Y-%m-%d %H:%M:%S}"}]
    else:
        lines += ["", *(str(rule.remedy) for rule in RULES if rule.name == alert.rule)]
        lines += [_("Another e-mail follows when it has recovered.")]
    return "\n".join(lines) + "\n"
