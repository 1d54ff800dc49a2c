"""Limits that WhatsApp sets on the account of a number, as its bridge reports them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from sessions_app.models import WhatsAppSession

TIMES = ("reported_at", "last_reported_at")  # since when it is known to stand so, and when that was last reported


@dataclass(frozen=True, slots=True)
class AccountLimit:
    """One limit. `until` is None where its end is not known; `used` of `total` where it is a quota.

    `reported_at` is since when it is known to stand so.
    """

    kind: str
    is_active: bool
    until: datetime | None
    status: str
    used: int | None
    total: int | None
    reported_at: datetime

    def __str__(self) -> str:
        match self.kind:
            case "timelock":
                text = _("WhatsApp lets this number write only to people who wrote to it.")
            case "capping":
                text = _("The number may write to no more new contacts: its quota is used up.")
            case "quality":
                text = _("Meta rates the quality of this number as low, and may restrict it.")
            case kind:
                text = _("WhatsApp limits this account: %(kind)s.") % {"kind": kind}
        if self.until is not None:
            until = timezone.localtime(self.until)
            text += " " + _("Until %(time)s.") % {"time": f"{until:%Y-%m-%d %H:%M}"}
        return text


def account_limits(session: WhatsAppSession) -> list[AccountLimit]:
    """Return what is known of the account's limits, active or not. One whose end has come is no longer active."""
    now = timezone.now()
    found = []
    for kind, stored in sorted(session.account_limits.items()):
        until = parse_datetime(stored["until"]) if stored["until"] else None
        reported_at = parse_datetime(stored["reported_at"])
        if reported_at is not None:
            is_active = stored["active"] and (until is None or until > now)
            values = {name: stored.get(name) for name in ("used", "total")}
            limit = AccountLimit(kind, is_active, until, stored.get("status") or "", reported_at=reported_at, **values)
            found.append(limit)
    return found


def active_limits(session: WhatsAppSession) -> list[AccountLimit]:
    return [limit for limit in account_limits(session) if limit.is_active]


def record_limits(session: WhatsAppSession, limits: Iterable[dict[str, Any]], *, at: datetime) -> None:
    """Store limits of {kind, active, until} as they stood at a time; what is known of a later time stays."""
    limits = list(limits)
    if not limits:
        return
    with transaction.atomic():
        row = WhatsAppSession.objects.select_for_update().get(pk=session.pk)
        known = dict(row.account_limits)
        for limit in limits:
            before = known.get(limit["kind"])
            if before and (parse_datetime(before.get("last_reported_at") or before["reported_at"]) or at) > at:
                continue
            now = limit | {"until": limit["until"].isoformat() if limit["until"] else None}
            is_same = before is not None and {name: before[name] for name in before if name not in TIMES} == now
            since = before["reported_at"] if before and is_same else at.isoformat()
            known[limit["kind"]] = now | {"reported_at": since, "last_reported_at": at.isoformat()}
        if known != row.account_limits:
            WhatsAppSession.objects.filter(pk=row.pk).update(account_limits=known)
    session.account_limits = known
