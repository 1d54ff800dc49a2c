"""Alerts: each condition of `alert_rules` is reported once when it begins and once when it has gone.

Every process looks, also web processes, because the condition may be that no other process runs. The database decides
who reports: one alert lasts at a time for a rule and subject.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import Role, User
from agent.models import Alert
from agent.monitoring.alert_rules import RULES, Finding, Rule
from messaging.events.types import ALERT_FIRED, ALERT_RECOVERED
from messaging.models import Event
from whatsapp_agent.periodic import periodic
from whatsapp_agent.postgres.advisory import try_lock

log = structlog.get_logger(__name__)

CHECK_EVERY_S = 15
ASK_EVERY_S = 60
RECOVERED_AFTER = timedelta(seconds=60)  # not seen for so long: what comes and goes is one alert
ABANDONED_AFTER = timedelta(days=1)  # its machine is gone, and nobody else can see it
DELETED_AFTER = timedelta(days=90)


@periodic(every_s=CHECK_EVERY_S, in_each_process=True, in_web_processes=True)
def check_alerts() -> None:
    """Look for every condition that the database and this machine know."""
    _check([rule for rule in RULES if not rule.asks_others])


@periodic(every_s=ASK_EVERY_S, may_block=True)
def check_others() -> None:
    """Look for conditions of other servers."""
    _check([rule for rule in RULES if rule.asks_others])


def _check(rules: Sequence[Rule]) -> None:
    for rule in rules:
        try:
            findings = rule.find()
        except (OperationalError, InterfaceError):
            raise
        except Exception:  # one rule's failure must not silence the others
            log.exception("alert_rule_failed", rule=rule.name)
        else:
            record(rule, findings)


@transaction.atomic
def record(rule: Rule, findings: Sequence[Finding]) -> None:
    """Begin an alert for each finding that has none, and end those whose condition has gone."""
    if not try_lock(f"alert:{rule.name}"):
        return  # another process records what it found at this very moment
    now = timezone.now()
    lasting = {alert.subject: alert for alert in Alert.objects.filter(rule=rule.name, recovered_at=None)}
    for finding in findings:
        if (alert := lasting.pop(finding.subject, None)) is None:
            _fire(rule, finding)
        else:
            Alert.objects.filter(pk=alert.pk).update(last_seen_at=now, detail=finding.detail[:300])
    for alert in lasting.values():
        is_mine = rule.my_subject is None or alert.subject == rule.my_subject()
        if alert.last_seen_at < now - (RECOVERED_AFTER if is_mine else ABANDONED_AFTER):
            _recover(alert)


def _fire(rule: Rule, finding: Finding) -> None:
    now = timezone.now()
    alert = Alert.objects.create(
        rule=rule.name,
        subject=finding.subject,
        session_id=finding.session_id,
        detail=finding.detail[:300],
        fired_at=now,
        last_seen_at=now,
    )
    _write_events(ALERT_FIRED.name, alert)
    log.warning("alert_fired", alert=str(alert.pk), rule=alert.rule)


def _recover(alert: Alert) -> None:
    alert.recovered_at = timezone.now()
    alert.save(update_fields=["recovered_at"])
    _write_events(ALERT_RECOVERED.name, alert)
    log.info("alert_recovered", alert=str(alert.pk), rule=alert.rule)


def _write_events(event_type: str, alert: Alert) -> None:
    """Write one event for those who see the session; where there is none, one for each administrator."""
    data = {"alert": str(alert.pk), "rule": alert.rule, "detail": alert.detail}
    if alert.session_id is not None:
        data |= {"session": str(alert.session_id)}
        Event.objects.create(type=event_type, session_id=alert.session_id, data=data)
        return
    for user in administrators():
        Event.objects.create(type=event_type, user_id=user.pk, data=data)


def administrators() -> Any:
    """Return the active users who see everything."""
    is_admin = Q(is_superuser=True) | Q(groups__name=Role.ADMIN.name.lower())
    return User.objects.filter(is_admin, is_active=True).distinct().order_by("username")


@periodic(every_s=3600)
def delete_old_alerts() -> None:
    """Delete alerts that ended long ago."""
    Alert.objects.filter(recovered_at__lt=timezone.now() - DELETED_AFTER).delete()
