"""What is wrong with a number that is being linked: nothing follows a scan, or the account demands a passkey."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from django.db.models import Case, F, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from agent.bridges.events import Link
from sessions_app.bridges import adapter_for
from sessions_app.models import Bridge, WhatsAppSession

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise

LINK_TIMEOUT = timedelta(seconds=60)
PASSKEY_REASONS = ("passkey_required", "passkey_confirmation")
NO_PROGRESS: dict[str, Any] = {"linking_since": None, "scanned_at": None}


class LinkProblemCode(StrEnum):
    PASSKEY_REQUIRED = "passkey_required"  # the bridge says so
    SCAN_LED_NOWHERE = "scan_led_nowhere"  # a code was used, and no link followed
    NOT_LINKED = "not_linked"  # a code has waited; a bridge does not see a scan that WhatsApp answers by a passkey


@dataclass(frozen=True, slots=True)
class LinkProblem:
    """What is wrong, and what can be done. `since` is when the code was used, or first shown."""

    code: LinkProblemCode
    detail: "str | StrPromise"
    remedy: "str | StrPromise"
    since: datetime


DETAILS = {
    LinkProblemCode.PASSKEY_REQUIRED: _("WhatsApp demands a passkey of this account before it links a device."),
    LinkProblemCode.SCAN_LED_NOWHERE: _(
        "The code seems to have been scanned, and no link followed within a minute. The account probably demands a "
        "passkey."
    ),
    LinkProblemCode.NOT_LINKED: _(
        "The number was not linked within a minute. If the code was scanned or typed, the account probably demands a "
        "passkey."
    ),
}
REMEDY = _(
    "Remove the passkey on the phone (WhatsApp, Settings, Account, Passkeys) and link again, or take another number or "
    "the Cloud API."
)
REMEDY_BY_EXTENSION = _(
    "Remove the passkey on the phone (WhatsApp, Settings, Account, Passkeys) and link again, or take another number or "
    "the Cloud API. With WAHA's engine GOWS it can be given in WAHA's dashboard, with its browser extension, though "
    "not always."
)


def link_problem(session: WhatsAppSession) -> LinkProblem | None:
    """Return why linking a number does not succeed; None if it is linked, or has only just begun."""
    if session.ended_at is not None or session.status == Link.CONNECTED:
        return None
    now = timezone.now()
    if session.status_reason in PASSKEY_REASONS and session.scanned_at is not None:
        return _problem(session, LinkProblemCode.PASSKEY_REQUIRED, session.scanned_at)
    if session.scanned_at is not None and session.scanned_at <= now - LINK_TIMEOUT:
        return _problem(session, LinkProblemCode.SCAN_LED_NOWHERE, session.scanned_at)
    if session.scanned_at is None and session.linking_since is not None and session.linking_since <= now - LINK_TIMEOUT:
        return _problem(session, LinkProblemCode.NOT_LINKED, session.linking_since)
    return None


def _problem(session: WhatsAppSession, code: LinkProblemCode, since: datetime) -> LinkProblem:
    remedy = REMEDY_BY_EXTENSION if adapter_for(session.bridge).links_passkeys else REMEDY
    return LinkProblem(code=code, detail=DETAILS[code], remedy=remedy, since=since)


def progress_of(*, bridge: Bridge, status: Link, reason: str, at: datetime) -> dict[str, Any]:
    """Return the columns that say how far linking has come, for an update of a session to this status.

    A code that expires, and a link that fails, leave them: they say why there is no link until it is tried again.
    """
    match status:
        case Link.CONNECTED | Link.LOGGED_OUT:
            return NO_PROGRESS
        case Link.QR_WAITING:
            changes: dict[str, Any] = {"linking_since": Coalesce("linking_since", Value(at))}
            if reason in PASSKEY_REASONS:
                changes["scanned_at"] = Coalesce("scanned_at", Value(at))
            return changes
        case Link.CONNECTING if adapter_for(bridge).reports_scans:
            used = When(status=Link.QR_WAITING.value, then=Coalesce("scanned_at", Value(at)))
            return {"scanned_at": Case(used, default=F("scanned_at"))}
    return {}
