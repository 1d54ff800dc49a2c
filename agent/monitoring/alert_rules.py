"""The conditions that administrators are alerted of: one table, each with the function that finds it."""

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID

from cryptography import x509
from django.conf import settings
from django.db.models import Count, Min, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from agent import heartbeats
from agent.models import EngineProcess
from messaging.models import Conversation, Message, Turn
from messaging.models.turns import TurnQuerySet
from messaging.receipts import PAYMENT_CODE
from sessions_app.bridges import bridge_health
from sessions_app.links.account_limits import active_limits
from sessions_app.links.stopping import REPEATING
from sessions_app.models import Bridge, WhatsAppSession
from whatsapp_agent import postgres
from whatsapp_agent.storage import disk

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise

WINDOW = timedelta(minutes=15)  # in which failures are counted
MAX_TURN_TIME = timedelta(hours=1)
MIN_FAILED_SHARE = 0.2  # of all turns within the window: a few of thousands are no outage
CONNECT_TIMEOUT_S = 10
OPENAI_URL = "https://api.openai.com"
PAYMENT_WINDOW = timedelta(days=1)
QUOTA_CODE = "insufficient_quota"


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition that holds. `subject` distinguishes those of one rule; `detail` has no numbers, texts or names."""

    detail: str
    subject: str = ""
    session_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """`find` says what is wrong now. What is no longer found recovers, if it is of `my_subject` where that is given."""

    name: str
    title: "str | StrPromise"
    find: Callable[[], Sequence[Finding]]
    remedy: "str | StrPromise"
    my_subject: Callable[[], str] | None = None
    asks_others: bool = False  # another server, which may take its time


def _offline() -> list[Finding]:
    """Find numbers that were linked and lost their link some time ago."""
    Status = WhatsAppSession.Status
    since = timezone.now() - timedelta(seconds=settings.ALERT_OFFLINE_S)
    is_lost = Q(status__in=[Status.DISCONNECTED, Status.LOGGED_OUT]) | Q(
        status__in=[Status.QR_WAITING, Status.CONNECTING], linked_at__isnull=False
    )
    rows = WhatsAppSession.objects.live().filter(is_lost, status_changed_at__lte=since).order_by("name")
    return [
        Finding(f"It is {status} since {_time(at)}.", subject=name, session_id=pk)
        for pk, name, status, at in rows.values_list("pk", "name", "status", "status_changed_at")
    ]


def _turns_fail() -> list[Finding]:
    counted = _recent_turns().aggregate(total=Count("pk"), failed=Count("pk", filter=Q(outcome=Turn.Outcome.FAILED)))
    failed, total = counted["failed"], counted["total"]
    if failed < settings.ALERT_FAILURES or failed < total * MIN_FAILED_SHARE:
        return []
    return [Finding(f"{failed} of {total} turns of the last 15 minutes failed.")]


def _recent_turns() -> TurnQuerySet:
    """Return the turns that ended within the window, by their ids: a UUIDv7 begins with the time of its creation."""
    now = timezone.now()
    first = UUID(int=int((now - WINDOW - MAX_TURN_TIME).timestamp() * 1000) << 80)
    return Turn.objects.filter(pk__gte=first, created_at__gte=now - WINDOW)


def _sends_fail() -> list[Finding]:
    bad = [Message.Status.FAILED, Message.Status.UNCONFIRMED]
    count = Message.objects.filter(status__in=bad, said_at__gte=timezone.now() - WINDOW).count()
    if count < settings.ALERT_FAILURES:
        return []
    return [Finding(f"{count} messages of the last 15 minutes were not sent, or may not have been.")]


def _messages_wait() -> list[Finding]:
    """Find the oldest message to be answered whose turn does not begin, or fails again and again."""
    before = timezone.now() - timedelta(seconds=settings.ALERT_UNANSWERED_S)
    late = Conversation.objects.filter(
        Q(due_at__lt=before) | Q(retry_at__isnull=False, burst_started_at__lt=before),
        control=Conversation.Control.AGENT,
        due_at__isnull=False,
    ).aggregate(count=Count("pk"), oldest=Min("burst_started_at"), due=Min("due_at"))
    if not late["count"]:
        return []
    oldest = late["oldest"] or late["due"]
    return [Finding(f"{late['count']} conversations wait for an answer, the first since {_time(oldest)}.")]


def _no_worker() -> list[Finding]:
    if EngineProcess.objects.working().exists():
        return []
    return [Finding(gettext_noop("Nothing is answered and nothing is sent."))]


def _disk_full() -> list[Finding]:
    usage = disk.usage()
    if usage is None or usage.free * 100 >= usage.total * settings.ALERT_DISK_FREE_PERCENT:
        return []
    return [Finding(f"{usage.free * 100 // usage.total}% of the disk of DATA_DIR is free.", subject=_this_machine())]


def _this_machine() -> str:
    return socket.gethostname()[:255]


def _quota() -> list[Finding]:
    """Find conversations that wait because the model's account has nothing left, or turns that failed for it."""
    waiting = Conversation.objects.filter(
        due_at__isnull=False,
        retry_at__isnull=False,
        attention_reason=Conversation.Attention.MODEL_REFUSES,
        attention_note__contains=f"({QUOTA_CODE})",
    )
    failed = _recent_turns().filter(outcome=Turn.Outcome.FAILED, reason__startswith=f"{QUOTA_CODE}:")
    if not waiting.exists() and not failed.exists():
        return []
    return [Finding(gettext_noop("The model's server says that the account has nothing left."))]


def _payment() -> list[Finding]:
    """Find numbers whose answers are not delivered because nobody pays for them, and none was delivered since."""
    outbound = Message.objects.filter(
        direction=Message.Direction.OUTBOUND, said_at__gte=timezone.now() - PAYMENT_WINDOW
    ).select_related("session")
    unpaid = outbound.filter(status=Message.Status.FAILED, error_code=PAYMENT_CODE).order_by("session", "-said_at")
    return [
        Finding(
            f"Meta accepts answers and does not deliver them: {_time(message.said_at)}.",
            subject=message.session.name,
            session_id=message.session_id,
        )
        for message in unpaid.distinct("session")
        if not outbound.filter(session=message.session_id, delivered_at__gt=message.said_at).exists()
    ]


def _limited() -> list[Finding]:
    """Find numbers whose account WhatsApp limits at present."""
    sessions = WhatsAppSession.objects.live().exclude(account_limits={}).order_by("name")
    return [
        Finding(
            f"WhatsApp limits its account: {', '.join(limit.kind for limit in limits)}.",
            subject=session.name,
            session_id=session.pk,
        )
        for session in sessions
        if (limits := active_limits(session))
    ]


def _stopped() -> list[Finding]:
    """Find numbers that were stopped because their bridge sends by itself, until a person restarts them."""
    sessions = WhatsAppSession.objects.live().filter(status_reason=REPEATING).order_by("name")
    return [
        Finding(f"It sent what is not ours, and is stopped since {_time(at)}.", subject=name, session_id=pk)
        for pk, name, at in sessions.values_list("pk", "name", "status_changed_at")
    ]


def _bridges() -> list[Finding]:
    bridges = list(Bridge.objects.order_by("slug"))
    postgres.release()
    return [
        Finding(f"The bridge ({bridge.kind}) does not answer as it should.", subject=bridge.slug)
        for bridge in bridges
        if not bridge_health(bridge).is_healthy
    ]


def _certificates() -> list[Finding]:
    return list(_expiring(settings.OPENAI_BASE_URL or (OPENAI_URL if settings.OPENAI_API_KEY else "")))


def _expiring(url: str) -> Iterator[Finding]:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        return
    expires_at = certificate_expiry(parts.hostname, parts.port or 443)
    if expires_at is None or expires_at > timezone.now() + timedelta(days=settings.ALERT_CERTIFICATE_DAYS):
        return
    verb = "expires" if expires_at > timezone.now() else "has expired"
    yield Finding(f"It {verb} at {_time(expires_at)}.", subject=parts.hostname)


def certificate_expiry(host: str, port: int) -> datetime | None:
    """Return until when the certificate of a TLS server is valid; None if the server cannot be reached."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # one that has expired is looked at, too; nothing is sent
    try:
        with (
            socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S) as connected,
            context.wrap_socket(connected, server_hostname=host) as tls,
        ):
            encoded = tls.getpeercert(binary_form=True)
    except OSError:
        return None  # turns fail, which has a rule of its own
    return x509.load_der_x509_certificate(encoded).not_valid_after_utc if encoded else None


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else "an unknown time"


RULES = (
    Rule(
        "number_offline",
        _("A number is offline"),
        _offline,
        _("Link it again: manage.py link_session, or Connect in the admin. What is queued is sent then."),
    ),
    Rule(
        "turns_fail", _("Turns fail"), _turns_fail, _("See them in the admin (Turns); manage.py doctor asks the model.")
    ),
    Rule(
        "sends_fail",
        _("Messages are not sent"),
        _sends_fail,
        _("See them in the admin; manage.py doctor asks bridges."),
    ),
    Rule(
        "messages_wait",
        _("Messages wait for an answer"),
        _messages_wait,
        _("manage.py doctor says what is in the way."),
    ),
    Rule("no_worker", _("No process takes turns and sends"), _no_worker, heartbeats.lazy_remedy()),
    Rule(
        "disk_nearly_full",
        _("The disk is nearly full"),
        _disk_full,
        _("Delete something, enlarge it, or set RETENTION_...: manage.py prune --dry-run counts."),
        my_subject=_this_machine,
    ),
    Rule(
        "bridge_unreachable",
        _("A bridge does not answer"),
        _bridges,
        _("Does it run, and does it take our key? See its log."),
        asks_others=True,
    ),
    Rule(
        "certificate_expires",
        _("The certificate of the model's server expires"),
        _certificates,
        _("Have its operator renew it; afterwards no turn can be answered."),
        asks_others=True,
    ),
    Rule(
        "payment_missing",
        _("Answers are not delivered until the account is paid for"),
        _payment,
        _("Add a payment method to the WhatsApp business account; send what failed again in the admin."),
    ),
    Rule(
        "account_limited",
        _("WhatsApp limits the account of a number"),
        _limited,
        _("Write to nobody who has not written first, and wait; the number's page says until when."),
    ),
    Rule(
        "number_stopped",
        _("A number was stopped: its bridge sends by itself"),
        _stopped,
        _("Restart or update the bridge, then Restart the number in the admin. See docs/operate.md."),
    ),
    Rule("quota_used_up", _("The model's quota is used up"), _quota, _("Add credit to the account of OPENAI_API_KEY.")),
)


def title_of(name: str) -> str:
    """Return the title of a rule, in the active language; its name if there is no such rule any more."""
    return next((str(rule.title) for rule in RULES if rule.name == name), name)
